// Shares and durations as people read them, the same in a terminal and in a report.
#pragma once

#include <string>

#include "wheeltapper/core/clock.h"

namespace wheeltapper {

// "0.42 %"
std::string PercentText(double fraction);
// "350 µs", "4.0 ms", "250 ms", "2.5 s", "2 min 5 s", "2 h 14 min"
std::string DurationText(TimeNs ns);

}  // namespace wheeltapper
