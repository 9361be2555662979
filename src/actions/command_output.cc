#include "command_output.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "wheeltapper/core/json.h"

namespace wheeltapper::actions {
namespace {

constexpr size_t kChunkBytes = 4096;
constexpr int kPipeChunks = 16;  // a pipe holds 64 KiB
constexpr size_t kMaxLineBytes = 200;

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80; }
bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

std::string AsUtf8(std::string_view bytes) {
  return ParseJson(JsonLine(nlohmann::json(bytes))).get<std::string>();
}

}  // namespace

CommandOutput::CommandOutput(FileDescriptor reading, FileDescriptor writing)
    : reading_(std::move(reading)), writing_(std::move(writing)) {}

Result<CommandOutput> CommandOutput::Open() {
  std::array<int, 2> ends{-1, -1};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return ErrnoError(errno, "running the command: pipe");
  }
  FileDescriptor reading(ends[0]);
  FileDescriptor writing(ends[1]);
  if (fcntl(reading.get(), F_SETFL, O_NONBLOCK) != 0) {
    return ErrnoError(errno, "running the command: pipe");
  }
  return CommandOutput(std::move(reading), std::move(writing));
}

bool CommandOutput::Read() {
  if (!reading_.valid()) {
    return false;
  }
  std::array<char, kChunkBytes> chunk;  // NOLINT(*-member-init): filled by read
  const ssize_t count = read(reading_.get(), chunk.data(), chunk.size());
  if (count <= 0) {
    if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
      reading_.Close();
    }
    return false;
  }
  tail_.append(chunk.data(), static_cast<size_t>(count));
  if (tail_.size() > kMaxBytes) {
    // Not in the middle of a character.
    size_t cut = tail_.size() - kMaxBytes;
    while (cut < tail_.size() && cut < tail_.size() - kMaxBytes + 3 && IsContinuation(tail_[cut])) {
      ++cut;
    }
    tail_.erase(0, cut);
  }
  return true;
}

void CommandOutput::ReadRest() {
  for (int chunks = 0; chunks <= kPipeChunks && Read(); ++chunks) {
  }
}

std::string CommandOutput::Text() const { return AsUtf8(tail_); }

std::string LastLine(const std::string& text) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t before = rest.rfind('\n');
    const std::string_view line = rest.substr(before == std::string_view::npos ? 0 : before + 1);
    rest = rest.substr(0, before == std::string_view::npos ? 0 : before);
    if (std::all_of(line.begin(), line.end(), [](char c) { return IsControl(c) || c == ' '; })) {
      continue;
    }
    std::string clean(line.substr(0, kMaxLineBytes));
    std::replace_if(clean.begin(), clean.end(), IsControl, ' ');
    clean.erase(clean.find_last_not_of(' ') + 1);
    if (line.size() > kMaxLineBytes) {
      while (!clean.empty() && IsContinuation(clean.back())) {
        clean.pop_back();
      }
      clean += "…";
    }
    return clean;
  }
  return "";
}

}  // namespace wheeltapper::actions
