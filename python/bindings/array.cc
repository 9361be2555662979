#include "array.h"

#include <optional>
#include <string_view>

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

namespace wheeltapper::python {
namespace {

namespace nb = nanobind;
using tensor::DType;

// DLPack's type codes.
enum DLCode : uint8_t {
  kDLInt = 0,
  kDLUInt = 1,
  kDLFloat = 2,
  kDLBfloat = 4,
  kDLComplex = 5,
  kDLBool = 6,
  kDLFloat8E4M3Fn = 10,
  kDLFloat8E5M2 = 12,
};

std::optional<DType> IntegerOf(unsigned bits, bool is_signed) {
  switch (bits) {
    case 8:
      return is_signed ? DType::kI8 : DType::kU8;
    case 16:
      return is_signed ? DType::kI16 : DType::kU16;
    case 32:
      return is_signed ? DType::kI32 : DType::kU32;
    case 64:
      return is_signed ? DType::kI64 : DType::kU64;
    default:
      return std::nullopt;
  }
}

std::optional<DType> FloatOf(unsigned bits) {
  switch (bits) {
    case 16:
      return DType::kF16;
    case 32:
      return DType::kF32;
    case 64:
      return DType::kF64;
    default:
      return std::nullopt;
  }
}

std::optional<DType> ComplexOf(unsigned bits) {
  switch (bits) {
    case 64:
      return DType::kC64;
    case 128:
      return DType::kC128;
    default:
      return std::nullopt;
  }
}

std::optional<DType> DTypeOf(const DLDataType& from) {
  if (from.lanes != 1) {
    return std::nullopt;
  }
  switch (from.code) {
    case kDLInt:
    case kDLUInt:
      return IntegerOf(from.bits, from.code == kDLInt);
    case kDLFloat:
      return FloatOf(from.bits);
    case kDLComplex:
      return ComplexOf(from.bits);
    case kDLBfloat:
      return from.bits == 16 ? std::optional(DType::kBF16) : std::nullopt;
    case kDLBool:
      return from.bits == 8 ? std::optional(DType::kBool) : std::nullopt;
    case kDLFloat8E4M3Fn:
      return from.bits == 8 ? std::optional(DType::kF8E4M3) : std::nullopt;
    case kDLFloat8E5M2:
      return from.bits == 8 ? std::optional(DType::kF8E5M2) : std::nullopt;
    default:
      return std::nullopt;
  }
}

// The struct module's characters, native size and order only.
std::optional<DType> DTypeOfFormat(std::string_view format, Py_ssize_t item_bytes) {
  if (format.starts_with('@') || format.starts_with('=') || format.starts_with('<')) {
    format.remove_prefix(1);
  }
  const auto bits = static_cast<unsigned>(item_bytes * 8);
  if (format == "?") {
    return DType::kBool;
  }
  if (format == "Zf" || format == "Zd") {
    return ComplexOf(bits);
  }
  if (format.size() != 1) {
    return std::nullopt;
  }
  constexpr std::string_view kSigned = "bhilqn";
  constexpr std::string_view kUnsigned = "BHILQN";
  constexpr std::string_view kFloats = "efd";
  if (kSigned.find(format[0]) != std::string_view::npos) {
    return IntegerOf(bits, true);
  }
  if (kUnsigned.find(format[0]) != std::string_view::npos) {
    return IntegerOf(bits, false);
  }
  return kFloats.find(format[0]) != std::string_view::npos ? FloatOf(bits) : std::nullopt;
}

// What NumPy reads the memory as. Types it does not know are shown as integers of their width.
const char* FormatOf(DType dtype) {
  constexpr std::array<const char*, tensor::kDTypeCount> kFormats = {
      "?", "B", "b", "H", "h", "I", "i", "Q", "q", "e", "H", "f", "d", "Zf", "Zd", "B", "B"};
  return kFormats.at(static_cast<size_t>(dtype));
}

// Bytes of the elements alone.
Py_ssize_t ElementBytes(const NativeArray& array) {
  auto nbytes = static_cast<Py_ssize_t>(tensor::ItemSize(array.dtype));
  for (const Py_ssize_t extent : array.shape) {
    nbytes *= extent;
  }
  return nbytes;
}

bool AsksForContiguous(int flags) {
  const auto asks = [flags](int what) { return (flags & what) == what; };
  return asks(PyBUF_C_CONTIGUOUS) || asks(PyBUF_F_CONTIGUOUS) || asks(PyBUF_ANY_CONTIGUOUS);
}

int GetBuffer(PyObject* self, Py_buffer* out, int flags) {
  if ((flags & PyBUF_WRITABLE) != 0) {
    PyErr_SetString(PyExc_BufferError, "the values of a run are read-only");
    return -1;
  }
  auto* array = nb::inst_ptr<NativeArray>(self);
  const Py_ssize_t nbytes = ElementBytes(*array);
  const bool gaps = static_cast<size_t>(nbytes) != array->bytes.size();
  if (gaps && ((flags & PyBUF_STRIDES) != PyBUF_STRIDES || AsksForContiguous(flags))) {
    PyErr_SetString(PyExc_BufferError, "the values are not contiguous");
    return -1;
  }
  static const uint8_t kEmpty = 0;
  const uint8_t* data = array->bytes.empty() ? &kEmpty : array->bytes.data();
  *out = Py_buffer{};
  // The protocol has no const; readonly = 1 is its promise.
  out->buf = const_cast<uint8_t*>(data);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  out->len = nbytes;
  out->itemsize = static_cast<Py_ssize_t>(tensor::ItemSize(array->dtype));
  out->readonly = 1;
  out->ndim = static_cast<int>(array->shape.size());
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast)
  out->format = (flags & PyBUF_FORMAT) != 0 ? const_cast<char*>(FormatOf(array->dtype)) : nullptr;
  out->shape = (flags & PyBUF_ND) != 0 ? array->shape.data() : nullptr;
  out->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? array->strides.data() : nullptr;
  out->obj = Py_NewRef(self);
  return 0;
}

}  // namespace

const DLPackExchangeApi* ExchangeTable::Of(PyTypeObject* type) {
  for (size_t i = 0; i < used_; ++i) {
    if (entries_.at(i).type == type) {
      return entries_.at(i).api;
    }
  }
  const DLPackExchangeApi* api = nullptr;
  auto* type_object = reinterpret_cast<PyObject*>(type);
  PyObject* capsule = PyObject_GetAttrString(type_object, kExchangeAttribute);
  if (capsule != nullptr) {
    if (PyCapsule_IsValid(capsule, kExchangeCapsule) != 0) {
      api = static_cast<const DLPackExchangeApi*>(PyCapsule_GetPointer(capsule, kExchangeCapsule));
    }
    Py_DECREF(capsule);
  }
  PyErr_Clear();
  while (api != nullptr && api->version.major > kDLPackMajor) {
    api = api->prev_api;
  }
  if (api != nullptr &&
      (api->version.major != kDLPackMajor || api->dltensor_from_py_object == nullptr)) {
    api = nullptr;
  }
  if (used_ < entries_.size()) {
    Py_INCREF(type_object);  // the table outlives every type it names
    entries_.at(used_++) = {type, api};
  }
  return api;
}

ExchangeTable& Exchange() {
  static ExchangeTable table;
  return table;
}

ViewState ViewOfDLTensor(const DLTensor& from, tensor::TensorView* view) {
  const std::optional<DType> dtype = DTypeOf(from.dtype);
  if (!dtype || from.ndim < 0 || from.ndim > tensor::kMaxDims) {
    return ViewState::kNotAnArray;
  }
  if (from.device.device_type != kDLCpu) {
    return ViewState::kOtherDevice;
  }
  view->data =
      from.data == nullptr ? nullptr : static_cast<const uint8_t*>(from.data) + from.byte_offset;
  view->dtype = *dtype;
  view->ndim = from.ndim;
  view->shape = from.shape;
  view->strides = from.strides;
  return ViewState::kOk;
}

ArrayView::~ArrayView() {
  if (has_buffer_) {
    PyBuffer_Release(&buffer_);
  }
}

ViewState ArrayView::Read(nb::handle object) {
  const DLPackExchangeApi* api = Exchange().Of(Py_TYPE(object.ptr()));
  if (api == nullptr) {
    return ReadBuffer(object);
  }
  DLTensor tensor{};
  if (api->dltensor_from_py_object(object.ptr(), &tensor) != 0) {
    PyErr_Clear();
    return ViewState::kNotAnArray;
  }
  return ViewOfDLTensor(tensor, &view_);
}

ViewState ArrayView::ReadBuffer(nb::handle object) {
  if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_RECORDS_RO) != 0) {
    PyErr_Clear();
    return ViewState::kNotAnArray;
  }
  has_buffer_ = true;
  const std::optional<DType> dtype =
      DTypeOfFormat(buffer_.format == nullptr ? "B" : buffer_.format, buffer_.itemsize);
  if (!dtype || buffer_.ndim > tensor::kMaxDims) {
    return ViewState::kNotAnArray;
  }
  for (int i = 0; i < buffer_.ndim; ++i) {
    const auto at = static_cast<size_t>(i);
    if (buffer_.strides[i] % buffer_.itemsize != 0) {
      return ViewState::kNotAnArray;
    }
    shape_.at(at) = buffer_.shape[i];
    strides_.at(at) = buffer_.strides[i] / buffer_.itemsize;
  }
  view_ = {buffer_.buf, *dtype, buffer_.ndim, shape_.data(), strides_.data()};
  return ViewState::kOk;
}

void SetContiguousStrides(NativeArray* array) {
  array->strides.resize(array->shape.size());
  auto stride = static_cast<Py_ssize_t>(tensor::ItemSize(array->dtype));
  for (size_t i = array->shape.size(); i-- > 0;) {
    array->strides[i] = stride;
    stride *= array->shape[i];
  }
}

void BindArray(nb::module_& m) {
  static std::array<PyType_Slot, 2> slots = {
      PyType_Slot{Py_bf_getbuffer, reinterpret_cast<void*>(&GetBuffer)}, PyType_Slot{0, nullptr}};
  nb::class_<NativeArray>(m, "NativeArray", nb::type_slots(slots.data()),
                          "Read-only memory of a run, through the buffer protocol.")
      .def_prop_ro(
          "dtype",
          [](const NativeArray& self) {
            return std::string(tensor::DTypeFrameworkName(self.dtype));
          },
          "Element type by its NumPy or torch name.")
      .def_prop_ro(
          "shape", [](const NativeArray& self) { return nb::tuple(nb::cast(self.shape)); },
          "Extents.")
      .def_prop_ro(
          "nbytes", [](const NativeArray& self) { return ElementBytes(self); }, "Size in bytes.");
}

}  // namespace wheeltapper::python
