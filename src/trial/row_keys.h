// The rows of a sealed table that a query wants, with their keys decoded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/rows.h"
#include "wheeltapper/trial/trial.h"

#include "sealed_table.h"

namespace wheeltapper::trial {

struct KeyedRows {
  RowRange range;                     // what was decoded
  std::vector<size_t> rows;           // offsets into it of the rows that are wanted
  std::vector<format::StepKey> keys;  // of those rows
  std::vector<TimeNs> times;          // of those rows

  // The wanted entries of a column that was read over `range`.
  template <typename T>
  std::vector<T> Pick(std::vector<T> column) const {
    if (rows.size() == column.size()) {
      return column;
    }
    std::vector<T> picked;
    picked.reserve(rows.size());
    for (const size_t row : rows) {
      picked.push_back(std::move(column[row]));
    }
    return picked;
  }
};

// Rows of `range` that fit the query. With `sorted_by_step` only the stretch between first_step and
// last_step is decoded.
Result<KeyedRows> SelectRows(const SealedTable& table, Rank rank, RowRange range,
                             const SeriesQuery& query, bool sorted_by_step);

}  // namespace wheeltapper::trial
