// Time comes in through a Clock, never from now(): tests advance a ManualClock instead of sleeping.
#pragma once

#include <atomic>
#include <cstdint>

namespace wheeltapper {

// Nanoseconds. Wall: since 1970-01-01 UTC. Monotonic: since an arbitrary start, never steps back.
using TimeNs = int64_t;

// Thread-safe.
class Clock {
 public:
  Clock() = default;
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;
  virtual ~Clock() = default;
  [[nodiscard]] virtual TimeNs WallNs() const = 0;
  [[nodiscard]] virtual TimeNs MonotonicNs() const = 0;
};

// The machine's clocks (CLOCK_REALTIME, CLOCK_MONOTONIC, both through the vDSO: no system call).
// Never destroyed, so usable from exit handlers.
const Clock& SystemClock();

// A clock that moves only when told to.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(TimeNs wall_ns = 1'700'000'000'000'000'000) : wall_ns_(wall_ns) {}
  [[nodiscard]] TimeNs WallNs() const override { return wall_ns_.load(std::memory_order_relaxed); }
  [[nodiscard]] TimeNs MonotonicNs() const override {
    return mono_ns_.load(std::memory_order_relaxed);
  }
  void Advance(TimeNs by_ns) {
    wall_ns_.fetch_add(by_ns, std::memory_order_relaxed);
    mono_ns_.fetch_add(by_ns, std::memory_order_relaxed);
  }

 private:
  std::atomic<TimeNs> wall_ns_;
  std::atomic<TimeNs> mono_ns_{1'000'000'000};
};

}  // namespace wheeltapper
