// A borrowed array: pointer, dtype, shape, strides. Owns nothing, links no framework.
#pragma once

#include <cstdint>
#include <span>

#include "wheeltapper/tensor/dtype.h"

namespace wheeltapper::tensor {

inline constexpr int kMaxDims = 64;  // torch's own limit

// Shape and strides are in elements and outlive the view. `strides == nullptr` means C-contiguous.
// Data may be misaligned. `data` may be null only when the tensor has no elements.
struct TensorView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int32_t ndim = 0;
  const int64_t* shape = nullptr;
  const int64_t* strides = nullptr;

  // Product of the shape; 1 for a 0-d tensor, 0 when any extent is 0.
  [[nodiscard]] int64_t numel() const;
  [[nodiscard]] int64_t nbytes() const;
  // True when the elements lie in C order without gaps (extents of 1 do not matter).
  [[nodiscard]] bool is_contiguous() const;
};

// Copies a view of any strides into `to` (C order, nbytes() bytes). Allocation-free.
void CopyContiguous(const TensorView& view, void* to);

}  // namespace wheeltapper::tensor
