#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "wheeltapper/tensor/sketch.h"

#include "block_reader.h"
#include "widen.h"

namespace wheeltapper::tensor {

namespace {
constexpr int64_t kBlock = 2048;
}

size_t MedianScratchBytes(const TensorView& view) noexcept {
  return static_cast<size_t>(view.numel()) * sizeof(double) + alignof(double);
}

double ExactMedian(const TensorView& view, MedianKind kind, std::span<uint8_t> scratch) noexcept {
  BlockReader reader(view);
  std::array<uint8_t, kBlock * 16> buffer;
  const size_t skew = reinterpret_cast<uintptr_t>(scratch.data()) % alignof(double);
  auto* values =
      reinterpret_cast<double*>(scratch.data() + (skew == 0 ? 0 : alignof(double) - skew));
  double* end = values;
  while (reader.remaining() > 0) {
    const int64_t count = std::min(kBlock, reader.remaining());
    WidenToF64(view.dtype, reader.Next(count, buffer.data()), count, end);
    end = std::remove_if(end, end + count, [](double value) { return std::isnan(value); });
  }
  if (end == values) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  const auto count = end - values;
  double* middle = values + (count - 1) / 2;
  std::nth_element(values, middle, end);
  if (kind == MedianKind::kLower || count % 2 != 0) {
    return *middle;
  }
  return *middle / 2 + *std::min_element(middle + 1, end) / 2;
}

}  // namespace wheeltapper::tensor
