#include "scaling.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "wheeltapper/core/bytes.h"

namespace wheeltapper::capture {
namespace {

using tensor::DType;

float F16ToF32(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000U} << 16;
  const uint32_t magnitude = half & 0x7FFFU;
  if (magnitude >= 0x7C00U) {
    return std::bit_cast<float>(sign | 0x7F800000U | (magnitude & 0x3FFU) << 13);
  }
  // Shifted into place the exponent is 112 too small; the multiplication also mends denormals.
  const float value = std::bit_cast<float>(magnitude << 13) * 0x1p112F;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
}

uint16_t F32ToF16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000U);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) {
    return static_cast<uint16_t>(sign | 0x7E00U);
  }
  if (magnitude >= 65520.0F) {
    return static_cast<uint16_t>(sign | 0x7C00U);
  }
  if (magnitude < 0x1p-14F) {
    // Denormal: adding 1/2 leaves the rounded multiple of 2^-24 in the low bits.
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(magnitude + 0.5F) - 0x3F000000U));
  }
  const uint32_t rounded = (bits & 0x7FFFFFFFU) - (112U << 23) + 0xFFFU + ((bits >> 13) & 1U);
  return static_cast<uint16_t>(sign | rounded >> 13);
}

float BF16ToF32(uint16_t brain) { return std::bit_cast<float>(uint32_t{brain} << 16); }

uint16_t F32ToBF16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) {
    return static_cast<uint16_t>(bits >> 16 | 0x40U);
  }
  return static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

template <typename T>
void MultiplyFloats(uint8_t* data, int64_t count, T scale) {
  for (int64_t i = 0; i < count; ++i, data += sizeof(T)) {
    const T value = LoadUnaligned<T>(data) * scale;
    std::memcpy(data, &value, sizeof(T));
  }
}

template <float (*kWiden)(uint16_t), uint16_t (*kNarrow)(float)>
void MultiplyHalves(uint8_t* data, int64_t count, double scale) {
  for (int64_t i = 0; i < count; ++i, data += sizeof(uint16_t)) {
    const double wide = static_cast<double>(kWiden(LoadUnaligned<uint16_t>(data))) * scale;
    const uint16_t value = kNarrow(static_cast<float>(wide));
    std::memcpy(data, &value, sizeof(value));
  }
}

// The bin of a positive finite value. Bins are ordered like their values; ids between the denormal
// bin and the first normal one, and beyond infinity's, are no bins and have NaN edges.
int16_t BinOfMagnitude(double value) {
  value = std::min(value, static_cast<double>(std::numeric_limits<float>::max()));
  if (value < tensor::BinHigh(1)) {
    return 1;
  }
  int low = 2;
  int high = tensor::kHistogramBins / 2;
  while (low < high) {
    const int middle = (low + high) / 2;
    const double edge = tensor::BinHigh(static_cast<int16_t>(middle));
    const bool inside_or_above =
        std::isnan(edge) ? middle > tensor::kHistogramBins / 4 : value < edge;
    if (inside_or_above) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return static_cast<int16_t>(low);
}

}  // namespace

tensor::TensorStats ScaleStats(const tensor::TensorStats& stats, double scale) noexcept {
  tensor::TensorStats scaled = stats;
  const double size = std::fabs(scale);
  scaled.min = (scale < 0 ? stats.max : stats.min) * scale;
  scaled.max = (scale < 0 ? stats.min : stats.max) * scale;
  scaled.mean = stats.mean * scale;
  scaled.m2 = stats.m2 * scale * scale;
  scaled.abs_min = stats.abs_min * size;
  scaled.abs_max = stats.abs_max * size;
  scaled.l1 = stats.l1 * size;
  scaled.abs_m2 = stats.abs_m2 * scale * scale;
  scaled.log2_abs_prod =
      stats.log2_abs_prod + static_cast<double>(stats.finite()) * std::log2(size);
  if (scale < 0) {
    scaled.negative_count = stats.finite() - stats.zero_count - stats.negative_count;
    scaled.posinf_count = stats.neginf_count;
    scaled.neginf_count = stats.posinf_count;
    scaled.prod_sign = stats.finite() % 2 == 0 ? stats.prod_sign : -stats.prod_sign;
  }
  return scaled;
}

bool CanScaleElements(DType dtype) noexcept {
  switch (dtype) {
    case DType::kF16:
    case DType::kBF16:
    case DType::kF32:
    case DType::kF64:
    case DType::kC64:
    case DType::kC128:
      return true;
    default:
      return false;
  }
}

void ScaleElements(DType dtype, void* data, int64_t count, double scale) noexcept {
  auto* bytes = static_cast<uint8_t*>(data);
  switch (dtype) {
    case DType::kF16:
      MultiplyHalves<F16ToF32, F32ToF16>(bytes, count, scale);
      break;
    case DType::kBF16:
      MultiplyHalves<BF16ToF32, F32ToBF16>(bytes, count, scale);
      break;
    case DType::kF32:
      MultiplyFloats<float>(bytes, count, static_cast<float>(scale));
      break;
    case DType::kF64:
      MultiplyFloats<double>(bytes, count, scale);
      break;
    case DType::kC64:
      MultiplyFloats<float>(bytes, 2 * count, static_cast<float>(scale));
      break;
    case DType::kC128:
      MultiplyFloats<double>(bytes, 2 * count, scale);
      break;
    default:
      break;
  }
}

int16_t ScaleBin(int16_t bin, double scale) noexcept {
  const double low = tensor::BinLow(bin);
  if (std::isnan(low)) {
    return bin;
  }
  const double middle = std::isinf(low) ? low : (low + tensor::BinHigh(bin)) / 2;
  const double value = middle * scale;
  if (value == 0) {
    return 0;
  }
  if (std::isinf(middle)) {
    return scale < 0 ? static_cast<int16_t>(-bin) : bin;
  }
  const int16_t magnitude = BinOfMagnitude(std::fabs(value));
  return value < 0 ? static_cast<int16_t>(-magnitude) : magnitude;
}

}  // namespace wheeltapper::capture
