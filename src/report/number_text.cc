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

std::string WallTimeText(TimeNs wall_ns) {
  const std::time_t seconds = wall_ns / 1'000'000'000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 40> text{};
  (void)std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text.data();
}

}  // namespace wheeltapper::report
