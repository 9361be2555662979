// POSIX files behind Status. Functions that write a whole file do so by a temporary name, fdatasync
// and rename, so a reader sees the old file or the new one, never a torn one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper {

// Owns a file descriptor. Movable. Not thread-safe.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() { Close(); }

  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  [[nodiscard]] int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }
  void Close();

 private:
  int fd_ = -1;
};

// open(2) with O_CLOEXEC and EINTR handled. `flags` as for open(2).
Result<FileDescriptor> OpenFile(const std::string& path, int flags, unsigned mode = 0644);
// Reads exactly `nbytes` at `offset`; OutOfRange when the file ends first.
Status ReadExactly(const FileDescriptor& file, uint64_t offset, void* to, size_t nbytes);
// Reads up to `nbytes` at `offset`; returns how many were there.
Result<size_t> ReadSome(const FileDescriptor& file, uint64_t offset, void* to, size_t nbytes);
// Writes all of `bytes` at `offset`, or fails with how it ended.
Status WriteAt(const FileDescriptor& file, uint64_t offset, ByteSpan bytes);
// Writes all of `bytes` at the file position (O_APPEND files, pipes).
Status WriteAll(const FileDescriptor& file, ByteSpan bytes);
Result<uint64_t> FileSize(const FileDescriptor& file);

// Reads a whole file of at most `max_bytes`; ResourceExhausted when it is larger.
Result<std::string> ReadWholeFile(const std::string& path, uint64_t max_bytes);
// Temporary name in the same folder, fdatasync, rename.
Status WriteFileAtomically(const std::string& path, std::string_view content);

// Makes a folder and its parents; OK when it is there already.
Status MakeDirectories(const std::string& path);
// Names (not paths) in a folder, sorted; NotFound when there is no such folder.
Result<std::vector<std::string>> ListDirectory(const std::string& path);
bool PathExists(const std::string& path);
// Removes a file; OK when it is not there.
Status RemoveFile(const std::string& path);
Status RenameFile(const std::string& from, const std::string& to);
std::string JoinPath(std::string_view folder, std::string_view name);
// The last part of a path; "" for "".
std::string BaseName(std::string_view path);
// What is left without it: "/a/b" → "/a", "/a" → "/", "/" → "/", "a" → ".".
std::string FolderOf(std::string_view path);
// `path` below `folder`; as it is where it does not lie there.
std::string RelativeTo(std::string_view folder, const std::string& path);

// A read-only or shared mapping of a file. Movable; unmapped on destruction.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  // Maps the whole file read-only. A file of 0 bytes maps to an empty span.
  static Result<MappedFile> OpenReadOnly(const std::string& path);
  [[nodiscard]] ByteSpan bytes() const { return {data_, size_}; }

 private:
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace wheeltapper
