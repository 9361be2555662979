#include "wheeltapper/core/clock.h"

#include <ctime>

namespace wheeltapper {
namespace {

TimeNs Read(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return TimeNs{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

class MachineClock final : public Clock {
 public:
  [[nodiscard]] TimeNs WallNs() const override { return Read(CLOCK_REALTIME); }
  [[nodiscard]] TimeNs MonotonicNs() const override { return Read(CLOCK_MONOTONIC); }
};

}  // namespace

const Clock& SystemClock() {
  // Leaked on purpose: exit handlers still read the time.
  static const auto* const kClock = new MachineClock();  // NOLINT(cppcoreguidelines-owning-memory)
  return *kClock;
}

}  // namespace wheeltapper
