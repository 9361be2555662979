#include "float_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "widen.h"

namespace wheeltapper::tensor {
namespace {

template <typename Float>
constexpr int64_t BlockElementsOf(DType dtype, size_t item_size) {
  constexpr int64_t kF64Elements = kBlockBytes / sizeof(double);
  const int64_t elements = BlockElements(dtype, item_size);
  return std::is_same_v<Float, double> ? std::min(elements, kF64Elements) : elements;
}

}  // namespace

float NarrowToF32(double value) noexcept {
  constexpr auto kMax = static_cast<double>(std::numeric_limits<float>::max());
  constexpr auto kTiny = static_cast<double>(std::numeric_limits<float>::denorm_min());
  if (value == 0 || !std::isfinite(value)) {
    return static_cast<float>(value);
  }
  const double magnitude = std::clamp(std::fabs(value), kTiny, kMax);
  return static_cast<float>(std::copysign(magnitude, value));
}

// The buffers stay uninitialised: clearing them would cost more than reading a small tensor.
// NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init)
template <typename Float>
FloatBlocks<Float>::FloatBlocks(const TensorView& view) noexcept
    : reader_(view),
      dtype_(view.dtype),
      block_elements_(BlockElementsOf<Float>(view.dtype, reader_.item_size())) {}

template <typename Float>
size_t FloatBlocks<Float>::Next(const Float** values) noexcept {
  const auto count = static_cast<size_t>(std::min(block_elements_, reader_.remaining()));
  if (count > 0) {
    *values = Convert(reader_.Next(static_cast<int64_t>(count), raw_.data()), count);
  }
  return count;
}

template <typename Float>
const Float* FloatBlocks<Float>::Convert(const uint8_t* block, size_t count) noexcept {
  constexpr bool kToF64 = std::is_same_v<Float, double>;
  const size_t item_size = reader_.item_size();
  const bool aligned = reinterpret_cast<uintptr_t>(block) % item_size == 0;
  if (aligned && dtype_ == (kToF64 ? DType::kF64 : DType::kF32)) {
    return reinterpret_cast<const Float*>(block);
  }
  if constexpr (kToF64) {
    WidenToF64(dtype_, block, static_cast<int64_t>(count), f64_.data());
    return f64_.data();
  } else {
    if (FitsF32(dtype_)) {
      if (!aligned) {
        std::memcpy(raw_.data(), block, count * item_size);
        block = raw_.data();
      }
      WidenToF32(block, dtype_, count, f32_.data());
    } else {
      WidenToF64(dtype_, block, static_cast<int64_t>(count), f64_.data());
      std::transform(f64_.begin(), f64_.begin() + static_cast<ptrdiff_t>(count), f32_.begin(),
                     NarrowToF32);
    }
    return f32_.data();
  }
}

template class FloatBlocks<float>;
template class FloatBlocks<double>;

}  // namespace wheeltapper::tensor
