// Mutex, MutexLock and CondVar carrying clang's thread-safety annotations (-Wthread-safety is an
// error in the debug preset). No recursive mutex; never call out (callback, I/O, Python) with one
// held.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "wheeltapper/core/clock.h"

#if defined(__clang__)
#define WT_TSA(x) __attribute__((x))
#else
#define WT_TSA(x)
#endif
#define WT_CAPABILITY(x) WT_TSA(capability(x))
#define WT_SCOPED_CAPABILITY WT_TSA(scoped_lockable)
#define WT_GUARDED_BY(x) WT_TSA(guarded_by(x))
#define WT_REQUIRES(...) WT_TSA(requires_capability(__VA_ARGS__))
#define WT_ACQUIRE(...) WT_TSA(acquire_capability(__VA_ARGS__))
#define WT_RELEASE(...) WT_TSA(release_capability(__VA_ARGS__))
#define WT_EXCLUDES(...) WT_TSA(locks_excluded(__VA_ARGS__))
#define WT_NO_THREAD_SAFETY_ANALYSIS WT_TSA(no_thread_safety_analysis)

namespace wheeltapper {

class WT_CAPABILITY("mutex") Mutex {
 public:
  void Lock() WT_ACQUIRE() { mutex_.lock(); }
  void Unlock() WT_RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class WT_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) WT_ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() WT_RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

class CondVar {
 public:
  // Waits until notified or `timeout_ns` has passed; false on time-out. At most three years, so
  // that "for ever" does not overflow. Wakes spuriously: test the condition in a loop.
  bool WaitFor(Mutex& mutex, TimeNs timeout_ns) WT_REQUIRES(mutex) WT_NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    constexpr TimeNs kLongest = 100'000'000'000'000'000;
    const std::chrono::nanoseconds timeout(std::min(timeout_ns, kLongest));
    const bool woken = condition_.wait_for(lock, timeout) == std::cv_status::no_timeout;
    lock.release();
    return woken;
  }
  void Wait(Mutex& mutex) WT_REQUIRES(mutex) WT_NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace wheeltapper
