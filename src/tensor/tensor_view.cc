#include "wheeltapper/tensor/tensor_view.h"

#include <limits>

#include "wheeltapper/tensor/stats.h"

#include "block_reader.h"

namespace wheeltapper::tensor {

int64_t TensorView::numel() const {
  if (ndim < 0 || ndim > kMaxDims) {
    return 0;
  }
  int64_t count = 1;
  bool overflow = false;
  for (int32_t dim = 0; dim < ndim; ++dim) {
    if (shape[dim] <= 0) {
      return 0;
    }
    overflow = overflow || __builtin_mul_overflow(count, shape[dim], &count);
  }
  return overflow ? std::numeric_limits<int64_t>::max() : count;
}

int64_t TensorView::nbytes() const {
  int64_t total = 0;
  if (__builtin_mul_overflow(numel(), static_cast<int64_t>(ItemSize(dtype)), &total)) {
    return std::numeric_limits<int64_t>::max();
  }
  return total;
}

bool TensorView::is_contiguous() const {
  if (strides == nullptr || numel() == 0) {
    return true;
  }
  int64_t expected = 1;
  for (int32_t dim = ndim; dim-- > 0;) {
    if (shape[dim] != 1 && strides[dim] != expected) {
      return false;
    }
    expected *= shape[dim];
  }
  return true;
}

void CopyContiguous(const TensorView& view, void* to) { CopyTensor(view, to); }

}  // namespace wheeltapper::tensor
