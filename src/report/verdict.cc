// One sentence about a run. The worst open finding speaks first; silence is said too.
#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include "wheeltapper/core/plural.h"
#include "wheeltapper/report/report.h"
#include "wheeltapper/rules/engine.h"

#include "number_text.h"
#include "report_data.h"

namespace wheeltapper::report {
namespace {

// "; loss/CrossEntropyLoss 2.31 → 0.08", from the first and last finite training value. "" when
// there is no loss.
std::string LossChange(trial::Trial& trial) {
  trial::NameFilter filter;
  filter.collection = "losses";
  const Result<std::vector<std::string>> names = trial.Names(filter);
  for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
    trial::SeriesQuery query;
    query.mode = Mode::kTrain;
    const Result<std::vector<trial::ScalarPoint>> points = trial.Scalars(name, query);
    if (points.ok() && points->size() >= 2) {
      return fmt::format("; {} {} → {}", name, NumberText(points->front().value),
                         NumberText(points->back().value));
    }
  }
  return "";
}

std::string Steps(size_t count) { return Plural(static_cast<int64_t>(count), "step"); }

// "rule small_weights failed", "3 rules failed (…)"; "" when none did.
std::string FailedRules(const std::vector<rules::RuleStatus>& states) {
  std::string names;
  int count = 0;
  for (const rules::RuleStatus& status : states) {
    if (status.state == rules::RuleState::kErrored) {
      names += (count++ == 0 ? "" : ", ") + status.name;
    }
  }
  if (count == 0) {
    return "";
  }
  return count == 1 ? "rule " + names + " failed"
                    : fmt::format("{} rules failed ({})", count, names);
}

std::string Capitalised(std::string text) {
  if (!text.empty() && text.front() >= 'a' && text.front() <= 'z') {
    text.front() = static_cast<char>(text.front() - 'a' + 'A');
  }
  return text;
}

// "1 damaged place could not be read (`wheeltapper fsck` looks closer)"; "" where all could be.
std::string DamageText(trial::Trial& trial) {
  const int64_t places = CountDamagedPlaces(trial);
  return places == 0 ? ""
                     : Plural(places, "damaged place") +
                           " could not be read (`wheeltapper fsck` looks closer)";
}

// "Not fully checked: rule mine failed; no findings from the others in 10 steps."; "" where silence
// of the rules is the whole truth.
std::string NotFullyChecked(trial::Trial& trial, const std::vector<rules::RuleStatus>& states,
                            size_t steps) {
  const std::string failed = FailedRules(states);
  const std::string damage = DamageText(trial);
  if (failed.empty() && damage.empty()) {
    return "";
  }
  return fmt::format("Not fully checked: {}{}{}; no findings{} in {}{}.", failed,
                     failed.empty() || damage.empty() ? "" : ", ", damage,
                     failed.empty() ? "" : " from the others", damage.empty() ? "" : "the rest of ",
                     Steps(steps));
}

std::string Others(int64_t others) {
  return others == 0 ? "" : " (and " + Plural(others, "more finding") + ")";
}

// "Interrupted by the user (SIGINT) at step 119".
std::string HowItWasInterrupted(const trial::Trial& trial, const std::vector<int64_t>& steps) {
  const std::string reason = trial.end() ? trial.end()->reason : "";
  return Capitalised(reason.empty() ? "interrupted" : reason) +
         (steps.empty() ? " before the first step" : fmt::format(" at step {}", steps.back()));
}

// What happened to a job that did not end well: "Failed with exit code 1 after 1 step". "" for one
// that runs, finished, or was stopped, where the finding that stopped it says why.
std::string HowItFailed(const trial::Trial& trial, const std::vector<int64_t>& all_steps) {
  const size_t steps = all_steps.size();
  if (trial.state() == trial::RunState::kInterrupted) {
    return HowItWasInterrupted(trial, all_steps);
  }
  if (trial.state() == trial::RunState::kAbandoned) {
    // No end on record, and nobody is alive: it may as well have finished, with its watcher dead.
    constexpr const char* kWhy = "(killed, its watcher killed, or no room on disk)";
    return steps == 0 ? fmt::format("How the run ended was not recorded {}", kWhy)
                      : fmt::format("{} {} recorded, but not how the run ended {}", Steps(steps),
                                    steps == 1 ? "was" : "were", kWhy);
  }
  if (trial.state() != trial::RunState::kFailed) {
    return "";
  }
  constexpr int kSignalBase = 128;  // as a shell counts
  constexpr int kNotStarted = 127;  // likewise
  const std::optional<format::EndInfo>& end = trial.end();
  const int code = end ? end->exit_code : 1;
  const std::string when = steps == 0 ? "before the first step" : "after " + Steps(steps);
  if (code == format::kUnknownExit) {
    return Capitalised(when) + " " +
           (end->reason.empty() ? "it ended in a way that nobody knows" : end->reason);
  }
  if (steps == 0 && code == kNotStarted && !end->reason.empty()) {
    return Capitalised(end->reason);
  }
  return end && end->state == "killed"
             ? fmt::format("Killed by signal {} {}", code - kSignalBase, when)
             : fmt::format("Failed with exit code {} {}", code, when);
}

// "Failed …; error: the finding", or only what is known.
std::string Joined(const std::string& how, std::string sentence) {
  if (how.empty() || sentence.empty()) {
    return how + sentence;
  }
  if (sentence.front() >= 'A' && sentence.front() <= 'Z') {
    sentence.front() = static_cast<char>(sentence.front() - 'A' + 'a');
  }
  return how + "; " + sentence;
}

Verdict WithoutFindings(trial::Trial& trial, size_t steps, const std::string& how) {
  if (!HasRecords(trial, steps)) {
    // A run without a step still holds what its open one has captured.
    const std::string what =
        steps == 0 ? "Nothing was recorded" : "Only forward passes were recorded";
    if (trial.state() == trial::RunState::kFailed) {
      return {Level::kNoData, Joined(how, what + ".")};  // why is said already
    }
    return {Level::kNoData,
            Joined(how, trial.state() == trial::RunState::kRunning
                            ? "No step has been recorded yet."
                            : what + ": no optimizer step and no logged value was seen; if it "
                                     "trains, does it call optimizer.step()? One that "
                                     "torch.compile compiles is not seen: wheeltapper.step() ends "
                                     "a step then.")};
  }
  const std::vector<rules::RuleStatus> states =
      rules::ReadRuleStates(trial.path()).value_or(std::vector<rules::RuleStatus>());
  if (states.empty()) {
    return {Level::kNotChecked,
            Joined(how, fmt::format("Not checked: no rules ran over it; run `wheeltapper check {}`",
                                    trial.path()))};
  }
  if (std::string unchecked = NotFullyChecked(trial, states, steps); !unchecked.empty()) {
    return {Level::kWarning, Joined(how, std::move(unchecked))};
  }
  if (trial.state() == trial::RunState::kInterrupted) {
    return {Level::kInterrupted, how + "; no findings until then" + LossChange(trial) + "."};
  }
  if (!how.empty()) {
    // Without an end the watcher may not have seen all of the record.
    return {Level::kFailed, how + "; the rules found nothing in what was recorded."};
  }
  return {Level::kHealthy,
          fmt::format("Healthy: no findings in {}{}.", Steps(steps), LossChange(trial))};
}

Level LevelOf(rules::Severity severity) {
  switch (severity) {
    case rules::Severity::kInfo:
      return Level::kInfo;
    case rules::Severity::kWarning:
      return Level::kWarning;
    case rules::Severity::kError:
      return Level::kError;
    case rules::Severity::kCritical:
      break;
  }
  return Level::kCritical;
}

}  // namespace

std::string_view LevelName(Level level) {
  constexpr std::array<std::string_view, 10> kNames = {
      "healthy", "info",   "interrupted", "not checked", "no data",
      "warning", "failed", "unreadable",  "error",       "critical"};
  return kNames.at(static_cast<size_t>(level));
}

int64_t CountOwn(const std::vector<rules::Finding>& findings) {
  return std::count_if(findings.begin(), findings.end(),
                       [](const rules::Finding& finding) { return !finding.part_of; });
}

int64_t CountDamagedPlaces(trial::Trial& trial) {
  const std::vector<format::GapRow> gaps = trial.Gaps().value_or(std::vector<format::GapRow>());
  const int64_t lost = std::count_if(gaps.begin(), gaps.end(), [](const format::GapRow& row) {
    return row.gap.reason == format::GapReason::kCorruption;
  });
  // Most damage is a gap as well; that of END is none.
  return std::max(lost, static_cast<int64_t>(trial.Damaged().size()));
}

bool HasRecords(trial::Trial& trial, size_t steps) {
  const Result<std::vector<std::string>> names = trial.Names({});
  if (steps == 0 || !names.ok()) {
    return false;
  }
  std::set<std::string> forward;  // what a forward pass leaves, also without any training
  for (const char* collection : {"activations", "inputs", "outputs"}) {
    trial::NameFilter filter;
    filter.collection = collection;
    const auto found = trial.Names(filter).value_or(std::vector<std::string>());
    forward.insert(found.begin(), found.end());
  }
  return names->size() > forward.size();
}

Verdict MakeVerdict(trial::Trial& trial, const std::vector<rules::Finding>& findings) {
  const Result<std::vector<int64_t>> steps = trial.Steps({});
  const size_t count = steps.ok() ? steps->size() : 0;
  const auto open = [](const rules::Finding& finding) {
    return finding.state == rules::FindingState::kOpen;
  };
  // One that another has taken over is told by that one.
  const auto rank = [&](const rules::Finding& finding) {
    return std::tuple(!finding.part_of, open(finding), finding.severity);
  };
  const auto worst = std::max_element(
      findings.begin(), findings.end(),
      [&](const auto& a, const auto& b) { return rank(a) < rank(b); });  // the earliest of equals
  const std::string how = HowItFailed(trial, steps.value_or(std::vector<int64_t>()));
  if (worst == findings.end()) {
    return WithoutFindings(trial, count, how);
  }
  const std::string severity(rules::SeverityName(worst->severity));
  const std::string resolved = open(*worst) ? "" : " (resolved)";
  const std::string damage = DamageText(trial);
  return {LevelOf(worst->severity),
          Joined(how, fmt::format("{}: {}{}{}{}", Capitalised(severity), worst->message, resolved,
                                  Others(std::max<int64_t>(CountOwn(findings) - 1, 0)),
                                  damage.empty() ? "" : "; " + damage))};
}

}  // namespace wheeltapper::report
