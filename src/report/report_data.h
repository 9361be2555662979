// Everything a report shows, gathered once from the trial; HTML and JSON are two views of it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "wheeltapper/core/status.h"
#include "wheeltapper/report/report.h"
#include "wheeltapper/rules/finding.h"
#include "wheeltapper/trial/trial.h"

namespace wheeltapper::report {

struct SeriesPoint {
  int64_t step;
  double value;  // may be NaN or infinite
};
struct NamedSeries {
  std::string name;
  std::string mode;
  std::vector<SeriesPoint> points;  // ascending by step
};

// Health of one tensor over the run, from its statistics.
struct TensorHealth {
  std::string name;
  std::string collection;
  int64_t numel = 0;
  int64_t captures = 0;  // how many steps it was captured at
  double last_rms = 0;
  double last_mean = 0;
  double last_std = 0;
  double last_zero_share = 0;
  double largest = 0;           // max |x| of the finite ones over the run
  int64_t nonfinite = 0;        // elements, summed over the captured steps
  int64_t nonfinite_steps = 0;  // captured steps with any
  int64_t nonfinite_most = 0;   // elements at one of them
  std::vector<SeriesPoint> rms;
};

// Where the time of the finished training steps went. A captured step costs many times what the
// others do: medians say nothing of what watching cost, sums do.
struct StepTimeSplit {
  struct Part {
    TimeNs median_ns = 0;
    TimeNs total_ns = 0;
  };
  int64_t steps = 0;
  Part step;
  Part data_wait;
  Part blocked;
};

struct ReportData {
  format::RunInfo info;
  std::vector<format::RankInfo> ranks;
  OtherRuns other_runs;
  std::string path;
  trial::RunState state = trial::RunState::kRunning;
  std::optional<format::EndInfo> end;
  Verdict verdict;
  std::vector<rules::Finding> findings;
  std::vector<rules::RuleStatus> rules;
  std::vector<NamedSeries> losses;
  std::vector<NamedSeries> metrics;
  std::vector<TensorHealth>
      tensors;  // gradients, weights, biases, activations, in that order; at most kMaxTensors
  int64_t tensors_total = 0;
  StepTimeSplit time;
  std::vector<SeriesPoint> step_ms;
  trial::Overhead overhead;
  std::optional<Budget> budget;
  std::vector<format::GapRow> gaps;
  std::vector<trial::Damage> damaged;  // files that cannot be read
  int64_t steps = 0;
  int64_t captured_steps = 0;  // of these, the ones that hold tensors
  int64_t first_step = 0;
  int64_t last_step = 0;
};

// A report stays readable and small: beyond this many tensors the ones with trouble and the largest
// are shown.
inline constexpr size_t kMaxTensors = 300;

// All of it.
Result<ReportData> GatherReport(trial::Trial& trial);
// Without series and tensors: what `show` needs, cheap on a large run.
Result<ReportData> GatherSummary(trial::Trial& trial);

}  // namespace wheeltapper::report
