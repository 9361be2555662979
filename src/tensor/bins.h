// How an f32 pattern maps to a histogram bin.
//
//   raw index (13 bits): sign | 8 exponent bits | 4 mantissa bits
//   bin id: 0 zero, ±1 denormals, ±16 … ±4079 normal numbers (magnitude bits of the raw index),
//   ±4080 infinities, 4081 NaN
#pragma once

#include <bit>
#include <cstdint>

namespace wheeltapper::tensor {

inline constexpr int kBinShift = 19;  // 32 − 13
inline constexpr int kMagnitudeBins = 4096;
inline constexpr int kDenormalBin = 1;
inline constexpr int kFirstNormalBin = 16;
inline constexpr int kLastNormalBin = 4079;
inline constexpr int kInfBin = 4080;
inline constexpr int kNaNBin = 4081;
inline constexpr int kBinOffset = 4096;  // array index of bin 0

constexpr int BinOfF32(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffffU;
  int bin = static_cast<int>(magnitude >> kBinShift);
  if (magnitude > 0x7f800000U) {
    return kNaNBin;
  }
  if (magnitude == 0) {
    return 0;
  }
  if (bin < kFirstNormalBin) {
    bin = kDenormalBin;
  }
  return (bits >> 31) != 0 ? -bin : bin;
}

constexpr bool IsValidBin(int bin) {
  const int magnitude = bin < 0 ? -bin : bin;
  return bin == kNaNBin || magnitude <= kDenormalBin ||
         (magnitude >= kFirstNormalBin && magnitude <= kInfBin);
}

}  // namespace wheeltapper::tensor
