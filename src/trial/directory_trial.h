// The trial over a run directory.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "wheeltapper/trial/trial.h"

#include "liveness.h"
#include "run_view.h"
#include "step_index.h"
#include "trial_options.h"

namespace wheeltapper::trial {

class DirectoryTrial final : public Trial {
 public:
  DirectoryTrial(std::string path, const TrialOptions& options);
  // Reads what is there; call once before anything else.
  Status Start();

  Status Refresh() override;
  Status FollowSteps(const std::function<void(const format::StepBatch&)>& sink) override;

  [[nodiscard]] const std::string& path() const override { return path_; }
  [[nodiscard]] const format::RunInfo& info() const override { return view_.tail_reader->info(); }
  [[nodiscard]] RunState state() const override { return state_; }
  [[nodiscard]] const std::optional<format::EndInfo>& end() const override { return end_; }
  [[nodiscard]] const format::NameTable& names() const override { return view_.names; }

  Result<std::vector<std::string>> Names(const NameFilter& filter) override;
  Result<std::vector<std::string>> Collections() override;
  Result<std::vector<int64_t>> Steps(const StepFilter& filter) override;
  Result<std::vector<Mode>> Modes() override;
  Result<std::vector<Rank>> Ranks() override;
  Result<StepState> StateOfStep(int64_t step, std::optional<Mode> mode) override;
  Status WaitForStep(int64_t step, std::optional<Mode> mode, TimeNs timeout_ns) override;

  Result<std::vector<ScalarPoint>> Scalars(const std::string& name,
                                           const SeriesQuery& query) override;
  Result<std::vector<StatsPoint>> Stats(const std::string& name, const SeriesQuery& query) override;
  Result<std::vector<ScalarPoint>> StatSeries(const std::string& name, const std::string& column,
                                              const SeriesQuery& query) override;
  Result<TensorValue> Value(const std::string& name, Step step, Mode mode, Rank rank) override;
  Result<std::vector<ValueRun>> Values(const std::string& name, Mode mode, Rank rank) override;
  Result<std::vector<StepPoint>> StepTimes(const SeriesQuery& query) override;
  Result<std::vector<format::GapRow>> Gaps() override;
  Result<std::vector<std::string>> Metas() override;
  Result<Overhead> MeasuredOverhead() override;
  Result<std::vector<int64_t>> CapturedSteps() override;
  Result<format::Table> ReadTable(const std::string& table, const NameFilter& names,
                                  const SeriesQuery& query) override;
  [[nodiscard]] std::vector<Damage> Damaged() const override;
  Result<format::Table> SalvageTable(const std::string& table, const NameFilter& names,
                                     const SeriesQuery& query, std::vector<Damage>* lost) override;

 private:
  Status IndexSealedSteps();
  [[nodiscard]] int64_t CompleteUpTo() const;
  void UpdateState();
  [[nodiscard]] bool over() const { return state_ != RunState::kRunning; }
  // Hands one batch of the follower on, under this trial's name ids, after making sure that queries
  // see it too.
  Status HandOn(format::StepBatch&& batch,
                const std::function<void(const format::StepBatch&)>& sink);

  std::string path_;
  const Clock& clock_;
  std::function<void(TimeNs)> pause_;
  RunView view_;
  Liveness liveness_;
  RunState state_ = RunState::kRunning;
  std::optional<format::EndInfo> end_;
  StepIndex steps_;
  std::set<const SealedSet*> indexed_sets_;  // their steps are in steps_
  std::map<Rank, uint64_t> refreshed_to_;    // the last sequence number that queries see

  // FollowSteps reads on its own, so that it is independent of Refresh.
  std::unique_ptr<format::RunReader> follower_;
  std::vector<format::NameId> follower_ids_;  // its name ids → ours
};

}  // namespace wheeltapper::trial
