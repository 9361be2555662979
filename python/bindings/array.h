// Arrays across the boundary: a borrowed TensorView of a Python object, and a read-only buffer that
// shows native memory to Python without a copy.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <nanobind/nanobind.h>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/tensor/tensor_view.h"

#include "dlpack.h"

namespace wheeltapper::python {

// How reading a Python object as an array went.
enum class ViewState : uint8_t {
  kOk,
  kOtherDevice,  // memory that the CPU cannot read
  kNotAnArray,   // neither exchange interface nor buffer, or a layout that has no pointer
};

// Resolves `__dlpack_c_exchange_api__` of a type once. Needs the GIL.
class ExchangeTable {
 public:
  // The interface of `type`, or nullptr when it has none of a version known here.
  const DLPackExchangeApi* Of(PyTypeObject* type);

 private:
  struct Entry {
    PyTypeObject* type = nullptr;
    const DLPackExchangeApi* api = nullptr;
  };
  std::array<Entry, 8> entries_{};
  size_t used_ = 0;
};
ExchangeTable& Exchange();

// Fills `view` from a DLTensor; shape and strides stay borrowed. kNotAnArray for an element type
// that has no DType.
ViewState ViewOfDLTensor(const DLTensor& from, tensor::TensorView* view);

// A view of any array-like object and what keeps it alive. The object must not change meanwhile.
// Not for the hot path: falls back to the buffer protocol.
class ArrayView {
 public:
  ArrayView() = default;
  ArrayView(const ArrayView&) = delete;
  ArrayView& operator=(const ArrayView&) = delete;
  ~ArrayView();
  // Leaves no Python error set.
  ViewState Read(nanobind::handle object);
  [[nodiscard]] const tensor::TensorView& view() const { return view_; }

 private:
  ViewState ReadBuffer(nanobind::handle object);
  tensor::TensorView view_;
  Py_buffer buffer_{};
  bool has_buffer_ = false;
  std::array<int64_t, tensor::kMaxDims> shape_{};
  std::array<int64_t, tensor::kMaxDims> strides_{};
};

// Read-only memory that implements Python's buffer protocol; `owner` keeps it alive.
struct NativeArray {
  ByteSpan bytes;  // from the first element to the last, gaps between strides included
  std::shared_ptr<const void> owner;
  tensor::DType dtype = tensor::DType::kU8;
  std::vector<Py_ssize_t> shape;
  std::vector<Py_ssize_t> strides;  // in bytes
};
// A one-dimensional array that owns `values`.
template <typename T>
NativeArray OwnedArray(std::vector<T> values, tensor::DType dtype) {
  auto owner = std::make_shared<const std::vector<T>>(std::move(values));
  NativeArray array;
  array.bytes = {reinterpret_cast<const uint8_t*>(owner->data()), owner->size() * sizeof(T)};
  array.dtype = dtype;
  array.shape = {static_cast<Py_ssize_t>(owner->size())};
  array.strides = {static_cast<Py_ssize_t>(sizeof(T))};
  array.owner = std::move(owner);
  return array;
}
// Fills C-order strides from shape and dtype.
void SetContiguousStrides(NativeArray* array);

void BindArray(nanobind::module_& m);

}  // namespace wheeltapper::python
