#include "report_data.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/scalar_names.h"

namespace wheeltapper::report {
namespace {

constexpr std::array kCollections = {"gradients", "weights", "biases", "activations"};
// Scalars about Wheeltapper itself have places of their own in the report.
constexpr std::string_view kOwnPrefix = "wheeltapper/";

bool IsLoss(const format::NameInfo& info) {
  if (std::find(info.collections.begin(), info.collections.end(), "losses") !=
      info.collections.end()) {
    return true;
  }
  return format::NamesLoss(info.name);
}

Status AddSeries(trial::Trial& trial, const std::string& name, Mode mode,
                 std::vector<NamedSeries>* to) {
  trial::SeriesQuery query;
  query.mode = mode;
  WT_ASSIGN_OR_RETURN(const std::vector<trial::ScalarPoint> points, trial.Scalars(name, query));
  if (points.empty()) {
    return {};
  }
  NamedSeries series{.name = name, .mode = std::string(ModeName(mode)), .points = {}};
  for (const trial::ScalarPoint& point : points) {
    series.points.push_back({point.key.step.value, point.value});
  }
  to->push_back(std::move(series));
  return {};
}

Status GatherScalars(trial::Trial& trial, ReportData* data) {
  WT_ASSIGN_OR_RETURN(const std::vector<Mode> modes, trial.Modes());
  for (format::NameId id = 0; id < trial.names().size(); ++id) {
    const format::NameInfo info = trial.names().info(id);
    if (info.kind != format::DescKind::kScalar || info.name.rfind(kOwnPrefix, 0) == 0) {
      continue;
    }
    for (const Mode mode : modes) {
      WT_RETURN_IF_ERROR(
          AddSeries(trial, info.name, mode, IsLoss(info) ? &data->losses : &data->metrics));
    }
  }
  return {};
}

void AddPoint(const trial::StatsPoint& point, TensorHealth* health) {
  const tensor::TensorStats& stats = point.stats;
  ++health->captures;
  health->numel = stats.numel;
  health->nonfinite += stats.nonfinite_count();
  health->nonfinite_steps += stats.nonfinite_count() > 0 ? 1 : 0;
  health->nonfinite_most = std::max(health->nonfinite_most, stats.nonfinite_count());
  health->last_rms = stats.rms();
  health->last_mean = stats.mean;
  health->last_std = stats.std(0);
  health->last_zero_share =
      stats.numel > 0 ? static_cast<double>(stats.zero_count) / static_cast<double>(stats.numel)
                      : 0;
  if (std::isfinite(stats.abs_max)) {
    health->largest = std::max(health->largest, stats.abs_max);
  }
  health->rms.push_back(
      {point.key.step.value, stats.nonfinite_count() > 0 ? std::nan("") : stats.rms()});
}

Status GatherTensors(trial::Trial& trial, ReportData* data) {
  for (const char* collection : kCollections) {
    trial::NameFilter filter;
    filter.collection = collection;
    WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, trial.Names(filter));
    for (const std::string& name : names) {
      WT_ASSIGN_OR_RETURN(std::vector<trial::StatsPoint> points, trial.Stats(name, {}));
      if (points.empty()) {
        continue;
      }
      TensorHealth health;
      health.name = name;
      health.collection = collection;
      for (const trial::StatsPoint& point : trial::MergeRanks(std::move(points))) {
        AddPoint(point, &health);
      }
      data->tensors.push_back(std::move(health));
    }
  }
  data->tensors_total = static_cast<int64_t>(data->tensors.size());
  return {};
}

bool MoreNotable(const TensorHealth& a, const TensorHealth& b) {
  return a.nonfinite != b.nonfinite ? a.nonfinite > b.nonfinite : a.largest > b.largest;
}

// Keeps the most notable ones, in their old order; of equals the earlier ones.
void LimitTensors(ReportData* data) {
  if (data->tensors.size() <= kMaxTensors) {
    return;
  }
  std::vector<size_t> order(data->tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [data](size_t a, size_t b) {
    return MoreNotable(data->tensors[a], data->tensors[b]);
  });
  order.resize(kMaxTensors);
  std::sort(order.begin(), order.end());
  std::vector<TensorHealth> kept;
  kept.reserve(order.size());
  for (const size_t i : order) {
    kept.push_back(std::move(data->tensors[i]));
  }
  data->tensors = std::move(kept);
}

TimeNs Median(std::vector<TimeNs> values) {
  if (values.empty()) {
    return 0;
  }
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

Status GatherTimes(trial::Trial& trial, ReportData* data) {
  trial::SeriesQuery query;
  query.mode = Mode::kTrain;
  WT_ASSIGN_OR_RETURN(const std::vector<trial::StepPoint> points, trial.StepTimes(query));
  std::vector<TimeNs> step;
  std::vector<TimeNs> wait;
  std::vector<TimeNs> blocked;
  for (const trial::StepPoint& point : points) {
    if (point.step_ns <= 0) {
      continue;  // the first step has no predecessor to be timed from
    }
    step.push_back(point.step_ns);
    wait.push_back(point.data_wait_ns);
    blocked.push_back(point.blocked_ns);
    data->step_ms.push_back({point.key.step.value, static_cast<double>(point.step_ns) / 1e6});
  }
  const auto part = [](const std::vector<TimeNs>& times) -> StepTimeSplit::Part {
    return {.median_ns = Median(times),
            .total_ns = std::accumulate(times.begin(), times.end(), TimeNs{0})};
  };
  data->time = {.steps = static_cast<int64_t>(step.size()),
                .step = part(step),
                .data_wait = part(wait),
                .blocked = part(blocked)};
  return {};
}

}  // namespace

Result<int64_t> CountCaptured(trial::Trial& trial, const std::vector<int64_t>& steps) {
  WT_ASSIGN_OR_RETURN(const std::vector<int64_t> captured, trial.CapturedSteps());
  return std::count_if(captured.begin(), captured.end(), [&](int64_t step) {
    return std::binary_search(steps.begin(), steps.end(), step);
  });
}

Result<ReportData> GatherSummary(trial::Trial& trial) {
  WT_RETURN_IF_ERROR(trial.Refresh());
  ReportData data;
  data.info = trial.info();
  data.other_runs = FindOtherRuns(trial);
  data.path = trial.path();
  data.state = trial.state();
  data.end = trial.end();
  WT_ASSIGN_OR_RETURN(data.findings, ReadFindings(trial, &data.damaged));
  data.rules = rules::ReadRuleStates(trial.path()).value_or(std::vector<rules::RuleStatus>());
  data.verdict = MakeVerdict(trial, data.findings);
  WT_ASSIGN_OR_RETURN(const std::vector<Rank> ranks, trial.Ranks());
  for (const Rank rank : ranks) {
    const Result<format::RankInfo> info = format::ReadRankInfo(trial.path(), rank);
    if (info.ok()) {
      data.ranks.push_back(*info);
    }
  }
  WT_ASSIGN_OR_RETURN(const std::vector<int64_t> steps, trial.Steps({}));
  data.steps = static_cast<int64_t>(steps.size());
  data.first_step = steps.empty() ? 0 : steps.front();
  data.last_step = steps.empty() ? 0 : steps.back();
  WT_ASSIGN_OR_RETURN(data.captured_steps, CountCaptured(trial, steps));
  WT_ASSIGN_OR_RETURN(data.overhead, trial.MeasuredOverhead());
  data.budget = CompareWithBudget(trial, data.overhead);
  WT_ASSIGN_OR_RETURN(data.gaps, trial.Gaps());
  return data;
}

Result<std::vector<rules::Finding>> ReadFindings(const trial::Trial& trial,
                                                 std::vector<trial::Damage>* damaged) {
  std::vector<std::string> lines;
  WT_ASSIGN_OR_RETURN(std::vector<rules::Finding> findings,
                      rules::ReadFindings(trial.path(), &lines));
  const std::vector<trial::Damage> files = trial.Damaged();
  damaged->insert(damaged->end(), files.begin(), files.end());
  for (std::string& line : lines) {
    damaged->push_back({.table = "",
                        .file = BaseName(format::FindingsPath(trial.path())),
                        .what = std::move(line)});
  }
  return findings;
}

Result<ReportData> GatherReport(trial::Trial& trial) {
  WT_ASSIGN_OR_RETURN(ReportData data, GatherSummary(trial));
  WT_RETURN_IF_ERROR(GatherScalars(trial, &data));
  WT_RETURN_IF_ERROR(GatherTensors(trial, &data));
  LimitTensors(&data);
  WT_RETURN_IF_ERROR(GatherTimes(trial, &data));
  return data;
}

}  // namespace wheeltapper::report
