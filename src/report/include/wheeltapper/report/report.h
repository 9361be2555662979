// The report: one self-contained HTML file (inline SVG, no script needed to read it, light and
// dark, prints) and the same as JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "wheeltapper/core/status.h"
#include "wheeltapper/rules/engine.h"
#include "wheeltapper/rules/finding.h"
#include "wheeltapper/trial/trial.h"

namespace wheeltapper::report {

// How well a run did, best first. What is not known is worse than what was found to be minor.
enum class Level : uint8_t {
  kHealthy,
  kInfo,         // the worst finding's severity, as kWarning, kError and kCritical
  kInterrupted,  // without findings, as all that is no severity
  kNotChecked,   // no rule has looked
  kNoData,       // no step was recorded, or forward passes alone
  kWarning,      // also: not everything was checked
  kFailed,
  kUnreadable,  // the run cannot be opened
  kError,
  kCritical,
};
// "healthy", "not checked", …: as --json gives it.
std::string_view LevelName(Level level);

// One sentence about a run: "Healthy: no findings in 300 steps; loss 2.31 → 0.08." or what is wrong
// first. A job that failed, was killed or interrupted is never healthy, nor is a run that no rule
// looked at or that cannot be read whole.
struct Verdict {
  Level level = Level::kHealthy;
  std::string sentence;
};
// False for a run of `steps` without anything of training in it: no step, or nothing but the
// activations of forward passes, as where the script forgets optimizer.step().
bool HasRecords(trial::Trial& trial, size_t steps);
// The run's findings, and in `damaged`, added, what of the run cannot be read: files, and lines of
// findings.
Result<std::vector<rules::Finding>> ReadFindings(const trial::Trial& trial,
                                                 std::vector<trial::Damage>* damaged);
// Findings that no other one has taken over.
int64_t CountOwn(const std::vector<rules::Finding>& findings);
// Places of the run that could not be read when it was opened, or were lost before; trial.Damaged()
// names the files that are there.
int64_t CountDamagedPlaces(trial::Trial& trial);
Verdict MakeVerdict(trial::Trial& trial, const std::vector<rules::Finding>& findings);

// One training of a command that has several, as the command's summary tells it.
struct TrainingVerdict {
  std::string run;  // the name of its run's folder
  std::string path;
  std::string state;  // as `ls` gives it; "unreadable"
  Verdict verdict;    // kUnreadable where the run cannot be opened; the sentence says why
  int64_t findings = 0;
  int64_t steps = 0;
  bool only_begun = false;  // it runs, and nothing is known of it yet
};
TrainingVerdict JudgeTraining(const std::string& run_dir);
// The same of one that is open.
TrainingVerdict JudgeTraining(trial::Trial& trial);
// Over all trainings of a command, of which there is at least one: the worst one speaks, by its
// name. Those that have only begun say nothing, unless all have.
Verdict MakeCommandVerdict(const std::vector<TrainingVerdict>& trainings);

// What silence of the rules does not mean, a line each: which of them failed, which had nothing to
// judge or leave something out and what to do about it, and which run in a sandbox that is not
// whole. Nothing of a rule that has not looked yet.
std::vector<std::string> RuleNotes(const std::vector<rules::RuleStatus>& states);

// The other runs of the command that this run is of (format/trainings.h): what is said of them, and
// their names. Of a further training only the first one's run is known.
struct OtherRuns {
  std::string first_run;             // "" when this run is the first one
  std::vector<std::string> further;  // in the order in which they began
  // "exp-2 and exp-3 are further trainings of this command"; of many the first ones are named. ""
  // when there are none.
  [[nodiscard]] std::string text() const;
};
OtherRuns FindOtherRuns(const trial::Trial& trial);

// The share of the step time that watching may cost, and why it cost more: "" where it did not.
// What the reason says is measured, or stands in the configuration.
struct Budget {
  double fraction = 0;
  std::string exceeded_because;
};
// None where the run's configuration cannot be read.
std::optional<Budget> CompareWithBudget(trial::Trial& trial, const trial::Overhead& overhead);

// "tensors captured at 51 of them"; how many of `steps` hold tensors.
Result<int64_t> CountCaptured(trial::Trial& trial, const std::vector<int64_t>& steps);

// The whole report as JSON (docs/reference/report.md gives the keys).
Result<std::string> ReportJson(trial::Trial& trial);
Result<std::string> ReportHtml(trial::Trial& trial);
// Writes RUN/report/report.html and report.json; returns the HTML's path.
Result<std::string> WriteReport(trial::Trial& trial);

// What `show RUN --json` tells of a run (contract of DESIGN §12): name, state, exit_code, steps,
// verdict, overhead, gaps, …
Result<nlohmann::json> SummaryJson(trial::Trial& trial);

}  // namespace wheeltapper::report
