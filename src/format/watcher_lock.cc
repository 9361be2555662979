#include "wheeltapper/format/watcher_lock.h"

#include <fcntl.h>

#include "file_lock.h"

namespace wheeltapper::format {
namespace {

std::string WatcherLockPath(const std::string& run_dir) {
  return JoinPath(run_dir, "watcher.lock");
}

}  // namespace

WatcherLock::~WatcherLock() { ForgetLock(file_); }

Result<WatcherLock> WatcherLock::Take(const std::string& run_dir) {
  WatcherLock lock;
  WT_ASSIGN_OR_RETURN(lock.file_, OpenFile(WatcherLockPath(run_dir), O_RDWR | O_CREAT));
  WT_RETURN_IF_ERROR(LockExclusively(lock.file_).WithContext("watching \"" + run_dir + "\""));
  return lock;
}

bool IsWatched(const std::string& run_dir) {
  const Result<FileDescriptor> file = OpenFile(WatcherLockPath(run_dir), O_RDONLY);
  return file.ok() && IsLocked(*file);
}

bool IsSurelyWatched(const std::string& run_dir) {
  const Result<FileDescriptor> file = OpenFile(WatcherLockPath(run_dir), O_RDONLY);
  return file.ok() && IsSurelyLocked(*file);
}

}  // namespace wheeltapper::format
