#include "moment_pass.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "widen.h"

namespace wheeltapper::tensor {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();
// Pivots start anew every chunk, so that chunks could be computed in any order, or in parallel,
// with the same result.
constexpr int64_t kChunk = 65536;
constexpr uint32_t kInfBits = 0x7f800000;
constexpr uint32_t kSmallestNormalBits = 0x00800000;

// With max|x·scale| in [2^-40, 2^60] and a pivot within ±2^60 no run of 17 squares overflows f32
// (2^122 each), and the square of one ulp of the largest element (2^-126) is still a normal number.
constexpr double kPivotLimit = 0x1p60;
constexpr uint32_t kHugeBits = std::bit_cast<uint32_t>(0x1p60F);
constexpr uint32_t kTinyBits = std::bit_cast<uint32_t>(0x1p-40F);
constexpr double kHugeScale = 0x1p-70;
constexpr double kTinyScale = 0x1p86;

double ScaleFor(uint32_t abs_max_bits) {
  if (abs_max_bits > kHugeBits) {
    return kHugeScale;
  }
  return abs_max_bits < kTinyBits && abs_max_bits != 0 ? kTinyScale : 1;
}

float UsablePivot(double scaled) {
  return std::fabs(scaled) <= kPivotLimit ? static_cast<float>(scaled) : 0;
}

double CenteredSquares(double d, double d2, double n) { return std::max(0.0, d2 - d * d / n); }

// More than two bits of the sum of squares would cancel: the pivot was too far from the block's
// mean.
bool Cancels(double d, double d2, double n) { return CenteredSquares(d, d2, n) < d2 / 4; }

// The differences, and with them their rounding errors, are larger than the elements themselves.
bool IsFar(float pivot, double scaled_abs_mean) {
  return std::fabs(static_cast<double>(pivot)) > 2 * scaled_abs_mean;
}

double MeanOf(float pivot, double d, double n, double scale) {
  return (static_cast<double>(pivot) + d / n) / scale;
}

double FromBits(uint32_t bits) { return static_cast<double>(std::bit_cast<float>(bits)); }

}  // namespace

TensorStats EmptyStats(bool product) noexcept {
  TensorStats stats;
  stats.min = stats.max = stats.mean = stats.m2 = kNaN;
  stats.abs_min = stats.abs_max = stats.abs_m2 = kNaN;
  stats.log2_abs_prod = product ? 0 : kNaN;
  stats.prod_sign = product ? 1 : kNaN;
  return stats;
}

void SetProductSign(TensorStats* stats) noexcept {
  const double sign = stats->negative_count % 2 == 0 ? 1 : -1;
  stats->prod_sign = stats->zero_count > 0 ? 0 : sign;
}

double Log2AbsProductOf(const double* values, size_t count) noexcept {
  int64_t power = 0;
  double product = 1;
  for (size_t i = 0; i < count; ++i) {
    const double magnitude = std::fabs(values[i]);
    if (!(magnitude < kInf)) {
      continue;
    }
    if (magnitude == 0) {
      return -kInf;
    }
    const bool denormal = magnitude < std::numeric_limits<double>::min();
    const auto bits = std::bit_cast<uint64_t>(denormal ? magnitude * 0x1p54 : magnitude);
    power += static_cast<int64_t>(bits >> 52) - (denormal ? 1023 + 54 : 1023);
    product *= std::bit_cast<double>((bits & 0xfffffffffffffULL) | 0x3ff0000000000000ULL);
    if (product >= 0x1p512) {
      product *= 0x1p-512;
      power += 512;
    }
  }
  return static_cast<double>(power) + std::log2(product);
}

// The work arrays stay uninitialised: clearing 48 KiB would cost more than the statistics of a
// small tensor. NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init)
MomentPass::MomentPass(DType dtype, bool product) noexcept
    : dtype_(dtype),
      item_size_(ItemSize(dtype)),
      product_(product),
      total_(EmptyStats(product)),
      chunk_(total_) {}

void MomentPass::Add(const uint8_t* block, size_t count, uint8_t* to, bool stream) noexcept {
  const bool fused = stream && HasFastMoments(dtype_);
  if (to != nullptr && !fused) {
    const size_t nbytes = count * item_size_;
    if (stream) {
      StreamCopy(block, to, nbytes);
    } else {
      std::memcpy(to, block, nbytes);
    }
  }
  if (!FitsF32(dtype_)) {
    AddExact(block, count);
  } else if (HasFastMoments(dtype_)) {
    AddFast({Aligned(block, count), dtype_, fused ? to : nullptr}, count);
  } else {
    WidenToF32(Aligned(block, count), dtype_, count, f32_.data());
    AddFast({reinterpret_cast<const uint8_t*>(f32_.data()), DType::kF32, nullptr}, count);
  }
  chunk_left_ -= static_cast<int64_t>(count);
}

TensorStats MomentPass::Finish() noexcept {
  TensorStats result = MergeStats(total_, chunk_);
  TensorStats wide = wide_.Finish();
  if (wide.numel > 0) {
    wide.log2_abs_prod = product_ ? wide_log2_product_ : kNaN;
    wide.prod_sign = product_ ? 1 : kNaN;
    result = MergeStats(result, wide);
  }
  if (product_) {
    SetProductSign(&result);
  }
  return result;
}

const uint8_t* MomentPass::Aligned(const uint8_t* block, size_t count) noexcept {
  if (reinterpret_cast<uintptr_t>(block) % item_size_ == 0) {
    return block;
  }
  std::memcpy(raw_.data(), block, count * item_size_);
  return raw_.data();
}

void MomentPass::Merge(const TensorStats& block) noexcept { chunk_ = MergeStats(chunk_, block); }

void MomentPass::AddFast(const Source& source, size_t count) noexcept {
  const size_t main = count / kFastMultiple * kFastMultiple;
  if (chunk_left_ == 0) {
    total_ = MergeStats(total_, chunk_);
    chunk_ = EmptyStats(product_);
    chunk_left_ = kChunk;
    pivot_ = 0;
    abs_pivot_ = 0;
    scale_ = 1;
    if (main > 0) {
      EstimatePivots(source);
    }
  }
  if (main > 0) {
    Merge(FastStats(source, main));
  }
  if (main < count) {
    if (source.stream_to != nullptr) {
      std::memcpy(source.stream_to + main * item_size_, source.at(main),
                  (count - main) * item_size_);
    }
    Merge(WidenedStats(source, main, count - main));
  }
}

void MomentPass::EstimatePivots(const Source& source) noexcept {
  FastInput input;
  input.from = source.data;
  input.dtype = source.dtype;
  input.count = kFastMultiple;
  const FastSums sums = FastMoments(input);
  if (sums.abs_max_bits < kInfBits && std::isfinite(sums.abs_d)) {
    pivot_ = sums.d / double{kFastMultiple};
    abs_pivot_ = sums.abs_d / double{kFastMultiple};
  }
}

FastSums MomentPass::SumFast(const Source& source, size_t count, double* scale) noexcept {
  constexpr int kAttempts = 4;  // a wrong scale, then a bad pivot twice
  const auto n = static_cast<double>(count);
  FastInput input;
  input.from = source.data;
  input.dtype = source.dtype;
  input.count = count;
  input.stream_to = source.stream_to;
  FastSums sums;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    input.scale = static_cast<float>(scale_);
    input.pivot = UsablePivot(pivot_ * scale_);
    input.abs_pivot = UsablePivot(abs_pivot_ * scale_);
    sums = FastMoments(input);
    input.stream_to = nullptr;
    if (sums.abs_max_bits >= kInfBits) {
      break;
    }
    const double right_scale = ScaleFor(sums.abs_max_bits);
    if (right_scale != scale_) {
      scale_ = right_scale;
      continue;
    }
    pivot_ = MeanOf(input.pivot, sums.d, n, scale_);
    abs_pivot_ = MeanOf(input.abs_pivot, sums.abs_d, n, scale_);
    const bool far =
        IsFar(input.pivot, abs_pivot_ * scale_) || IsFar(input.abs_pivot, abs_pivot_ * scale_);
    if (!far && !Cancels(sums.d, sums.d2, n) && !Cancels(sums.abs_d, sums.abs_d2, n)) {
      break;
    }
  }
  *scale = scale_;
  return sums;
}

TensorStats MomentPass::FastStats(const Source& source, size_t count) noexcept {
  double scale = 1;
  const FastSums sums = SumFast(source, count, &scale);
  if (sums.abs_max_bits >= kInfBits ||
      (sums.abs_max_bits < kSmallestNormalBits && sums.abs_max_bits != 0)) {
    return WidenedStats(source, 0, count);
  }
  const auto n = static_cast<double>(count);
  TensorStats stats;
  stats.numel = static_cast<int64_t>(count);
  stats.negative_count = sums.sign_bits;
  if (sums.abs_min_bits == 0) {
    const ZeroCounts zeros = CountZeros(source.data, source.dtype, count);
    stats.zero_count = zeros.zeros;
    stats.negative_count -= zeros.negative_zeros;
  }
  stats.min = static_cast<double>(sums.min);
  stats.max = static_cast<double>(sums.max);
  stats.abs_min = FromBits(sums.abs_min_bits);
  stats.abs_max = FromBits(sums.abs_max_bits);
  // Rounding must not move a mean out of the data's range: constant data has variance 0 and its own
  // value as mean.
  stats.mean = std::clamp(pivot_, stats.min, stats.max);
  stats.l1 = std::clamp(abs_pivot_, stats.abs_min, stats.abs_max) * n;
  stats.m2 = stats.min == stats.max ? 0 : CenteredSquares(sums.d, sums.d2, n) / (scale * scale);
  stats.abs_m2 = sums.abs_min_bits == sums.abs_max_bits
                     ? 0
                     : CenteredSquares(sums.abs_d, sums.abs_d2, n) / (scale * scale);
  stats.log2_abs_prod = product_ ? FastProduct(source, count, sums) : kNaN;
  stats.prod_sign = product_ ? 0 : kNaN;
  return stats;
}

double MomentPass::FastProduct(const Source& source, size_t count, const FastSums& sums) noexcept {
  if (sums.abs_min_bits == 0) {
    return -kInf;
  }
  const auto* values = reinterpret_cast<const float*>(source.data);
  if (source.dtype != DType::kF32) {
    WidenToF32(source.data, source.dtype, count, f32_.data());
    values = f32_.data();
  }
  if (sums.abs_min_bits >= kSmallestNormalBits) {
    return Log2AbsProduct(values, count);
  }
  double log2 = 0;
  for (size_t first = 0; first < count; first += f64_.size()) {
    const size_t part = std::min(count - first, f64_.size());
    WidenF32ToF64(values + first, part, f64_.data());
    log2 += Log2AbsProductOf(f64_.data(), part);
  }
  return log2;
}

TensorStats MomentPass::WidenedStats(const Source& source, size_t first, size_t count) noexcept {
  TensorStats stats = EmptyStats(product_);
  const size_t end = first + count;
  const bool is_f32 = source.dtype == DType::kF32;
  while (first < end) {
    const size_t part = std::min(end - first, f64_.size());
    if (!is_f32) {
      WidenToF32(source.at(first), source.dtype, part, f32_.data());
    }
    const auto* values = reinterpret_cast<const float*>(source.at(first));
    WidenF32ToF64(is_f32 ? values : f32_.data(), part, f64_.data());
    stats = MergeStats(stats, PaddedStats(part));
    first += part;
  }
  return stats;
}

// Of the first `count` elements of f64_.
TensorStats MomentPass::PaddedStats(size_t count) noexcept {
  const size_t padded = (count + kExactMultiple - 1) / kExactMultiple * kExactMultiple;
  std::fill(f64_.begin() + static_cast<ptrdiff_t>(count),
            f64_.begin() + static_cast<ptrdiff_t>(padded), kNaN);
  return ExactStats(f64_.data(), count);
}

// `values` are padded with NaN to a multiple of kExactMultiple.
TensorStats MomentPass::ExactStats(const double* values, size_t count) noexcept {
  const size_t padded = (count + kExactMultiple - 1) / kExactMultiple * kExactMultiple;
  const ExactSums sums = ExactMoments(values, padded);
  TensorStats stats = EmptyStats(product_);
  stats.numel = static_cast<int64_t>(count);
  stats.posinf_count = sums.posinf;
  stats.neginf_count = sums.neginf;
  stats.nan_count = stats.numel - sums.finite - sums.posinf - sums.neginf;
  if (sums.finite == 0) {
    return stats;
  }
  stats.zero_count = sums.zeros;
  stats.negative_count = sums.negative;
  stats.min = sums.min;
  stats.max = sums.max;
  stats.abs_min = sums.abs_min;
  stats.abs_max = sums.abs_max;
  stats.mean = std::clamp(sums.mean, sums.min, sums.max);
  stats.l1 =
      std::clamp(sums.abs_mean, sums.abs_min, sums.abs_max) * static_cast<double>(sums.finite);
  stats.m2 = sums.min == sums.max ? 0 : sums.m2;
  stats.abs_m2 = sums.abs_min == sums.abs_max ? 0 : sums.abs_m2;
  if (product_) {
    stats.log2_abs_prod = Log2AbsProductOf(values, count);
  }
  return stats;
}

void MomentPass::AddExact(const uint8_t* block, size_t count) noexcept {
  if (chunk_left_ == 0) {
    total_ = MergeStats(total_, chunk_);
    chunk_ = EmptyStats(product_);
    chunk_left_ = kChunk;
  }
  const bool is_int64 = dtype_ == DType::kI64 || dtype_ == DType::kU64;
  if (is_int64 && HasWideIntegers(block, dtype_, count)) {
    AddIntegers(block, count);
  } else if (dtype_ == DType::kF64 && count % kExactMultiple == 0 &&
             reinterpret_cast<uintptr_t>(block) % alignof(double) == 0) {
    Merge(ExactStats(reinterpret_cast<const double*>(block), count));
  } else {
    WidenToF64(dtype_, block, static_cast<int64_t>(count), f64_.data());
    Merge(PaddedStats(count));
  }
}

void MomentPass::AddIntegers(const uint8_t* block, size_t count) noexcept {
  wide_.Add(block, dtype_, count);
  if (product_) {
    WidenToF64(dtype_, block, static_cast<int64_t>(count), f64_.data());
    wide_log2_product_ += Log2AbsProductOf(f64_.data(), count);
  }
}

}  // namespace wheeltapper::tensor
