// `wheeltapper findings`
#include <algorithm>

#include <unistd.h>

#include "wheeltapper/cli/main.h"

#include "context.h"
#include "findings_output.h"
#include "render.h"
#include "verbs.h"

namespace wheeltapper::cli {

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

int FindingsVerb(const Arguments& arguments) {
  const Result<rules::Severity> lowest = ParseSeverity(arguments.severity, rules::Severity::kInfo);
  if (!lowest.ok()) {
    return Fail(lowest.status());
  }
  const Result<std::string> run = ChosenRun(arguments);
  if (!run.ok()) {
    return Fail(run.status());
  }
  Result<std::vector<rules::Finding>> findings = rules::ReadFindings(*run);
  if (!findings.ok()) {
    return Fail(findings.status());
  }
  std::erase_if(*findings, [&](const rules::Finding& finding) {
    return finding.severity < *lowest ||
           (!arguments.rule.empty() && finding.rule != arguments.rule);
  });
  if (arguments.json) {
    Print(FindingsJson(*findings));
  } else if (findings->empty()) {
    Say("no findings in " + *run);
  }
  for (const rules::Finding& finding : *findings) {
    if (!arguments.json) {
      Print(RenderFinding(finding, ColoursOn(STDOUT_FILENO)));
    }
  }
  // A level that was asked for makes the exit code answer it; a plain listing is no judgement.
  return !arguments.severity.empty() && !findings->empty() ? kExitFindings : kExitOk;
}

}  // namespace wheeltapper::cli
