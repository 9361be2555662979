#include <algorithm>

#include <fmt/format.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/quantity_text.h"

#include "html_page.h"
#include "json_report.h"
#include "layer_table.h"
#include "number_text.h"
#include "report_data.h"
#include "svg_chart.h"

namespace wheeltapper::report {

namespace {

constexpr size_t kMostMetricCharts = 24;

std::string Code(const std::string& text) { return "<code>" + EscapeHtml(text) + "</code>"; }

std::string Command(const std::vector<std::string>& argv) {
  std::string text;
  for (const std::string& word : argv) {
    text += (text.empty() ? "" : " ") + word;
  }
  return text;
}

std::string Fact(const std::string& value, const std::string& label) {
  return "<div><b>" + EscapeHtml(value) + "</b><span>" + EscapeHtml(label) + "</span></div>";
}

std::string Header(const ReportData& data) {
  std::string out = "<header><h1>" + EscapeHtml(data.info.name) + "</h1><p class='soft'>";
  out += Code(Command(data.info.argv)) + "<br>" + WallTimeText(data.info.started_wall_ns) + " on " +
         EscapeHtml(data.info.host);
  if (const std::string others = data.other_runs.text(); !others.empty()) {
    out += "<br>" + EscapeHtml(others);
  }
  out += "</p></header>";
  std::string level(LevelName(data.verdict.level));
  std::replace(level.begin(), level.end(), ' ', '-');
  return out + "<p class='verdict " + level + "'>" + EscapeHtml(data.verdict.sentence) + "</p>";
}

std::string StateText(const ReportData& data) {
  std::string text = trial::RunStateName(data.state);
  if (data.end) {
    text += data.end->exit_code == format::kUnknownExit
                ? ""
                : fmt::format(", exit code {}", data.end->exit_code);
  }
  return text;
}

std::string Facts(const ReportData& data) {
  std::string out = "<section class='facts' aria-label='Key figures'>";
  out += Fact(StateText(data), data.end && !data.end->reason.empty() ? data.end->reason : "state");
  out += Fact(std::to_string(data.steps),
              data.steps == 0 ? "steps recorded"
                              : fmt::format("steps ({} to {}), tensors captured at {} of them",
                                            data.first_step, data.last_step, data.captured_steps));
  if (data.end) {
    out += Fact(DurationText(data.end->ended_wall_ns - data.info.started_wall_ns), "wall time");
  }
  const size_t ranks = std::max<size_t>(data.ranks.size(), 1);
  out += Fact(std::to_string(ranks), ranks == 1 ? "rank" : "ranks");
  const int64_t findings = CountOwn(data.findings);
  out += Fact(std::to_string(findings), findings == 1 ? "finding" : "findings");
  out += Fact(data.overhead.elapsed_ns > 0 ? PercentText(data.overhead.fraction) : "not measured",
              "overhead of watching");
  return out + "</section>";
}

void AddTerm(std::string* out, const char* term, const std::string& html) {
  *out += fmt::format("<dt>{}</dt><dd>{}</dd>", term, html);
}

std::string FindingBody(const rules::Finding& finding) {
  std::string out = "<dl>";
  if (finding.tensor) {
    AddTerm(&out, "tensor", Code(*finding.tensor));
  }
  if (const std::string layer = finding.module.value_or(""); !layer.empty()) {
    AddTerm(&out, "layer", Code(layer));
  }
  std::string steps = finding.last_step > finding.step
                          ? fmt::format("{} to {}", finding.step, finding.last_step)
                          : std::to_string(finding.step);
  steps += finding.count > 1 ? fmt::format(", seen {} times", finding.count) : "";
  AddTerm(&out, "steps", steps);
  if (finding.tensors.size() > 1) {
    std::string all;
    for (const std::string& name : finding.tensors) {
      all += (all.empty() ? "" : ", ") + Code(name);
    }
    if (const int64_t more = finding.tensors_total - static_cast<int64_t>(finding.tensors.size());
        more > 0) {
      all += fmt::format(", and {} more", more);
    }
    AddTerm(&out, "tensors", all);
  }
  if (finding.cause) {
    AddTerm(&out, "cause", EscapeHtml(*finding.cause));
  }
  if (finding.try_) {
    AddTerm(&out, "try", EscapeHtml(*finding.try_));
  }
  for (const rules::AlsoSeen& other : finding.also) {
    AddTerm(&out, "also", EscapeHtml(other.text()));
  }
  return out + "</dl>";
}

std::string EvidencePlot(const rules::Evidence& evidence, const rules::Finding& finding) {
  std::vector<SeriesPoint> points;
  points.reserve(evidence.points.size());
  for (const rules::EvidencePoint& point : evidence.points) {
    points.push_back({point.step, point.value});
  }
  if (points.empty()) {
    return "";
  }
  ChartOptions options;
  options.title = evidence.label;
  options.height = 160;
  options.threshold = evidence.threshold;
  options.marks.push_back({finding.step, fmt::format("first seen at step {}", finding.step)});
  return "<figure><figcaption>" + EscapeHtml(evidence.label) + "</figcaption>" +
         SvgChart({{.label = "", .points = &points}}, options) + "</figure>";
}

std::string Findings(const ReportData& data) {
  std::string out = "<section><h2>Findings</h2>";
  if (data.findings.empty()) {
    return out + (data.steps == 0
                      ? "<p>Nothing was recorded, so nothing could be judged.</p></section>"
                  : data.damaged.empty() ? "<p>None: no rule found anything wrong.</p></section>"
                                         : "<p>None in what could be read.</p></section>");
  }
  for (const rules::Finding& finding : data.findings) {
    if (finding.part_of) {
      continue;  // the one that took it over tells it
    }
    const std::string severity(rules::SeverityName(finding.severity));
    const char* resolved = finding.state == rules::FindingState::kResolved
                               ? " <span class='soft'>resolved</span>"
                               : "";
    out += fmt::format("<article class='finding {}'><h3>{}[{}]{}</h3><p>{}</p>", severity, severity,
                       EscapeHtml(finding.rule), resolved, EscapeHtml(finding.message));
    out += FindingBody(finding);
    for (const rules::Evidence& evidence : finding.evidence) {
      out += EvidencePlot(evidence, finding);
    }
    out += "</article>";
  }
  return out + "</section>";
}

std::string Rules(const ReportData& data) {
  const std::vector<std::string> notes = RuleNotes(data.rules);
  if (notes.empty()) {
    return "";
  }
  std::string out = "<section><h2>Rules</h2><ul>";
  for (const std::string& note : notes) {
    out += "<li>" + EscapeHtml(note) + "</li>";
  }
  return out + "</ul></section>";
}

std::vector<ChartMark> FindingMarks(const ReportData& data) {
  std::vector<ChartMark> marks;
  marks.reserve(data.findings.size());
  for (const rules::Finding& finding : data.findings) {
    marks.push_back({finding.step, finding.rule + " at step " + std::to_string(finding.step)});
  }
  return marks;
}

std::string Figure(const std::string& caption, const std::vector<ChartLine>& lines,
                   const ReportData& data) {
  ChartOptions options;
  options.title = caption;
  options.marks = FindingMarks(data);
  return "<figure><figcaption>" + EscapeHtml(caption) + "</figcaption>" + SvgChart(lines, options) +
         "</figure>";
}

std::string Curves(const ReportData& data) {
  std::string out = "<section><h2>Loss and metrics</h2>";
  std::vector<ChartLine> losses;
  losses.reserve(data.losses.size());
  for (const NamedSeries& series : data.losses) {
    losses.push_back({.label = series.name + " (" + series.mode + ")", .points = &series.points});
  }
  if (!losses.empty()) {
    out += Figure("Loss by step", losses, data);
  }
  for (size_t i = 0; i < std::min(data.metrics.size(), kMostMetricCharts); ++i) {
    const NamedSeries& series = data.metrics[i];
    out += Figure(series.name + " (" + series.mode + ")", {{.label = "", .points = &series.points}},
                  data);
  }
  if (data.metrics.size() > kMostMetricCharts) {
    out += fmt::format("<p class='note'>{} more metrics are in the scalars table.</p>",
                       data.metrics.size() - kMostMetricCharts);
  }
  if (data.losses.empty() && data.metrics.empty()) {
    out +=
        "<p>No loss and no metric was seen. <code>wheeltapper.log({\"loss\": value})</code> "
        "records one.</p>";
  }
  return out + "</section>";
}

std::string SplitBar(const char* part, double share) {
  return fmt::format("<i class='{}' style='width:{:.2f}%'></i>", part,
                     std::clamp(share, 0.0, 1.0) * 100);
}

std::string BudgetNote(const ReportData& data) {
  return !data.budget || data.budget->exceeded_because.empty()
             ? ""
             : fmt::format("<p class='note'>Watching took {}, more than the budget of {}: {}.</p>",
                           PercentText(data.overhead.fraction), PercentText(data.budget->fraction),
                           EscapeHtml(data.budget->exceeded_because));
}

std::string Times(const ReportData& data) {
  if (data.time.steps == 0) {
    return "";
  }
  const auto step = static_cast<double>(data.time.step.total_ns);
  const double wait = static_cast<double>(data.time.data_wait.total_ns) / step;
  const double own = static_cast<double>(data.time.blocked.total_ns) / step;
  std::string out =
      "<section><h2>Step time</h2><p>Median step " + DurationText(data.time.step.median_ns) +
      " over " + std::to_string(data.time.steps) +
      " training steps. Of the time of all: " + PercentText(std::max(0.0, 1 - wait - own)) +
      " computing, " + PercentText(wait) + " waiting for data, " + PercentText(own) +
      " watched by Wheeltapper.</p>";
  out += "<div class='split' aria-hidden='true'>" + SplitBar("compute", 1 - wait - own) +
         SplitBar("wait", wait) + SplitBar("own", own) + "</div>" + BudgetNote(data);
  return out + Figure("Step time in ms", {{.label = "", .points = &data.step_ms}}, data) +
         "</section>";
}

std::string GapReasonText(format::GapReason reason) {
  switch (reason) {
    case format::GapReason::kRingFull:
      return "the ring was full";
    case format::GapReason::kDiskFull:
      return "the disk was full";
    case format::GapReason::kGovernor:
      return "thinned to stay within the overhead budget";
    case format::GapReason::kFuse:
      return "capture switched itself off after errors";
    case format::GapReason::kTooLarge:
      return "larger than the ring";
    case format::GapReason::kUnsupported:
      return "a kind of tensor that cannot be read";
    case format::GapReason::kCorruption:
      return "damaged bytes were skipped";
  }
  return "unknown";
}

std::string Gaps(const ReportData& data) {
  std::string out = "<section><h2>Gaps</h2>";
  if (data.gaps.empty()) {
    return out + "<p>None: everything that was to be recorded was recorded.</p></section>";
  }
  out +=
      "<div class='scroll'><table><thead><tr><th scope='col'>steps</th><th scope='col'>why</th><th "
      "scope='col'>tensors</th>"
      "<th scope='col'>bytes</th></tr></thead><tbody>";
  for (const format::GapRow& row : data.gaps) {
    out += fmt::format("<tr><th scope='row'>{} to {}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
                       row.gap.first_step, row.gap.last_step, GapReasonText(row.gap.reason),
                       row.gap.tensors_dropped, row.gap.bytes_dropped);
  }
  return out + "</tbody></table></div></section>";
}

std::string Damaged(const ReportData& data) {
  if (data.damaged.empty()) {
    return "";
  }
  std::string out =
      "<section><h2>Damaged files</h2><p>What lay in them is missing above. <code>wheeltapper "
      "fsck</code> looks closer.</p><ul>";
  for (const trial::Damage& damage : data.damaged) {
    out += "<li>" + Code(damage.file) + ": " + EscapeHtml(damage.what) + "</li>";
  }
  return out + "</ul></section>";
}

std::string Environment(const ReportData& data) {
  std::string out = "<section><h2>Environment</h2><dl>";
  AddTerm(&out, "run directory", Code(data.path));
  AddTerm(&out, "working folder", Code(data.info.cwd));
  AddTerm(&out, "wheeltapper", EscapeHtml(data.info.wheeltapper_version));
  for (const auto& [key, value] : data.info.environment) {
    AddTerm(&out, EscapeHtml(key).c_str(), EscapeHtml(value));
  }
  for (const format::RankInfo& rank : data.ranks) {
    AddTerm(&out, fmt::format("rank {}", rank.rank.value).c_str(),
            EscapeHtml(fmt::format("{} · {} · pid {} on {} · {}", rank.framework, rank.device,
                                   rank.pid, rank.host, rank.model_summary)));
  }
  return out + "</dl></section>";
}

std::string Layers(const ReportData& data) {
  const std::string tables = LayerTables(data);
  return tables.empty() ? "" : "<section><h2>Layers</h2>" + tables + "</section>";
}

std::string HtmlOf(const ReportData& data) {
  const std::string body = Header(data) + Facts(data) + "<main>" + Findings(data) + Rules(data) +
                           Curves(data) + Layers(data) + Times(data) + Gaps(data) + Damaged(data) +
                           Environment(data) + "</main>";
  return HtmlPage(data.info.name + " — Wheeltapper report", body);
}

}  // namespace

Result<std::string> ReportHtml(trial::Trial& trial) {
  WT_ASSIGN_OR_RETURN(const ReportData data, GatherReport(trial));
  return HtmlOf(data);
}

Result<std::string> WriteReport(trial::Trial& trial) {
  WT_ASSIGN_OR_RETURN(const ReportData data, GatherReport(trial));
  const std::string folder = JoinPath(trial.path(), "report");
  WT_RETURN_IF_ERROR(MakeDirectories(folder));
  WT_RETURN_IF_ERROR(WriteFileAtomically(JoinPath(folder, "report.json"), JsonOf(data)));
  std::string path = JoinPath(folder, "report.html");
  WT_RETURN_IF_ERROR(WriteFileAtomically(path, HtmlOf(data)));
  return path;
}

}  // namespace wheeltapper::report
