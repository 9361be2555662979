#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "wheeltapper/tensor/stats.h"

#include "block_reader.h"
#include "widen.h"

namespace wheeltapper::tensor {
namespace {

constexpr int64_t kBlock = 2048;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

TensorStats EmptyStats(bool product) {
  TensorStats stats;
  stats.min = stats.max = stats.mean = stats.m2 = kNaN;
  stats.abs_min = stats.abs_max = stats.abs_m2 = kNaN;
  stats.log2_abs_prod = product ? 0 : kNaN;
  stats.prod_sign = product ? 1 : kNaN;
  return stats;
}

void CountSpecial(double value, TensorStats* stats) {
  if (std::isnan(value)) {
    ++stats->nan_count;
  } else if (value > 0) {
    ++stats->posinf_count;
  } else {
    ++stats->neginf_count;
  }
}

// First pass: counts, extremes, sums.
double FirstPass(const double* values, int64_t count, TensorStats* stats) {
  double sum = 0;
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  double abs_low = low;
  double abs_high = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double x = values[i];
    if (!std::isfinite(x)) {
      CountSpecial(x, stats);
      continue;
    }
    stats->zero_count += x == 0 ? 1 : 0;
    stats->negative_count += x < 0 ? 1 : 0;
    sum += x;
    stats->l1 += std::fabs(x);
    low = std::min(low, x);
    high = std::max(high, x);
    abs_low = std::min(abs_low, std::fabs(x));
    abs_high = std::max(abs_high, std::fabs(x));
  }
  stats->min = low;
  stats->max = high;
  stats->abs_min = abs_low;
  stats->abs_max = abs_high;
  return sum;
}

void AddProduct(const double* values, int64_t count, TensorStats* stats) {
  stats->log2_abs_prod = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (std::isfinite(values[i])) {
      stats->log2_abs_prod += std::log2(std::fabs(values[i]));
    }
  }
  stats->prod_sign = stats->zero_count > 0 ? 0 : (stats->negative_count % 2 == 0 ? 1 : -1);
}

TensorStats BlockStats(const double* values, int64_t count, bool product) {
  TensorStats stats = EmptyStats(product);
  stats.numel = count;
  const double sum = FirstPass(values, count, &stats);
  if (stats.finite() == 0) {
    TensorStats none = EmptyStats(product);
    none.numel = count;
    none.nan_count = stats.nan_count;
    none.posinf_count = stats.posinf_count;
    none.neginf_count = stats.neginf_count;
    return none;
  }
  const auto n = static_cast<double>(stats.finite());
  stats.mean = sum / n;
  const double abs_mean = stats.l1 / n;
  stats.m2 = 0;
  stats.abs_m2 = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (std::isfinite(values[i])) {
      const double d = values[i] - stats.mean;
      const double abs_d = std::fabs(values[i]) - abs_mean;
      stats.m2 += d * d;
      stats.abs_m2 += abs_d * abs_d;
    }
  }
  if (product) {
    AddProduct(values, count, &stats);
  }
  return stats;
}

TensorStats Compute(const TensorView& view, uint8_t* to, bool product) {
  TensorStats total = EmptyStats(product);
  BlockReader reader(view);
  std::array<uint8_t, kBlock * 16> buffer;
  std::array<double, kBlock> values;
  while (reader.remaining() > 0) {
    const int64_t count = std::min(kBlock, reader.remaining());
    const uint8_t* block = reader.Next(count, buffer.data());
    WidenToF64(view.dtype, block, count, values.data());
    total = MergeStats(total, BlockStats(values.data(), count, product));
    if (to != nullptr) {
      const size_t nbytes = static_cast<size_t>(count) * reader.item_size();
      std::memcpy(to, block, nbytes);
      to += nbytes;
    }
  }
  return total;
}

}  // namespace

TensorStats ComputeStats(const TensorView& view, const StatsOptions& options) noexcept {
  return Compute(view, nullptr, options.product);
}

TensorStats CopyAndComputeStats(const TensorView& view, void* to,
                                const StatsOptions& options) noexcept {
  return Compute(view, static_cast<uint8_t*>(to), options.product);
}

void CopyTensor(const TensorView& view, void* to) noexcept {
  BlockReader reader(view);
  auto* out = static_cast<uint8_t*>(to);
  std::array<uint8_t, kBlock * 16> buffer;
  while (reader.remaining() > 0) {
    const int64_t count = std::min(kBlock, reader.remaining());
    const size_t nbytes = static_cast<size_t>(count) * reader.item_size();
    std::memcpy(out, reader.Next(count, buffer.data()), nbytes);
    out += nbytes;
  }
}

const char* KernelTarget() noexcept { return "SCALAR"; }

}  // namespace wheeltapper::tensor
