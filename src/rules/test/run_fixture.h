// Runs made in memory: batches as a reader hands them on, and a trial over them.
#pragma once

#include <cmath>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/rules/engine.h"
#include "wheeltapper/trial/trial.h"

namespace wheeltapper::rules {

// Statistics of a tensor of `numel` elements with about normal values.
inline tensor::TensorStats NormalStats(double mean, double sigma, int64_t numel = 64) {
  tensor::TensorStats stats;
  const auto n = static_cast<double>(numel);
  stats.numel = numel;
  stats.mean = mean;
  stats.m2 = sigma * sigma * n;
  stats.min = mean - 3 * sigma;
  stats.max = mean + 3 * sigma;
  stats.abs_max = std::max(std::abs(stats.min), std::abs(stats.max));
  stats.l1 = std::max(std::abs(mean), 0.8 * sigma) * n;
  stats.negative_count = mean < 0 ? numel : numel / 2;
  return stats;
}
inline tensor::TensorStats ZeroStats(int64_t numel = 64) {
  tensor::TensorStats stats;
  stats.numel = numel;
  stats.zero_count = numel;
  return stats;
}
inline tensor::TensorStats NanStats(int64_t nans, int64_t numel = 64) {
  tensor::TensorStats stats = NormalStats(0, 1, numel);
  stats.nan_count = nans;
  return stats;
}

// Builds the batches of a run, step by step.
class RunBuilder {
 public:
  RunBuilder& Step(int64_t step, Mode mode = Mode::kTrain, int32_t rank = 0) {
    Begin(step, mode, rank);
    batches_.back().is_step = true;
    return *this;
  }
  // Values logged, or metas, between two steps.
  RunBuilder& Between(int64_t step, Mode mode = Mode::kGlobal) {
    Begin(step, mode, 0);
    return *this;
  }
  RunBuilder& At(TimeNs wall_ns) {
    batches_.back().wall_ns = wall_ns;
    return *this;
  }
  RunBuilder& Scalar(const std::string& name, double value) {
    batches_.back().scalars.push_back({.name = Name(name, {}), .value = value});
    return *this;
  }
  RunBuilder& Stats(const std::string& name, const tensor::TensorStats& stats,
                    const std::vector<std::string>& collections = {}) {
    batches_.back().stats.push_back({.name = Name(name, collections),
                                     .dtype = tensor::DType::kF32,
                                     .stats = stats,
                                     .exact_median = std::nan(""),
                                     .histogram = {}});
    return *this;
  }
  RunBuilder& Weight(const std::string& name, const tensor::TensorStats& stats,
                     tensor::DType dtype = tensor::DType::kF32) {
    return Stats(name, stats, {"weights"}).Dtype(dtype);
  }
  // Of the newest statistics.
  RunBuilder& Dtype(tensor::DType dtype) {
    batches_.back().stats.back().dtype = dtype;
    return *this;
  }
  RunBuilder& Gap(format::GapReason reason) {
    format::GapRow row{};
    row.gap.reason = reason;
    batches_.back().gaps.push_back(row);
    return *this;
  }
  RunBuilder& Meta(const std::string& json) {
    batches_.back().metas.push_back(json);
    return *this;
  }
  format::NameTable& names() { return names_; }
  [[nodiscard]] const std::vector<format::StepBatch>& batches() const { return batches_; }

 private:
  void Begin(int64_t step, Mode mode, int32_t rank) {
    format::StepBatch batch;
    batch.key = {
        .rank = Rank{rank}, .step = wheeltapper::Step{step}, .mode = mode, .mode_step = step};
    batch.wall_ns = kStartNs + step * 1'000'000'000;
    batches_.push_back(std::move(batch));
  }
  format::NameId Name(const std::string& name, const std::vector<std::string>& collections) {
    const format::NameId id = names_.Intern(name);
    if (!collections.empty()) {
      names_.info(id).collections = collections;
    }
    names_.info(id).shape = {8, 8};
    return id;
  }

  static constexpr TimeNs kStartNs = 1'700'000'000'000'000'000;
  format::NameTable names_;
  std::vector<format::StepBatch> batches_;
};

// A trial whose batches become visible when the test says so. Queries other than following are not
// what rules use.
class MemoryTrial final : public trial::Trial {
 public:
  explicit MemoryTrial(RunBuilder& run, std::string path = "")
      : run_(run), path_(std::move(path)) {}

  void Show(size_t batches) { visible_ = std::min(batches, run_.batches().size()); }
  void ShowAll() { visible_ = run_.batches().size(); }
  void End() { state_ = trial::RunState::kFinished; }

  Status Refresh() override { return {}; }
  Status FollowSteps(const std::function<void(const format::StepBatch&)>& sink) override {
    while (delivered_ < visible_) {
      sink(run_.batches()[delivered_++]);
    }
    return {};
  }
  [[nodiscard]] const std::string& path() const override { return path_; }
  [[nodiscard]] const format::RunInfo& info() const override { return info_; }
  [[nodiscard]] trial::RunState state() const override { return state_; }
  [[nodiscard]] const std::optional<format::EndInfo>& end() const override { return end_; }
  [[nodiscard]] const format::NameTable& names() const override { return run_.names(); }

  Result<std::vector<std::string>> Names(const trial::NameFilter&) override { return No(); }
  Result<std::vector<std::string>> Collections() override { return No(); }
  Result<std::vector<int64_t>> Steps(const trial::StepFilter&) override { return No(); }
  Result<std::vector<Mode>> Modes() override { return No(); }
  Result<std::vector<Rank>> Ranks() override { return No(); }
  Result<trial::StepState> StateOfStep(int64_t, std::optional<Mode>) override { return No(); }
  Status WaitForStep(int64_t, std::optional<Mode>, TimeNs) override { return No(); }
  Result<std::vector<trial::ScalarPoint>> Scalars(const std::string&,
                                                  const trial::SeriesQuery&) override {
    return No();
  }
  Result<std::vector<trial::StatsPoint>> Stats(const std::string&,
                                               const trial::SeriesQuery&) override {
    return No();
  }
  Result<std::vector<trial::ScalarPoint>> StatSeries(const std::string&, const std::string&,
                                                     const trial::SeriesQuery&) override {
    return No();
  }
  Result<trial::TensorValue> Value(const std::string&, wheeltapper::Step, Mode, Rank) override {
    return No();
  }
  Result<std::vector<trial::StepPoint>> StepTimes(const trial::SeriesQuery&) override {
    return No();
  }
  Result<std::vector<format::GapRow>> Gaps() override { return No(); }
  Result<std::vector<std::string>> Metas() override { return No(); }
  Result<trial::Overhead> MeasuredOverhead() override { return No(); }
  Result<std::vector<int64_t>> CapturedSteps() override { return No(); }
  Result<format::Table> ReadTable(const std::string&, const trial::NameFilter&,
                                  const trial::SeriesQuery&) override {
    return No();
  }

 private:
  static Status No() { return UnimplementedError("a run in memory"); }

  RunBuilder& run_;
  const std::string path_;
  format::RunInfo info_;
  trial::RunState state_ = trial::RunState::kRunning;
  std::optional<format::EndInfo> end_;
  size_t visible_ = 0;
  size_t delivered_ = 0;
};

inline RuleSelection Select(const std::string& name,
                            std::map<std::string, std::string> parameters = {}) {
  RuleSelection selection;
  selection.name = name;
  selection.parameters = std::move(parameters);
  return selection;
}

// What a sink is told, in order: "opened dead_relu-1".
class RecordingSink final : public FindingSink {
 public:
  void Opened(const Finding& finding) override { events.push_back("opened " + finding.id); }
  void Updated(const Finding& finding) override { events.push_back("updated " + finding.id); }
  void Resolved(const Finding& finding) override { events.push_back("resolved " + finding.id); }
  std::vector<std::string> events;
};

// What one rule tells a sink over a whole run, without updates.
inline std::vector<std::string> EventsOf(RunBuilder& run, const std::string& rule) {
  const ManualClock clock;
  auto engine = RuleEngine::Create({Select(rule)}, clock);
  RecordingSink sink;
  MemoryTrial trial(run);
  trial.ShowAll();
  if (!engine.ok()) {
    return {};
  }
  (*engine)->AddSink(&sink);
  if (!(*engine)->Finish(trial).ok()) {
    return {};
  }
  std::erase_if(sink.events, [](const std::string& event) { return event.starts_with("updated"); });
  return sink.events;
}

// The state of one rule over a whole run.
inline RuleStatus StateOver(RunBuilder& run, const std::string& rule) {
  const ManualClock clock;
  const auto engine = RuleEngine::Create({Select(rule)}, clock);
  MemoryTrial trial(run);
  trial.ShowAll();
  if (!engine.ok() || !(*engine)->Finish(trial).ok()) {
    ADD_FAILURE() << "the engine failed";
    return {};
  }
  return (*engine)->rule_states().front();
}

// The findings of one rule, or of all built-in rules for "", over a whole run at once.
inline std::vector<Finding> FindingsOf(RunBuilder& run, const std::string& rule = "",
                                       const std::map<std::string, std::string>& parameters = {}) {
  std::vector<RuleSelection> selections;
  if (!rule.empty()) {
    selections.push_back(Select(rule, parameters));
  } else {
    for (const RuleType& type : BuiltinRules()) {
      selections.push_back(Select(type.info->name));
    }
  }
  const ManualClock clock;
  auto engine = RuleEngine::Create(selections, clock);
  MemoryTrial trial(run);
  trial.ShowAll();
  if (!engine.ok() || !(*engine)->Finish(trial).ok()) {
    return {};
  }
  for (const RuleStatus& status : (*engine)->rule_states()) {
    if (status.state == RuleState::kErrored) {
      Finding errored;
      errored.rule = status.name + " is errored";
      errored.message = status.detail;
      return {errored};
    }
  }
  return (*engine)->findings();
}

}  // namespace wheeltapper::rules
