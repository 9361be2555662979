// One row of a sealed table.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "wheeltapper/core/status.h"

#include "column_cache.h"
#include "sealed_table.h"

namespace wheeltapper::trial {

// A few columns of one row. All are looked up before any is read, so that the waits for their
// memory, which is cold in a random read, overlap. The table outlives it.
class SealedRow {
 public:
  static constexpr size_t kMaxColumns = 8;

  // At most kMaxColumns columns; the names outlive the row. NotFound for a column that the table
  // does not have.
  static Result<SealedRow> Open(const SealedTable& table, std::span<const char* const> columns,
                                int64_t row);

  // By the column's place in `columns`. DataLoss when it is of another kind.
  [[nodiscard]] Result<int64_t> Int(size_t column) const;
  [[nodiscard]] Result<std::string> Text(size_t column) const;

 private:
  SealedRow(const SealedTable& table, std::span<const char* const> columns, size_t at)
      : table_(&table), columns_(columns), at_(at) {}

  const SealedTable* table_;
  std::span<const char* const> columns_;
  size_t at_;  // in each of the blocks
  std::array<ColumnCache::Block, kMaxColumns> blocks_;
};

}  // namespace wheeltapper::trial
