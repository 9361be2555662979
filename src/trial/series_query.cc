// Series of one name over sealed files and the tail.
#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "wheeltapper/core/suggest.h"

#include "row_keys.h"
#include "run_view.h"
#include "sealed_columns.h"
#include "stat_columns.h"

namespace wheeltapper::trial {
namespace {

// Sources deliver rank by rank in commit order; a stable sort keeps that order among equals.
template <typename Point>
void SortPoints(std::vector<Point>* points) {
  const auto before = [](const Point& a, const Point& b) {
    return std::pair(a.key.step, a.key.rank) < std::pair(b.key.step, b.key.rank);
  };
  if (!std::is_sorted(points->begin(), points->end(), before)) {
    std::stable_sort(points->begin(), points->end(), before);
  }
}

// One kind of rows: where they are in a sealed set, in a batch and in the tail's index.
struct SealedPart {
  std::unique_ptr<SealedTable> SealedSet::* table;
  Tail::Index Tail::RankTail::* index;
};
constexpr SealedPart kScalarRows{&SealedSet::scalars, &Tail::RankTail::scalars};
constexpr SealedPart kStatsRows{&SealedSet::stats, &Tail::RankTail::stats};
constexpr SealedPart kTensorRows{&SealedSet::tensors, &Tail::RankTail::tensors};

// Calls `visit(table, rank, range)` for the ranges of a name in all sealed files.
template <typename Visit>
Status VisitSealed(RunView* view, const SealedPart& part, format::NameId name,
                   const std::optional<Rank>& rank, const Visit& visit) {
  for (auto& [of_rank, sets] : view->sealed.ranks()) {
    if (rank && *rank != of_rank) {
      continue;
    }
    for (auto& [seq, set] : sets) {
      SealedTable* table = (set.*part.table).get();
      if (table == nullptr) {
        continue;
      }
      WT_ASSIGN_OR_RETURN(const std::vector<RowRange> ranges, table->RangesOf(name));
      for (const RowRange& range : ranges) {
        WT_RETURN_IF_ERROR(visit(*table, of_rank, range));
      }
    }
  }
  return {};
}

// Calls `visit(table, rows)` for the rows of a name in all sealed files that the query wants.
template <typename Visit>
Status VisitSealedRows(RunView* view, const SealedPart& part, format::NameId name,
                       const SeriesQuery& query, const Visit& visit) {
  return VisitSealed(view, part, name, query.rank,
                     [&](const SealedTable& table, Rank rank, const RowRange& range) -> Status {
                       WT_ASSIGN_OR_RETURN(const KeyedRows rows,
                                           SelectRows(table, rank, range, query, true));
                       return visit(table, rows);
                     });
}

// The points of one column of numbers in all sealed files.
Result<std::vector<ScalarPoint>> SealedSeries(RunView* view, const SealedPart& part,
                                              format::NameId name, const std::string& column,
                                              const SeriesQuery& query) {
  std::vector<ScalarPoint> points;
  WT_RETURN_IF_ERROR(VisitSealedRows(
      view, part, name, query, [&](const SealedTable& table, const KeyedRows& rows) -> Status {
        WT_ASSIGN_OR_RETURN(auto values, table.ReadDoubles(column, rows.range));
        values = rows.Pick(std::move(values));
        for (size_t i = 0; i < rows.keys.size(); ++i) {
          points.push_back({rows.keys[i], rows.times[i], values[i]});
        }
        return {};
      }));
  return points;
}

// Calls `visit(batch, row)` for the rows of a name in the tail that the query wants.
template <typename Visit>
void VisitTail(const RunView& view, const SealedPart& part, format::NameId name,
               const SeriesQuery& query, const Visit& visit) {
  for (const auto& [rank, tail] : view.tail.ranks()) {
    for (const RowRef& ref : Tail::RowsOf(tail.*part.index, name)) {
      if (Wants(query, ref.batch->key)) {
        visit(*ref.batch, ref.row);
      }
    }
  }
}

}  // namespace

bool Wants(const SeriesQuery& query, const format::StepKey& key) {
  return (!query.mode || *query.mode == key.mode) && (!query.rank || *query.rank == key.rank) &&
         key.step.value >= query.first_step && key.step.value <= query.last_step;
}

Result<std::vector<ScalarPoint>> ReadScalars(RunView* view, const std::string& name,
                                             const SeriesQuery& query) {
  WT_ASSIGN_OR_RETURN(const format::NameId id, view->IdOf(name));
  WT_ASSIGN_OR_RETURN(auto points, SealedSeries(view, kScalarRows, id, kValueColumn, query));
  VisitTail(*view, kScalarRows, id, query, [&](const format::StepBatch& batch, uint32_t row) {
    points.push_back({batch.key, ToMicroseconds(batch.wall_ns), batch.scalars[row].value});
  });
  SortPoints(&points);
  return points;
}

Result<std::vector<StatsPoint>> ReadStats(RunView* view, const std::string& name,
                                          const SeriesQuery& query) {
  WT_ASSIGN_OR_RETURN(const format::NameId id, view->IdOf(name));
  std::vector<StatsPoint> points;
  WT_RETURN_IF_ERROR(VisitSealedRows(view, kStatsRows, id, query,
                                     [&](const SealedTable& table, const KeyedRows& rows) {
                                       return AppendStats(table, rows, &points);
                                     }));
  VisitTail(*view, kStatsRows, id, query, [&](const format::StepBatch& batch, uint32_t row) {
    const format::StatsRow& stats = batch.stats[row];
    points.push_back({batch.key, ToMicroseconds(batch.wall_ns), stats.dtype, stats.stats,
                      stats.exact_median, stats.histogram});
  });
  SortPoints(&points);
  return points;
}

Result<std::vector<ScalarPoint>> ReadStatSeries(RunView* view, const std::string& name,
                                                const std::string& column,
                                                const SeriesQuery& query) {
  WT_ASSIGN_OR_RETURN(const format::NameId id, view->IdOf(name));
  const StatColumn* stat = FindStatColumn(column);
  if (stat == nullptr) {
    return InvalidArgumentError("reading a statistic of \"" + name + "\": no such column" +
                                DidYouMean(column, StatColumnNames()) + ": \"" + column + "\"");
  }
  WT_ASSIGN_OR_RETURN(auto points, SealedSeries(view, kStatsRows, id, column, query));
  VisitTail(*view, kStatsRows, id, query, [&](const format::StepBatch& batch, uint32_t row) {
    points.push_back({batch.key, ToMicroseconds(batch.wall_ns), stat->of(batch.stats[row])});
  });
  SortPoints(&points);
  return points;
}

Result<std::vector<format::StepKey>> KeysOfName(RunView* view, format::NameId name,
                                                std::optional<Rank> rank) {
  std::vector<format::StepKey> keys;
  SeriesQuery query;
  query.rank = rank;
  for (const SealedPart& part : {kScalarRows, kStatsRows, kTensorRows}) {
    WT_RETURN_IF_ERROR(
        VisitSealedRows(view, part, name, query, [&](const SealedTable&, const KeyedRows& rows) {
          keys.insert(keys.end(), rows.keys.begin(), rows.keys.end());
          return Status();
        }));
    VisitTail(*view, part, name, query,
              [&](const format::StepBatch& batch, uint32_t) { keys.push_back(batch.key); });
  }
  return keys;
}

Result<bool> HasRow(RunView* view, format::NameId name, std::optional<Mode> mode,
                    std::optional<Step> step) {
  SeriesQuery query;
  query.mode = mode;
  if (step) {
    query.first_step = step->value;
    query.last_step = step->value;
  }
  bool found = false;
  for (const SealedPart& part : {kScalarRows, kStatsRows, kTensorRows}) {
    VisitTail(*view, part, name, query, [&](const format::StepBatch&, uint32_t) { found = true; });
    if (found) {
      return true;
    }
    WT_RETURN_IF_ERROR(VisitSealed(
        view, part, name, std::nullopt,
        [&](const SealedTable& table, Rank rank, const RowRange& range) -> Status {
          if (!found) {
            WT_ASSIGN_OR_RETURN(const KeyedRows rows, SelectRows(table, rank, range, query, true));
            found = !rows.keys.empty();
          }
          return {};
        }));
    if (found) {
      return true;
    }
  }
  return false;
}

}  // namespace wheeltapper::trial
