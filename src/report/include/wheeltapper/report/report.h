// The report: one self-contained HTML file (inline SVG, no script needed to read it, light and
// dark, prints) and the same as JSON.
#pragma once

#include <string>
#include <vector>

#include "wheeltapper/core/status.h"
#include "wheeltapper/rules/finding.h"
#include "wheeltapper/trial/trial.h"

namespace wheeltapper::report {

// One sentence about a run: "Healthy: 11 rules, 300 steps, no findings; loss 2.31 → 0.08." or what
// is wrong first.
struct Verdict {
  std::string level;  // "healthy", "info", "warning", "error", "critical", "no data"
  std::string sentence;
};
Verdict MakeVerdict(trial::Trial& trial, const std::vector<rules::Finding>& findings);

// The whole report as JSON (docs/reference/report.md gives the keys).
Result<std::string> ReportJson(trial::Trial& trial);
Result<std::string> ReportHtml(trial::Trial& trial);
// Writes RUN/report/report.html and report.json; returns the HTML's path.
Result<std::string> WriteReport(trial::Trial& trial);

// `show RUN --json` (contract of DESIGN §12): name, state, exit_code, steps, verdict, overhead,
// gaps, …
Result<std::string> SummaryJson(trial::Trial& trial);

}  // namespace wheeltapper::report
