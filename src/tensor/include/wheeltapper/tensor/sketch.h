// Log-linear histogram: mergeable counts from which quantiles are read with at most 3.2 % relative
// value error, rank-exact.
//
// A finite non-zero element falls into the bin of the top 13 bits of its f32 pattern: sign, 8
// exponent bits, 4 mantissa bits (the error model of DDSketch, Masson et al. 2019). Zero, f32
// denormals of each sign, NaN, +Inf and −Inf have bins of their own. Elements of
// wider types are rounded to f32 first; |x| beyond f32's range goes to the outermost finite bin of
// its sign, and a non-zero that would round to 0 to the denormals. A complex element counts by its
// modulus.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "wheeltapper/tensor/tensor_view.h"

namespace wheeltapper::tensor {

// A bin id orders like the values it holds: −Inf < most negative … < −denormal < 0 < denormal < … <
// +Inf; NaN last.
struct HistogramBin {
  int16_t bin;
  int64_t count;
};

inline constexpr int kHistogramBins = 8192;

// Counts of one tensor, dense. 192 KiB: make one per thread and reuse it. Not thread-safe.
class Histogram {
 public:
  void Clear() noexcept;
  // Adds all elements of `view`. Allocation-free.
  void Add(const TensorView& view) noexcept;
  // An id that is no bin (as a damaged file may hold), or a count below 1, is ignored.
  void AddBin(int16_t bin, int64_t count) noexcept;
  void Merge(const Histogram& other) noexcept;
  [[nodiscard]] int64_t count(int16_t bin) const noexcept;
  [[nodiscard]] int64_t total() const noexcept;
  // Number of non-empty bins.
  [[nodiscard]] int bins_used() const noexcept;
  // Writes the non-empty bins in order to `out`; returns how many there are (more than out.size()
  // means truncated).
  int Sparse(std::span<HistogramBin> out) const noexcept;
  // Value at quantile q ∈ [0, 1] over the elements that are no NaN, as NumPy's "lower" method but
  // for the bin's width; NaN when there are none.
  [[nodiscard]] double Quantile(double q) const noexcept;

 private:
  static constexpr size_t kRawLanes = 4;
  void FoldRaw() noexcept;

  std::array<int64_t, kHistogramBins> counts_{};
  // Scratch of Add: counts of the 13-bit indices, kRawLanes per index. All 0 between calls.
  std::array<uint32_t, kHistogramBins * kRawLanes> raw_{};
};

// Value range of a bin: [low, high) for positive numbers, (low, high] for negative ones, where low
// is 0 for denormals; the value itself twice for zero and ±infinity; NaN for NaN and for an id that
// is no bin.
double BinLow(int16_t bin) noexcept;
double BinHigh(int16_t bin) noexcept;

// Quantile straight from sparse bins in order of their ids (as read from a run directory). Entries
// that AddBin would ignore are ignored; NaN when the counts overflow an int64.
double QuantileOfBins(std::span<const HistogramBin> bins, double q);

enum class MedianKind : uint8_t {
  kLower,  // torch.median: the lower of the two middle elements
  kMean,   // numpy.median: their mean
};
// Exact median over the elements that are no NaN: radix selection, which reads the view once per 16
// bits of the element (f32: twice); by sorting in part below 64 Ki elements. Integers are compared
// as f64, complex elements by modulus. `scratch` holds MedianScratchBytes(view) (at most 513 KiB),
// any alignment. NaN when there is no element, or when `scratch` is too small. Allocation-free.
double ExactMedian(const TensorView& view, MedianKind kind, std::span<uint8_t> scratch) noexcept;
size_t MedianScratchBytes(const TensorView& view) noexcept;

}  // namespace wheeltapper::tensor
