#include "wheeltapper/core/file.h"

#include <algorithm>
#include <atomic>
#include <cerrno>

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace wheeltapper {
namespace {

Status PathError(std::string_view doing, const std::string& path) {
  return ErrnoError(errno, std::string(doing) + " \"" + path + "\"");
}

std::string ParentOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) {
    return ".";
  }
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Makes a rename or a new name durable.
void SyncFolder(const std::string& path) {
  const FileDescriptor folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.valid()) {
    (void)fsync(folder.get());
  }
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    Close();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void FileDescriptor::Close() {
  if (fd_ >= 0) {
    close(std::exchange(fd_, -1));
  }
}

Result<FileDescriptor> OpenFile(const std::string& path, int flags, unsigned mode) {
  int fd = -1;
  do {
    fd = open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) {
    return PathError("opening", path);
  }
  return FileDescriptor(fd);
}

Result<size_t> ReadSome(const FileDescriptor& file, uint64_t offset, void* to, size_t nbytes) {
  size_t done = 0;
  auto* out = static_cast<uint8_t*>(to);
  while (done < nbytes) {
    const ssize_t got =
        pread(file.get(), out + done, nbytes - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return ErrnoError(errno, "reading file");
    }
    if (got == 0) {
      break;
    }
    done += static_cast<size_t>(got);
  }
  return done;
}

Status ReadExactly(const FileDescriptor& file, uint64_t offset, void* to, size_t nbytes) {
  WT_ASSIGN_OR_RETURN(const size_t got, ReadSome(file, offset, to, nbytes));
  if (got < nbytes) {
    return OutOfRangeError("reading file: ends " + std::to_string(nbytes - got) + " bytes early");
  }
  return {};
}

Status WriteAt(const FileDescriptor& file, uint64_t offset, ByteSpan bytes) {
  while (!bytes.empty()) {
    const ssize_t put = pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) {
      continue;
    }
    if (put <= 0) {
      return ErrnoError(put < 0 ? errno : EIO, "writing file");
    }
    offset += static_cast<uint64_t>(put);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

Status WriteAll(const FileDescriptor& file, ByteSpan bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write(file.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) {
      continue;
    }
    if (put <= 0) {
      return ErrnoError(put < 0 ? errno : EIO, "writing file");
    }
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

Result<uint64_t> FileSize(const FileDescriptor& file) {
  struct stat info{};
  if (fstat(file.get(), &info) != 0) {
    return ErrnoError(errno, "reading file size");
  }
  return static_cast<uint64_t>(info.st_size);
}

Result<std::string> ReadWholeFile(const std::string& path, uint64_t max_bytes) {
  WT_ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(path, O_RDONLY));
  std::string content;
  constexpr size_t kPiece = 1 << 16;
  for (;;) {
    const size_t before = content.size();
    content.resize(before + kPiece);
    Result<size_t> got = ReadSome(file, before, content.data() + before, kPiece);
    if (!got.ok()) {
      return got.status().WithContext("\"" + path + "\"");
    }
    content.resize(before + *got);
    if (content.size() > max_bytes) {
      return ResourceExhaustedError("reading \"" + path + "\": larger than " +
                                    std::to_string(max_bytes) + " bytes");
    }
    if (*got < kPiece) {
      return content;
    }
  }
}

namespace {

Status WriteAndSync(const std::string& path, std::string_view content) {
  WT_ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(path, O_WRONLY | O_CREAT | O_EXCL));
  WT_RETURN_IF_ERROR(WriteAll(file, AsBytes(content)));
  if (fdatasync(file.get()) != 0) {
    return ErrnoError(errno, "syncing file");
  }
  return {};
}

}  // namespace

Status WriteFileAtomically(const std::string& path, std::string_view content) {
  // Threads and processes may write the same file at once: the last rename wins, whole.
  static std::atomic<uint64_t> counter{0};
  const std::string temporary = path + ".tmp." + std::to_string(getpid()) + "." +
                                std::to_string(counter.fetch_add(1, std::memory_order_relaxed));
  Status status = WriteAndSync(temporary, content);
  if (status.ok()) {
    status = RenameFile(temporary, path);
  }
  if (!status.ok()) {
    RemoveFile(temporary).IgnoreError("the write failed already; a leftover .tmp file is harmless");
    // Not of the temporary file, which nobody asked for.
    if (status.code() == StatusCode::kNotFound && !PathExists(ParentOf(path))) {
      status = NotFoundError("there is no folder \"" + ParentOf(path) + "\"");
    }
    return status.WithContext("writing \"" + path + "\"");
  }
  SyncFolder(ParentOf(path));
  return {};
}

Status MakeDirectories(const std::string& path) {
  if (path.empty() || mkdir(path.c_str(), 0755) == 0) {
    return {};
  }
  if (errno == ENOENT) {
    const std::string parent = ParentOf(path);
    if (parent == path) {
      return PathError("making folder", path);
    }
    WT_RETURN_IF_ERROR(MakeDirectories(parent));
    if (mkdir(path.c_str(), 0755) == 0) {
      return {};
    }
  }
  if (errno == EEXIST) {
    struct stat info{};
    if (stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
      return {};
    }
    errno = EEXIST;
  }
  return PathError("making folder", path);
}

Result<std::vector<std::string>> ListDirectory(const std::string& path) {
  DIR* folder = opendir(path.c_str());
  if (folder == nullptr) {
    return PathError("listing", path);
  }
  std::vector<std::string> names;
  // readdir is only unsafe when one DIR is shared between threads; this one is ours.
  while (const dirent* entry = readdir(folder)) {  // NOLINT(concurrency-mt-unsafe)
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") {
      names.emplace_back(name);
    }
  }
  closedir(folder);
  std::sort(names.begin(), names.end());
  return names;
}

bool PathExists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

Status RemoveFile(const std::string& path) {
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return PathError("removing", path);
  }
  return {};
}

Status RenameFile(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) {
    return PathError("renaming to", to);
  }
  return {};
}

std::string JoinPath(std::string_view folder, std::string_view name) {
  if (folder.empty() || (!name.empty() && name.front() == '/')) {
    return std::string(name);
  }
  std::string path(folder);
  if (path.back() != '/') {
    path += '/';
  }
  path += name;
  return path;
}

std::string BaseName(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') {
    path.remove_suffix(1);
  }
  const size_t slash = path.find_last_of('/');
  return std::string(slash == std::string_view::npos || path.size() == 1 ? path
                                                                         : path.substr(slash + 1));
}

std::string FolderOf(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') {
    path.remove_suffix(1);
  }
  const size_t slash = path.find_last_of('/');
  if (slash == std::string_view::npos) {
    return ".";
  }
  return std::string(path.substr(0, std::max<size_t>(slash, 1)));
}

std::string RelativeTo(std::string_view folder, const std::string& path) {
  const std::string prefix = JoinPath(folder, "");
  return path.starts_with(prefix) ? path.substr(prefix.size()) : path;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    munmap(const_cast<uint8_t*>(data_), size_);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  }
}

Result<MappedFile> MappedFile::OpenReadOnly(const std::string& path) {
  WT_ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(path, O_RDONLY));
  WT_ASSIGN_OR_RETURN(const uint64_t size, FileSize(file));
  MappedFile mapped;
  if (size == 0) {
    return mapped;
  }
  void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (data ==
      MAP_FAILED) {  // NOLINT(performance-no-int-to-ptr,cppcoreguidelines-pro-type-cstyle-cast)
    return PathError("mapping", path);
  }
  mapped.data_ = static_cast<const uint8_t*>(data);
  mapped.size_ = size;
  return mapped;
}

}  // namespace wheeltapper
