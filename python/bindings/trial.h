// The Python face of trial::Trial. Calls keep the GIL: a Trial is not thread-safe, and this makes
// it usable from any Python thread.
#pragma once

#include <nanobind/nanobind.h>

namespace wheeltapper::python {

void BindTrial(nanobind::module_& m);

}  // namespace wheeltapper::python
