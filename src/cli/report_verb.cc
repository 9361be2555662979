// `wheeltapper report`
#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/report/report.h"

#include "chosen_runs.h"
#include "context.h"
#include "verbs.h"

namespace wheeltapper::cli {
namespace {

// The path of what was written.
Result<std::string> Write(trial::Trial& trial, const std::string& output) {
  if (output.empty()) {
    return report::WriteReport(trial);
  }
  WT_ASSIGN_OR_RETURN(const std::string html, report::ReportHtml(trial));
  WT_RETURN_IF_ERROR(WriteFileAtomically(output, html));
  return output;
}

// The path of what was written, or the report as JSON.
Result<std::string> ReportOn(const Arguments& arguments, const std::string& run) {
  WT_ASSIGN_OR_RETURN(const std::unique_ptr<trial::Trial> trial, trial::Trial::Open(run));
  return arguments.json && arguments.output.empty() ? report::ReportJson(*trial)
                                                    : Write(*trial, arguments.output);
}

// One file, and one object, hold the report of one run.
Result<std::vector<std::string>> RunsToReport(const Arguments& arguments) {
  WT_ASSIGN_OR_RETURN(std::vector<std::string> runs, ChosenRuns(arguments));
  if (arguments.json || !arguments.output.empty()) {
    WT_RETURN_IF_ERROR(TheOnlyRun(runs).status());
  }
  return runs;
}

}  // namespace

int ReportVerb(const Arguments& arguments) {
  const Result<std::vector<std::string>> runs = RunsToReport(arguments);
  if (!runs.ok()) {
    return Fail(runs.status());
  }
  int code = kExitOk;
  for (const std::string& run : *runs) {
    const Result<std::string> written = ReportOn(arguments, run);
    if (written.ok()) {
      Print(*written + "\n");
    } else {
      code = Fail(written.status());  // the others have theirs all the same
    }
  }
  return code;
}

}  // namespace wheeltapper::cli
