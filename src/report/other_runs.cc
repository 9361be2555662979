// Which other runs the command of a run has.
#include "wheeltapper/core/file.h"
#include "wheeltapper/format/trainings.h"
#include "wheeltapper/report/report.h"

namespace wheeltapper::report {

std::string OtherRuns::text() const {
  if (!first_run.empty()) {
    return "a further training of the command of run " + first_run;
  }
  std::string names;
  for (size_t i = 0; i < further.size(); ++i) {
    const bool last = i + 1 == further.size();
    names += (i == 0 ? "" : last ? " and " : ", ") + further[i];
  }
  if (further.empty()) {
    return names;
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
