// A spooled message is read back from disk: any bytes must end in a message or DataLoss.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "message.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const wheeltapper::Result<wheeltapper::actions::Message> message =
      wheeltapper::actions::MessageFromText(text);
  if (message.ok()) {
    const std::string again = wheeltapper::actions::MessageToText(*message);
    if (!wheeltapper::actions::MessageFromText(again).ok()) {
      __builtin_trap();
    }
  }
  return 0;
}
