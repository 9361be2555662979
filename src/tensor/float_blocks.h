// Reads a view as blocks of f32 or f64 in C order: pointers into the tensor where it holds aligned
// elements of that type without gaps, else converted copies.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "wheeltapper/tensor/tensor_view.h"

#include "block_reader.h"
#include "kernels.h"
#include "moment_pass.h"

namespace wheeltapper::tensor {

// Rounded to f32, but a finite value stays finite and a non-zero one stays non-zero.
float NarrowToF32(double value) noexcept;

// Float is float (dtypes beyond FitsF32 are narrowed by NarrowToF32) or double (all dtypes). About
// 50 KiB, meant for the stack. Not thread-safe.
template <typename Float>
class FloatBlocks {
 public:
  explicit FloatBlocks(const TensorView& view) noexcept;

  // Size of the next block, at most kBlockBytes / sizeof(float); 0 at the end. `*values` is
  // aligned, and valid until the next call.
  size_t Next(const Float** values) noexcept;

 private:
  const Float* Convert(const uint8_t* block, size_t count) noexcept;

  BlockReader reader_;
  const DType dtype_;
  const int64_t block_elements_;
  alignas(64) std::array<uint8_t, kBlockBytes> raw_;
  alignas(64) std::array<double, kBlockBytes / sizeof(double)> f64_;
  alignas(64) std::array<float, kBlockBytes / sizeof(float)> f32_;
};

extern template class FloatBlocks<float>;
extern template class FloatBlocks<double>;

}  // namespace wheeltapper::tensor
