// All raw values of one tensor: rows read column by column, neighbours in a blob handed out as one.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "row_keys.h"
#include "run_view.h"
#include "sealed_columns.h"

namespace wheeltapper::trial {
namespace {

struct SteppedRow {
  int64_t step;
  format::TensorRow row;
};

// Appends the rows of one range. dtype and shape seldom change from one row to the next.
Status AppendRows(const SealedTable& table, format::NameId name, const KeyedRows& rows,
                  std::vector<SteppedRow>* out) {
  WT_ASSIGN_OR_RETURN(auto dtypes, table.ReadTexts(kDTypeColumn, rows.range));
  WT_ASSIGN_OR_RETURN(auto shapes, table.ReadTexts(kShapeColumn, rows.range));
  WT_ASSIGN_OR_RETURN(auto files, table.ReadTexts(kFileColumn, rows.range));
  WT_ASSIGN_OR_RETURN(const auto offsets, table.ReadInts(kOffsetColumn, rows.range));
  WT_ASSIGN_OR_RETURN(const auto sizes, table.ReadInts(kNbytesColumn, rows.range));
  WT_ASSIGN_OR_RETURN(const auto crcs, table.ReadInts(kCrcColumn, rows.range));
  tensor::DType dtype{};
  std::vector<int64_t> shape;
  out->reserve(out->size() + rows.rows.size());
  for (size_t i = 0; i < rows.rows.size(); ++i) {
    const size_t at = rows.rows[i];
    if (i == 0 || dtypes[at] != dtypes[rows.rows[i - 1]]) {
      WT_ASSIGN_OR_RETURN(dtype, ParseDType(dtypes[at]));
    }
    if (i == 0 || shapes[at] != shapes[rows.rows[i - 1]]) {
      shape = ParseShape(shapes[at]);
    }
    out->push_back({rows.keys[i].step.value,
                    {name, dtype, shape, std::move(files[at]), static_cast<uint64_t>(offsets[at]),
                     static_cast<uint64_t>(sizes[at]), static_cast<uint32_t>(crcs[at])}});
  }
  return {};
}

Status CollectSealed(const RunView& view, format::NameId name, Rank rank, const SeriesQuery& query,
                     std::vector<SteppedRow>* rows) {
  const auto sealed = view.sealed.ranks().find(rank);
  if (sealed == view.sealed.ranks().end()) {
    return {};
  }
  for (const auto& [seq, set] : sealed->second) {
    if (set.tensors == nullptr) {
      continue;
    }
    WT_ASSIGN_OR_RETURN(const auto ranges, set.tensors->RangesOf(name));
    for (const RowRange& range : ranges) {
      WT_ASSIGN_OR_RETURN(const KeyedRows keyed,
                          SelectRows(*set.tensors, rank, range, query, true));
      WT_RETURN_IF_ERROR(AppendRows(*set.tensors, name, keyed, rows));
    }
  }
  return {};
}

// Every row of the tensor in this mode and rank, ascending by step; of several of one step the
// newest.
Result<std::vector<SteppedRow>> CollectRows(RunView* view, format::NameId name, Mode mode,
                                            Rank rank) {
  SeriesQuery query;
  query.mode = mode;
  query.rank = rank;
  std::vector<SteppedRow> rows;
  WT_RETURN_IF_ERROR(CollectSealed(*view, name, rank, query, &rows));
  if (const auto tail = view->tail.ranks().find(rank); tail != view->tail.ranks().end()) {
    for (const RowRef& ref : Tail::RowsOf(tail->second.tensors, name)) {
      if (Wants(query, ref.batch->key)) {
        rows.push_back({ref.batch->key.step.value, ref.batch->tensors[ref.row]});
      }
    }
  }
  const auto earlier = [](const SteppedRow& a, const SteppedRow& b) { return a.step < b.step; };
  if (!std::is_sorted(rows.begin(), rows.end(), earlier)) {
    std::stable_sort(rows.begin(), rows.end(), earlier);
  }
  const auto same = [](const SteppedRow& a, const SteppedRow& b) { return a.step == b.step; };
  // Backwards, so that the last of equals stays.
  const auto first_kept = std::unique(rows.rbegin(), rows.rend(), same).base();
  rows.erase(rows.begin(), first_kept);
  return rows;
}

// Adds a value behind the last run, or to it when it lies where the run's distance says.
void AddValue(int64_t step, TensorValue&& value, std::vector<ValueRun>* runs) {
  if (!runs->empty()) {
    ValueRun& run = runs->back();
    const uint8_t* begin = run.first.bytes.data();
    const size_t count = run.steps.size();
    const bool alike = run.first.owner == value.owner && run.first.dtype == value.dtype &&
                       run.first.shape == value.shape;
    if (alike && value.bytes.data() >= begin + run.first.bytes.size()) {
      const auto distance = static_cast<uint64_t>(value.bytes.data() - begin);
      if (count == 1 || distance == count * run.stride_bytes) {
        run.stride_bytes = count == 1 ? distance : run.stride_bytes;
        run.steps.push_back(step);
        return;
      }
    }
  }
  ValueRun run;
  run.steps.push_back(step);
  run.stride_bytes = value.bytes.size();
  run.first = std::move(value);
  runs->push_back(std::move(run));
}

}  // namespace

Result<format::Table> Trial::SalvageTable(const std::string& table, const NameFilter& names,
                                          const SeriesQuery& query, std::vector<Damage>* /*lost*/) {
  return ReadTable(table, names, query);
}

Result<std::vector<ValueRun>> Trial::Values(const std::string& name, Mode mode, Rank rank) {
  WT_ASSIGN_OR_RETURN(const auto steps, Steps({std::nullopt, rank, name, true}));
  std::vector<ValueRun> runs;
  for (const int64_t step : steps) {
    Result<TensorValue> value = Value(name, Step{step}, mode, rank);
    if (!value.ok() && value.status().code() == StatusCode::kNotFound) {
      continue;
    }
    WT_RETURN_IF_ERROR(value.status());
    AddValue(step, std::move(*value), &runs);
  }
  return runs;
}

Result<std::vector<ValueRun>> ReadValues(RunView* view, const std::string& name, Mode mode,
                                         Rank rank) {
  WT_ASSIGN_OR_RETURN(const format::NameId id, view->IdOf(name));
  WT_ASSIGN_OR_RETURN(const auto rows, CollectRows(view, id, mode, rank));
  std::vector<ValueRun> runs;
  for (const SteppedRow& row : rows) {
    // A row of the tail whose journal file has been sealed since is looked up again as such.
    Result<TensorValue> value = BlobStore::IsInBlob(row.row)
                                    ? view->blobs.Read(row.row)
                                    : ReadValue(view, name, {rank, Step{row.step}, mode, 0});
    if (!value.ok() && value.status().code() == StatusCode::kNotFound) {
      continue;  // removed by retention
    }
    WT_RETURN_IF_ERROR(value.status());
    AddValue(row.step, std::move(*value), &runs);
  }
  return runs;
}

}  // namespace wheeltapper::trial
