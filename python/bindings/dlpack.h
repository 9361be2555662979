// The part of DLPack 1.3's C exchange interface that is used here: one call fills pointer, shape,
// strides, dtype and device of a Python tensor without touching the framework's headers. Layout as
// specified by https://dmlc.github.io/dlpack/latest/c_api.html.
#pragma once

#include <cstdint>

namespace wheeltapper::python {

struct DLDevice {
  int32_t device_type;
  int32_t device_id;
};
inline constexpr int32_t kDLCpu = 1;

struct DLDataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};

// Shape and strides are in elements and belong to the producer.
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};

struct DLPackVersion {
  uint32_t major;
  uint32_t minor;
};

struct DLPackExchangeApi {
  DLPackVersion version;
  DLPackExchangeApi* prev_api;
  // Members that are not called here keep their place as opaque pointers.
  void* managed_tensor_allocator;
  void* managed_tensor_from_py_object;
  void* managed_tensor_to_py_object;
  // 0 on success, −1 with a Python exception set; null when the producer has none. The view is
  // valid until control returns to Python.
  int (*dltensor_from_py_object)(void* py_object, DLTensor* out);
  void* current_work_stream;
};
inline constexpr uint32_t kDLPackMajor = 1;
inline constexpr const char* kExchangeCapsule = "dlpack_exchange_api";
inline constexpr const char* kExchangeAttribute = "__dlpack_c_exchange_api__";

}  // namespace wheeltapper::python
