// Reductions of one array, straight from Python.
#pragma once

#include <nanobind/nanobind.h>

namespace wheeltapper::python {

void BindReduce(nanobind::module_& m);

}  // namespace wheeltapper::python
