// `wheeltapper findings`
#include <algorithm>
#include <optional>

#include <fmt/format.h>
#include <unistd.h>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/rules/engine.h"

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

std::string FindingsJson(const std::vector<rules::Finding>& findings) {
  std::string text = "[";
  for (const rules::Finding& finding : findings) {
    text += (text.size() == 1 ? "\n  " : ",\n  ") + rules::FindingToJson(finding);
  }
  return text + (findings.empty() ? "]\n" : "\n]\n");
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

// A rule is known when it is built in, ran over this run, or is told by a finding of it.
Status CheckRuleName(const std::string& name, const std::string& run,
                     const std::vector<rules::Finding>& findings) {
  std::vector<std::string> names;
  for (const rules::RuleStatus& status :
       rules::ReadRuleStates(run).value_or(std::vector<rules::RuleStatus>())) {
    names.push_back(status.name);
  }
  for (const rules::Finding& finding : findings) {
    names.push_back(finding.rule);
    for (const rules::AlsoSeen& other : finding.also) {
      names.push_back(other.rule);
    }
  }
  const bool known = name.empty() || rules::FindRule(name) != nullptr ||
                     std::find(names.begin(), names.end(), name) != names.end();
  return known ? Status() : NoSuchRule(name, names);
}

}  // namespace

int FindingsVerb(const Arguments& arguments) {
  const Result<rules::Severity> lowest = ParseSeverity(arguments.severity, rules::Severity::kInfo);
  if (!lowest.ok()) {
    return Fail(lowest.status());
  }
  const Result<std::string> run = ChosenRun(arguments);
  if (!run.ok()) {
    return Fail(run.status());
  }
  // Findings can be read without the rest of a damaged run, but not those of another format.
  if (const Status info = format::ReadRunInfo(*run).status();
      info.code() == StatusCode::kFailedPrecondition) {
    return Fail(info);
  }
  std::vector<std::string> damaged;
  Result<std::vector<rules::Finding>> findings = rules::ReadFindings(*run, &damaged);
  if (!findings.ok()) {
    return Fail(findings.status());
  }
  for (const std::string& line : damaged) {
    SayError(fmt::format("{}/findings.jsonl: {}", Printable(*run), Printable(line)));
  }
  if (const Status known = CheckRuleName(arguments.rule, *run, *findings); !known.ok()) {
    return Fail(known);
  }
  std::erase_if(*findings, [&](const rules::Finding& finding) {
    const std::optional<rules::Severity> severity = SeverityFor(arguments.rule, finding);
    return !severity || *severity < *lowest;
  });
  if (arguments.json) {
    Print(FindingsJson(*findings));
  } else if (findings->empty()) {
    Say("no findings in " + *run);
  }
  // One that goes on as part of another is told there, if that is told.
  const auto is_told = [&](const std::string& id) {
    return std::any_of(findings->begin(), findings->end(),
                       [&](const rules::Finding& other) { return other.id == id; });
  };
  for (const rules::Finding& finding : *findings) {
    if (!arguments.json && !(finding.part_of && is_told(*finding.part_of))) {
      Print(RenderFinding(finding, ColoursOn(STDOUT_FILENO)));
    }
  }
  // A level that was asked for makes the exit code answer it; a plain listing is no judgement.
  const bool asked_and_found = !arguments.severity.empty() && !findings->empty();
  return asked_and_found || !damaged.empty() ? kExitFindings : kExitOk;
}

}  // namespace wheeltapper::cli
