// RUN/watcher.lock: flocked by whoever watches a run and will bring in its last steps.
#pragma once

#include <string>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::format {

// Movable; the lock is freed on destruction or by the kernel, and is not shared with forked
// children.
class WatcherLock {
 public:
  WatcherLock() = default;
  WatcherLock(WatcherLock&&) = default;
  WatcherLock& operator=(WatcherLock&&) = delete;
  WatcherLock(const WatcherLock&) = delete;
  WatcherLock& operator=(const WatcherLock&) = delete;
  ~WatcherLock();

  // Unavailable when someone else watches the run; the underlying error where the file system has
  // no locks.
  static Result<WatcherLock> Take(const std::string& run_dir);

 private:
  FileDescriptor file_;
};

// Whether someone holds that lock: the run's last steps are then theirs to bring in. So they are
// where the file system has no locks, and does not say.
bool IsWatched(const std::string& run_dir);
// Whether someone holds it, and the file system says so.
bool IsSurelyWatched(const std::string& run_dir);

}  // namespace wheeltapper::format
