#include "widen.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "wheeltapper/core/bytes.h"

namespace wheeltapper::tensor {
namespace {

// Sign, exponent and mantissa of a small IEEE-like format as f64. `has_inf` false: only the
// all-ones pattern is NaN, the rest of the top exponent are numbers (e4m3fn).
constexpr double DecodeSmallFloat(uint32_t bits, int exponent_bits, int mantissa_bits,
                                  bool has_inf) {
  const uint32_t mantissa = bits & ((1U << mantissa_bits) - 1);
  const uint32_t top = (1U << exponent_bits) - 1;
  const uint32_t exponent = (bits >> mantissa_bits) & top;
  const bool negative = ((bits >> (mantissa_bits + exponent_bits)) & 1) != 0;
  double magnitude = 0;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  if (exponent == top && has_inf) {
    magnitude = mantissa != 0 ? std::numeric_limits<double>::quiet_NaN()
                              : std::numeric_limits<double>::infinity();
  } else if (exponent == top && mantissa == (1U << mantissa_bits) - 1) {
    magnitude = std::numeric_limits<double>::quiet_NaN();
  } else {
    const uint32_t significand = exponent == 0 ? mantissa : mantissa + (1U << mantissa_bits);
    const int power = static_cast<int>(exponent == 0 ? 1 : exponent) - bias - mantissa_bits;
    const double scale = std::bit_cast<double>(static_cast<uint64_t>(power + 1023) << 52);
    magnitude = significand * scale;
  }
  return negative ? -magnitude : magnitude;
}

constexpr std::array<float, 256> MakeTable(int exponent_bits, int mantissa_bits, bool has_inf) {
  std::array<float, 256> table{};
  for (uint32_t bits = 0; bits < 256; ++bits) {
    table[bits] = static_cast<float>(DecodeSmallFloat(bits, exponent_bits, mantissa_bits, has_inf));
  }
  return table;
}

constexpr std::array<float, 256> kF8E4M3 = MakeTable(4, 3, false);
constexpr std::array<float, 256> kF8E5M2 = MakeTable(5, 2, true);

double Modulus(double re, double im) {
  if (std::isnan(re) || std::isnan(im)) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  return std::hypot(re, im);
}

// The squares of two f32 neither overflow nor underflow an f64, unlike those of two f64.
double Modulus(float re, float im) {
  const auto re64 = static_cast<double>(re);
  const auto im64 = static_cast<double>(im);
  return std::isnan(re) || std::isnan(im) ? std::numeric_limits<double>::quiet_NaN()
                                          : std::sqrt(re64 * re64 + im64 * im64);
}

template <typename T, typename Convert>
void WidenEach(const uint8_t* from, int64_t count, double* to, Convert convert) {
  for (int64_t i = 0; i < count; ++i) {
    to[i] = convert(LoadUnaligned<T>(from + static_cast<size_t>(i) * sizeof(T)));
  }
}

template <typename T>
void WidenNumbers(const uint8_t* from, int64_t count, double* to) {
  WidenEach<T>(from, count, to, [](T value) { return static_cast<double>(value); });
}

template <typename T>
void WidenComplex(const uint8_t* from, int64_t count, double* to) {
  using Parts = std::array<T, 2>;
  WidenEach<Parts>(from, count, to, [](Parts z) { return Modulus(z[0], z[1]); });
}

void WidenFloats(DType dtype, const uint8_t* from, int64_t count, double* to) {
  switch (dtype) {
    case DType::kF16:
      return WidenEach<uint16_t>(from, count, to, F16ToF64);
    case DType::kBF16:
      return WidenEach<uint16_t>(from, count, to, [](uint16_t bits) {
        return static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(bits) << 16));
      });
    case DType::kF32:
      return WidenNumbers<float>(from, count, to);
    case DType::kF64:
      return WidenNumbers<double>(from, count, to);
    case DType::kC64:
      return WidenComplex<float>(from, count, to);
    case DType::kC128:
      return WidenComplex<double>(from, count, to);
    case DType::kF8E4M3:
      return WidenEach<uint8_t>(from, count, to,
                                [](uint8_t bits) { return static_cast<double>(kF8E4M3[bits]); });
    default:
      return WidenEach<uint8_t>(from, count, to,
                                [](uint8_t bits) { return static_cast<double>(kF8E5M2[bits]); });
  }
}

}  // namespace

const float* F8E4M3Table() noexcept { return kF8E4M3.data(); }
const float* F8E5M2Table() noexcept { return kF8E5M2.data(); }

double F16ToF64(uint16_t bits) noexcept { return DecodeSmallFloat(bits, 5, 10, true); }

void WidenToF64(DType dtype, const uint8_t* from, int64_t count, double* to) noexcept {
  switch (dtype) {
    case DType::kBool:
      return WidenEach<uint8_t>(from, count, to,
                                [](uint8_t byte) { return byte != 0 ? 1.0 : 0.0; });
    case DType::kU8:
      return WidenNumbers<uint8_t>(from, count, to);
    case DType::kI8:
      return WidenNumbers<int8_t>(from, count, to);
    case DType::kU16:
      return WidenNumbers<uint16_t>(from, count, to);
    case DType::kI16:
      return WidenNumbers<int16_t>(from, count, to);
    case DType::kU32:
      return WidenNumbers<uint32_t>(from, count, to);
    case DType::kI32:
      return WidenNumbers<int32_t>(from, count, to);
    case DType::kU64:
      return WidenNumbers<uint64_t>(from, count, to);
    case DType::kI64:
      return WidenNumbers<int64_t>(from, count, to);
    default:
      return WidenFloats(dtype, from, count, to);
  }
}

}  // namespace wheeltapper::tensor
