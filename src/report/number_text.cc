#include "number_text.h"

#include <array>
#include <cmath>
#include <ctime>

#include <fmt/format.h>

namespace wheeltapper::report {

std::string NumberText(double value) {
  if (std::isnan(value)) {
    return "NaN";
  }
  if (std::isinf(value)) {
    return value > 0 ? "∞" : "−∞";
  }
  return fmt::format("{:.4g}", value);
}

std::string PercentText(double fraction) { return fmt::format("{:.2f} %", fraction * 100); }

std::string DurationText(TimeNs ns) {
  const double seconds = static_cast<double>(ns) / 1e9;
  if (seconds < 1e-3) {
    return fmt::format("{:.0f} µs", seconds * 1e6);
  }
  if (seconds < 1) {
    return fmt::format("{:.1f} ms", seconds * 1e3);
  }
  if (seconds < 60) {
    return fmt::format("{:.1f} s", seconds);
  }
  const auto whole = static_cast<int64_t>(seconds);
  return whole < 3600 ? fmt::format("{} min {} s", whole / 60, whole % 60)
                      : fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

std::string WallTimeText(TimeNs wall_ns) {
  const std::time_t seconds = wall_ns / 1'000'000'000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 40> text{};
  (void)std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text.data();
}

}  // namespace wheeltapper::report
