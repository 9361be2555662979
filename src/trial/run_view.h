// What the queries of a trial work on: sealed files plus the journal tail, one table of names.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wheeltapper/core/status.h"
#include "wheeltapper/format/rows.h"
#include "wheeltapper/format/run_reader.h"
#include "wheeltapper/trial/trial.h"

#include "blob_store.h"
#include "column_cache.h"
#include "sealed_runs.h"
#include "step_index.h"
#include "tail.h"

namespace wheeltapper::trial {

// Times are stored to the microsecond; cutting them in the tail too gives the same answer before
// and after sealing.
constexpr TimeNs ToMicroseconds(TimeNs ns) { return ns / 1000 * 1000; }

// Told of a file that a query cannot read, which goes on without it; empty: that ends the query.
using DamageSink = std::function<void(const SealedTable& table, const Status& why)>;

// What becomes of a query after it has read `table`: OK where damage there is told and passed over.
Status PassOver(const SealedTable& table, const Status& read, const DamageSink& on_damage);

struct RunView {
  RunView(const std::string& run_dir, uint64_t cache_bytes, size_t mapped_blobs)
      : cache(cache_bytes), sealed(run_dir, &cache, &names), blobs(run_dir, mapped_blobs) {}

  RunView(const RunView&) = delete;
  RunView& operator=(const RunView&) = delete;
  ~RunView() = default;

  format::NameTable names;
  ColumnCache cache;
  SealedRuns sealed;
  Tail tail;
  BlobStore blobs;
  std::unique_ptr<format::RunReader> tail_reader;

  // Takes over what has been sealed since: new files in, their batches out of the tail.
  Status AbsorbSealed();
  // Adds a batch of the tail reader to the tail, its names to `names`.
  void AddToTail(format::StepBatch batch);

  // NotFound with the nearest name when there is none of that name.
  [[nodiscard]] Result<format::NameId> IdOf(const std::string& name) const;
};

// The queries. Results are ordered by step, then rank, then commit order.
Result<std::vector<ScalarPoint>> ReadScalars(RunView* view, const std::string& name,
                                             const SeriesQuery& query);
Result<std::vector<StatsPoint>> ReadStats(RunView* view, const std::string& name,
                                          const SeriesQuery& query);
Result<std::vector<ScalarPoint>> ReadStatSeries(RunView* view, const std::string& name,
                                                const std::string& column,
                                                const SeriesQuery& query);
Result<std::vector<StepPoint>> ReadStepTimes(RunView* view, const SeriesQuery& query,
                                             const DamageSink& on_damage = {});
Result<std::vector<int64_t>> ReadCapturedSteps(RunView* view);
Result<std::vector<format::GapRow>> ReadGaps(RunView* view);
Result<std::vector<std::string>> ReadMetas(RunView* view);
Result<TensorValue> ReadValue(RunView* view, const std::string& name, const format::StepKey& key);
Result<std::vector<ValueRun>> ReadValues(RunView* view, const std::string& name, Mode mode,
                                         Rank rank);
Result<format::Table> ReadRunTable(RunView* view, const std::string& table, const NameFilter& names,
                                   const SeriesQuery& query, const DamageSink& on_damage = {});

// Notes the steps of a sealed set or of one batch. A batch without rows (a gap, a meta, a
// heartbeat) is no step unless it is a COMMIT.
Status IndexSteps(const SealedSet& set, StepIndex* steps);
void AddSteps(const format::StepBatch& batch, StepIndex* steps);

// Ids of the names that fit the filter, sorted by name.
Result<std::vector<format::NameId>> FilterNames(RunView* view, const NameFilter& filter);
// Every (step, mode, mode step) at which a name has a row, on `rank` or on all.
Result<std::vector<format::StepKey>> KeysOfName(RunView* view, format::NameId name,
                                                std::optional<Rank> rank);

// True when a name has a row in the mode, at the step; at any where they are not given.
Result<bool> HasRow(RunView* view, format::NameId name, std::optional<Mode> mode,
                    std::optional<Step> step);

// True when the query wants this row.
bool Wants(const SeriesQuery& query, const format::StepKey& key);

}  // namespace wheeltapper::trial
