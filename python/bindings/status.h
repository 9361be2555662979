// From Status to a Python exception, in one place; and work without the GIL.
#pragma once

#include <utility>

#include <nanobind/nanobind.h>

#include "wheeltapper/core/status.h"

namespace wheeltapper::python {

// Raises the class of wheeltapper.errors that belongs to the status' code. Needs the GIL.
[[noreturn]] void Raise(const Status& status);

inline void Unwrap(const Status& status) {
  if (!status.ok()) {
    Raise(status);
  }
}

template <typename T>
T Unwrap(Result<T> result) {
  if (!result.ok()) {
    Raise(result.status());
  }
  return std::move(result).value();
}

// Runs `work` with the GIL released; its value comes back with the GIL held again, so that Unwrap
// may raise. `work` must not touch Python.
template <typename Work>
auto WithoutGil(Work&& work) {
  const nanobind::gil_scoped_release release;
  return std::forward<Work>(work)();
}

}  // namespace wheeltapper::python
