// A trial in memory: report tests are about what is shown, not about how it is stored.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "wheeltapper/trial/trial.h"

namespace wheeltapper::report {

class FakeTrial final : public trial::Trial {
 public:
  std::string folder;
  format::RunInfo run;
  trial::RunState run_state = trial::RunState::kFinished;
  std::optional<format::EndInfo> run_end;
  std::map<std::string, std::vector<trial::ScalarPoint>> scalars;
  std::map<std::string, std::vector<trial::StatsPoint>> stats;
  std::vector<trial::StepPoint> times;
  std::vector<format::GapRow> gap_rows;
  trial::Overhead overhead;
  format::NameTable table;

  void AddScalar(const std::string& name, const std::string& collection, int64_t step,
                 double value) {
    Describe(name, format::DescKind::kScalar, collection);
    scalars[name].push_back({.key = KeyAt(step), .wall_ns = 0, .value = value});
  }
  void AddStats(const std::string& name, const std::string& collection, int64_t step,
                const tensor::TensorStats& value) {
    Describe(name, format::DescKind::kTensor, collection);
    trial::StatsPoint point{};
    point.key = KeyAt(step);
    point.stats = value;
    stats[name].push_back(point);
  }
  void AddStep(int64_t step) {
    times.push_back({.key = KeyAt(step),
                     .wall_ns = 0,
                     .blocked_ns = 10'000,
                     .step_ns = 4'000'000,
                     .data_wait_ns = 1'000'000});
  }

  Status Refresh() override { return {}; }
  Status FollowSteps(const std::function<void(const format::StepBatch&)>& /*sink*/) override {
    return {};
  }
  [[nodiscard]] const std::string& path() const override { return folder; }
  [[nodiscard]] const format::RunInfo& info() const override { return run; }
  [[nodiscard]] trial::RunState state() const override { return run_state; }
  [[nodiscard]] const std::optional<format::EndInfo>& end() const override { return run_end; }
  [[nodiscard]] const format::NameTable& names() const override { return table; }
  Result<std::vector<std::string>> Names(const trial::NameFilter& filter) override {
    std::vector<std::string> found;
    for (format::NameId id = 0; id < table.size(); ++id) {
      const std::vector<std::string>& collections = table.info(id).collections;
      if (filter.collection.empty() || std::find(collections.begin(), collections.end(),
                                                 filter.collection) != collections.end()) {
        found.push_back(table.info(id).name);
      }
    }
    return found;
  }
  Result<std::vector<std::string>> Collections() override { return std::vector<std::string>(); }
  Result<std::vector<int64_t>> Steps(const trial::StepFilter& /*filter*/) override {
    std::vector<int64_t> steps;
    steps.reserve(times.size());
    for (const trial::StepPoint& point : times) {
      steps.push_back(point.key.step.value);
    }
    return steps;
  }
  Result<std::vector<Mode>> Modes() override { return std::vector<Mode>{Mode::kTrain}; }
  Result<std::vector<Rank>> Ranks() override { return std::vector<Rank>{Rank{0}}; }
  Result<trial::StepState> StateOfStep(int64_t /*step*/, std::optional<Mode> /*mode*/) override {
    return trial::StepState::kAvailable;
  }
  Status WaitForStep(int64_t /*step*/, std::optional<Mode> /*mode*/,
                     TimeNs /*timeout_ns*/) override {
    return {};
  }
  Result<std::vector<trial::ScalarPoint>> Scalars(const std::string& name,
                                                  const trial::SeriesQuery& /*query*/) override {
    return scalars[name];
  }
  Result<std::vector<trial::StatsPoint>> Stats(const std::string& name,
                                               const trial::SeriesQuery& /*query*/) override {
    return stats[name];
  }
  Result<std::vector<trial::ScalarPoint>> StatSeries(const std::string& name,
                                                     const std::string& /*column*/,
                                                     const trial::SeriesQuery& /*query*/) override {
    return scalars[name];
  }
  Result<trial::TensorValue> Value(const std::string& /*name*/, Step /*step*/, Mode /*mode*/,
                                   Rank /*rank*/) override {
    return NotFoundError("no raw values");
  }
  Result<std::vector<trial::StepPoint>> StepTimes(const trial::SeriesQuery& /*query*/) override {
    return times;
  }
  Result<std::vector<format::GapRow>> Gaps() override { return gap_rows; }
  Result<std::vector<std::string>> Metas() override { return std::vector<std::string>(); }
  Result<trial::Overhead> MeasuredOverhead() override { return overhead; }
  Result<std::vector<int64_t>> CapturedSteps() override {
    std::set<int64_t> steps;
    for (const auto& [name, points] : stats) {
      for (const trial::StatsPoint& point : points) {
        steps.insert(point.key.step.value);
      }
    }
    return std::vector<int64_t>(steps.begin(), steps.end());
  }
  Result<format::Table> ReadTable(const std::string& /*table*/, const trial::NameFilter& /*names*/,
                                  const trial::SeriesQuery& /*query*/) override {
    return format::Table();
  }

 private:
  static format::StepKey KeyAt(int64_t step) {
    return {.rank = Rank{0}, .step = Step{step}, .mode = Mode::kTrain, .mode_step = step};
  }
  void Describe(const std::string& name, format::DescKind kind, const std::string& collection) {
    format::NameInfo& info = table.info(table.Intern(name));
    info.kind = kind;
    info.collections = {collection};
  }
};

}  // namespace wheeltapper::report
