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

// With max|x·scale| in [2^-40, 2^60] no sum of 64 squares overflows f32 (differences to a mean are
// below 2^61 and summed by 32), and the square of one ulp of the largest element (2^-126) is still
// a normal number.
constexpr uint32_t kHugeBits = std::bit_cast<uint32_t>(0x1p60F);
static_assert(kHugeBits == kNoOverflowBits);
constexpr uint32_t kTinyBits = std::bit_cast<uint32_t>(0x1p-40F);
constexpr float kHugeScale = 0x1p-70F;
constexpr float kTinyScale = 0x1p86F;

float ScaleFor(uint32_t abs_max_bits) {
  if (abs_max_bits > kHugeBits) {
    return kHugeScale;
  }
  return abs_max_bits < kTinyBits && abs_max_bits != 0 ? kTinyScale : 1;
}

double CenteredSquares(double d, double d2, double inverse_n) {
  return std::max(0.0, d2 - d * d * inverse_n);
}

// More than two bits of the sum of squares would cancel: the pivot was too far from the block's
// mean. Three are let go where there is no pivot yet, or numbers evenly spread over [0, 1], which
// lose exactly two, would now pass and now not.
bool Cancels(double d, double d2, double inverse_n, float pivot) {
  return CenteredSquares(d, d2, inverse_n) < d2 * (pivot == 0 ? 0.125 : 0.25);
}

// The differences, and with them their rounding errors, are larger than the elements themselves.
bool IsFar(float pivot, double scaled_abs_mean) {
  return std::fabs(static_cast<double>(pivot)) > 2 * scaled_abs_mean;
}

bool IsNonfinite(const FastSums& sums) { return sums.abs_max_bits >= kInfBits; }

bool IsDenormal(const FastSums& sums) {
  return sums.abs_max_bits < kSmallestNormalBits && sums.abs_max_bits != 0;
}

// The least p ≥ 1 with 2^-p ≤ |x| ≤ 2^p for all elements; none is 0.
int MaxPower(const FastSums& sums) {
  constexpr int kBias = 127;
  constexpr int kMantissaBits = 23;
  constexpr int kSmallestDenormal = 149;
  const int above = static_cast<int>(sums.abs_max_bits >> kMantissaBits) - kBias + 1;
  const int below = sums.abs_min_bits < kSmallestNormalBits
                        ? kSmallestDenormal
                        : kBias - static_cast<int>(sums.abs_min_bits >> kMantissaBits);
  return std::max({above, below, 1});
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
    : dtype_(dtype), item_size_(ItemSize(dtype)), product_(product) {
  if (dtype == DType::kI64 || dtype == DType::kU64) {
    wide_.emplace();
  }
}

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
  FlushGroup();
  TensorStats result = MergeStats(total_, chunk_);
  if (wide_.has_value()) {
    TensorStats wide = wide_->Finish();
    wide.log2_abs_prod = product_ ? wide_log2_product_ : kNaN;
    wide.prod_sign = product_ ? 1 : kNaN;
    result = MergeStats(result, wide);
  }
  if (result.numel == 0) {
    return EmptyStats(product_);
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

void MomentPass::Merge(const TensorStats& block) noexcept {
  chunk_ = chunk_.numel == 0 ? block : MergeStats(chunk_, block);
}

void MomentPass::StartChunk() noexcept {
  FlushGroup();
  total_ = MergeStats(total_, chunk_);
  chunk_.numel = 0;
  chunk_left_ = kChunk;
  group_.pivot = 0;
  group_.abs_pivot = 0;
  group_.scale = 1;
}

void MomentPass::AddFast(const Source& source, size_t count) noexcept {
  const size_t main = count / kFastMultiple * kFastMultiple;
  if (chunk_left_ == 0) {
    StartChunk();
  }
  if (main > 0) {
    AddFastBlock(source, main);
  }
  if (main < count) {
    if (source.stream_to != nullptr) {
      std::memcpy(source.stream_to + main * item_size_, source.at(main),
                  (count - main) * item_size_);
    }
    FlushGroup();
    Merge(WidenedStats(source, main, count - main));
  }
}

void MomentPass::AddFastBlock(const Source& source, size_t count) noexcept {
  const FastSums sums = SumFast(source, count);
  if (IsNonfinite(sums) || IsDenormal(sums)) {
    FlushGroup();
    Merge(WidenedStats(source, 0, count));
    return;
  }
  if (sums.abs_min_bits == 0) {
    const ZeroCounts zeros = CountZeros(source.data, source.dtype, count);
    group_.zeros += zeros.zeros;
    group_.sums.sign_bits -= zeros.negative_zeros;
  } else if (product_ && group_.zeros == 0) {
    MultiplyGroup(source, count, MaxPower(sums));
  }
  FastSums& all = group_.sums;
  all.min = group_.count == 0 ? sums.min : std::min(all.min, sums.min);
  all.max = group_.count == 0 ? sums.max : std::max(all.max, sums.max);
  all.abs_min_bits =
      group_.count == 0 ? sums.abs_min_bits : std::min(all.abs_min_bits, sums.abs_min_bits);
  all.abs_max_bits = std::max(all.abs_max_bits, sums.abs_max_bits);
  all.d += sums.d;
  all.d2 += sums.d2;
  all.abs_d += sums.abs_d;
  all.abs_d2 += sums.abs_d2;
  all.sign_bits += sums.sign_bits;
  group_.count += static_cast<int64_t>(count);
}

FastSums MomentPass::SumFast(const Source& source, size_t count) noexcept {
  constexpr int kAttempts = 4;  // a wrong scale, then a bad pivot twice
  const double inverse_n = 1 / static_cast<double>(count);
  FastInput input;
  input.from = source.data;
  input.dtype = source.dtype;
  input.count = count;
  input.stream_to = source.stream_to;
  input.ahead = ahead_;
  for (int attempt = 1;; ++attempt) {
    input.scale = group_.scale;
    input.pivot = group_.pivot;
    input.abs_pivot = group_.abs_pivot;
    const FastSums sums = FastMoments(input);
    input.stream_to = nullptr;
    input.ahead = 0;
    if (IsNonfinite(sums) || attempt == kAttempts) {
      return sums;
    }
    const float right_scale = ScaleFor(sums.abs_max_bits);
    if (right_scale != group_.scale) {
      StartGroup(0, 0, right_scale);
      continue;
    }
    const double abs_mean = static_cast<double>(input.abs_pivot) + sums.abs_d * inverse_n;
    const bool far = IsFar(input.pivot, abs_mean) || IsFar(input.abs_pivot, abs_mean);
    if (!far && !Cancels(sums.d, sums.d2, inverse_n, input.pivot) &&
        !Cancels(sums.abs_d, sums.abs_d2, inverse_n, input.abs_pivot)) {
      return sums;
    }
    StartGroup(static_cast<double>(input.pivot) + sums.d * inverse_n, abs_mean, right_scale);
  }
}

void MomentPass::StartGroup(double pivot, double abs_pivot, float scale) noexcept {
  FlushGroup();
  group_.pivot = static_cast<float>(pivot);
  group_.abs_pivot = static_cast<float>(abs_pivot);
  group_.scale = scale;
}

void MomentPass::MultiplyGroup(const Source& source, size_t count, int max_power) noexcept {
  const auto* values = reinterpret_cast<const float*>(source.data);
  if (source.dtype != DType::kF32) {
    WidenToF32(source.data, source.dtype, count, f32_.data());
    values = f32_.data();
  }
  const ScaledProduct block = AbsProduct(values, count, max_power);
  ScaledProduct& all = group_.product;
  all.mantissa *= block.mantissa;
  all.power += block.power;
  if (all.mantissa >= 2) {
    all.mantissa /= 2;
    ++all.power;
  }
}

void MomentPass::FlushGroup() noexcept {
  if (group_.count == 0) {
    return;
  }
  const FastSums& sums = group_.sums;
  const auto n = static_cast<double>(group_.count);
  const double inverse_n = 1 / n;
  const double unscale = 1 / static_cast<double>(group_.scale);
  const double mean = (static_cast<double>(group_.pivot) + sums.d * inverse_n) * unscale;
  const double abs_mean =
      (static_cast<double>(group_.abs_pivot) + sums.abs_d * inverse_n) * unscale;
  TensorStats stats;
  stats.numel = group_.count;
  stats.zero_count = group_.zeros;
  stats.negative_count = sums.sign_bits;
  stats.min = static_cast<double>(sums.min);
  stats.max = static_cast<double>(sums.max);
  stats.abs_min = FromBits(sums.abs_min_bits);
  stats.abs_max = FromBits(sums.abs_max_bits);
  // Rounding must not move a mean out of the data's range: constant data has variance 0 and its own
  // value as mean.
  stats.mean = std::clamp(mean, stats.min, stats.max);
  stats.l1 = std::clamp(abs_mean, stats.abs_min, stats.abs_max) * n;
  stats.m2 = stats.min == stats.max
                 ? 0
                 : CenteredSquares(sums.d, sums.d2, inverse_n) * (unscale * unscale);
  stats.abs_m2 = sums.abs_min_bits == sums.abs_max_bits
                     ? 0
                     : CenteredSquares(sums.abs_d, sums.abs_d2, inverse_n) * (unscale * unscale);
  stats.log2_abs_prod = kNaN;
  stats.prod_sign = kNaN;
  if (product_) {
    const ScaledProduct& product = group_.product;
    stats.log2_abs_prod =
        group_.zeros > 0 ? -kInf : static_cast<double>(product.power) + std::log2(product.mantissa);
    stats.prod_sign = 1;
  }
  group_.sums = {};
  group_.product = {};
  group_.count = 0;
  group_.zeros = 0;
  Merge(stats);
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
TensorStats MomentPass::ExactStats(const double* values, size_t count) const noexcept {
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
    StartChunk();
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
  wide_->Add(block, dtype_, count);
  if (product_) {
    WidenToF64(dtype_, block, static_cast<int64_t>(count), f64_.data());
    wide_log2_product_ += Log2AbsProductOf(f64_.data(), count);
  }
}

}  // namespace wheeltapper::tensor
