// `wheeltapper report`
#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/report/report.h"

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

}  // namespace

int ReportVerb(const Arguments& arguments) {
  const Result<std::unique_ptr<trial::Trial>> trial = OpenChosenRun(arguments);
  if (!trial.ok()) {
    return Fail(trial.status());
  }
  const Result<std::string> written = arguments.json && arguments.output.empty()
                                          ? report::ReportJson(**trial)
                                          : Write(**trial, arguments.output);
  if (!written.ok()) {
    return Fail(written.status());
  }
  Print(*written + "\n");
  return kExitOk;
}

}  // namespace wheeltapper::cli
