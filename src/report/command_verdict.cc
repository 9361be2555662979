// One sentence about a command that trained several times: its worst training speaks.
#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/plural.h"
#include "wheeltapper/report/report.h"

namespace wheeltapper::report {
namespace {

// Worst first. What is not known is worse than what was found to be minor.
constexpr std::array<std::string_view, 10> kLevels = {
    "critical", "error",       "unreadable",  "failed", "warning",
    "no data",  "not checked", "interrupted", "info",   "healthy"};

size_t PlaceOf(const TrainingVerdict& training) {
  return static_cast<size_t>(std::find(kLevels.begin(), kLevels.end(), training.verdict.level) -
                             kLevels.begin());
}

}  // namespace

TrainingVerdict JudgeTraining(const std::string& run_dir) {
  TrainingVerdict judged{.run = BaseName(run_dir),
                         .path = run_dir,
                         .state = "unreadable",
                         .verdict = {.level = "unreadable", .sentence = ""}};
  const auto judge = [&]() -> Status {
    WT_ASSIGN_OR_RETURN(const std::unique_ptr<trial::Trial> trial, trial::Trial::Open(run_dir));
    std::vector<trial::Damage> damaged;
    WT_ASSIGN_OR_RETURN(const std::vector<rules::Finding> findings, ReadFindings(*trial, &damaged));
    WT_ASSIGN_OR_RETURN(const std::vector<int64_t> steps, trial->Steps({}));
    judged.state = trial::RunStateName(trial->state());
    judged.verdict = MakeVerdict(*trial, findings);
    judged.findings = CountOwn(findings);
    judged.steps = static_cast<int64_t>(steps.size());
    return {};
  };
  if (const Status status = judge(); !status.ok()) {
    judged.verdict.sentence = status.message();
  }
  return judged;
}

Verdict MakeCommandVerdict(const std::vector<TrainingVerdict>& trainings) {
  const auto worst = std::min_element(
      trainings.begin(), trainings.end(),
      [](const auto& a, const auto& b) { return PlaceOf(a) < PlaceOf(b); });  // the first of equals
  const std::string count = Plural(static_cast<int64_t>(trainings.size()), "training");
  if (worst->verdict.level != "healthy") {
    return {.level = worst->verdict.level,
            .sentence = fmt::format("run {}, the worst of {}: {}", worst->run, count,
                                    worst->verdict.sentence)};
  }
  int64_t steps = 0;
  for (const TrainingVerdict& training : trainings) {
    steps += training.steps;
  }
  return {
      .level = "healthy",
      .sentence = fmt::format("Healthy: no findings in {} of {}.", Plural(steps, "step"), count)};
}

}  // namespace wheeltapper::report
