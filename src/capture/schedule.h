// When a mode or a collection is captured: interval, window and explicit steps, as one question
// about a step number.
//
// A step s fires when it is one of `steps`, or when start ≤ s < end and the interval says so (a
// union, as users of save configurations expect). An interval n fires where s is a multiple of n.
// `auto` fires on each of the first kWarmupSteps steps of its window (most mistakes show at once),
// then where s is a multiple of kAutoInterval.
//
// The governor thins by a multiplier m, a power of two: only steps that are multiples of m (in the
// warm-up) or of m · interval (after it) stay. That depends on nothing but the step number, so
// ranks with different multipliers still share the steps of the coarsest one. Explicit steps are
// never thinned: somebody asked for them by name.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace wheeltapper::capture {

inline constexpr int64_t kAutoInterval = 10;
inline constexpr int64_t kWarmupSteps = 10;
inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

struct Schedule {
  int64_t every = 0;  // 0: auto
  int64_t start = 0;
  int64_t end = kNever;        // first step outside
  std::vector<int64_t> steps;  // sorted, unique
  bool governed = true;        // may be thinned

  // `multiplier` is a power of two ≥ 1, ignored when the schedule is not governed.
  [[nodiscard]] bool Fires(int64_t step, int64_t multiplier) const noexcept;
  // The first step ≥ `from` that fires, kNever when there is none.
  [[nodiscard]] int64_t Next(int64_t from, int64_t multiplier) const noexcept;

  bool operator==(const Schedule&) const = default;
};

}  // namespace wheeltapper::capture
