#include "json_report.h"

#include <cmath>

#include <nlohmann/json.hpp>

#include "wheeltapper/core/json.h"

#include "number_text.h"
#include "svg_chart.h"

namespace wheeltapper::report {
namespace {

using nlohmann::json;

// JSON has no NaN and no infinity: they are texts, never null and never dropped.
json Number(double value) {
  if (std::isfinite(value)) {
    return value;
  }
  return std::isnan(value) ? "NaN" : (value > 0 ? "Infinity" : "-Infinity");
}

// The points of its chart in the HTML, and how many there are in all.
json Points(const std::vector<SeriesPoint>& points, size_t buckets = kChartBuckets) {
  json steps = json::array();
  json values = json::array();
  for (const SeriesPoint& point : Thin(points, buckets)) {
    steps.push_back(point.step);
    values.push_back(Number(point.value));
  }
  return {{"steps", std::move(steps)}, {"values", std::move(values)}, {"total", points.size()}};
}

json Series(const std::vector<NamedSeries>& all) {
  json out = json::array();
  for (const NamedSeries& series : all) {
    json one = Points(series.points);
    one["name"] = series.name;
    one["mode"] = series.mode;
    out.push_back(std::move(one));
  }
  return out;
}

json FindingsOf(const ReportData& data) {
  json out = json::array();
  for (const rules::Finding& finding : data.findings) {
    out.push_back(ParseJson(rules::FindingToJson(finding)));
  }
  return out;
}

json GapsOf(const std::vector<format::GapRow>& gaps) {
  json out = json::array();
  for (const format::GapRow& row : gaps) {
    out.push_back({{"first_step", row.gap.first_step},
                   {"last_step", row.gap.last_step},
                   {"reason", format::GapReasonName(row.gap.reason)},
                   {"what", format::GapWhatName(row.gap.what)},
                   {"tensors_dropped", row.gap.tensors_dropped},
                   {"bytes_dropped", row.gap.bytes_dropped}});
  }
  return out;
}

json DamagedOf(const std::vector<trial::Damage>& damaged) {
  json out = json::array();
  for (const trial::Damage& damage : damaged) {
    out.push_back({{"file", damage.file}, {"what", damage.what}});
  }
  return out;
}

json TensorsOf(const ReportData& data) {
  json out = json::array();
  for (const TensorHealth& health : data.tensors) {
    out.push_back({{"name", health.name},
                   {"collection", health.collection},
                   {"numel", health.numel},
                   {"captures", health.captures},
                   {"last_rms", Number(health.last_rms)},
                   {"last_mean", Number(health.last_mean)},
                   {"last_std", Number(health.last_std)},
                   {"last_zero_share", Number(health.last_zero_share)},
                   {"largest", Number(health.largest)},
                   {"nonfinite", health.nonfinite},
                   {"nonfinite_steps", health.nonfinite_steps},
                   {"nonfinite_most", health.nonfinite_most},
                   {"rms", Points(health.rms, kSparkBuckets)}});
  }
  return out;
}

json OverheadOf(const ReportData& data) {
  const trial::Overhead& overhead = data.overhead;
  const bool exceeded = data.budget && !data.budget->exceeded_because.empty();
  return {{"budget", data.budget ? json(data.budget->fraction) : json()},
          {"exceeded_because", exceeded ? json(data.budget->exceeded_because) : json()},
          {"fraction", Number(overhead.fraction)},
          {"blocked_s", static_cast<double>(overhead.blocked_ns) / 1e9},
          {"elapsed_s", static_cast<double>(overhead.elapsed_ns) / 1e9}};
}

json RanksOf(const ReportData& data) {
  json out = json::array();
  for (const format::RankInfo& rank : data.ranks) {
    out.push_back({{"rank", rank.rank.value},
                   {"host", rank.host},
                   {"pid", rank.pid},
                   {"device", rank.device},
                   {"framework", rank.framework},
                   {"model", rank.model_summary}});
  }
  return out;
}

json RulesOf(const std::vector<rules::RuleStatus>& states) {
  json out = json::array();
  for (const rules::RuleStatus& status : states) {
    const bool looked = status.batches > 0 || status.state != rules::RuleState::kWaiting;
    out.push_back({{"name", status.name},
                   {"state", rules::RuleStateName(status.state)},
                   {"detail", status.note().empty() || !looked ? json() : json(status.note())}});
  }
  return out;
}

double Milliseconds(TimeNs ns) { return static_cast<double>(ns) / 1e6; }

// What `show` and the report have in common.
json Summary(const ReportData& data) {
  return {
      {"name", data.info.name},
      {"path", data.path},
      {"state", trial::RunStateName(data.state)},
      {"exit_code", data.end && data.end->exit_code != format::kUnknownExit
                        ? json(data.end->exit_code)
                        : json()},
      {"reason", data.end && !data.end->reason.empty() ? json(data.end->reason) : json()},
      {"command", data.info.argv},
      {"first_run", data.other_runs.first_run.empty() ? json() : json(data.other_runs.first_run)},
      {"further_runs", data.other_runs.further},
      {"host", data.info.host},
      {"started", WallTimeText(data.info.started_wall_ns)},
      {"ended", data.end ? json(WallTimeText(data.end->ended_wall_ns)) : json()},
      {"steps", data.steps},
      {"captured_steps", data.captured_steps},
      {"first_step", data.steps > 0 ? json(data.first_step) : json()},
      {"last_step", data.steps > 0 ? json(data.last_step) : json()},
      {"ranks", RanksOf(data)},
      {"verdict", data.verdict.sentence},
      {"level", LevelName(data.verdict.level)},
      {"findings", CountOwn(data.findings)},
      {"rules", RulesOf(data.rules)},
      {"overhead", OverheadOf(data)},
      {"gaps", GapsOf(data.gaps)},
      {"damaged", DamagedOf(data.damaged)}};
}

}  // namespace

std::string JsonOf(const ReportData& data) {
  json report = Summary(data);
  report["findings"] = FindingsOf(data);
  report["losses"] = Series(data.losses);
  report["metrics"] = Series(data.metrics);
  report["tensors"] = TensorsOf(data);
  report["tensors_total"] = data.tensors_total;
  report["step_time"] = {{"steps", data.time.steps},
                         {"median_step_ms", Milliseconds(data.time.step.median_ns)},
                         {"median_data_wait_ms", Milliseconds(data.time.data_wait.median_ns)},
                         {"median_blocked_ms", Milliseconds(data.time.blocked.median_ns)},
                         {"total_step_ms", Milliseconds(data.time.step.total_ns)},
                         {"total_data_wait_ms", Milliseconds(data.time.data_wait.total_ns)},
                         {"total_blocked_ms", Milliseconds(data.time.blocked.total_ns)},
                         {"step_ms", Points(data.step_ms)}};
  report["environment"] = data.info.environment;
  report["wheeltapper_version"] = data.info.wheeltapper_version;
  return JsonIndented(report);
}

Result<std::string> ReportJson(trial::Trial& trial) {
  WT_ASSIGN_OR_RETURN(const ReportData data, GatherReport(trial));
  return JsonOf(data);
}

Result<json> SummaryJson(trial::Trial& trial) {
  WT_ASSIGN_OR_RETURN(const ReportData data, GatherSummary(trial));
  return Summary(data);
}

}  // namespace wheeltapper::report
