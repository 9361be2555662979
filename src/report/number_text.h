// Numbers and times as people read them.
#pragma once

#include <string>

#include "wheeltapper/core/clock.h"

namespace wheeltapper::report {

// Four significant digits; "NaN", "∞", "−∞" are shown, never dropped.
std::string NumberText(double value);
// "0.42 %"
std::string PercentText(double fraction);
// "1.3 ms", "2.5 s", "2 h 14 min"
std::string DurationText(TimeNs ns);
// "2026-11-21 14:03:22 UTC"
std::string WallTimeText(TimeNs wall_ns);

}  // namespace wheeltapper::report
