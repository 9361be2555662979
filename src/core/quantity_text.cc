#include "wheeltapper/core/quantity_text.h"

#include <cstdint>

#include <fmt/format.h>

namespace wheeltapper {

std::string PercentText(double fraction) { return fmt::format("{:.2f} %", fraction * 100); }

std::string DurationText(TimeNs ns) {
  // Each bound is where the text of the smaller unit would round up to the larger one.
  const double seconds = static_cast<double>(ns) / 1e9;
  if (seconds < 999.5e-6) {
    return fmt::format("{:.0f} µs", seconds * 1e6);
  }
  if (seconds < 99.95e-3) {
    return fmt::format("{:.1f} ms", seconds * 1e3);
  }
  if (seconds < 999.5e-3) {
    return fmt::format("{:.0f} ms", seconds * 1e3);
  }
  if (seconds < 59.95) {
    return fmt::format("{:.1f} s", seconds);
  }
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  return whole < 3600 ? fmt::format("{} min {} s", whole / 60, whole % 60)
                      : fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

}  // namespace wheeltapper
