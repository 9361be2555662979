// Counts for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace wheeltapper {

// "1 finding", "2 findings"; for nouns whose plural ends in s.
inline std::string Plural(int64_t count, std::string_view noun) {
  return std::to_string(count) + " " + std::string(noun) + (count == 1 ? "" : "s");
}

}  // namespace wheeltapper
