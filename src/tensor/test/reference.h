// Slow, independent statistics for the tests: every element decoded by itself, all arithmetic in
// long double, two passes.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "wheeltapper/tensor/stats.h"
#include "wheeltapper/tensor/tensor_view.h"

namespace wheeltapper::tensor {

// The value of one element, a modulus for complex dtypes.
long double DecodeElement(DType dtype, const void* at);

// All elements in C order.
std::vector<long double> ReferenceValues(const TensorView& view);
// All elements' bytes in C order.
std::vector<uint8_t> ReferenceBytes(const TensorView& view);

struct ReferenceStats {
  int64_t numel = 0;
  int64_t nan_count = 0;
  int64_t posinf_count = 0;
  int64_t neginf_count = 0;
  int64_t zero_count = 0;
  int64_t negative_count = 0;
  int64_t finite = 0;
  long double min = 0;
  long double max = 0;
  long double mean = 0;
  long double m2 = 0;
  long double abs_min = 0;
  long double abs_max = 0;
  long double l1 = 0;
  long double abs_m2 = 0;
  long double l2 = 0;
  long double log2_abs_prod = 0;
};
ReferenceStats ReferenceOf(const std::vector<long double>& values);

// Largest relative error allowed for the moments. `mean` is relative to mean|x|.
struct Tolerance {
  long double mean = 1e-6L;
  long double moment = 1e-6L;
  long double log2_product = 1e-9L;
  long double extreme = 0;
};
// A modulus is rounded, other extremes are exact.
Tolerance ToleranceFor(DType dtype);

// What an f64 near `value` may be off by; 0 when `relative` is 0.
long double RoundingError(long double relative, long double value);

// Empty when `stats` agrees with the reference, else what does not.
std::string Disagreement(const TensorStats& stats, const ReferenceStats& reference,
                         const Tolerance& tolerance);

// A view that owns its shape and strides, over someone else's data.
struct TestTensor {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape = {};
  std::vector<int64_t> strides = {};  // empty: C-contiguous

  [[nodiscard]] TensorView view() const;
};

// The 13 distributions of the accuracy table in docs/design/numerics.md, n f32 each.
struct Distribution {
  const char* name;
  std::vector<float> values;
};
inline constexpr int kDistributionCount = 13;
Distribution MakeDistribution(int index, size_t n);

// Equal to the last bit, NaN and padding included: statistics are cleared before they are filled.
inline bool SameBits(const TensorStats& a, const TensorStats& b) {
  // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): values would let NaN differ
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

}  // namespace wheeltapper::tensor
