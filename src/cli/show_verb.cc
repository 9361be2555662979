// `wheeltapper show`: the summary of one run.
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/cli/main.h"
#include "wheeltapper/report/report.h"
#include "wheeltapper/rules/engine.h"
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

// What became of the actions, beyond those that were carried out.
struct ActionTrouble {
  int64_t failed = 0;
  std::string last_failure;  // "command: no such file"
  std::vector<actions::WaitingMessages> waiting;
};

Result<ActionTrouble> ReadTrouble(const std::string& run_dir) {
  WT_ASSIGN_OR_RETURN(const std::vector<actions::ActionRecord> records,
                      actions::ReadActions(run_dir));
  ActionTrouble trouble;
  for (const actions::ActionRecord& record : records) {
    if (record.outcome == "failed") {
      ++trouble.failed;
      trouble.last_failure = record.action + ": " + record.detail;
    }
  }
  WT_ASSIGN_OR_RETURN(trouble.waiting, actions::ReadWaiting(run_dir));
  return trouble;
}

// "2 failed (command: no such file)", "3 messages of webhook wait …", a line each.
std::vector<std::string> ActionLines(const std::string& run_dir) {
  const Result<ActionTrouble> trouble = ReadTrouble(run_dir);
  if (!trouble.ok()) {
    return {"unknown: " + trouble.status().message()};
  }
  std::vector<std::string> lines;
  if (trouble->failed > 0) {
    lines.push_back(fmt::format("{} failed ({})", trouble->failed, trouble->last_failure));
  }
  for (const actions::WaitingMessages& waiting : trouble->waiting) {
    lines.push_back(fmt::format(
        "{} of {} not delivered yet{}; the next `wheeltapper run` with this run's storage.path "
        "sends what its own watcher does not",
        Plural(waiting.count, "message"), waiting.action,
        waiting.why.empty() ? "" : " (" + waiting.why + ")"));
  }
  return lines;
}

nlohmann::json ActionsJson(const ActionTrouble& trouble) {
  nlohmann::json waiting = nlohmann::json::array();
  for (const actions::WaitingMessages& each : trouble.waiting) {
    waiting.push_back({{"action", each.action},
                       {"messages", each.count},
                       {"why", each.why.empty() ? nlohmann::json() : nlohmann::json(each.why)}});
  }
  return {{"failed", trouble.failed},
          {"last_failure",
           trouble.failed > 0 ? nlohmann::json(trouble.last_failure) : nlohmann::json()},
          {"waiting", std::move(waiting)}};
}

// What the report knows of the run, and the actions, which it does not. Damage there leaves the
// rest to be read.
Result<nlohmann::json> ShowJson(trial::Trial& trial) {
  WT_ASSIGN_OR_RETURN(nlohmann::json summary, report::SummaryJson(trial));
  const Result<ActionTrouble> trouble = ReadTrouble(trial.path());
  if (trouble.ok()) {
    summary["actions"] = ActionsJson(*trouble);
  } else {
    summary["actions"]["error"] = trouble.status().message();
  }
  return summary;
}

Result<std::string> StepsText(trial::Trial& trial) {
  WT_ASSIGN_OR_RETURN(const std::vector<int64_t> steps, trial.Steps({}));
  WT_ASSIGN_OR_RETURN(const std::vector<Rank> ranks, trial.Ranks());
  WT_ASSIGN_OR_RETURN(const int64_t captured, report::CountCaptured(trial, steps));
  return steps.empty() ? "none recorded"
                       : fmt::format("{} ({} to {}), tensors captured at {} of them, {}",
                                     steps.size(), steps.front(), steps.back(), captured,
                                     Plural(static_cast<int64_t>(ranks.size()), "rank"));
}

void PrintLine(const char* label, const std::string& text) {
  Print(fmt::format("{:<9} {}\n", label, Printable(text)));
}

// "stopped by rule nonfinite, exit code 143": the reason begins with the state.
std::string StateLine(const trial::Trial& trial) {
  std::string state = trial::RunStateName(trial.state());
  if (!trial.end()) {
    return state;
  }
  const format::EndInfo& end = *trial.end();
  if (!end.reason.empty()) {
    state = end.reason.rfind(state, 0) == 0 ? end.reason : state + ", " + end.reason;
  }
  return end.exit_code == format::kUnknownExit
             ? state
             : fmt::format("{}, exit code {}", state, end.exit_code);
}

Status PrintSummary(trial::Trial& trial) {
  std::vector<trial::Damage> damaged;
  WT_ASSIGN_OR_RETURN(const std::vector<rules::Finding> findings,
                      report::ReadFindings(trial, &damaged));
  WT_ASSIGN_OR_RETURN(const std::string steps, StepsText(trial));
  WT_ASSIGN_OR_RETURN(const trial::Overhead overhead, trial.MeasuredOverhead());
  const report::Verdict verdict = report::MakeVerdict(trial, findings);
  PrintLine("run", trial.info().name + "  " + trial.path());
  PrintLine("command", Words(trial.info().argv));
  if (const std::string others = report::FindOtherRuns(trial).text(); !others.empty()) {
    PrintLine("trainings", others);
  }
  PrintLine("state", StateLine(trial));
  PrintLine("verdict", verdict.sentence);
  PrintLine("steps", steps);
  PrintLine("overhead", overhead.elapsed_ns > 0 ? RenderPercent(overhead.fraction) + " of step time"
                                                : "not measured");
  PrintLine("gaps", Gaps(trial));
  for (const trial::Damage& damage : damaged) {
    PrintLine("damaged", damage.file + ": " + damage.what);
  }
  for (const std::string& note : report::RuleNotes(
           rules::ReadRuleStates(trial.path()).value_or(std::vector<rules::RuleStatus>()))) {
    PrintLine("rules", note);
  }
  for (const std::string& trouble : ActionLines(trial.path())) {
    PrintLine("actions", trouble);
  }
  for (const rules::Finding& finding : findings) {
    if (!finding.part_of) {  // else the one that took it over tells it
      Print(RenderFinding(finding, ColoursOn(STDOUT_FILENO)));
    }
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
  const Result<nlohmann::json> json = ShowJson(**trial);
  if (!json.ok()) {
    return Fail(json.status());
  }
  PrintJson(*json);
  return kExitOk;
}

}  // namespace wheeltapper::cli
