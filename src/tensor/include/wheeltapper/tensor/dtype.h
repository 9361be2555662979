// Element types. The numeric values are stored in run directories: append, never renumber.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace wheeltapper::tensor {

enum class DType : uint8_t {
  kBool = 0,
  kU8 = 1,
  kI8 = 2,
  kU16 = 3,
  kI16 = 4,
  kU32 = 5,
  kI32 = 6,
  kU64 = 7,
  kI64 = 8,
  kF16 = 9,
  kBF16 = 10,
  kF32 = 11,
  kF64 = 12,
  kC64 = 13,     // two f32: real, imaginary
  kC128 = 14,    // two f64
  kF8E4M3 = 15,  // e4m3fn: no infinities
  kF8E5M2 = 16,
};
inline constexpr int kDTypeCount = 17;

// Bytes per element.
size_t ItemSize(DType dtype);
// The safetensors spelling: "BOOL", "U8", "F32", "BF16", "F8_E4M3", … (C64 and C128 are ours:
// safetensors stores them as U8).
std::string_view DTypeName(DType dtype);
// The NumPy/torch spelling: "float32", "bfloat16", "int64", "complex64", …
std::string_view DTypeFrameworkName(DType dtype);
std::optional<DType> DTypeFromName(std::string_view safetensors_name);
// False for a byte read from disk that is no DType.
constexpr bool IsValidDType(uint8_t raw) { return raw < kDTypeCount; }

}  // namespace wheeltapper::tensor
