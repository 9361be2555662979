// Builds a format::Table column by column from sealed tables and row by row from the tail.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "wheeltapper/core/status.h"
#include "wheeltapper/format/parquet.h"

#include "row_keys.h"
#include "sealed_table.h"

namespace wheeltapper::trial {

enum class ColumnKind : uint8_t { kText, kInt32, kInt64, kTime, kDouble, kOptional, kList };

struct ColumnSpec {
  const char* name;
  ColumnKind kind;
};

class TableBuilder {
 public:
  // `specs` outlives the builder.
  explicit TableBuilder(std::span<const ColumnSpec> specs);

  // Adds the wanted rows of a sealed table that has all the columns; all of them or, on an error,
  // none.
  Status AppendSealed(const SealedTable& table, const KeyedRows& rows);

  // Adds one row, value by value in the order of the columns; each call moves on to the next
  // column. A value of another kind than the column's is a mistake of the caller.
  TableBuilder& Text(const std::string& value);
  TableBuilder& Int(int64_t value);
  TableBuilder& Double(double value);  // NaN is null in an optional column
  TableBuilder& List(const std::vector<int64_t>& values);

  format::Table Take();

 private:
  struct Part {
    format::ColumnData data;
    std::unordered_map<std::string, uint32_t> codes;  // of a text column's dictionary
  };
  Status AppendColumn(const SealedTable& table, const KeyedRows& rows, size_t column);
  void AddText(Part* part, const std::string& value);
  static void AddInt(Part* part, int64_t value);
  static void AddDouble(Part* part, double value, bool optional);
  static void AddList(Part* part, const std::vector<int64_t>& values);
  size_t Advance();

  std::span<const ColumnSpec> specs_;
  std::vector<Part> parts_;
  size_t next_ = 0;
};

}  // namespace wheeltapper::trial
