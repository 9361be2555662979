// `wheeltapper findings`
#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/json.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/rules/engine.h"

#include "chosen_runs.h"
#include "context.h"
#include "findings_output.h"
#include "render.h"
#include "rule_names.h"
#include "verbs.h"

namespace wheeltapper::cli {

std::map<std::string, rules::Severity> SeveritiesOf(const std::vector<rules::AlsoSeen>& also) {
  std::map<std::string, rules::Severity> worst;
  for (const rules::AlsoSeen& other : also) {
    const auto [slot, is_new] = worst.try_emplace(other.rule, other.severity);
    slot->second = std::max(slot->second, other.severity);
  }
  return worst;
}

std::string FindingsJson(const std::vector<RunFindings>& all) {
  std::string text;
  for (const RunFindings& of_run : all) {
    for (const rules::Finding& finding : of_run.findings) {
      nlohmann::ordered_json json = ParseOrderedJson(rules::FindingToJson(finding));
      json["run"] = BaseName(of_run.run);
      text += (text.empty() ? "\n  " : ",\n  ") + JsonLine(json);
    }
  }
  return "[" + text + (text.empty() ? "]\n" : "\n]\n");
}

Result<rules::Severity> ParseSeverity(const std::string& text, rules::Severity fallback) {
  if (text.empty()) {
    return fallback;
  }
  const std::optional<rules::Severity> severity = rules::SeverityFromName(text);
  if (!severity) {
    return InvalidArgumentError("there is no severity \"" + text +
                                "\": info, warning, error or critical");
  }
  return *severity;
}

namespace {

// How severe the finding is to who asks for one rule: also when another one's finding tells what it
// saw. Nothing where it is not concerned.
std::optional<rules::Severity> SeverityFor(const std::string& rule, const rules::Finding& finding) {
  if (rule.empty() || finding.rule == rule) {
    return finding.severity;
  }
  const std::map<std::string, rules::Severity> others = SeveritiesOf(finding.also);
  const auto other = others.find(rule);
  return other == others.end() ? std::nullopt : std::optional(other->second);
}

// A rule is known when it is built in, ran over one of the runs, or is told by a finding of one.
Status CheckRuleName(const std::string& name, const std::vector<RunFindings>& all) {
  std::vector<std::string> names;
  for (const RunFindings& of_run : all) {
    for (const rules::RuleStatus& status :
         rules::ReadRuleStates(of_run.run).value_or(std::vector<rules::RuleStatus>())) {
      names.push_back(status.name);
    }
    for (const rules::Finding& finding : of_run.findings) {
      names.push_back(finding.rule);
      for (const rules::AlsoSeen& other : finding.also) {
        names.push_back(other.rule);
      }
    }
  }
  const bool known = name.empty() || rules::FindRule(name) != nullptr ||
                     std::find(names.begin(), names.end(), name) != names.end();
  return known ? Status() : NoSuchRule(name, names);
}

// What can be read of a run; says what cannot, and notes it in `damaged`.
Result<std::vector<rules::Finding>> Read(const std::string& run, bool* damaged) {
  // Findings can be read without the rest of a damaged run, but not those of another format.
  if (const Status info = format::ReadRunInfo(run).status();
      info.code() == StatusCode::kFailedPrecondition) {
    return info;
  }
  std::vector<std::string> lines;
  WT_ASSIGN_OR_RETURN(std::vector<rules::Finding> findings, rules::ReadFindings(run, &lines));
  for (const std::string& line : lines) {
    SayError(fmt::format("{}/findings.jsonl: {}", Printable(run), Printable(line)));
    *damaged = true;
  }
  return findings;
}

// Of several, one that cannot be read is told, and hides none of the others.
Result<std::vector<RunFindings>> ReadAll(const std::vector<std::string>& runs, bool* damaged) {
  std::vector<RunFindings> all;
  for (const std::string& run : runs) {
    Result<std::vector<rules::Finding>> findings = Read(run, damaged);
    if (findings.ok()) {
      all.push_back({.run = run, .findings = std::move(*findings)});
      continue;
    }
    if (runs.size() == 1) {
      return findings.status();
    }
    SayError(fmt::format("{}: {}", Printable(BaseName(run)), findings.status().message()));
    *damaged = true;
  }
  return all;
}

void PrintFindings(const RunFindings& of_run, bool name_the_run) {
  // One that goes on as part of another is told there, if that is told.
  const auto is_told = [&](const std::string& id) {
    return std::any_of(of_run.findings.begin(), of_run.findings.end(),
                       [&](const rules::Finding& other) { return other.id == id; });
  };
  const std::string which =
      name_the_run ? fmt::format("run {}: ", Printable(BaseName(of_run.run))) : "";
  for (const rules::Finding& finding : of_run.findings) {
    if (!(finding.part_of && is_told(*finding.part_of))) {
      Print(which + RenderFinding(finding, ColoursOn(STDOUT_FILENO)));
    }
  }
}

// "no findings in wheeltapper-runs/exp", or the names of several.
std::string NoFindings(const std::vector<RunFindings>& all) {
  std::vector<std::string> runs;
  std::transform(all.begin(), all.end(), std::back_inserter(runs),
                 [](const RunFindings& of_run) { return of_run.run; });
  return "no findings in " + (runs.size() == 1 ? runs.front() : NamesOf(runs));
}

// Leaves the findings that were asked for; whether there is any.
bool KeepChosen(const Arguments& arguments, rules::Severity lowest, std::vector<RunFindings>* all) {
  bool found = false;
  for (RunFindings& of_run : *all) {
    std::erase_if(of_run.findings, [&](const rules::Finding& finding) {
      const std::optional<rules::Severity> severity = SeverityFor(arguments.rule, finding);
      return !severity || *severity < lowest;
    });
    found = found || !of_run.findings.empty();
  }
  return found;
}

}  // namespace

int FindingsVerb(const Arguments& arguments) {
  const Result<rules::Severity> lowest = ParseSeverity(arguments.severity, rules::Severity::kInfo);
  if (!lowest.ok()) {
    return Fail(lowest.status());
  }
  const Result<std::vector<std::string>> runs = ChosenRuns(arguments);
  if (!runs.ok()) {
    return Fail(runs.status());
  }
  bool damaged = false;
  Result<std::vector<RunFindings>> all = ReadAll(*runs, &damaged);
  if (!all.ok()) {
    return Fail(all.status());
  }
  if (const Status known = CheckRuleName(arguments.rule, *all); !known.ok()) {
    return Fail(known);
  }
  const bool found = KeepChosen(arguments, *lowest, &*all);
  if (arguments.json) {
    Print(FindingsJson(*all));
  } else if (!found && !all->empty()) {
    Say(NoFindings(*all));
  }
  for (const RunFindings& of_run : *all) {
    if (!arguments.json) {
      PrintFindings(of_run, runs->size() > 1);
    }
  }
  // A level that was asked for makes the exit code answer it; a plain listing is no judgement.
  const bool asked_and_found = !arguments.severity.empty() && found;
  return asked_and_found || damaged ? kExitFindings : kExitOk;
}

}  // namespace wheeltapper::cli
