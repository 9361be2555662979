#include "nascent_segment.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file_lock.h"

namespace wheeltapper::format {
namespace {

// Others may take the file away between its making and its locking (RemoveAbandoned).
constexpr int kMostTries = 8;

// The kernel's name for an open file, also for one without a name.
std::string DescriptorPath(const FileDescriptor& file) {
  return "/proc/self/fd/" + std::to_string(file.get());
}

bool HasName(const FileDescriptor& file) {
  struct stat info{};
  return fstat(file.get(), &info) == 0 && info.st_nlink > 0;
}

}  // namespace

NascentSegment::~NascentSegment() {
  if (!temporary_.empty()) {
    RemoveFile(temporary_).IgnoreError("the next look for segments removes it");
  }
  ForgetLock(lock_);
}

Result<std::unique_ptr<NascentSegment>> NascentSegment::Unnamed(const std::string& path) {
  std::unique_ptr<NascentSegment> nascent(
      new NascentSegment(path));  // NOLINT(cppcoreguidelines-owning-memory): private
  Result<FileDescriptor> file = OpenFile(FolderOf(path), O_RDWR | O_TMPFILE, 0600);
  if (!file.ok()) {
    return UnimplementedError("making a file without a name: " + file.status().message());
  }
  nascent->file_ = *std::move(file);
  Result<FileDescriptor> lock = OpenFile(DescriptorPath(nascent->file_), O_RDWR);
  if (!lock.ok()) {
    return UnimplementedError("making a file without a name: " + lock.status().message());
  }
  nascent->lock_ = *std::move(lock);
  WT_RETURN_IF_ERROR(LockExclusively(nascent->lock_));
  return nascent;
}

Result<std::unique_ptr<NascentSegment>> NascentSegment::Temporary(const std::string& path) {
  const std::string temporary = path + std::string(kNascentMark) + std::to_string(getpid());
  Status why;
  for (int attempt = 0; attempt < kMostTries; ++attempt) {
    std::unique_ptr<NascentSegment> nascent(
        new NascentSegment(path));  // NOLINT(cppcoreguidelines-owning-memory): private
    Result<FileDescriptor> file = OpenFile(temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (!file.ok()) {
      why = file.status();
      if (why.code() != StatusCode::kAlreadyExists) {
        return why;
      }
      RemoveAbandoned(temporary);  // of a dead process that had our number
      continue;
    }
    nascent->file_ = *std::move(file);
    nascent->temporary_ = temporary;
    Result<FileDescriptor> lock = OpenFile(temporary, O_RDWR | O_NOFOLLOW);
    why = lock.status();
    if (lock.ok()) {
      nascent->lock_ = *std::move(lock);
      why = LockExclusively(nascent->lock_);
    }
    if (why.ok() && HasName(nascent->lock_) && HasName(nascent->file_)) {
      return nascent;
    }
  }
  return why.ok() ? UnavailableError("making \"" + temporary + "\": it keeps being removed") : why;
}

Status NascentSegment::GiveName() {
  int error = 0;
  if (temporary_.empty()) {
    if (linkat(AT_FDCWD, DescriptorPath(file_).c_str(), AT_FDCWD, path_.c_str(),
               AT_SYMLINK_FOLLOW) == 0) {
      return {};
    }
    error = errno;
    if (error != EEXIST) {
      return UnimplementedError(std::string("naming a file without a name: ") +
                                ErrnoError(error, "linkat").message());
    }
  } else {
    if (link(temporary_.c_str(), path_.c_str()) == 0) {
      return RemoveFile(std::exchange(temporary_, ""));
    }
    error = errno;
    if (error != EEXIST && !PathExists(path_)) {
      // A file system without hard links.
      WT_RETURN_IF_ERROR(RenameFile(temporary_, path_));
      temporary_.clear();
      return {};
    }
  }
  return ErrnoError(EEXIST, "creating rank segment \"" + path_ + "\"");
}

void RemoveAbandoned(const std::string& path) noexcept {
  const Result<FileDescriptor> file = OpenFile(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
  if (!file.ok() || !LockExclusively(*file).ok()) {
    return;
  }
  RemoveFile(path).IgnoreError("the next look for segments tries again");
  ForgetLock(*file);
}

}  // namespace wheeltapper::format
