// A trial is a read view over one run, live or finished: names, steps, values, reductions,
// completeness across ranks.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/parquet.h"
#include "wheeltapper/format/rows.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/run_reader.h"

namespace wheeltapper::trial {

// Which names: all conditions must hold; empty means any. `regex` is searched anywhere in the name.
struct NameFilter {
  std::string regex;
  std::string collection;
  std::optional<Mode> mode;
  std::optional<Step> step;
};

struct StepFilter {
  std::optional<Mode> mode;  // steps are then counted per mode (mode_step); otherwise global steps
  std::optional<Rank> rank;
  std::optional<std::string> name;
  bool include_incomplete = false;  // a step is complete when every live rank has committed it
};

enum class StepState : uint8_t { kUnavailable = 0, kAvailable = 1, kNotYetAvailable = 2 };

enum class RunState : uint8_t {
  kRunning,
  kFinished,     // END says exit code 0
  kFailed,       // END says otherwise
  kStopped,      // stopped by a rule or the supervisor
  kAbandoned,    // no END and nobody alive: killed together with its watcher
  kInterrupted,  // by a person or a signal from outside; END's reason says which
};
const char* RunStateName(RunState state);

struct SeriesQuery {
  std::optional<Mode> mode;
  std::optional<Rank> rank;        // none: all ranks
  int64_t first_step = INT64_MIN;  // global steps, both inclusive, whatever the mode
  int64_t last_step = INT64_MAX;
};

// One point per (step, rank), ascending by step, then rank. Times have microseconds: an answer is
// the same before and after its journal file is sealed.
struct ScalarPoint {
  format::StepKey key;
  TimeNs wall_ns = 0;
  double value = 0;
};
struct StatsPoint {
  format::StepKey key;
  TimeNs wall_ns = 0;
  tensor::DType dtype = tensor::DType::kF32;
  tensor::TensorStats stats;
  double exact_median = 0;
  std::vector<tensor::HistogramBin> histogram;
};
// One finished step: timing as the job measured it.
struct StepPoint {
  format::StepKey key;
  TimeNs wall_ns = 0;
  TimeNs blocked_ns = 0;
  TimeNs step_ns = 0;
  TimeNs data_wait_ns = 0;
};

// A raw tensor: bytes in C order. `owner` keeps a mapping alive so that readers need no copy.
struct TensorValue {
  tensor::DType dtype = tensor::DType::kF32;
  std::vector<int64_t> shape;
  ByteSpan bytes;
  std::shared_ptr<const void> owner;
};

// Raw values of one tensor at successive steps, alike in dtype and shape and at equal distances in
// memory, so that all of them are one strided array: value i begins at
// first.bytes.data() + i · stride_bytes and is first.bytes.size() long.
struct ValueRun {
  std::vector<int64_t> steps;  // global, ascending; at least one
  uint64_t stride_bytes = 0;
  TensorValue first;
};

// The reductions by smdebug's names: min max mean std variance sum prod l1 l2, each also of |x|;
// plus numel, nan_count, posinf_count, neginf_count, zero_count, negative_count, rms, median, p01
// p05 p25 p50 p75 p95 p99.
struct ReductionQuery {
  std::string name;
  bool abs = false;
  int ddof = 0;
};
Result<double> ReductionOf(const StatsPoint& point, const ReductionQuery& query);

// A file of the run that cannot be read, whole or from some place on; what was there is missing
// from every answer.
struct Damage {
  std::string table;  // "stats", …; "" for a journal
  std::string file;   // below the run directory
  std::string what;
};

struct Overhead {
  // blocked / step time over all finished steps whose step time is known (not the first of a mode);
  // both sums are over all ranks.
  double fraction = 0;
  TimeNs blocked_ns = 0;
  TimeNs elapsed_ns = 0;
};

// Not thread-safe; cheap to open again elsewhere. Opening reads footers and journal tails, not the
// tables.
class Trial {
 public:
  // `path`: a run directory. Errors as format::RunReader::Open.
  static Result<std::unique_ptr<Trial>> Open(const std::string& path);
  virtual ~Trial() = default;

  // Reads what has been committed since. Queries never refresh by themselves.
  virtual Status Refresh() = 0;
  // Refresh, and every batch new since the last FollowSteps is handed to `sink` in commit order
  // (per rank): how rules run, the same over live and finished runs. Bounded memory: sealed files
  // stream one at a time.
  virtual Status FollowSteps(const std::function<void(const format::StepBatch&)>& sink) = 0;

  [[nodiscard]] virtual const std::string& path() const = 0;
  [[nodiscard]] virtual const format::RunInfo& info() const = 0;
  [[nodiscard]] virtual RunState state() const = 0;
  [[nodiscard]] virtual const std::optional<format::EndInfo>& end() const = 0;
  [[nodiscard]] virtual const format::NameTable& names() const = 0;

  virtual Result<std::vector<std::string>> Names(const NameFilter& filter) = 0;  // sorted
  virtual Result<std::vector<std::string>> Collections() = 0;                    // sorted
  virtual Result<std::vector<int64_t>> Steps(const StepFilter& filter) = 0;      // ascending
  virtual Result<std::vector<Mode>> Modes() = 0;
  virtual Result<std::vector<Rank>> Ranks() = 0;
  // As smdebug's has_passed_step (smdebug.md §4.4), for global steps or, with a mode, mode steps.
  virtual Result<StepState> StateOfStep(int64_t step, std::optional<Mode> mode) = 0;
  // Waits until the step is available or can no longer be. DeadlineExceeded, OutOfRange (run
  // ended), NotFound (skipped).
  virtual Status WaitForStep(int64_t step, std::optional<Mode> mode, TimeNs timeout_ns) = 0;

  virtual Result<std::vector<ScalarPoint>> Scalars(const std::string& name,
                                                   const SeriesQuery& query) = 0;
  virtual Result<std::vector<StatsPoint>> Stats(const std::string& name,
                                                const SeriesQuery& query) = 0;
  // One stored statistic column (e.g. "l2") of a tensor, without decoding the others.
  virtual Result<std::vector<ScalarPoint>> StatSeries(const std::string& name,
                                                      const std::string& column,
                                                      const SeriesQuery& query) = 0;
  // NotFound when the tensor, the step or its raw value is not there (the message says which).
  virtual Result<TensorValue> Value(const std::string& name, Step step, Mode mode, Rank rank) = 0;
  // All raw values of a tensor in this mode and rank, ascending by step, as few runs as may be. Of
  // a step recorded twice the newest; values that retention removed are left out. NotFound for an
  // unknown name. (The default asks for one Value after the other.)
  virtual Result<std::vector<ValueRun>> Values(const std::string& name, Mode mode, Rank rank);
  // Steps at which the statistics or the value of any tensor was recorded; global, ascending.
  virtual Result<std::vector<int64_t>> CapturedSteps() = 0;
  virtual Result<std::vector<StepPoint>> StepTimes(const SeriesQuery& query) = 0;
  virtual Result<std::vector<format::GapRow>> Gaps() = 0;
  // The files that Gaps tells of as far as they are there, as of the last Refresh: found by
  // opening, which reads footers and not every page (fsck does).
  [[nodiscard]] virtual std::vector<Damage> Damaged() const { return {}; }
  virtual Result<std::vector<std::string>> Metas() = 0;  // JSON objects in commit order
  virtual Result<Overhead> MeasuredOverhead() = 0;

  // A whole table ("scalars", "stats", "tensors", "steps") as columns, filtered: for Arrow export,
  // csv, parquet.
  virtual Result<format::Table> ReadTable(const std::string& table, const NameFilter& names,
                                          const SeriesQuery& query) = 0;
  // The same, but without the rows of files that cannot be read, also where only a page of them is
  // damaged: `lost` (never null) says which. (The default knows of none.)
  virtual Result<format::Table> SalvageTable(const std::string& table, const NameFilter& names,
                                             const SeriesQuery& query, std::vector<Damage>* lost);
};

// Merges per-rank statistics of the same (tensor, step, mode): the union of the elements, for
// shards and data-parallel ranks.
std::vector<StatsPoint> MergeRanks(std::vector<StatsPoint> points);

}  // namespace wheeltapper::trial
