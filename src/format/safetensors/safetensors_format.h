// What reading and writing safetensors files share.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "wheeltapper/tensor/dtype.h"

namespace wheeltapper::format::safetensors {

inline constexpr std::string_view kMetadataKey = "__metadata__";
inline constexpr std::string_view kPadPrefix = "__pad__/";
// The limit of Hugging Face's parser.
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;

// Bytes of a tensor; nothing when a dimension is negative or the product does not fit 63 bits.
inline std::optional<uint64_t> TensorBytes(tensor::DType dtype, const std::vector<int64_t>& shape) {
  int64_t nbytes = static_cast<int64_t>(tensor::ItemSize(dtype));
  bool overflow = false;
  bool empty = false;
  for (const int64_t dimension : shape) {
    if (dimension < 0) {
      return std::nullopt;
    }
    empty = empty || dimension == 0;
    overflow = __builtin_mul_overflow(nbytes, dimension, &nbytes) || overflow;
  }
  if (empty) {
    return 0;
  }
  return overflow ? std::nullopt : std::optional<uint64_t>(static_cast<uint64_t>(nbytes));
}

}  // namespace wheeltapper::format::safetensors
