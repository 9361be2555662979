#include "block_reader.h"

#include <algorithm>
#include <cstring>

namespace wheeltapper::tensor {
namespace {

template <size_t kItemSize>
void CopyStrided(const uint8_t* from, int64_t byte_stride, int64_t count, uint8_t* to) {
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(to, from, kItemSize);
    to += kItemSize;
    from += byte_stride;
  }
}

}  // namespace

// Of the arrays only the first ndim_ entries are ever read: clearing them would cost every tensor.
// NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init)
BlockReader::BlockReader(const TensorView& view) noexcept
    : item_size_(ItemSize(view.dtype)),
      remaining_(view.data == nullptr ? 0 : view.numel()),
      at_(static_cast<const uint8_t*>(view.data)) {
  if (remaining_ == 0 || view.strides == nullptr) {
    return;
  }
  const auto item_size = static_cast<int64_t>(item_size_);
  for (int32_t dim = 0; dim < view.ndim; ++dim) {
    const int64_t extent = view.shape[dim];
    const int64_t byte_stride = view.strides[dim] * item_size;
    if (extent == 1) {
      continue;
    }
    const auto last = static_cast<size_t>(ndim_) - 1;
    if (ndim_ > 0 && byte_strides_[last] == extent * byte_stride) {
      shape_[last] *= extent;
      byte_strides_[last] = byte_stride;
    } else {
      const auto slot = static_cast<size_t>(ndim_++);
      shape_[slot] = extent;
      byte_strides_[slot] = byte_stride;
      index_[slot] = 0;
    }
  }
  if (ndim_ == 1 && byte_strides_[0] == item_size) {
    ndim_ = 0;
  }
}

const uint8_t* BlockReader::Next(int64_t count, uint8_t* buffer) noexcept {
  remaining_ -= count;
  if (ndim_ == 0) {
    const uint8_t* block = at_;
    at_ += static_cast<size_t>(count) * item_size_;
    return block;
  }
  Gather(count, buffer);
  return buffer;
}

void BlockReader::Gather(int64_t count, uint8_t* to) noexcept {
  const auto inner = static_cast<size_t>(ndim_) - 1;
  while (count > 0) {
    const int64_t run = std::min(count, shape_[inner] - index_[inner]);
    CopyRow(run, to);
    to += static_cast<size_t>(run) * item_size_;
    count -= run;
    index_[inner] += run;
    at_ += run * byte_strides_[inner];
    if (index_[inner] == shape_[inner]) {
      AdvanceOuter();
    }
  }
}

void BlockReader::CopyRow(int64_t count, uint8_t* to) const noexcept {
  const int64_t byte_stride = byte_strides_[static_cast<size_t>(ndim_) - 1];
  if (byte_stride == static_cast<int64_t>(item_size_)) {
    std::memcpy(to, at_, static_cast<size_t>(count) * item_size_);
    return;
  }
  switch (item_size_) {
    case 1:
      CopyStrided<1>(at_, byte_stride, count, to);
      break;
    case 2:
      CopyStrided<2>(at_, byte_stride, count, to);
      break;
    case 4:
      CopyStrided<4>(at_, byte_stride, count, to);
      break;
    case 8:
      CopyStrided<8>(at_, byte_stride, count, to);
      break;
    default:
      CopyStrided<16>(at_, byte_stride, count, to);
      break;
  }
}

void BlockReader::AdvanceOuter() noexcept {
  for (auto dim = static_cast<size_t>(ndim_); dim-- > 0;) {
    if (index_[dim] < shape_[dim]) {
      return;
    }
    at_ -= shape_[dim] * byte_strides_[dim];
    index_[dim] = 0;
    if (dim > 0) {
      ++index_[dim - 1];
      at_ += byte_strides_[dim - 1];
    }
  }
}

}  // namespace wheeltapper::tensor
