// Why watching cost more of the step time than it may: what of the record shows it.
#include <algorithm>
#include <cstddef>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "wheeltapper/core/config.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/plural.h"
#include "wheeltapper/core/quantity_text.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/report/report.h"

namespace wheeltapper::report {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
// Percents are written with two decimals: what looks the same is no excess.
constexpr double kLeastExcess = 0.00005;

// Fewer steps than these say nothing of what a usual one costs.
constexpr size_t kLeastUsual = 10;

// Steps, and what of their time watching took.
struct Cost {
  int64_t steps = 0;
  TimeNs blocked_ns = 0;
  TimeNs elapsed_ns = 0;
  std::vector<TimeNs> each_blocked = {};
  std::vector<TimeNs> each_elapsed = {};

  void Add(const trial::StepPoint& point) {
    ++steps;
    blocked_ns += point.blocked_ns;
    elapsed_ns += point.step_ns;
    each_blocked.push_back(point.blocked_ns);
    each_elapsed.push_back(point.step_ns);
  }
  [[nodiscard]] double share() const {
    return elapsed_ns > 0 ? static_cast<double>(blocked_ns) / static_cast<double>(elapsed_ns) : 0;
  }
  [[nodiscard]] TimeNs each_blocked_ns() const { return blocked_ns / std::max<int64_t>(steps, 1); }
};

TimeNs MedianOf(std::vector<TimeNs> times) {
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

struct Costs {
  Cost captured;
  Cost others;
  Cost second_half;  // of both
  int64_t steps = 0;
};

// Of the steps whose time is known, as MeasuredOverhead counts them.
Result<Costs> SplitCosts(trial::Trial& trial) {
  WT_ASSIGN_OR_RETURN(std::vector<trial::StepPoint> points, trial.StepTimes({}));
  WT_ASSIGN_OR_RETURN(const std::vector<int64_t> captured, trial.CapturedSteps());
  std::erase_if(points, [](const trial::StepPoint& point) { return point.step_ns <= 0; });
  std::stable_sort(points.begin(), points.end(),
                   [](const auto& a, const auto& b) { return a.key.step < b.key.step; });
  Costs costs;
  for (size_t i = 0; i < points.size(); ++i) {
    const bool was_captured =
        std::binary_search(captured.begin(), captured.end(), points[i].key.step.value);
    (was_captured ? costs.captured : costs.others).Add(points[i]);
    if (i >= points.size() / 2) {
      costs.second_half.Add(points[i]);
    }
  }
  costs.steps = static_cast<int64_t>(points.size());
  return costs;
}

// The interval that somebody wrote down, without a budget or anything else that may thin it:
// capture keeps it (capture/plan.cc). 0 for none.
int64_t KeptInterval(const Config& config) {
  return config.WasChosen("budget") || config.GetText("capture.on_full") == "thin"
             ? 0
             : config.GetInt("capture.every");
}

// Of the steps at which no tensor is captured, where those are what is dear: as a rule, or some of
// them, which then cost more than all captures. "" where they are not.
std::string WhyTheOthers(const Costs& costs, double budget) {
  const Cost& others = costs.others;
  if (others.each_blocked.size() >= kLeastUsual) {
    const TimeNs blocked_ns = MedianOf(others.each_blocked);
    const TimeNs elapsed_ns = MedianOf(others.each_elapsed);
    if (static_cast<double>(blocked_ns) > budget * static_cast<double>(elapsed_ns)) {
      return fmt::format(
          "even a step at which no tensor is captured costs {} of {}, in the median of {}",
          DurationText(blocked_ns), DurationText(elapsed_ns), others.steps);
    }
  }
  if (others.share() > budget && others.blocked_ns > costs.captured.blocked_ns) {
    return fmt::format(
        "{} at which no tensor is captured cost {} together, one of them {}",
        Plural(others.steps, "step"), DurationText(others.blocked_ns),
        DurationText(*std::max_element(others.each_blocked.begin(), others.each_blocked.end())));
  }
  return "";
}

std::string WhyOver(const Costs& costs, const Config& config, double budget) {
  if (std::string why = WhyTheOthers(costs, budget); !why.empty()) {
    return why;
  }
  if (const int64_t every = KeptInterval(config); every > 0) {
    return fmt::format("capture.every = {} is kept whatever it costs, unless a budget is set too",
                       every);
  }
  if (costs.second_half.share() <= budget) {
    return fmt::format(
        "in the second half of the run it was {}; the first steps are captured before it is known "
        "what they cost, and {} do not make up for them",
        PercentText(costs.second_half.share()), Plural(costs.steps, "step"));
  }
  return fmt::format("each of the {} cost {}, and an average step takes {}",
                     Plural(costs.captured.steps, "captured step"),
                     DurationText(costs.captured.each_blocked_ns()),
                     DurationText((costs.captured.elapsed_ns + costs.others.elapsed_ns) /
                                  std::max<int64_t>(costs.steps, 1)));
}

}  // namespace

std::optional<Budget> CompareWithBudget(trial::Trial& trial, const trial::Overhead& overhead) {
  const auto read = [&]() -> Result<Config> {
    WT_ASSIGN_OR_RETURN(const std::string text,
                        ReadWholeFile(format::ConfigPath(trial.path()), kMaxConfigBytes));
    return Config::FromJson(text);
  };
  const Result<Config> config = read();
  if (!config.ok()) {
    return std::nullopt;
  }
  Budget budget{.fraction = config->GetFloat("budget"), .exceeded_because = ""};
  if (overhead.elapsed_ns > 0 && overhead.fraction > budget.fraction + kLeastExcess) {
    const Result<Costs> costs = SplitCosts(trial);
    budget.exceeded_because = costs.ok() ? WhyOver(*costs, *config, budget.fraction)
                                         : "the reason is not known: " + costs.status().message();
  }
  return budget;
}

}  // namespace wheeltapper::report
