// Whole tables, filtered, with the columns that sealed files have.
#include <algorithm>
#include <array>
#include <string>
#include <unordered_set>
#include <vector>

#include "wheeltapper/core/suggest.h"

#include "row_keys.h"
#include "run_view.h"
#include "sealed_columns.h"
#include "stat_columns.h"
#include "table_builder.h"

namespace wheeltapper::trial {
namespace {

using enum ColumnKind;

constexpr std::array<ColumnSpec, 5> kKeyColumns{{{kStepColumn, kInt64},
                                                 {kModeColumn, kText},
                                                 {kModeStepColumn, kInt64},
                                                 {"rank", kInt32},
                                                 {kTimeColumn, kTime}}};
constexpr size_t kCountColumns = 6;  // the first of StatColumnNames() are integers

std::vector<ColumnSpec> NamedColumns(const char* name_column) {
  std::vector<ColumnSpec> specs{{name_column, kText}, {kCollectionColumn, kText}};
  specs.insert(specs.end(), kKeyColumns.begin(), kKeyColumns.end());
  return specs;
}

std::vector<ColumnSpec> ScalarColumns() {
  std::vector<ColumnSpec> specs = NamedColumns(kNameColumn);
  specs.push_back({kValueColumn, kDouble});
  return specs;
}

std::vector<ColumnSpec> StatsColumns() {
  std::vector<ColumnSpec> specs = NamedColumns(kTensorColumn);
  specs.insert(specs.end(), {{kDTypeColumn, kText}, {kShapeColumn, kText}});
  size_t at = 0;
  for (const StatColumn& column : StatColumns()) {
    specs.push_back({column.name, at++ < kCountColumns ? kInt64 : kOptional});
  }
  specs.insert(specs.end(), {{"hist_bins", kList}, {"hist_counts", kList}});
  return specs;
}

std::vector<ColumnSpec> TensorColumns() {
  std::vector<ColumnSpec> specs = NamedColumns(kTensorColumn);
  specs.insert(specs.end(), {{kDTypeColumn, kText},
                             {kShapeColumn, kText},
                             {kFileColumn, kText},
                             {kOffsetColumn, kInt64},
                             {kNbytesColumn, kInt64},
                             {"codec", kText},
                             {kCrcColumn, kInt64}});
  return specs;
}

std::vector<ColumnSpec> StepColumns() {
  std::vector<ColumnSpec> specs(kKeyColumns.begin(), kKeyColumns.end());
  specs.insert(specs.end(),
               {{"blocked_ns", kInt64}, {"step_ns", kInt64}, {"data_wait_ns", kInt64}});
  return specs;
}

std::string JoinTexts(const std::vector<std::string>& texts) {
  std::string joined;
  for (const std::string& text : texts) {
    joined += (joined.empty() ? "" : ",") + text;
  }
  return joined;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t extent : shape) {
    text += (text.empty() ? "" : "x") + std::to_string(extent);
  }
  return text;
}

void AddKey(const format::StepKey& key, TimeNs wall_ns, TableBuilder* builder) {
  builder->Int(key.step.value)
      .Text(std::string(ModeName(key.mode)))
      .Int(key.mode_step)
      .Int(key.rank.value)
      .Int(ToMicroseconds(wall_ns) / 1000);
}

// Name, collection, key: what all rows of a batch begin with.
const format::NameInfo& AddHead(const RunView& view, const format::StepBatch& batch,
                                format::NameId name, TableBuilder* builder) {
  const format::NameInfo& info = view.names.info(name);
  builder->Text(info.name).Text(JoinTexts(info.collections));
  AddKey(batch.key, batch.wall_ns, builder);
  return info;
}

void AddScalar(const RunView& view, const format::StepBatch& batch, const format::ScalarRow& row,
               TableBuilder* builder) {
  AddHead(view, batch, row.name, builder);
  builder->Double(row.value);
}

void AddStats(const RunView& view, const format::StepBatch& batch, const format::StatsRow& row,
              TableBuilder* builder) {
  const format::NameInfo& info = AddHead(view, batch, row.name, builder);
  builder->Text(std::string(tensor::DTypeFrameworkName(row.dtype))).Text(ShapeText(info.shape));
  size_t at = 0;
  for (const StatColumn& column : StatColumns()) {
    const double value = column.of(row);
    if (at++ < kCountColumns) {
      builder->Int(static_cast<int64_t>(value));
    } else {
      builder->Double(value);
    }
  }
  std::vector<int64_t> bins;
  std::vector<int64_t> counts;
  for (const tensor::HistogramBin& bin : row.histogram) {
    bins.push_back(bin.bin);
    counts.push_back(bin.count);
  }
  builder->List(bins).List(counts);
}

void AddTensor(const RunView& view, const format::StepBatch& batch, const format::TensorRow& row,
               TableBuilder* builder) {
  AddHead(view, batch, row.name, builder);
  builder->Text(std::string(tensor::DTypeFrameworkName(row.dtype)))
      .Text(ShapeText(row.shape))
      .Text(row.file)
      .Int(static_cast<int64_t>(row.offset))
      .Int(static_cast<int64_t>(row.nbytes))
      .Text("raw")
      .Int(row.crc);
}

using TablePart = std::unique_ptr<SealedTable> SealedSet::*;

// Which rows of a table, and what becomes of those that cannot be read.
struct RowFilter {
  std::vector<format::NameId> names;
  SeriesQuery query;
  DamageSink on_damage;
};

Result<std::vector<RowRange>> RangesOf(SealedTable* table,
                                       const std::vector<format::NameId>& names) {
  std::vector<RowRange> ranges;
  for (const format::NameId name : names) {
    WT_ASSIGN_OR_RETURN(const auto of_name, table->RangesOf(name));
    ranges.insert(ranges.end(), of_name.begin(), of_name.end());
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const RowRange& a, const RowRange& b) { return a.first < b.first; });
  return ranges;
}

Status AppendRange(const SealedTable& table, Rank rank, const RowRange& range,
                   const SeriesQuery& query, TableBuilder* builder) {
  WT_ASSIGN_OR_RETURN(const KeyedRows rows, SelectRows(table, rank, range, query, true));
  return builder->AppendSealed(table, rows);
}

// The wanted rows of one sealed file, its names in the file's order.
Status AppendFile(SealedTable* table, Rank rank, const RowFilter& filter, TableBuilder* builder) {
  const Result<std::vector<RowRange>> ranges = RangesOf(table, filter.names);
  if (!ranges.ok()) {
    return PassOver(*table, ranges.status(), filter.on_damage);
  }
  for (const RowRange& range : *ranges) {
    const Status appended = AppendRange(*table, rank, range, filter.query, builder);
    WT_RETURN_IF_ERROR(PassOver(*table, appended, filter.on_damage));
  }
  return {};
}

template <typename Row>
struct NamedTable {
  TablePart part;
  std::vector<Row> format::StepBatch::* rows;
  void (*add)(const RunView&, const format::StepBatch&, const Row&, TableBuilder*);
};

template <typename Row>
Status AppendSealed(RunView* view, const NamedTable<Row>& named, const RowFilter& filter,
                    TableBuilder* builder) {
  for (auto& [rank, sets] : view->sealed.ranks()) {
    for (auto& [seq, set] : sets) {
      if (set.*named.part != nullptr) {
        WT_RETURN_IF_ERROR(AppendFile((set.*named.part).get(), rank, filter, builder));
      }
    }
  }
  return {};
}

template <typename Row>
void AppendTail(const RunView& view, const NamedTable<Row>& named, const RowFilter& filter,
                TableBuilder* builder) {
  const std::unordered_set<format::NameId> wanted(filter.names.begin(), filter.names.end());
  for (const auto& [rank, tail] : view.tail.ranks()) {
    for (const auto& batch : tail.batches) {
      if (!Wants(filter.query, batch->key)) {
        continue;
      }
      for (const Row& row : (*batch).*named.rows) {
        if (wanted.contains(row.name)) {
          named.add(view, *batch, row, builder);
        }
      }
    }
  }
}

template <typename Row>
Result<format::Table> BuildNamed(RunView* view, const NamedTable<Row>& named,
                                 const std::vector<ColumnSpec>& specs, const RowFilter& filter) {
  TableBuilder builder(specs);
  WT_RETURN_IF_ERROR(AppendSealed(view, named, filter, &builder));
  AppendTail(*view, named, filter, &builder);
  return builder.Take();
}

Result<format::Table> BuildSteps(RunView* view, const RowFilter& filter) {
  WT_ASSIGN_OR_RETURN(const std::vector<StepPoint> points,
                      ReadStepTimes(view, filter.query, filter.on_damage));
  const std::vector<ColumnSpec> specs = StepColumns();
  TableBuilder builder(specs);
  for (const StepPoint& point : points) {
    AddKey(point.key, point.wall_ns, &builder);
    builder.Int(point.blocked_ns).Int(point.step_ns).Int(point.data_wait_ns);
  }
  return builder.Take();
}

// The query, narrowed by what the names' filter says of steps and modes.
SeriesQuery Narrowed(const SeriesQuery& query, const NameFilter& names) {
  SeriesQuery rows = query;
  rows.mode = names.mode ? names.mode : query.mode;
  if (names.step) {
    rows.first_step = std::max(query.first_step, names.step->value);
    rows.last_step = std::min(query.last_step, names.step->value);
  }
  return rows;
}

}  // namespace

Result<format::Table> ReadRunTable(RunView* view, const std::string& table, const NameFilter& names,
                                   const SeriesQuery& query, const DamageSink& on_damage) {
  if (table == "steps") {
    return BuildSteps(view, {.names = {}, .query = query, .on_damage = on_damage});
  }
  RowFilter filter{.names = {}, .query = Narrowed(query, names), .on_damage = on_damage};
  WT_ASSIGN_OR_RETURN(filter.names, FilterNames(view, names));
  if (table == "scalars") {
    return BuildNamed<format::ScalarRow>(
        view, {&SealedSet::scalars, &format::StepBatch::scalars, &AddScalar}, ScalarColumns(),
        filter);
  }
  if (table == "stats") {
    return BuildNamed<format::StatsRow>(
        view, {&SealedSet::stats, &format::StepBatch::stats, &AddStats}, StatsColumns(), filter);
  }
  if (table == "tensors") {
    return BuildNamed<format::TensorRow>(
        view, {&SealedSet::tensors, &format::StepBatch::tensors, &AddTensor}, TensorColumns(),
        filter);
  }
  return InvalidArgumentError("reading a table: no such table" +
                              DidYouMean(table, {"scalars", "stats", "tensors", "steps"}) + ": \"" +
                              table + "\"");
}

}  // namespace wheeltapper::trial
