#include "table_builder.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

namespace wheeltapper::trial {
namespace {

format::ColumnData EmptyColumn(ColumnKind kind) {
  switch (kind) {
    case ColumnKind::kText:
      return format::StringColumn{};
    case ColumnKind::kInt32:
      return format::Int32Column{};
    case ColumnKind::kInt64:
      return format::Int64Column{};
    case ColumnKind::kTime:
      return format::TimestampColumn{};
    case ColumnKind::kDouble:
    case ColumnKind::kOptional:
      return format::DoubleColumn{};
    case ColumnKind::kList:
      return format::Int64ListColumn{{0}, {}};
  }
  return format::Int64Column{};
}

template <class... Ts>
struct EachColumn : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
EachColumn(Ts...) -> EachColumn<Ts...>;

size_t RowsOf(const format::ColumnData& data) {
  return std::visit(
      EachColumn{[](const format::StringColumn& column) { return column.codes.size(); },
                 [](const format::Int64ListColumn& column) { return column.offsets.size() - 1; },
                 [](const auto& column) { return column.values.size(); }},
      data);
}

void CutColumn(size_t rows, format::ColumnData* data) {
  std::visit(EachColumn{[rows](format::StringColumn& column) { column.codes.resize(rows); },
                        [rows](format::Int64ListColumn& column) {
                          column.offsets.resize(rows + 1);
                          column.values.resize(static_cast<size_t>(column.offsets.back()));
                        },
                        [rows](format::DoubleColumn& column) {
                          column.values.resize(rows);
                          column.present.resize(std::min(column.present.size(), rows));
                        },
                        [rows](auto& column) { column.values.resize(rows); }},
             *data);
}

}  // namespace

TableBuilder::TableBuilder(std::span<const ColumnSpec> specs) : specs_(specs) {
  for (const ColumnSpec& spec : specs_) {
    parts_.push_back({EmptyColumn(spec.kind), {}});
  }
}

void TableBuilder::AddText(Part* part, const std::string& value) {
  if (auto* column = std::get_if<format::StringColumn>(&part->data)) {
    const auto [at, added] =
        part->codes.try_emplace(value, static_cast<uint32_t>(column->dictionary.size()));
    if (added) {
      column->dictionary.push_back(value);
    }
    column->codes.push_back(at->second);
  }
}

void TableBuilder::AddInt(Part* part, int64_t value) {
  if (auto* wide = std::get_if<format::Int64Column>(&part->data)) {
    wide->values.push_back(value);
  } else if (auto* time = std::get_if<format::TimestampColumn>(&part->data)) {
    time->values.push_back(value);
  } else if (auto* narrow = std::get_if<format::Int32Column>(&part->data)) {
    narrow->values.push_back(static_cast<int32_t>(value));
  }
}

void TableBuilder::AddDouble(Part* part, double value, bool optional) {
  if (auto* column = std::get_if<format::DoubleColumn>(&part->data)) {
    const bool null = optional && std::isnan(value);
    column->values.push_back(null ? 0 : value);
    if (optional) {
      column->present.push_back(null ? 0 : 1);
    }
  }
}

void TableBuilder::AddList(Part* part, const std::vector<int64_t>& values) {
  if (auto* column = std::get_if<format::Int64ListColumn>(&part->data)) {
    column->values.insert(column->values.end(), values.begin(), values.end());
    column->offsets.push_back(static_cast<int64_t>(column->values.size()));
  }
}

size_t TableBuilder::Advance() {
  const size_t column = next_;
  next_ = (next_ + 1) % parts_.size();
  return column;
}

TableBuilder& TableBuilder::Text(const std::string& value) {
  AddText(&parts_[Advance()], value);
  return *this;
}

TableBuilder& TableBuilder::Int(int64_t value) {
  AddInt(&parts_[Advance()], value);
  return *this;
}

TableBuilder& TableBuilder::Double(double value) {
  const size_t column = Advance();
  AddDouble(&parts_[column], value, specs_[column].kind == ColumnKind::kOptional);
  return *this;
}

TableBuilder& TableBuilder::List(const std::vector<int64_t>& values) {
  AddList(&parts_[Advance()], values);
  return *this;
}

Status TableBuilder::AppendSealed(const SealedTable& table, const KeyedRows& rows) {
  const size_t before = parts_.empty() ? 0 : RowsOf(parts_.front().data);
  Status appended;
  for (size_t column = 0; appended.ok() && !rows.rows.empty() && column < parts_.size(); ++column) {
    appended = AppendColumn(table, rows, column);
  }
  for (Part& part : parts_) {
    if (!appended.ok() && RowsOf(part.data) > before) {
      CutColumn(before, &part.data);  // a text that is in the dictionary only does not matter
    }
  }
  return appended;
}

Status TableBuilder::AppendColumn(const SealedTable& table, const KeyedRows& rows, size_t column) {
  const ColumnSpec& spec = specs_[column];
  Part* part = &parts_[column];
  switch (spec.kind) {
    case ColumnKind::kText: {
      WT_ASSIGN_OR_RETURN(const auto values, table.ReadTexts(spec.name, rows.range));
      for (const size_t row : rows.rows) {
        AddText(part, values[row]);
      }
      return {};
    }
    case ColumnKind::kList: {
      WT_ASSIGN_OR_RETURN(const auto values, table.ReadLists(spec.name, rows.range));
      for (const size_t row : rows.rows) {
        AddList(part, values[row]);
      }
      return {};
    }
    case ColumnKind::kDouble:
    case ColumnKind::kOptional: {
      WT_ASSIGN_OR_RETURN(const auto values, table.ReadDoubles(spec.name, rows.range));
      for (const size_t row : rows.rows) {
        AddDouble(part, values[row], spec.kind == ColumnKind::kOptional);
      }
      return {};
    }
    case ColumnKind::kInt32:
    case ColumnKind::kInt64:
    case ColumnKind::kTime: {
      WT_ASSIGN_OR_RETURN(const auto values, table.ReadInts(spec.name, rows.range));
      for (const size_t row : rows.rows) {
        AddInt(part, values[row]);
      }
      return {};
    }
  }
  return {};
}

format::Table TableBuilder::Take() {
  format::Table table;
  for (size_t column = 0; column < parts_.size(); ++column) {
    table.columns.push_back({specs_[column].name, std::move(parts_[column].data)});
  }
  return table;
}

}  // namespace wheeltapper::trial
