// Robust statistics over short windows: medians and median absolute deviations, not means and
// sigmas, so that one outlier neither raises an alarm nor hides the next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace wheeltapper::rules {

// Median (mean of the two middle values when even); NaN for none. Copies.
double Median(std::span<const double> values);
// Quantile by the nearest rank, q in [0, 1]; NaN for none.
double Quantile(std::span<const double> values, double q);
// 1.4826 × median |x − median|: sigma for normal data (Rousseeuw & Croux 1993).
double RobustSigma(std::span<const double> values);

// The last `capacity` values.
class Window {
 public:
  explicit Window(size_t capacity) : capacity_(capacity) {}
  void Add(double value) {
    values_.push_back(value);
    if (values_.size() > capacity_) {
      values_.pop_front();
    }
  }
  [[nodiscard]] size_t size() const { return values_.size(); }
  // The values, oldest first, without the newest `skip`.
  [[nodiscard]] std::vector<double> AllBut(size_t skip) const;
  // The newest `count` (or fewer), oldest first.
  [[nodiscard]] std::vector<double> Newest(size_t count) const;
  void Clear() { values_.clear(); }

 private:
  size_t capacity_;
  std::deque<double> values_;
};

// A number for people: three significant digits, thousands separated ("4,586"), "NaN", "infinity".
std::string NumberForPeople(double value);
// Two numbers of one sentence, with as many digits as it takes to tell them apart.
std::pair<std::string, std::string> NumbersForPeople(double a, double b);
// "8,192".
std::string CountForPeople(int64_t value);

}  // namespace wheeltapper::rules
