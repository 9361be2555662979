#include "robust.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace wheeltapper::rules {

double Median(std::span<const double> values) {
  if (values.empty()) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

double Quantile(std::span<const double> values, double q) {
  if (values.empty()) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const double place = std::ceil(q * static_cast<double>(sorted.size())) - 1;
  const auto index = static_cast<size_t>(std::max(place, 0.0));
  return sorted[std::min(index, sorted.size() - 1)];
}

double RobustSigma(std::span<const double> values) {
  const double center = Median(values);
  std::vector<double> deviations;
  deviations.reserve(values.size());
  for (const double value : values) {
    deviations.push_back(std::abs(value - center));
  }
  constexpr double kNormalConsistency = 1.4826;
  return kNormalConsistency * Median(deviations);
}

std::vector<double> Window::AllBut(size_t skip) const {
  const size_t count = values_.size() - std::min(skip, values_.size());
  return {values_.begin(), values_.begin() + static_cast<std::ptrdiff_t>(count)};
}

std::vector<double> Window::Newest(size_t count) const {
  const size_t skipped = values_.size() - std::min(count, values_.size());
  return {values_.begin() + static_cast<std::ptrdiff_t>(skipped), values_.end()};
}

namespace {

constexpr int kDigits = 3;

std::string WithDigits(double value, int digits) {
  if (std::isnan(value)) {
    return "NaN";
  }
  if (std::isinf(value)) {
    return value > 0 ? "infinity" : "-infinity";
  }
  return fmt::format("{:.{}g}", value, digits);
}

}  // namespace

std::string NumberForPeople(double value) { return WithDigits(value, kDigits); }

std::pair<std::string, std::string> NumbersForPeople(double a, double b) {
  int digits = kDigits;
  while (a != b && digits < std::numeric_limits<double>::max_digits10 &&
         WithDigits(a, digits) == WithDigits(b, digits)) {
    ++digits;
  }
  return {WithDigits(a, digits), WithDigits(b, digits)};
}

std::string CountForPeople(int64_t value) {
  std::string digits = std::to_string(value);
  const size_t first = value < 0 ? 1 : 0;
  for (size_t place = digits.size(); place > first + 3;) {
    place -= 3;
    digits.insert(place, ",");
  }
  return digits;
}

}  // namespace wheeltapper::rules
