// Tables that unit tests, the conformance tests in Python and the seeds of the fuzzers share.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "wheeltapper/format/parquet.h"

namespace wheeltapper::format {

// One column of each kind ("name", "i32", "i64", "time", "f64", "maybe", "list"), with extremes,
// NaN, infinities, both zeros, nulls, empty lists and runs. The same seed gives the same table
// everywhere.
Table SampleTable(int64_t rows, uint32_t seed);

// Rows as a sealed `stats` file has them: sorted by (tensor, step), 15 double columns that hold
// `noise` rounded to f32.
Table StatsLikeTable(int64_t tensors, int64_t steps);

}  // namespace wheeltapper::format
