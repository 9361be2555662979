// The file of a rank segment before it has its name: whoever finds a segment finds a whole one, and
// one that is never finished leaves nothing behind.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::format {

// Between a segment's name and the process number in the name of a temporary one.
inline constexpr std::string_view kNascentMark = ".new.";

// Single-threaded. Open and locked (file_lock.h) from the start; goes away with this object unless
// it got its name, and with the process wherever the file system knows files without a name.
class NascentSegment {
 public:
  // A file in the folder of `path` that has no name at all (O_TMPFILE): a SIGKILL frees it.
  // Unimplemented where the file system or a missing /proc does not allow it.
  static Result<std::unique_ptr<NascentSegment>> Unnamed(const std::string& path);
  // The fallback: `<path>.new.<pid>`. Never an existing file, never through a link; one that a dead
  // process left is replaced. A SIGKILL leaves it to RemoveAbandoned.
  static Result<std::unique_ptr<NascentSegment>> Temporary(const std::string& path);
  NascentSegment(const NascentSegment&) = delete;
  NascentSegment& operator=(const NascentSegment&) = delete;
  ~NascentSegment();

  [[nodiscard]] const FileDescriptor& file() const { return file_; }
  // AlreadyExists when there is such a file: none is ever replaced. Unimplemented when this one
  // cannot be named, and a temporary one may do.
  Status GiveName();
  // Hands over the descriptors, after GiveName: what is mapped, and what is locked.
  FileDescriptor TakeFile() { return std::move(file_); }
  FileDescriptor TakeLock() { return std::move(lock_); }

 private:
  explicit NascentSegment(std::string path) : path_(std::move(path)) {}
  std::string path_;
  std::string temporary_;  // "" = has no name, or its own
  FileDescriptor file_;
  FileDescriptor lock_;  // the same file opened again: see RankSegment
};

// Removes a temporary file of Temporary() whose maker has died (nobody holds its lock). What cannot
// be opened or locked stays.
void RemoveAbandoned(const std::string& path) noexcept;

}  // namespace wheeltapper::format
