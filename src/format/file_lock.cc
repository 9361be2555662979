#include "file_lock.h"

#include <array>
#include <atomic>
#include <cerrno>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/file.h>
#include <unistd.h>

namespace wheeltapper::format {
namespace {

// Descriptor + 1, 0 = free. A process holds two per rank it writes; more than this many are simply
// not let go of in forked children.
std::array<std::atomic<int>, 256>
    g_locked{};  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

// Runs in a forked child: async-signal-safe calls only.
void LetGoInChild() noexcept {
  int null_device = -1;
  for (std::atomic<int>& slot : g_locked) {
    const int fd = slot.exchange(0, std::memory_order_relaxed) - 1;
    if (fd < 0) {
      continue;
    }
    if (null_device < 0) {
      null_device = open("/dev/null", O_RDWR | O_CLOEXEC);
    }
    if (null_device < 0 || dup3(null_device, fd, O_CLOEXEC) < 0) {
      close(fd);
    }
  }
  if (null_device >= 0) {
    close(null_device);
  }
}

void Register(int fd) {
  static const bool kHooked = pthread_atfork(nullptr, nullptr, &LetGoInChild) == 0;
  (void)kHooked;
  for (std::atomic<int>& slot : g_locked) {
    int expected = 0;
    if (slot.load(std::memory_order_relaxed) == fd + 1 ||
        slot.compare_exchange_strong(expected, fd + 1, std::memory_order_relaxed)) {
      return;
    }
  }
}

enum class LockAnswer : uint8_t { kFree, kTaken, kNone };

LockAnswer AskForLock(const FileDescriptor& file) noexcept {
  if (flock(file.get(), LOCK_SH | LOCK_NB) != 0) {
    return errno == EWOULDBLOCK ? LockAnswer::kTaken : LockAnswer::kNone;
  }
  (void)flock(file.get(), LOCK_UN);
  return LockAnswer::kFree;
}

}  // namespace

Status LockExclusively(const FileDescriptor& file) {
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    return errno == EWOULDBLOCK ? UnavailableError("locking: another process holds the lock")
                                : ErrnoError(errno, "locking");
  }
  Register(file.get());
  return {};
}

Status LockWithin(const FileDescriptor& file, TimeNs wait_ns) {
  constexpr TimeNs kRoundNs = 20'000'000;
  for (;;) {
    Status taken = LockExclusively(file);
    if (taken.code() != StatusCode::kUnavailable || wait_ns <= 0) {
      return taken;
    }
    (void)poll(nullptr, 0, static_cast<int>(kRoundNs / 1'000'000));
    wait_ns -= kRoundNs;
  }
}

bool IsLocked(const FileDescriptor& file) noexcept { return AskForLock(file) != LockAnswer::kFree; }

bool IsSurelyLocked(const FileDescriptor& file) noexcept {
  return AskForLock(file) == LockAnswer::kTaken;
}

void ForgetLock(const FileDescriptor& file) noexcept {
  for (std::atomic<int>& slot : g_locked) {
    int expected = file.get() + 1;
    if (file.valid() && slot.compare_exchange_strong(expected, 0, std::memory_order_relaxed)) {
      return;
    }
  }
}

}  // namespace wheeltapper::format
