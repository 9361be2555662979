// One sentence about a run. The worst open finding speaks first; silence is said too.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "wheeltapper/report/report.h"
#include "wheeltapper/rules/engine.h"

#include "number_text.h"

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

// "rule small_weights failed", "3 rules failed (…)"; "" when none did.
std::string FailedRules(const std::string& run_dir) {
  const Result<std::vector<rules::RuleStatus>> states = rules::ReadRuleStates(run_dir);
  std::string names;
  int count = 0;
  for (const rules::RuleStatus& status : states.value_or(std::vector<rules::RuleStatus>())) {
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

std::string Others(size_t others) {
  return others == 0
             ? ""
             : fmt::format(" (and {} more {})", others, others == 1 ? "finding" : "findings");
}

std::string Capitalised(std::string text) {
  if (!text.empty() && text.front() >= 'a' && text.front() <= 'z') {
    text.front() = static_cast<char>(text.front() - 'a' + 'A');
  }
  return text;
}

}  // namespace

Verdict MakeVerdict(trial::Trial& trial, const std::vector<rules::Finding>& findings) {
  const Result<std::vector<int64_t>> steps = trial.Steps({});
  const size_t count = steps.ok() ? steps->size() : 0;
  const auto open = [](const rules::Finding& finding) {
    return finding.state == rules::FindingState::kOpen;
  };
  const auto worst =
      std::max_element(findings.begin(), findings.end(), [&](const auto& a, const auto& b) {
        return std::pair(open(a), a.severity) <
               std::pair(open(b), b.severity);  // the earliest of equals wins
      });
  if (worst != findings.end()) {
    const std::string level(rules::SeverityName(worst->severity));
    const std::string resolved = open(*worst) ? "" : " (resolved)";
    return {level, fmt::format("{}: {}{}{}", Capitalised(level), worst->message, resolved,
                               Others(findings.size() - 1))};
  }
  if (count == 0) {
    return {"no data",
            trial.state() == trial::RunState::kRunning
                ? "No step has been recorded yet."
                : "Nothing was recorded: no optimizer step and no logged value was seen."};
  }
  if (const std::string failed = FailedRules(trial.path()); !failed.empty()) {
    return {"warning", fmt::format("Not fully checked: {}; no findings from the others in {} {}.",
                                   failed, count, count == 1 ? "step" : "steps")};
  }
  return {"healthy", fmt::format("Healthy: no findings in {} {}{}.", count,
                                 count == 1 ? "step" : "steps", LossChange(trial))};
}

}  // namespace wheeltapper::report
