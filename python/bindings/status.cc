#include "status.h"

#include <array>
#include <string>

namespace wheeltapper::python {
namespace {

namespace nb = nanobind;

// Classes of wheeltapper.errors, by StatusCode.
constexpr std::array<const char*, 13> kErrorClasses = {
    "WheeltapperError",       "InvalidArgumentError",    "NotFoundError",
    "AlreadyExistsError",     "FailedPreconditionError", "OutOfRangeError",
    "ResourceExhaustedError", "UnavailableError",        "DeadlineExceededError",
    "CancelledError",         "DataLossError",           "UnimplementedError",
    "InternalError",
};

}  // namespace

void Raise(const Status& status) {
  const nb::object module = nb::module_::import_("wheeltapper.errors");
  const nb::object type = module.attr(kErrorClasses.at(static_cast<size_t>(status.code())));
  PyErr_SetObject(type.ptr(), nb::str(status.message().c_str(), status.message().size()).ptr());
  throw nb::python_error();
}

}  // namespace wheeltapper::python
