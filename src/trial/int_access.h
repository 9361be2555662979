// Columns of integers of any width, read as int64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>

#include "wheeltapper/format/parquet.h"

namespace wheeltapper::trial {

// Borrows the column; not ok() when it holds something else than integers or timestamps.
struct IntAccess {
  const int32_t* narrow = nullptr;
  const int64_t* wide = nullptr;
  [[nodiscard]] bool ok() const { return narrow != nullptr || wide != nullptr; }
  [[nodiscard]] int64_t at(size_t i) const { return wide != nullptr ? wide[i] : narrow[i]; }
};

inline IntAccess IntsOf(const format::ColumnData& data) {
  if (const auto* ints = std::get_if<format::Int64Column>(&data)) {
    return {nullptr, ints->values.data()};
  }
  if (const auto* times = std::get_if<format::TimestampColumn>(&data)) {
    return {nullptr, times->values.data()};
  }
  if (const auto* narrow = std::get_if<format::Int32Column>(&data)) {
    return {narrow->values.data(), nullptr};
  }
  return {};
}

}  // namespace wheeltapper::trial
