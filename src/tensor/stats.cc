#include "wheeltapper/tensor/stats.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace wheeltapper::tensor {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double VarianceOf(double m2, int64_t count, int ddof) {
  return count > 0 && count > ddof ? m2 / static_cast<double>(count - ddof) : kNaN;
}

// Chan, Golub, LeVeque 1979, updating formula for the sum of squared deviations. Only sums beyond
// the range of f64 make a NaN, from ∞ − ∞: their squares are beyond it as well.
double MergedM2(double m2_a, double m2_b, double delta, double weight) {
  const double merged = m2_a + m2_b + delta * delta * weight;
  return std::isnan(merged) ? std::numeric_limits<double>::infinity() : merged;
}

// Moments, extremes and norms of two sets that both have finite elements.
void MergeFinite(const TensorStats& a, const TensorStats& b, TensorStats* out) {
  const auto n_a = static_cast<double>(a.finite());
  const auto n_b = static_cast<double>(b.finite());
  const double n = n_a + n_b;
  const double weight = n_a * (n_b / n);
  const double delta = b.mean - a.mean;
  // The weighted mean, not a.mean + delta * n_b / n: exact when both means are equal, symmetric,
  // and no overflow of delta.
  out->mean = delta == 0 ? a.mean : a.mean * (n_a / n) + b.mean * (n_b / n);
  out->l1 = a.l1 + b.l1;
  out->min = std::min(a.min, b.min);
  out->max = std::max(a.max, b.max);
  out->abs_min = std::min(a.abs_min, b.abs_min);
  out->abs_max = std::max(a.abs_max, b.abs_max);
  // Constants have no variance, though the means of their parts may differ in the last bit.
  out->m2 = out->min == out->max ? 0 : MergedM2(a.m2, b.m2, delta, weight);
  out->abs_m2 = out->abs_min == out->abs_max
                    ? 0
                    : MergedM2(a.abs_m2, b.abs_m2, b.l1 / n_b - a.l1 / n_a, weight);
}

}  // namespace

double TensorStats::sum() const { return finite() > 0 ? static_cast<double>(finite()) * mean : 0; }

double TensorStats::variance(int ddof) const { return VarianceOf(m2, finite(), ddof); }

double TensorStats::std(int ddof) const { return std::sqrt(variance(ddof)); }

double TensorStats::l2() const {
  return finite() > 0 ? std::sqrt(m2 + static_cast<double>(finite()) * mean * mean) : kNaN;
}

double TensorStats::rms() const {
  return finite() > 0 ? std::sqrt(m2 / static_cast<double>(finite()) + mean * mean) : kNaN;
}

double TensorStats::abs_mean() const {
  return finite() > 0 ? l1 / static_cast<double>(finite()) : kNaN;
}

double TensorStats::abs_variance(int ddof) const { return VarianceOf(abs_m2, finite(), ddof); }

double TensorStats::abs_std(int ddof) const { return std::sqrt(abs_variance(ddof)); }

double TensorStats::prod() const {
  return prod_sign == 0 ? 0.0 : prod_sign * std::exp2(log2_abs_prod);
}

TensorStats MergeStats(const TensorStats& a, const TensorStats& b) noexcept {
  if (a.numel == 0) {
    return b;
  }
  if (b.numel == 0) {
    return a;
  }
  TensorStats merged = a.finite() > 0 ? a : b;
  if (a.finite() > 0 && b.finite() > 0) {
    MergeFinite(a, b, &merged);
  }
  merged.numel = a.numel + b.numel;
  merged.nan_count = a.nan_count + b.nan_count;
  merged.posinf_count = a.posinf_count + b.posinf_count;
  merged.neginf_count = a.neginf_count + b.neginf_count;
  merged.zero_count = a.zero_count + b.zero_count;
  merged.negative_count = a.negative_count + b.negative_count;
  merged.log2_abs_prod = a.log2_abs_prod + b.log2_abs_prod;
  merged.prod_sign = a.prod_sign * b.prod_sign;
  return merged;
}

}  // namespace wheeltapper::tensor
