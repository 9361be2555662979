#include "row_keys.h"

#include <algorithm>
#include <limits>

#include "run_view.h"
#include "sealed_columns.h"

namespace wheeltapper::trial {
namespace {

Result<RowRange> Narrow(const SealedTable& table, RowRange range, const SeriesQuery& query) {
  int64_t begin = range.first;
  int64_t end = range.first + range.count;
  if (query.first_step != std::numeric_limits<int64_t>::min()) {
    WT_ASSIGN_OR_RETURN(begin, table.FirstRowFrom(range, query.first_step));
  }
  if (query.last_step != std::numeric_limits<int64_t>::max()) {
    WT_ASSIGN_OR_RETURN(end, table.FirstRowFrom(range, query.last_step + 1));
  }
  return RowRange{begin, std::max(begin, end) - begin};
}

}  // namespace

Result<KeyedRows> SelectRows(const SealedTable& table, Rank rank, RowRange range,
                             const SeriesQuery& query, bool sorted_by_step) {
  KeyedRows out;
  out.range = range;
  if (query.rank && *query.rank != rank) {
    out.range.count = 0;
    return out;
  }
  if (sorted_by_step) {
    WT_ASSIGN_OR_RETURN(out.range, Narrow(table, range, query));
  }
  if (out.range.count == 0) {
    return out;
  }
  WT_ASSIGN_OR_RETURN(const auto steps, table.ReadInts(kStepColumn, out.range));
  WT_ASSIGN_OR_RETURN(const auto modes, table.ReadModes(kModeColumn, out.range));
  WT_ASSIGN_OR_RETURN(const auto mode_steps, table.ReadInts(kModeStepColumn, out.range));
  WT_ASSIGN_OR_RETURN(const auto times, table.ReadInts(kTimeColumn, out.range));
  out.rows.reserve(steps.size());
  out.keys.reserve(steps.size());
  out.times.reserve(steps.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    const format::StepKey key{rank, Step{steps[i]}, modes[i], mode_steps[i]};
    if (Wants(query, key)) {
      out.rows.push_back(i);
      out.keys.push_back(key);
      out.times.push_back(times[i] * 1000);
    }
  }
  return out;
}

}  // namespace wheeltapper::trial
