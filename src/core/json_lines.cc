#include "wheeltapper/core/json_lines.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/json.h"

namespace wheeltapper {
namespace {

// Where the file system has no locks there is one writer at a time, or bad luck: a line is worth
// more than the certainty that no other is being written.
void LockForWriting(const FileDescriptor& file) {
  while (flock(file.get(), LOCK_EX) != 0 && errno == EINTR) {
  }
}

// What stands behind the last newline. Read from the end, in pieces that grow: the file may be
// large, the line seldom is.
Result<std::string> LastLine(const FileDescriptor& file, uint64_t size) {
  constexpr uint64_t kFirstPiece = 4096;
  for (uint64_t nbytes = std::min(size, kFirstPiece);; nbytes = std::min(size, 2 * nbytes)) {
    std::string end(nbytes, '\0');
    WT_RETURN_IF_ERROR(ReadExactly(file, size - nbytes, end.data(), nbytes));
    const size_t newline = end.rfind('\n');
    if (newline != std::string::npos || nbytes == size) {
      return end.substr(newline + 1);  // all of it when there is no newline
    }
  }
}

struct Tail {
  uint64_t size = 0;   // of the file
  uint64_t begin = 0;  // of what stands behind the last newline
  bool torn = false;   // that is something, and no JSON
};

Result<Tail> FindTail(const FileDescriptor& file) {
  Tail tail;
  WT_ASSIGN_OR_RETURN(tail.size, FileSize(file));
  WT_ASSIGN_OR_RETURN(const std::string line, LastLine(file, tail.size));
  tail.begin = tail.size - line.size();
  tail.torn = !line.empty() && ParseJson(line).is_discarded();
  return tail;
}

// Not when the file has grown meanwhile, as it may where locks do not hold.
Status Cut(const FileDescriptor& file, const Tail& tail) {
  WT_ASSIGN_OR_RETURN(const uint64_t size, FileSize(file));
  if (size != tail.size) {
    return UnavailableError("cutting off a torn line: the file is being written");
  }
  return ftruncate(file.get(), static_cast<off_t>(tail.begin)) == 0
             ? Status()
             : ErrnoError(errno, "cutting off a torn line");
}

std::vector<std::string> WholeLines(std::string_view text) {
  std::vector<std::string> lines;
  for (size_t end = 0; !text.empty(); text.remove_prefix(end)) {
    const size_t newline = text.find('\n');
    const std::string_view line = text.substr(0, newline);
    if (newline != std::string_view::npos || !ParseJson(line).is_discarded()) {
      lines.emplace_back(line);
    }
    end = newline == std::string_view::npos ? text.size() : newline + 1;
  }
  return lines;
}

Status AppendTo(const FileDescriptor& file, std::string_view line) {
  WT_ASSIGN_OR_RETURN(const Tail tail, FindTail(file));
  if (tail.torn) {
    WT_RETURN_IF_ERROR(Cut(file, tail));
  }
  std::string text = tail.begin < tail.size && !tail.torn ? "\n" : "";
  text += line;
  text += '\n';
  WT_RETURN_IF_ERROR(WriteAll(file, AsBytes(text)));
  return fdatasync(file.get()) == 0 ? Status() : ErrnoError(errno, "syncing");
}

}  // namespace

Status AppendJsonLine(const std::string& path, std::string_view line) {
  WT_ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(path, O_RDWR | O_CREAT | O_APPEND));
  LockForWriting(file);
  return AppendTo(file, line).WithContext("\"" + path + "\"");
}

Result<std::vector<std::string>> ReadJsonLines(const std::string& path, uint64_t max_bytes) {
  const Result<std::string> text = ReadWholeFile(path, max_bytes);
  if (!text.ok()) {
    return text.status().code() == StatusCode::kNotFound
               ? std::vector<std::string>()
               : Result<std::vector<std::string>>(text.status());
  }
  return WholeLines(*text);
}

Status AppendJsonLineHeld(const FileDescriptor& file, std::string_view line) {
  return AppendTo(file, line);
}

Result<bool> CutTornLine(const std::string& path) {
  {
    // Nothing is asked of a file that is whole: it may be one that can only be read. A look that
    // fails says nothing, for others may be at it.
    WT_ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(path, O_RDONLY));
    const Result<Tail> tail = FindTail(file);
    if (tail.ok() && !tail->torn) {
      return false;
    }
  }
  WT_ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(path, O_RDWR));
  LockForWriting(file);
  WT_ASSIGN_OR_RETURN(const Tail tail, FindTail(file));
  if (tail.torn) {
    WT_RETURN_IF_ERROR(Cut(file, tail).WithContext("\"" + path + "\""));
  }
  return tail.torn;
}

}  // namespace wheeltapper
