#include "schedule.h"

#include <algorithm>

namespace wheeltapper::capture {
namespace {

// The first multiple of `interval` that is ≥ `from`; kNever when it has no representation.
int64_t NextMultiple(int64_t from, int64_t interval) {
  if (from <= 0) {
    return 0;
  }
  const int64_t above = (from - 1) / interval + 1;
  return above > kNever / interval ? kNever : above * interval;
}

int64_t Product(int64_t a, int64_t b) { return a > kNever / b ? kNever : a * b; }

}  // namespace

int64_t Schedule::Next(int64_t from, int64_t multiplier) const noexcept {
  const int64_t m = governed ? multiplier : 1;
  int64_t next = kNever;
  const auto explicit_step = std::lower_bound(steps.begin(), steps.end(), from);
  if (explicit_step != steps.end()) {
    next = *explicit_step;
  }
  const int64_t first = std::max(from, start);
  int64_t regular = NextMultiple(first, Product(every == 0 ? kAutoInterval : every, m));
  if (every == 0) {
    const int64_t warm = NextMultiple(first, m);
    if (warm < end && warm - start < kWarmupSteps) {
      regular = std::min(regular, warm);
    }
  }
  return regular < end ? std::min(next, regular) : next;
}

bool Schedule::Fires(int64_t step, int64_t multiplier) const noexcept {
  return step >= 0 && step != kNever && Next(step, multiplier) == step;
}

}  // namespace wheeltapper::capture
