#include "wheeltapper/core/host.h"

#include <array>

#include <unistd.h>

#include "wheeltapper/core/file.h"

namespace wheeltapper {

std::string HostName() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

std::string BootId() {
  constexpr uint64_t kMaxBytes = 128;
  const std::string text = ReadWholeFile("/proc/sys/kernel/random/boot_id", kMaxBytes).value_or("");
  return text.substr(0, text.find('\n'));
}

}  // namespace wheeltapper
