#include "governor.h"

#include <algorithm>

namespace wheeltapper::capture {
namespace {

// Weight of the newest period. Four periods remember 76 % of a change: fast enough to protect a
// run, slow enough that one preempted step does not halve the data.
constexpr double kNewest = 0.3;
constexpr int64_t kPeriodsNotJudged = 1;

}  // namespace

bool Governor::OnStep(bool armed, TimeNs blocked_ns, TimeNs elapsed_ns) noexcept {
  // A period ends just before the next armed step, whose cost belongs to the steps after it.
  const bool changed = armed && Judge();
  period_blocked_ns_ += blocked_ns;
  period_elapsed_ns_ += elapsed_ns;
  return changed;
}

bool Governor::Judge() noexcept {
  const TimeNs blocked = period_blocked_ns_;
  const TimeNs elapsed = period_elapsed_ns_;
  period_blocked_ns_ = 0;
  period_elapsed_ns_ = 0;
  if (elapsed <= 0) {
    return false;
  }
  if (++periods_ <= kPeriodsNotJudged) {
    return false;
  }
  const double share = static_cast<double>(blocked) / static_cast<double>(elapsed);
  const double before = overhead();
  const bool first = periods_ == kPeriodsNotJudged + 1;
  const double average = first ? share : before + kNewest * (share - before);
  overhead_.store(average, std::memory_order_relaxed);
  if (!options_.enabled) {
    return false;
  }
  if (average > options_.budget) {
    const bool changed = Double();
    if (changed) {
      // The next period is twice as long for the same cost: expect that, do not punish twice.
      overhead_.store(average / 2, std::memory_order_relaxed);
    }
    return changed;
  }
  if (average < options_.budget / 2 && multiplier() > 1) {
    multiplier_.store(multiplier() / 2, std::memory_order_relaxed);
    overhead_.store(average * 2, std::memory_order_relaxed);
    return true;
  }
  return false;
}

bool Governor::Double() noexcept {
  const int64_t doubled = std::min(multiplier() * 2, kMaxMultiplier);
  return multiplier_.exchange(doubled, std::memory_order_relaxed) != doubled;
}

}  // namespace wheeltapper::capture
