// `wheeltapper check`: the rules over finished (or running) runs, as if they were watched now.
#include <fmt/format.h>
#include <unistd.h>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/rules/engine.h"

#include "context.h"
#include "findings_output.h"
#include "render.h"
#include "verbs.h"

namespace wheeltapper::cli {
namespace {

struct Checked {
  std::string run;
  std::vector<rules::Finding> findings;
  std::vector<rules::RuleStatus> rules;
};

Result<Checked> Check(const std::string& run, const std::vector<rules::RuleSelection>& selection) {
  WT_ASSIGN_OR_RETURN(const std::unique_ptr<trial::Trial> trial, trial::Trial::Open(run));
  WT_ASSIGN_OR_RETURN(const std::unique_ptr<rules::RuleEngine> engine,
                      rules::RuleEngine::Create(selection, SystemClock()));
  WT_RETURN_IF_ERROR(engine->Advance(*trial));
  WT_RETURN_IF_ERROR(engine->Finish(*trial));
  return Checked{.run = run, .findings = engine->findings(), .rules = engine->rule_states()};
}

Status Save(const Checked& checked) {
  std::string lines;
  for (const rules::Finding& finding : checked.findings) {
    lines += rules::FindingToJson(finding) + "\n";
  }
  return WriteFileAtomically(format::FindingsPath(checked.run), lines);
}

void PrintText(const Checked& checked) {
  for (const rules::Finding& finding : checked.findings) {
    Print(RenderFinding(finding, ColoursOn(STDOUT_FILENO)));
  }
  int64_t active = 0;
  for (const rules::RuleStatus& rule : checked.rules) {
    active += rule.state == rules::RuleState::kActive ? 1 : 0;
    if (rule.state != rules::RuleState::kActive) {
      Say(fmt::format(
          "{}: rule {} {}: {}", BaseName(checked.run), rule.name,
          rule.state == rules::RuleState::kErrored ? "failed" : "had nothing to look at",
          rule.detail));
    }
  }
  Print(fmt::format("{}: {} from {}\n", BaseName(checked.run),
                    checked.findings.empty()
                        ? "no findings"
                        : Plural(static_cast<int64_t>(checked.findings.size()), "finding"),
                    Plural(active, "rule")));
}

bool Reaches(const std::vector<rules::Finding>& findings, rules::Severity level) {
  for (const rules::Finding& finding : findings) {
    if (finding.severity >= level && finding.state == rules::FindingState::kOpen) {
      return true;
    }
  }
  return false;
}

// The runs that are named, else the latest; checked, shown, and saved when that was asked for.
Result<std::vector<rules::Finding>> CheckAll(const Arguments& arguments, const Config& config) {
  WT_ASSIGN_OR_RETURN(const auto selection, rules::SelectRules(config));
  std::vector<rules::Finding> all;
  for (const std::string& name :
       arguments.runs.empty() ? std::vector<std::string>{""} : arguments.runs) {
    WT_ASSIGN_OR_RETURN(const std::string run, ResolveRun(name, config));
    WT_ASSIGN_OR_RETURN(const Checked checked, Check(run, selection));
    if (arguments.save) {
      WT_RETURN_IF_ERROR(Save(checked));
    }
    if (!arguments.json) {
      PrintText(checked);
    }
    all.insert(all.end(), checked.findings.begin(), checked.findings.end());
  }
  return all;
}

}  // namespace

int CheckVerb(const Arguments& arguments) {
  const Result<Config> config = LoadConfig(arguments);
  if (!config.ok()) {
    return Fail(config.status());
  }
  const Result<rules::Severity> level =
      ParseSeverity(arguments.severity, rules::Severity::kWarning);
  if (!level.ok()) {
    return Fail(level.status());
  }
  const Result<std::vector<rules::Finding>> found = CheckAll(arguments, *config);
  if (!found.ok()) {
    return Fail(found.status());
  }
  if (arguments.json) {
    Print(FindingsJson(*found));
  }
  return Reaches(*found, *level) ? kExitFindings : kExitOk;
}

}  // namespace wheeltapper::cli
