// Which other runs the command of a run has.
#include "wheeltapper/core/file.h"
#include "wheeltapper/format/trainings.h"
#include "wheeltapper/report/report.h"

namespace wheeltapper::report {
namespace {

// A sweep may have hundreds.
constexpr size_t kMostNamed = 5;

}  // namespace

std::string OtherRuns::text() const {
  if (!first_run.empty()) {
    return "a further training of the command of run " + first_run;
  }
  if (further.empty()) {
    return "";
  }
  std::vector<std::string> named = further;
  if (further.size() > kMostNamed + 1) {
    named.resize(kMostNamed);
    named.push_back(std::to_string(further.size() - kMostNamed) + " more");
  }
  std::string names;
  for (size_t i = 0; i < named.size(); ++i) {
    const bool last = i + 1 == named.size();
    names += (i == 0 ? "" : last ? " and " : ", ") + named[i];
  }
  return names + (further.size() == 1 ? " is a further training of this command"
                                      : " are further trainings of this command");
}

OtherRuns FindOtherRuns(const trial::Trial& trial) {
  OtherRuns runs{.first_run = trial.info().first_run, .further = {}};
  // What cannot be read names no runs; `fsck` says so.
  for (const format::TrainingRecord& training :
       format::ListTrainings(trial.path()).value_or(std::vector<format::TrainingRecord>())) {
    if (training.number > 1) {
      runs.further.push_back(BaseName(training.run_dir));
    }
  }
  return runs;
}

}  // namespace wheeltapper::report
