// When a condition has held long enough to be reported, and when it is clearly over: the practice
// of alerting, so that a value near its threshold does not open and resolve a finding in turns.
//
// It is reported once it was met at `patience` steps in a row. From then on it is open, until it
// was clearly over (by a margin that the rule knows) at as many steps in a row, kClearsToResolve at
// least; in between it neither shows nor clears.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "wheeltapper/rules/rule.h"

#include "incidents.h"

namespace wheeltapper::rules {

// What one step says of a condition. kNear: not met, and not clearly over either.
enum class Seen : uint8_t { kMet, kNear, kOver };
enum class Persisting : uint8_t { kClear, kHeld, kShown };

// One condition on one tensor (or on whatever a rule looks at). Values are added step by step.
class Persistence {
 public:
  Persisting Add(Seen seen, int64_t step, int64_t patience) {
    Note(seen, step);
    return Judge(streak_ >= patience, patience);
  }
  // The same in two parts, for a patience that is more than a number of steps.
  void Note(Seen seen, int64_t step) {
    over_ = seen == Seen::kOver ? over_ + 1 : 0;
    streak_ = seen == Seen::kMet ? streak_ + 1 : 0;
    since_step_ = streak_ == 1 ? step : since_step_;
  }
  Persisting Judge(bool long_enough, int64_t patience) {
    if (long_enough) {
      open_ = true;
      return Persisting::kShown;
    }
    open_ = open_ && over_ < std::max<int64_t>(kClearsToResolve, patience);
    return open_ && over_ == 0 ? Persisting::kHeld : Persisting::kClear;
  }

  // Reported, and not clearly over since.
  [[nodiscard]] bool open() const { return open_; }
  // Steps in a row that met it, up to the latest, and the first of them.
  [[nodiscard]] int64_t streak() const { return streak_; }
  [[nodiscard]] int64_t since_step() const { return since_step_; }

 private:
  int64_t streak_ = 0;
  int64_t since_step_ = 0;
  int64_t over_ = 0;
  bool open_ = false;
};

// What one step says of a cause, over all that may show it; who shows it reports it by itself.
class CauseAtStep {
 public:
  void Add(Persisting one) { worst_ = std::max(worst_, one); }
  [[nodiscard]] bool shown() const { return worst_ == Persisting::kShown; }
  // Tells the engine where nothing was reported.
  void Tell(const std::string& cause_key, const format::StepKey& key, RuleContext& context) const {
    if (worst_ == Persisting::kHeld) {
      context.Hold(cause_key, key);
    } else if (worst_ == Persisting::kClear) {
      context.Clear(cause_key, key);
    }
  }

 private:
  Persisting worst_ = Persisting::kClear;
};

}  // namespace wheeltapper::rules
