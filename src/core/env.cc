#include "wheeltapper/core/env.h"

#include <cstdlib>
#include <string_view>

#include <unistd.h>

namespace wheeltapper {

std::optional<std::string> GetEnv(const std::string& name) {
  const char* value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): see the header
  if (value == nullptr) {
    return std::nullopt;
  }
  return std::string(value);
}

Environment CurrentEnvironment() {
  Environment all;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string_view::npos) {
      all.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return all;
}

}  // namespace wheeltapper
