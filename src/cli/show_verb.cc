// `wheeltapper show`: the summary of one run.
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/cli/main.h"
#include "wheeltapper/report/report.h"
#include "wheeltapper/rules/finding.h"

#include "context.h"
#include "render.h"
#include "verbs.h"

namespace wheeltapper::cli {
namespace {

std::string Words(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    text += (text.empty() ? "" : " ") + word;
  }
  return text;
}

std::string Gaps(trial::Trial& trial) {
  const Result<std::vector<format::GapRow>> gaps = trial.Gaps();
  if (!gaps.ok()) {
    return "unknown: " + gaps.status().message();
  }
  return gaps->empty()
             ? "none"
             : Plural(static_cast<int64_t>(gaps->size()), "gap") + "; `show --json` lists them";
}

// "2 failed (command: no such file)"; "" when none did.
std::string FailedActions(const std::string& run_dir) {
  const Result<std::vector<actions::ActionRecord>> records = actions::ReadActions(run_dir);
  if (!records.ok()) {
    return "unknown: " + records.status().message();
  }
  int64_t failed = 0;
  std::string last;
  for (const actions::ActionRecord& record : *records) {
    if (record.outcome == "failed") {
      ++failed;
      last = record.action + ": " + record.detail;
    }
  }
  return failed == 0 ? "" : fmt::format("{} failed ({})", failed, last);
}

Status PrintSummary(trial::Trial& trial) {
  WT_ASSIGN_OR_RETURN(const std::vector<rules::Finding> findings,
                      rules::ReadFindings(trial.path()));
  WT_ASSIGN_OR_RETURN(const std::vector<int64_t> steps, trial.Steps({}));
  WT_ASSIGN_OR_RETURN(const std::vector<Rank> ranks, trial.Ranks());
  WT_ASSIGN_OR_RETURN(const trial::Overhead overhead, trial.MeasuredOverhead());
  const report::Verdict verdict = report::MakeVerdict(trial, findings);
  const auto line = [](const char* label, const std::string& text) {
    Print(fmt::format("{:<9} {}\n", label, Printable(text)));
  };
  line("run", trial.info().name + "  " + trial.path());
  line("command", Words(trial.info().argv));
  std::string state = trial::RunStateName(trial.state());
  if (trial.end()) {
    state += fmt::format(", exit code {}", trial.end()->exit_code);
    state += trial.end()->reason.empty() ? "" : ", " + trial.end()->reason;
  }
  line("state", state);
  line("verdict", verdict.sentence);
  line("steps", steps.empty()
                    ? "none recorded"
                    : fmt::format("{} ({} to {}), {}", steps.size(), steps.front(), steps.back(),
                                  Plural(static_cast<int64_t>(ranks.size()), "rank")));
  line("overhead", overhead.elapsed_ns > 0 ? RenderPercent(overhead.fraction) + " of step time"
                                           : "not measured");
  line("gaps", Gaps(trial));
  if (const std::string failed = FailedActions(trial.path()); !failed.empty()) {
    line("actions", failed);
  }
  for (const rules::Finding& finding : findings) {
    Print(RenderFinding(finding, ColoursOn(STDOUT_FILENO)));
  }
  return {};
}

}  // namespace

int ShowVerb(const Arguments& arguments) {
  const Result<std::unique_ptr<trial::Trial>> trial = OpenChosenRun(arguments);
  if (!trial.ok()) {
    return Fail(trial.status());
  }
  if (!arguments.json) {
    const Status printed = PrintSummary(**trial);
    return printed.ok() ? static_cast<int>(kExitOk) : Fail(printed);
  }
  const Result<std::string> json = report::SummaryJson(**trial);
  if (!json.ok()) {
    return Fail(json.status());
  }
  Print(*json + "\n");
  return kExitOk;
}

}  // namespace wheeltapper::cli
