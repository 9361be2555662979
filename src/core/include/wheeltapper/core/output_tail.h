// What a child process wrote, for a message about it: the end of its output, and the last line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace wheeltapper {

// The last bytes of what was appended. One thread.
class OutputTail {
 public:
  explicit OutputTail(size_t max_bytes) : max_bytes_(max_bytes) {}
  void Append(std::string_view bytes);
  // At most `max_bytes`, beginning with a whole character, as UTF-8: each byte that is none becomes
  // U+FFFD, which takes three.
  [[nodiscard]] std::string Text() const;

 private:
  size_t max_bytes_;
  std::string bytes_;
};

// The last line with something in it, without control characters, and no more of it than some 200
// bytes from its first visible character on, cut between characters; "" when there is none.
std::string LastLineOf(std::string_view text);

}  // namespace wheeltapper
