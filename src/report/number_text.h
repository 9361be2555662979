// Numbers and times as people read them.
#pragma once

#include <string>

#include "wheeltapper/core/clock.h"

namespace wheeltapper::report {

// Four significant digits; "NaN", "∞", "−∞" are shown, never dropped.
std::string NumberText(double value);
// "2026-11-21 14:03:22 UTC"
std::string WallTimeText(TimeNs wall_ns);

}  // namespace wheeltapper::report
