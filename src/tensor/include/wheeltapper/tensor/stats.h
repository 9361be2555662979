// One-pass statistics of a tensor: counts, moments, extremes and norms, fused with the copy when
// one is wanted.
//
// Numerics (docs/design/numerics.md): elements are widened exactly; differences to a running pivot
// are summed in short f32 runs and folded to f64; blocks merge with Chan's formula (Chan, Golub,
// LeVeque 1979) in a fixed order over fixed 64 Ki-element chunks, so the result is bitwise
// reproducible on one instruction set and agrees to 4 ulp(f32) across AVX-512, AVX2, SSE4 and
// scalar. Blocks with max|x| > 2^60 or non-zero max|x| < 2^-40 are scaled by a power of two first;
// blocks with a NaN or an infinity, the last elements of a tensor (numel mod 64), and dtypes beyond
// f32 are summed in f64. No false 0 or infinity but where the square of an f64 has none but these.
// Everything here is allocation-free, lock-free, noexcept and thread-safe: it runs on the training
// thread, on at most 64 KiB of its stack.
#pragma once

#include <cstdint>

#include "wheeltapper/tensor/tensor_view.h"

namespace wheeltapper::tensor {

// Plain data, copied as bytes into journal records: change it only together with the format
// version. Moments, extremes and norms are over the FINITE elements (count `finite()`); with none
// they are NaN, except the sums, which are 0. A complex element counts by its modulus: |z| for the
// abs_* fields, l1 and l2; min, max, mean, m2 are of the modulus too.
struct TensorStats {
  int64_t numel = 0;
  int64_t nan_count = 0;
  int64_t posinf_count = 0;
  int64_t neginf_count = 0;
  int64_t zero_count = 0;
  int64_t negative_count = 0;  // finite and < 0
  double min = 0;
  double max = 0;
  double mean = 0;
  double m2 = 0;  // Σ(x − mean)²
  double abs_min = 0;
  double abs_max = 0;
  double l1 = 0;      // Σ|x|
  double abs_m2 = 0;  // Σ(|x| − mean|x|)²
  // log2 Π|x| over the finite elements: 0 when there are none, −inf when one is 0, NaN when not
  // asked for.
  double log2_abs_prod = 0;
  double prod_sign = 0;  // −1, 0 or 1; NaN when not asked for

  [[nodiscard]] int64_t nonfinite_count() const { return nan_count + posinf_count + neginf_count; }
  [[nodiscard]] int64_t finite() const { return numel - nonfinite_count(); }
  [[nodiscard]] double sum() const;
  // ddof 0 (NumPy's default) or 1 (torch's). NaN when finite() ≤ ddof.
  [[nodiscard]] double variance(int ddof) const;
  [[nodiscard]] double std(int ddof) const;
  [[nodiscard]] double l2() const;  // sqrt(m2 + n·mean²), never Σx² in f32
  [[nodiscard]] double rms() const;
  [[nodiscard]] double abs_mean() const;
  [[nodiscard]] double abs_variance(int ddof) const;
  [[nodiscard]] double abs_std(int ddof) const;
  // ±2^log2_abs_prod: 0 or ±inf when a double cannot hold it, like the frameworks.
  [[nodiscard]] double prod() const;
};
static_assert(sizeof(TensorStats) == 128);

// Statistics of the union of two disjoint sets of elements. Associative up to rounding.
TensorStats MergeStats(const TensorStats& a, const TensorStats& b) noexcept;

struct StatsOptions {
  bool product =
      false;  // log2_abs_prod and prod_sign cost about two thirds of everything else together
};

// One pass over a view of any dtype, strides, alignment and length.
TensorStats ComputeStats(const TensorView& view, const StatsOptions& options) noexcept;
// The same, and the elements are copied to `to` (C order, view.nbytes() bytes, any alignment) while
// they are in cache. Streaming stores are used when the copy is large (≥ 256 KiB) and `to` is
// 64-byte aligned.
TensorStats CopyAndComputeStats(const TensorView& view, void* to,
                                const StatsOptions& options) noexcept;
// The copy alone, with the same streaming stores.
void CopyTensor(const TensorView& view, void* to) noexcept;

// Which instruction set the kernels run on here: "AVX3", "AVX2", "SCALAR", "NEON", …
const char* KernelTarget() noexcept;

}  // namespace wheeltapper::tensor
