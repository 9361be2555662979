// The vector kernels behind the statistics, one compiled version per instruction set, chosen at run
// time.
//
// All are allocation-free, noexcept and thread-safe. Typed pointers are aligned to their element;
// nothing more is asked unless said. The thread's floating-point mode is the default one
// (float_environment.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "wheeltapper/tensor/dtype.h"

namespace wheeltapper::tensor {

// FastMoments takes multiples of this many elements: a multiple of four vectors on every target.
inline constexpr size_t kFastMultiple = 64;
// ExactMoments takes multiples of this many elements.
inline constexpr size_t kExactMultiple = 16;

// True for the dtypes that FastMoments reads without converting them to f32 first.
constexpr bool HasFastMoments(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}
// True for the dtypes whose every value is an f32 (WidenToF32 takes these).
constexpr bool FitsF32(DType dtype) {
  switch (dtype) {
    case DType::kU32:
    case DType::kI32:
    case DType::kU64:
    case DType::kI64:
    case DType::kF64:
    case DType::kC64:
    case DType::kC128:
      return false;
    default:
      return true;
  }
}

// The square of no sum of 64 squares of magnitudes up to this one (2^60) overflows f32.
inline constexpr uint32_t kNoOverflowBits = 0x5d800000;

struct FastInput {
  const void* from = nullptr;
  DType dtype = DType::kF32;  // HasFastMoments(dtype)
  size_t count = 0;           // a multiple of kFastMultiple
  // Differences are to these; both are already scaled.
  float pivot = 0;
  float abs_pivot = 0;
  // A power of two that every element is multiplied by before it is summed.
  float scale = 1;
  // How many bytes ahead of the elements to prefetch where pivots are 0 and scale is 1: a hint.
  size_t ahead = 0;
  // Not null: the elements are also copied here by streaming stores; 64-byte aligned.
  void* stream_to = nullptr;
};

// Meaningless but for abs_max_bits when that is ≥ 0x7f800000, i.e. there was a NaN or an infinity.
// With pivots of 0 and a scale of 1, which is the fastest way, a NaN beside a finite element above
// kNoOverflowBits may go unseen until the elements are summed again at a smaller scale.
struct FastSums {
  double d = 0;       // Σ(x·scale − pivot)
  double d2 = 0;      // Σ(x·scale − pivot)²
  double abs_d = 0;   // Σ(|x·scale| − abs_pivot)
  double abs_d2 = 0;  // Σ(|x·scale| − abs_pivot)²
  float min = 0;
  float max = 0;
  uint32_t abs_min_bits = 0;  // f32 patterns without sign
  uint32_t abs_max_bits = 0;
  int64_t sign_bits = 0;  // elements with the sign bit set, −0 among them
};

// One pass in f32; sums are folded to f64 after 16 additions to a lane's sum.
FastSums FastMoments(const FastInput& input) noexcept;

// Moments of the finite elements, sums in f64, two passes.
struct ExactSums {
  int64_t finite = 0;
  int64_t posinf = 0;
  int64_t neginf = 0;
  int64_t zeros = 0;
  int64_t negative = 0;
  double min = 0;  // the rest is meaningless when finite is 0
  double max = 0;
  double abs_min = 0;
  double abs_max = 0;
  double mean = 0;
  double m2 = 0;
  double abs_mean = 0;
  double abs_m2 = 0;
};
// `count` is a multiple of kExactMultiple; pad with NaN.
ExactSums ExactMoments(const double* values, size_t count) noexcept;

// Zeros of either sign, and −0 alone. HasFastMoments(dtype).
struct ZeroCounts {
  int64_t zeros = 0;
  int64_t negative_zeros = 0;
};
ZeroCounts CountZeros(const void* from, DType dtype, size_t count) noexcept;

// mantissa · 2^power
struct ScaledProduct {
  double mantissa = 1;  // in [1, 2)
  int64_t power = 0;
};
// Π|x| of finite f32 other than 0 with 2^-max_power ≤ |x| ≤ 2^max_power, max_power in [1, 149].
// `count` is a multiple of kFastMultiple.
ScaledProduct AbsProduct(const float* values, size_t count, int max_power) noexcept;

// FitsF32(dtype). Exact. `from` is aligned to its element.
void WidenToF32(const void* from, DType dtype, size_t count, float* to) noexcept;
void WidenF32ToF64(const float* from, size_t count, double* to) noexcept;

// Elements that the top 13 bits of their pattern do not tell from zero or from NaN.
struct SpecialCounts {
  int64_t positive_tiny = 0;  // 0 < |x| and the top 13 bits say zero
  int64_t negative_tiny = 0;
  int64_t posinf = 0;
  int64_t neginf = 0;
};
SpecialCounts CountSpecials(const float* values, size_t count) noexcept;

// Writes the patterns of those elements whose top 16 bits are `top`, in order, and returns how many
// there are. `matches` has room for kMatchPadding more than `count`.
inline constexpr size_t kMatchPadding = 64;
size_t KeepMatching(const float* values, size_t count, uint32_t top, uint32_t* matches) noexcept;

// The smallest element above `bound`, +Inf when there is none. NaN are passed over.
float SmallestAbove(const float* values, size_t count, float bound) noexcept;
double SmallestAbove(const double* values, size_t count, double bound) noexcept;

// `to` is 64-byte aligned. FlushStreams must follow before another thread may read.
void StreamCopy(const void* from, void* to, size_t nbytes) noexcept;
void FlushStreams() noexcept;

}  // namespace wheeltapper::tensor
