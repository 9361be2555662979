#include "sealed_row.h"

#include <variant>

#include "int_access.h"

namespace wheeltapper::trial {
namespace {

void Prefetch(const format::ColumnData& data, size_t at) {
  if (const auto* texts = std::get_if<format::StringColumn>(&data)) {
    __builtin_prefetch(texts->codes.data() + at);
  } else if (const IntAccess ints = IntsOf(data); ints.wide != nullptr) {
    __builtin_prefetch(ints.wide + at);
  } else if (ints.narrow != nullptr) {
    __builtin_prefetch(ints.narrow + at);
  }
}

}  // namespace

Result<SealedRow> SealedRow::Open(const SealedTable& table, std::span<const char* const> columns,
                                  int64_t row) {
  SealedRow out(table, columns, static_cast<size_t>(row % SealedTable::kBlockRows));
  for (size_t i = 0; i < columns.size(); ++i) {
    WT_ASSIGN_OR_RETURN(out.blocks_.at(i),
                        table.BlockOf(columns[i], row / SealedTable::kBlockRows));
    Prefetch(*out.blocks_.at(i), out.at_);
  }
  return out;
}

Result<int64_t> SealedRow::Int(size_t column) const {
  const IntAccess ints = IntsOf(*blocks_.at(column));
  return ints.ok() ? Result<int64_t>(ints.at(at_)) : table_->WrongKind(columns_[column]);
}

Result<std::string> SealedRow::Text(size_t column) const {
  const auto* texts = std::get_if<format::StringColumn>(blocks_.at(column).get());
  if (texts == nullptr || texts->codes[at_] >= texts->dictionary.size()) {
    return table_->WrongKind(columns_[column]);
  }
  return texts->dictionary[texts->codes[at_]];
}

}  // namespace wheeltapper::trial
