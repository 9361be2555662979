// Tap: stands in for a function of the user's framework, calls ours before and after, and then the
// original. It is a C callable, so it leaves no frame: tracebacks and warnings look as they would
// without Wheeltapper.
#pragma once

#include <nanobind/nanobind.h>

namespace wheeltapper::python {

// Adds `tap(original, before, after)`: a callable and method like `original`. before(*args,
// **kwargs) runs first, after(result, *args, **kwargs) when the original returned; either may be
// None. An exception in them is the tap's own; Wheeltapper's are fused and raise only under
// WHEELTAPPER_STRICT=1.
void BindTap(nanobind::module_& m);

}  // namespace wheeltapper::python
