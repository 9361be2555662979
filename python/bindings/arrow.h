// format::Table to Python through the Arrow C stream interface
// (https://arrow.apache.org/docs/format/CStreamInterface.html): pandas, Polars, DuckDB and pyarrow
// read it without a copy.
#pragma once

#include <memory>

#include <nanobind/nanobind.h>

#include "wheeltapper/format/parquet.h"

namespace wheeltapper::python {

// Shared by all exports of it; immutable.
struct NativeTable {
  std::shared_ptr<const format::Table> table;
};

void BindTable(nanobind::module_& m);

}  // namespace wheeltapper::python
