// `wheeltapper check`: the rules over finished (or running) runs, as if they were watched now.
#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/rules/engine.h"

#include "chosen_runs.h"
#include "context.h"
#include "findings_output.h"
#include "progress.h"
#include "render.h"
#include "settings.h"
#include "verbs.h"

namespace wheeltapper::cli {
namespace {

struct Checked {
  std::string run;
  trial::RunState state;
  std::vector<rules::Finding> findings;
  std::vector<rules::RuleStatus> rules;
  int64_t damaged = 0;  // places that could not be read
  std::vector<trial::Damage> damaged_files;

  [[nodiscard]] int64_t Count(rules::RuleState wanted) const {
    return std::count_if(rules.begin(), rules.end(),
                         [wanted](const rules::RuleStatus& rule) { return rule.state == wanted; });
  }
};

Result<Checked> Check(const std::string& run, const std::vector<rules::RuleSelection>& selection,
                      bool quiet) {
  WT_ASSIGN_OR_RETURN(const std::unique_ptr<trial::Trial> trial, trial::Trial::Open(run));
  WT_ASSIGN_OR_RETURN(const std::unique_ptr<rules::RuleEngine> engine,
                      rules::RuleEngine::Create(selection, SystemClock()));
  WT_ASSIGN_OR_RETURN(const std::vector<int64_t> steps, trial->Steps({}));
  Progress progress("checking " + BaseName(run), ProgressOutput(quiet));
  engine->OnBatch([&](const format::StepKey& key) {
    progress.Show(key.step.value, steps.empty() ? 0 : steps.back());
  });
  WT_RETURN_IF_ERROR(engine->Advance(*trial));
  WT_RETURN_IF_ERROR(engine->Finish(*trial));
  return Checked{.run = run,
                 .state = trial->state(),
                 .findings = engine->findings(),
                 .rules = engine->rule_states(),
                 .damaged = engine->damaged_places(),
                 .damaged_files = trial->Damaged()};
}

// The rules' states go last: states without findings would be called healthy.
Status Save(const Checked& checked) {
  std::string lines;
  for (const rules::Finding& finding : checked.findings) {
    lines += rules::FindingToJson(finding) + "\n";
  }
  WT_RETURN_IF_ERROR(WriteFileAtomically(format::FindingsPath(checked.run), lines));
  return rules::WriteRuleStates(checked.run, checked.rules);
}

// True for a run that is over and that no rule has looked at yet, as `attach` leaves one.
bool NeverChecked(const std::string& run, trial::RunState state) {
  const Result<std::vector<rules::RuleStatus>> states = rules::ReadRuleStates(run);
  return state != trial::RunState::kRunning && states.ok() && states->empty() &&
         !PathExists(format::FindingsPath(run));
}

// The first check of such a run is recorded by itself, but not one of some rules only.
bool ChecksEverything(const Arguments& arguments) {
  return std::none_of(arguments.flags.begin(), arguments.flags.end(), [](const ConfigFlag& flag) {
    return flag.key == "rules.select" || flag.key == "rules.ignore";
  });
}

Status SaveIfWanted(const Arguments& arguments, const Checked& checked) {
  if (arguments.save) {
    return Save(checked);
  }
  if (!ChecksEverything(arguments) || !NeverChecked(checked.run, checked.state)) {
    return {};
  }
  if (const Status saved = Save(checked); !saved.ok()) {
    Say("the result is not recorded in the run: " + saved.message());
  } else if (!arguments.quiet) {
    Say(fmt::format("{}: no rules had run over it; recorded what they found",
                    BaseName(checked.run)));
  }
  return {};
}

void TellDamage(const Checked& checked) {
  for (const trial::Damage& damage : checked.damaged_files) {
    Say(fmt::format("{}: not read: {}: {}", BaseName(checked.run), damage.file,
                    Printable(damage.what)));
  }
}

// On stderr: failed rules always, those without anything to look at beside the text; what several
// of them miss is said once.
void TellRules(const Checked& checked, bool all) {
  std::map<std::string, std::vector<std::string>> waiting;  // what is missing → the rules
  for (const rules::RuleStatus& rule : checked.rules) {
    if (rule.state == rules::RuleState::kErrored) {
      Say(fmt::format("{}: rule {} failed: {}", BaseName(checked.run), rule.name,
                      Printable(rule.detail)));
    } else if (all && rule.state == rules::RuleState::kWaiting) {
      waiting[rule.detail].push_back(rule.name);
    }
  }
  for (const auto& [detail, names] : waiting) {
    Say(fmt::format("{}: {} {} had nothing to look at: {}", BaseName(checked.run),
                    names.size() > 1 ? "rules" : "rule", fmt::join(names, ", "),
                    Printable(detail)));
  }
}

// "not fully checked, 1 rule failed; ", or "" where all was.
std::string LeftUnchecked(const Checked& checked) {
  const int64_t failed = checked.Count(rules::RuleState::kErrored);
  std::string why = failed == 0 ? "" : ", " + Plural(failed, "rule") + " failed";
  if (checked.damaged > 0) {
    why += ", " + Plural(checked.damaged, "damaged place") + " (`wheeltapper fsck` looks closer)";
  }
  return why.empty() ? "" : "not fully checked" + why + "; ";
}

// `brief`: without the line about the whole where all was checked.
void PrintText(const Checked& checked, bool brief) {
  int64_t told = 0;
  for (const rules::Finding& finding : checked.findings) {
    if (!finding.part_of) {  // else the one that took it over tells it
      Print(RenderFinding(finding, ColoursOn(STDOUT_FILENO)));
      ++told;
    }
  }
  const std::string unchecked = LeftUnchecked(checked);
  if (brief && unchecked.empty()) {
    return;
  }
  Print(fmt::format("{}: {}{} from {}\n", BaseName(checked.run), unchecked,
                    told == 0 ? "no findings" : Plural(told, "finding"),
                    Plural(checked.Count(rules::RuleState::kActive), "rule")));
}

bool Reaches(const std::vector<rules::Finding>& findings, rules::Severity level) {
  for (const rules::Finding& finding : findings) {
    if (finding.severity >= level && finding.state == rules::FindingState::kOpen) {
      return true;
    }
  }
  return false;
}

struct Outcome {
  std::vector<RunFindings> runs;
  bool incomplete = false;  // a rule failed, or something could not be read
};

// Checked, shown, and saved when that was asked for.
Result<Checked> CheckOne(const Arguments& arguments, const std::string& run,
                         const std::vector<rules::RuleSelection>& selection, bool one_of_several) {
  WT_ASSIGN_OR_RETURN(Checked checked, Check(run, selection, arguments.quiet));
  WT_RETURN_IF_ERROR(SaveIfWanted(arguments, checked));
  TellDamage(checked);
  TellRules(checked, !arguments.json && !arguments.quiet);
  if (!arguments.json) {
    const bool names_the_run = one_of_several && !checked.findings.empty();
    PrintText(checked, arguments.quiet && !names_the_run);
  }
  return checked;
}

// The runs that are named, else those of the newest command. One of several that cannot be read
// keeps the others from nothing.
Result<Outcome> CheckAll(const Arguments& arguments, const Config& config) {
  WT_ASSIGN_OR_RETURN(const auto selection, rules::SelectRules(config));
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> runs, ChosenRuns(arguments, config));
  Outcome all;
  for (const std::string& run : runs) {
    Result<Checked> checked = CheckOne(arguments, run, selection, runs.size() > 1);
    if (!checked.ok() && runs.size() == 1) {
      return checked.status();
    }
    if (!checked.ok()) {
      SayError(fmt::format("{}: {}", Printable(BaseName(run)), checked.status().message()));
      all.incomplete = true;
      continue;
    }
    all.incomplete = all.incomplete || !LeftUnchecked(*checked).empty();
    all.runs.push_back({.run = run, .findings = std::move(checked->findings)});
  }
  return all;
}

// "2 runs: 1 finding, the worst critical, in run exp", of findings that no other one tells; only
// the open ones are called the worst.
std::string Together(const std::vector<RunFindings>& all) {
  int64_t count = 0;
  const RunFindings* worst_run = nullptr;
  std::optional<rules::Severity> worst;
  for (const RunFindings& of_run : all) {
    for (const rules::Finding& finding : of_run.findings) {
      count += finding.part_of ? 0 : 1;
      if (finding.state == rules::FindingState::kOpen && (!worst || finding.severity > *worst)) {
        worst = finding.severity;
        worst_run = &of_run;
      }
    }
  }
  const std::string head = fmt::format("{}: {}", Plural(static_cast<int64_t>(all.size()), "run"),
                                       count == 0 ? "no findings" : Plural(count, "finding"));
  return worst_run == nullptr ? head
                              : fmt::format("{}, the worst {}, in run {}", head,
                                            rules::SeverityName(*worst), BaseName(worst_run->run));
}

}  // namespace

int CheckVerb(const Arguments& arguments) {
  const Result<Config> config = LoadConfigToCheck(arguments);
  if (!config.ok()) {
    return Fail(config.status());
  }
  const Result<rules::Severity> level =
      ParseSeverity(arguments.severity, rules::Severity::kWarning);
  if (!level.ok()) {
    return Fail(level.status());
  }
  const Result<Outcome> outcome = CheckAll(arguments, *config);
  if (!outcome.ok()) {
    return Fail(outcome.status());
  }
  if (arguments.json) {
    Print(FindingsJson(outcome->runs));
  } else if (outcome->runs.size() > 1 && !arguments.quiet) {
    Print(Together(outcome->runs) + "\n");
  }
  const bool reached =
      std::any_of(outcome->runs.begin(), outcome->runs.end(),
                  [&](const RunFindings& of_run) { return Reaches(of_run.findings, *level); });
  return outcome->incomplete || reached ? kExitFindings : kExitOk;
}

}  // namespace wheeltapper::cli
