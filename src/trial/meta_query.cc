// What is kept per batch: steps and their times, which of them hold tensors, gaps, metas.
#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "row_keys.h"
#include "run_view.h"
#include "sealed_columns.h"

namespace wheeltapper::trial {
namespace {

using SealedPart = std::unique_ptr<SealedTable> SealedSet::*;

// A value and when it was committed; sorted by time, which keeps each rank's commit order.
template <typename T>
struct Dated {
  TimeNs wall_ns;
  T value;
};

template <typename T>
std::vector<T> InOrderOfTime(std::vector<Dated<T>> dated) {
  std::stable_sort(dated.begin(), dated.end(),
                   [](const auto& a, const auto& b) { return a.wall_ns < b.wall_ns; });
  std::vector<T> values;
  values.reserve(dated.size());
  for (Dated<T>& entry : dated) {
    values.push_back(std::move(entry.value));
  }
  return values;
}

// Calls `visit(table, rank)` for every sealed file of a kind.
template <typename Visit>
Status VisitTables(const RunView& view, SealedPart part, const Visit& visit,
                   const DamageSink& on_damage = {}) {
  for (const auto& [rank, sets] : view.sealed.ranks()) {
    for (const auto& [seq, set] : sets) {
      if (set.*part != nullptr) {
        WT_RETURN_IF_ERROR(PassOver(*(set.*part), visit(*(set.*part), rank), on_damage));
      }
    }
  }
  return {};
}

format::GapReason ReasonFromName(const std::string& name) {
  using format::GapReason;
  for (const auto& [text, reason] : {std::pair("ring_full", GapReason::kRingFull),
                                     {"disk_full", GapReason::kDiskFull},
                                     {"governor", GapReason::kGovernor},
                                     {"fuse", GapReason::kFuse},
                                     {"too_large", GapReason::kTooLarge},
                                     {"unsupported", GapReason::kUnsupported}}) {
    if (name == text) {
      return reason;
    }
  }
  return GapReason::kCorruption;
}

format::GapWhat WhatFromName(const std::string& name) {
  using format::GapWhat;
  if (name == "raw_tensors") {
    return GapWhat::kRawTensors;
  }
  return name == "stats" ? GapWhat::kStats : GapWhat::kWholeStep;
}

Status AppendGaps(const SealedTable& table, std::vector<Dated<format::GapRow>>* gaps) {
  const RowRange all{0, table.rows()};
  WT_ASSIGN_OR_RETURN(const auto times, table.ReadInts(kTimeColumn, all));
  WT_ASSIGN_OR_RETURN(const auto first, table.ReadInts("first_step", all));
  WT_ASSIGN_OR_RETURN(const auto last, table.ReadInts("last_step", all));
  WT_ASSIGN_OR_RETURN(const auto reasons, table.ReadTexts("reason", all));
  WT_ASSIGN_OR_RETURN(const auto whats, table.ReadTexts("what", all));
  WT_ASSIGN_OR_RETURN(const auto tensors, table.ReadInts("tensors_dropped", all));
  WT_ASSIGN_OR_RETURN(const auto bytes, table.ReadInts("bytes_dropped", all));
  for (size_t i = 0; i < times.size(); ++i) {
    const format::GapPayload gap{first[i],
                                 last[i],
                                 ReasonFromName(reasons[i]),
                                 WhatFromName(whats[i]),
                                 static_cast<uint64_t>(tensors[i]),
                                 static_cast<uint64_t>(bytes[i])};
    gaps->push_back({times[i] * 1000, {gap}});
  }
  return {};
}

// A file that cannot be read is a gap of unknown extent.
format::GapRow GapOfDamage(const Damage& damaged) {
  format::GapPayload gap{};
  gap.first_step = -1;
  gap.last_step = -1;
  gap.reason = format::GapReason::kCorruption;
  gap.what = format::GapWhat::kWholeStep;
  if (damaged.table == "stats") {
    gap.what = format::GapWhat::kStats;
  } else if (damaged.table == "tensors") {
    gap.what = format::GapWhat::kRawTensors;
  }
  return {gap};
}

}  // namespace

Result<std::vector<StepPoint>> ReadStepTimes(RunView* view, const SeriesQuery& query,
                                             const DamageSink& on_damage) {
  std::vector<StepPoint> points;
  const auto add_sealed = [&](const SealedTable& table, Rank rank) -> Status {
    WT_ASSIGN_OR_RETURN(const KeyedRows rows,
                        SelectRows(table, rank, {0, table.rows()}, query, false));
    if (rows.rows.empty()) {
      return {};
    }
    WT_ASSIGN_OR_RETURN(const auto is_step, table.ReadInts("is_step", rows.range));
    WT_ASSIGN_OR_RETURN(const auto blocked, table.ReadInts("blocked_ns", rows.range));
    WT_ASSIGN_OR_RETURN(const auto step, table.ReadInts("step_ns", rows.range));
    WT_ASSIGN_OR_RETURN(const auto wait, table.ReadInts("data_wait_ns", rows.range));
    for (size_t i = 0; i < rows.rows.size(); ++i) {
      const size_t row = rows.rows[i];
      if (is_step[row] != 0) {
        points.push_back({rows.keys[i], rows.times[i], blocked[row], step[row], wait[row]});
      }
    }
    return {};
  };
  WT_RETURN_IF_ERROR(VisitTables(*view, &SealedSet::steps, add_sealed, on_damage));
  for (const auto& [rank, tail] : view->tail.ranks()) {
    for (const auto& batch : tail.batches) {
      if (batch->is_step && Wants(query, batch->key)) {
        points.push_back({batch->key, ToMicroseconds(batch->wall_ns), batch->commit.blocked_ns,
                          batch->commit.step_ns, batch->commit.data_wait_ns});
      }
    }
  }
  std::stable_sort(points.begin(), points.end(), [](const StepPoint& a, const StepPoint& b) {
    return std::pair(a.key.step, a.key.rank) < std::pair(b.key.step, b.key.rank);
  });
  return points;
}

Result<std::vector<int64_t>> ReadCapturedSteps(RunView* view) {
  std::set<int64_t> steps;
  for (const SealedPart part : {&SealedSet::stats, &SealedSet::tensors}) {
    WT_RETURN_IF_ERROR(VisitTables(*view, part, [&](const SealedTable& table, Rank) -> Status {
      WT_ASSIGN_OR_RETURN(const auto of_rows, table.ReadInts(kStepColumn, {0, table.rows()}));
      steps.insert(of_rows.begin(), of_rows.end());
      return {};
    }));
  }
  for (const auto& [rank, tail] : view->tail.ranks()) {
    for (const auto& batch : tail.batches) {
      if (!batch->stats.empty() || !batch->tensors.empty()) {
        steps.insert(batch->key.step.value);
      }
    }
  }
  return std::vector<int64_t>(steps.begin(), steps.end());
}

Result<std::vector<format::GapRow>> ReadGaps(RunView* view) {
  std::vector<Dated<format::GapRow>> gaps;
  WT_RETURN_IF_ERROR(VisitTables(*view, &SealedSet::gaps, [&](const SealedTable& table, Rank) {
    return AppendGaps(table, &gaps);
  }));
  for (const auto& [rank, tail] : view->tail.ranks()) {
    for (const auto& batch : tail.batches) {
      for (const format::GapRow& gap : batch->gaps) {
        gaps.push_back({ToMicroseconds(batch->wall_ns), gap});
      }
    }
  }
  std::vector<format::GapRow> rows = InOrderOfTime(std::move(gaps));
  for (const Damage& damaged : view->sealed.damaged()) {
    rows.push_back(GapOfDamage(damaged));
  }
  return rows;
}

Result<std::vector<std::string>> ReadMetas(RunView* view) {
  std::vector<Dated<std::string>> metas;
  WT_RETURN_IF_ERROR(
      VisitTables(*view, &SealedSet::metas, [&](const SealedTable& table, Rank) -> Status {
        const RowRange all{0, table.rows()};
        WT_ASSIGN_OR_RETURN(const auto times, table.ReadInts(kTimeColumn, all));
        WT_ASSIGN_OR_RETURN(auto texts, table.ReadTexts("json", all));
        for (size_t i = 0; i < times.size(); ++i) {
          metas.push_back({times[i] * 1000, std::move(texts[i])});
        }
        return {};
      }));
  for (const auto& [rank, tail] : view->tail.ranks()) {
    for (const auto& batch : tail.batches) {
      for (const std::string& meta : batch->metas) {
        metas.push_back({ToMicroseconds(batch->wall_ns), meta});
      }
    }
  }
  return InOrderOfTime(std::move(metas));
}

Status IndexSteps(const SealedSet& set, StepIndex* steps) {
  bool any_finished = false;
  if (set.steps != nullptr) {
    WT_ASSIGN_OR_RETURN(const KeyedRows rows,
                        SelectRows(*set.steps, set.rank, {0, set.steps->rows()}, {}, false));
    WT_ASSIGN_OR_RETURN(const auto is_step, set.steps->ReadInts("is_step", rows.range));
    for (size_t i = 0; i < rows.keys.size(); ++i) {
      if (is_step[i] != 0) {
        steps->Add(rows.keys[i], true);
        any_finished = true;
      }
    }
  }
  for (const auto* part : {&set.scalars, &set.stats, &set.tensors}) {
    if (any_finished || *part == nullptr) {
      continue;  // logged rows count for ranks without any finished step only
    }
    const SealedTable& table = **part;
    WT_ASSIGN_OR_RETURN(const KeyedRows rows,
                        SelectRows(table, set.rank, {0, table.rows()}, {}, false));
    for (const format::StepKey& key : rows.keys) {
      steps->Add(key, false);
    }
  }
  return {};
}

void AddSteps(const format::StepBatch& batch, StepIndex* steps) {
  if (batch.is_step || !batch.scalars.empty() || !batch.stats.empty() || !batch.tensors.empty()) {
    steps->Add(batch.key, batch.is_step);
  }
}

}  // namespace wheeltapper::trial
