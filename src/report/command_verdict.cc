// One sentence about a command that trained several times: its worst training speaks.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/plural.h"
#include "wheeltapper/report/report.h"

namespace wheeltapper::report {
namespace {

TrainingVerdict Unreadable(const std::string& run_dir, const Status& why) {
  return {.run = BaseName(run_dir),
          .path = run_dir,
          .state = "unreadable",
          .verdict = {.level = Level::kUnreadable, .sentence = why.message()}};
}

Result<TrainingVerdict> Judge(trial::Trial& trial) {
  std::vector<trial::Damage> damaged;
  WT_ASSIGN_OR_RETURN(const std::vector<rules::Finding> findings, ReadFindings(trial, &damaged));
  WT_ASSIGN_OR_RETURN(const std::vector<int64_t> steps, trial.Steps({}));
  Verdict verdict = MakeVerdict(trial, findings);
  const bool unknown = verdict.level == Level::kNoData || verdict.level == Level::kNotChecked;
  return TrainingVerdict{
      .run = BaseName(trial.path()),
      .path = trial.path(),
      .state = trial::RunStateName(trial.state()),
      .verdict = std::move(verdict),
      .findings = CountOwn(findings),
      .steps = static_cast<int64_t>(steps.size()),
      .only_begun = unknown && trial.state() == trial::RunState::kRunning,
  };
}

// "Healthy: no findings in 42 steps of 2 trainings."
std::string AllHealthy(const std::vector<TrainingVerdict>& trainings) {
  int64_t known = 0;
  int64_t steps = 0;
  for (const TrainingVerdict& training : trainings) {
    known += training.only_begun ? 0 : 1;
    steps += training.only_begun ? 0 : training.steps;
  }
  const int64_t begun = static_cast<int64_t>(trainings.size()) - known;
  const std::string rest =
      begun == 0 ? ""
                 : fmt::format("; of {} more, which {}, nothing is known yet",
                               Plural(begun, "training"), begun == 1 ? "runs" : "run");
  return fmt::format("Healthy: no findings in {} of {}{}.", Plural(steps, "step"),
                     Plural(known, "training"), rest);
}

}  // namespace

TrainingVerdict JudgeTraining(trial::Trial& trial) {
  Result<TrainingVerdict> judged = Judge(trial);
  return judged.ok() ? std::move(*judged) : Unreadable(trial.path(), judged.status());
}

TrainingVerdict JudgeTraining(const std::string& run_dir) {
  const Result<std::unique_ptr<trial::Trial>> trial = trial::Trial::Open(run_dir);
  return trial.ok() ? JudgeTraining(**trial) : Unreadable(run_dir, trial.status());
}

Verdict MakeCommandVerdict(const std::vector<TrainingVerdict>& trainings) {
  const auto rank = [](const TrainingVerdict& training) {
    return std::pair(!training.only_begun, training.verdict.level);
  };
  const auto worst = std::max_element(
      trainings.begin(), trainings.end(),
      [&](const auto& a, const auto& b) { return rank(a) < rank(b); });  // the first of equals
  if (worst->verdict.level == Level::kHealthy) {
    return {.level = Level::kHealthy, .sentence = AllHealthy(trainings)};
  }
  return {.level = worst->verdict.level,
          .sentence = fmt::format("run {}, the worst of {}: {}", worst->run,
                                  Plural(static_cast<int64_t>(trainings.size()), "training"),
                                  worst->verdict.sentence)};
}

}  // namespace wheeltapper::report
