#include "command_output.h"

#include <array>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace wheeltapper::actions {
namespace {

constexpr size_t kChunkBytes = 4096;
constexpr int kPipeChunks = 16;  // a pipe holds 64 KiB

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
  tail_.Append({chunk.data(), static_cast<size_t>(count)});
  return true;
}

void CommandOutput::ReadRest() {
  for (int chunks = 0; chunks <= kPipeChunks && Read(); ++chunks) {
  }
}

}  // namespace wheeltapper::actions
