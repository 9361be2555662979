// The extension module `wheeltapper._native`. Each binding file adds its part here.
#include <nanobind/nanobind.h>

NB_MODULE(_native, module) { module.attr("__version__") = WT_VERSION; }
