// `wheeltapper show`: the summary of one run, or of a command with several trainings.
#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/quantity_text.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/trainings.h"
#include "wheeltapper/report/report.h"
#include "wheeltapper/rules/engine.h"
#include "wheeltapper/rules/finding.h"

#include "chosen_runs.h"
#include "context.h"
#include "render.h"
#include "verbs.h"

namespace wheeltapper::cli {
namespace {

using nlohmann::json;

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

json ActionsJson(const ActionTrouble& trouble) {
  json waiting = json::array();
  for (const actions::WaitingMessages& each : trouble.waiting) {
    waiting.push_back({{"action", each.action},
                       {"messages", each.count},
                       {"why", each.why.empty() ? json() : json(each.why)}});
  }
  return {{"failed", trouble.failed},
          {"last_failure", trouble.failed > 0 ? json(trouble.last_failure) : json()},
          {"waiting", std::move(waiting)}};
}

json TrainingJson(const report::TrainingVerdict& training) {
  return {{"name", training.run},
          {"path", training.path},
          {"state", training.state},
          {"level", report::LevelName(training.verdict.level)},
          {"verdict", training.verdict.sentence},
          {"findings", training.findings},
          {"steps", training.steps}};
}

// What the report knows of the run, and the actions, which it does not. Damage there leaves the
// rest to be read.
Result<json> RunJson(trial::Trial& trial) {
  WT_ASSIGN_OR_RETURN(json summary, report::SummaryJson(trial));
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

constexpr size_t kLabelWidth = 9;

void PrintLine(const std::string& label, const std::string& text, size_t width = kLabelWidth) {
  Print(fmt::format("{:<{}} {}\n", label, width, Printable(text)));
}

// A line for each, under its run's name.
void PrintTrainings(const std::vector<report::TrainingVerdict>& trainings) {
  size_t width = kLabelWidth;
  for (const report::TrainingVerdict& training : trainings) {
    width = std::max(width, training.run.size());
  }
  for (const report::TrainingVerdict& training : trainings) {
    PrintLine(Printable(training.run), training.state + "; " + training.verdict.sentence, width);
  }
}

std::vector<report::TrainingVerdict> Judge(const std::vector<std::string>& runs) {
  std::vector<report::TrainingVerdict> judged;
  judged.reserve(runs.size());
  std::transform(runs.begin(), runs.end(), std::back_inserter(judged),
                 [](const std::string& run) { return report::JudgeTraining(run); });
  return judged;
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
  PrintLine("state", StateLine(trial));
  PrintLine("verdict", verdict.sentence);
  PrintLine("steps", steps);
  PrintLine("overhead", overhead.elapsed_ns > 0 ? PercentText(overhead.fraction) + " of step time"
                                                : "not measured");
  if (const std::optional<report::Budget> budget = report::CompareWithBudget(trial, overhead);
      budget && !budget->exceeded_because.empty()) {
    PrintLine("budget", PercentText(budget->fraction) + ", exceeded: " + budget->exceeded_because);
  }
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
  // Last, and by their names: this run was asked for, and judging hundreds takes its time.
  if (const std::string others = report::FindOtherRuns(trial).text(); !others.empty()) {
    PrintLine("trainings", others + "; `wheeltapper ls` lists them");
  }
  return {};
}

// What the summary of a run says of it among the trainings of its command.
json TrainingOf(const std::string& run, const json& summary) {
  json training = {{"name", BaseName(run)}, {"path", run}};
  for (const char* key : {"state", "level", "verdict", "findings", "steps"}) {
    training[key] = summary[key];
  }
  return training;
}

Status ShowRun(const std::string& run, bool as_json) {
  WT_ASSIGN_OR_RETURN(const std::unique_ptr<trial::Trial> trial, trial::Trial::Open(run));
  if (!as_json) {
    return PrintSummary(*trial);
  }
  WT_ASSIGN_OR_RETURN(json summary, RunJson(*trial));
  summary["trainings"] = json::array();
  for (const std::string& other : format::RunsOfCommand(run)) {
    const bool own = BaseName(other) == BaseName(run);
    summary["trainings"].push_back(own ? TrainingOf(other, summary)
                                       : TrainingJson(report::JudgeTraining(other)));
  }
  PrintJson(summary);
  return {};
}

// A training and all that is known of its run; the former alone where that cannot be read.
std::pair<report::TrainingVerdict, json> ReadTraining(const std::string& run) {
  const Result<std::unique_ptr<trial::Trial>> trial = trial::Trial::Open(run);
  report::TrainingVerdict training =
      trial.ok() ? report::JudgeTraining(**trial) : report::JudgeTraining(run);
  Result<json> whole = trial.ok() ? RunJson(**trial) : Result<json>(trial.status());
  json told = whole.ok() ? std::move(*whole) : TrainingJson(training);
  return {std::move(training), std::move(told)};
}

std::vector<report::TrainingVerdict> PrintCommandJson(const std::vector<std::string>& runs) {
  std::vector<report::TrainingVerdict> trainings;
  int64_t findings = 0;
  json all = json::array();
  for (const std::string& run : runs) {
    auto [training, told] = ReadTraining(run);
    findings += training.findings;
    trainings.push_back(std::move(training));
    all.push_back(std::move(told));
  }
  const report::Verdict verdict = report::MakeCommandVerdict(trainings);
  PrintJson({{"name", trainings.front().run},
             {"path", trainings.front().path},
             {"level", report::LevelName(verdict.level)},
             {"verdict", verdict.sentence},
             {"findings", findings},
             {"trainings", std::move(all)}});
  return trainings;
}

std::vector<report::TrainingVerdict> PrintCommand(const std::vector<std::string>& runs) {
  std::vector<report::TrainingVerdict> trainings = Judge(runs);
  const std::string& first = trainings.front().path;
  if (const Result<format::RunInfo> info = format::ReadRunInfo(first); info.ok()) {
    PrintLine("command", Words(info->argv));
  }
  PrintLine("trainings", fmt::format("{}, recorded in {}", trainings.size(), FolderOf(first)));
  PrintLine("verdict", report::MakeCommandVerdict(trainings).sentence);
  PrintTrainings(trainings);
  PrintLine("more", "`wheeltapper show RUN`: one of them; `wheeltapper findings`: those of all");
  return trainings;
}

// A command with several trainings, of which no run was named.
int ShowCommand(const std::vector<std::string>& runs, bool as_json) {
  const std::vector<report::TrainingVerdict> trainings =
      as_json ? PrintCommandJson(runs) : PrintCommand(runs);
  const bool all_read =
      std::none_of(trainings.begin(), trainings.end(), [](const report::TrainingVerdict& each) {
        return each.verdict.level == report::Level::kUnreadable;
      });
  return all_read ? kExitOk : kExitFindings;
}

}  // namespace

int ShowVerb(const Arguments& arguments) {
  const Result<std::vector<std::string>> runs = ChosenRuns(arguments);
  if (!runs.ok()) {
    return Fail(runs.status());
  }
  if (runs->size() > 1) {
    return ShowCommand(*runs, arguments.json);
  }
  const Status shown = ShowRun(runs->front(), arguments.json);
  return shown.ok() ? static_cast<int>(kExitOk) : Fail(shown);
}

}  // namespace wheeltapper::cli
