// Walks a view in C order as blocks of consecutive elements: straight pointers into the tensor
// where its elements lie without gaps, gathered into a caller's buffer where they do not.
#pragma once

#include <array>
#include <cstdint>

#include "wheeltapper/tensor/tensor_view.h"

namespace wheeltapper::tensor {

// Adjacent dimensions that step through memory as one are joined, extents of 1 dropped.
// Allocation-free; 1.5 KiB, meant for the stack. Not thread-safe.
class BlockReader {
 public:
  explicit BlockReader(const TensorView& view) noexcept;

  // Elements not yet read. 0 from the start for a view without data.
  [[nodiscard]] int64_t remaining() const noexcept { return remaining_; }
  // True when Next never touches its buffer.
  [[nodiscard]] bool is_contiguous() const noexcept { return ndim_ == 0; }
  [[nodiscard]] size_t item_size() const noexcept { return item_size_; }

  // The next `count` ≤ remaining() elements. `buffer` holds count * item_size() bytes; the result
  // points either there or into the tensor and may be misaligned.
  const uint8_t* Next(int64_t count, uint8_t* buffer) noexcept;

 private:
  void Gather(int64_t count, uint8_t* to) noexcept;
  void CopyRow(int64_t count, uint8_t* to) const noexcept;
  void AdvanceOuter() noexcept;

  size_t item_size_ = 1;
  int64_t remaining_ = 0;
  const uint8_t* at_ = nullptr;  // next element
  int ndim_ = 0;                 // joined dimensions, outermost first; 0 = contiguous
  std::array<int64_t, kMaxDims> shape_;
  std::array<int64_t, kMaxDims> byte_strides_;
  std::array<int64_t, kMaxDims> index_;
};

}  // namespace wheeltapper::tensor
