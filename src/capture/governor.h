// Keeps capture inside its overhead budget by thinning: captures that cost more than their share of
// the budget double the interval multiplier, captures that cost less than half of it halve it
// again.
//
// What a step costs that captures nothing (the framework's hooks) no interval changes. Captures
// have what it leaves of the budget, and a quarter of the budget at least: with very short steps
// the whole budget goes into the hooks, and a run of which nothing is captured shows nothing.
//
// Overhead is judged once per period (from one armed step to the next, so cost and the steps that
// pay for it are seen together) as a moving average of blocked time over elapsed time. The first
// period is not judged: caches are cold and pages untouched.
//
// Called by the training thread only; the multiplier and the overhead may be read by any thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "wheeltapper/core/clock.h"

namespace wheeltapper::capture {

struct GovernorOptions {
  double budget = 0.01;  // share of the step time
  bool enabled = true;   // false: measure only
};

class Governor {
 public:
  explicit Governor(const GovernorOptions& options) : options_(options) {}

  // One finished step. Returns true when the multiplier has changed.
  bool OnStep(bool armed, TimeNs blocked_ns, TimeNs elapsed_ns) noexcept;
  // The ring was full under policy `thin`. Returns true when the multiplier has changed.
  bool Double() noexcept;

  [[nodiscard]] int64_t multiplier() const noexcept {
    return multiplier_.load(std::memory_order_relaxed);
  }
  // Moving average of blocked / elapsed; 0 before the first period is over.
  [[nodiscard]] double overhead() const noexcept {
    return overhead_.load(std::memory_order_relaxed);
  }

  static constexpr int64_t kMaxMultiplier = int64_t{1} << 20;

 private:
  bool Judge() noexcept;
  // What captures will cost with the new multiplier.
  void Expect(double captures) noexcept;

  GovernorOptions options_;
  std::atomic<int64_t> multiplier_{1};
  std::atomic<double> overhead_{0};
  // Sums over a period: of all its steps, and of those that captured nothing.
  struct Period {
    TimeNs blocked_ns = 0;
    TimeNs elapsed_ns = 0;
    TimeNs unarmed_blocked_ns = 0;
    int64_t steps = 0;
    int64_t unarmed_steps = 0;
    // What each step costs without a capture, as a share of the step time.
    [[nodiscard]] double FixedShare() const noexcept;
  };
  Period period_;
  double captures_ = 0;  // moving average of what captures cost beyond that
  int64_t periods_ = 0;
};

}  // namespace wheeltapper::capture
