#include "wheeltapper/core/output_tail.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "wheeltapper/core/json.h"

namespace wheeltapper {
namespace {

constexpr size_t kMaxLineBytes = 200;
constexpr size_t kMaxContinuationBytes = 3;  // of one character of UTF-8

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80; }
bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }
bool IsVisible(char c) { return !IsControl(c) && c != ' '; }

// Without what is invisible at its ends.
std::string_view Trimmed(std::string_view line) {
  while (!line.empty() && !IsVisible(line.front())) {
    line.remove_prefix(1);
  }
  while (!line.empty() && !IsVisible(line.back())) {
    line.remove_suffix(1);
  }
  return line;
}

std::string Shortened(std::string_view line) {
  if (line.size() <= kMaxLineBytes) {
    return std::string(line);
  }
  size_t end = kMaxLineBytes;
  while (end > kMaxLineBytes - kMaxContinuationBytes && IsContinuation(line[end])) {
    --end;
  }
  return std::string(line.substr(0, end)) + "…";
}

}  // namespace

void OutputTail::Append(std::string_view bytes) {
  bytes_.append(bytes);
  if (bytes_.size() <= max_bytes_) {
    return;
  }
  const size_t over = bytes_.size() - max_bytes_;
  size_t cut = over;
  while (cut < bytes_.size() && cut < over + kMaxContinuationBytes && IsContinuation(bytes_[cut])) {
    ++cut;
  }
  bytes_.erase(0, cut);
}

std::string OutputTail::Text() const {
  return ParseJson(JsonLine(nlohmann::json(bytes_))).get<std::string>();
}

std::string LastLineOf(std::string_view text) {
  while (!text.empty()) {
    const size_t before = text.rfind('\n');
    const size_t begin = before == std::string_view::npos ? 0 : before + 1;
    if (const std::string_view line = Trimmed(text.substr(begin)); !line.empty()) {
      std::string shown = Shortened(line);
      std::replace_if(shown.begin(), shown.end(), IsControl, ' ');
      return shown;
    }
    text = text.substr(0, begin == 0 ? 0 : before);
  }
  return "";
}

}  // namespace wheeltapper
