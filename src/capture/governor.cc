#include "governor.h"

#include <algorithm>
#include <utility>

namespace wheeltapper::capture {
namespace {

// Weight of the newest period. Four periods remember 76 % of a change: fast enough to protect a
// run, slow enough that one preempted step does not halve the data.
constexpr double kNewest = 0.3;
constexpr int64_t kPeriodsNotJudged = 1;
constexpr double kLeastForCaptures = 0.25;

}  // namespace

bool Governor::OnStep(bool armed, TimeNs blocked_ns, TimeNs elapsed_ns) noexcept {
  // A period ends just before the next armed step, whose cost belongs to the steps after it.
  const bool changed = armed && Judge();
  period_.blocked_ns += blocked_ns;
  period_.elapsed_ns += elapsed_ns;
  ++period_.steps;
  if (!armed) {
    period_.unarmed_blocked_ns += blocked_ns;
    ++period_.unarmed_steps;
  }
  return changed;
}

double Governor::Period::FixedShare() const noexcept {
  return unarmed_steps == 0
             ? 0
             : static_cast<double>(unarmed_blocked_ns) * static_cast<double>(steps) /
                   static_cast<double>(unarmed_steps) / static_cast<double>(elapsed_ns);
}

bool Governor::Judge() noexcept {
  const Period period = std::exchange(period_, {});
  if (period.elapsed_ns <= 0) {
    return false;
  }
  if (++periods_ <= kPeriodsNotJudged) {
    return false;
  }
  const double share =
      static_cast<double>(period.blocked_ns) / static_cast<double>(period.elapsed_ns);
  const double fixed = std::min(period.FixedShare(), share);
  const bool first = periods_ == kPeriodsNotJudged + 1;
  const auto average = [&](double before, double newest) {
    return first ? newest : before + kNewest * (newest - before);
  };
  overhead_.store(average(overhead(), share), std::memory_order_relaxed);
  captures_ = average(captures_, share - fixed);
  if (!options_.enabled) {
    return false;
  }
  const double allowed = std::max(options_.budget - fixed, kLeastForCaptures * options_.budget);
  if (captures_ > allowed) {
    const bool changed = Double();
    if (changed) {
      // The next period is twice as long for the same cost: expect that, do not punish twice.
      Expect(captures_ / 2);
    }
    return changed;
  }
  if (captures_ < allowed / 2 && multiplier() > 1) {
    multiplier_.store(multiplier() / 2, std::memory_order_relaxed);
    Expect(captures_ * 2);
    return true;
  }
  return false;
}

void Governor::Expect(double captures) noexcept {
  overhead_.store(overhead() + captures - captures_, std::memory_order_relaxed);
  captures_ = captures;
}

bool Governor::Double() noexcept {
  const int64_t doubled = std::min(multiplier() * 2, kMaxMultiplier);
  return multiplier_.exchange(doubled, std::memory_order_relaxed) != doubled;
}

}  // namespace wheeltapper::capture
