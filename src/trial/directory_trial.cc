#include "directory_trial.h"

#include <algorithm>
#include <utility>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/mutex.h"
#include "wheeltapper/core/suggest.h"

namespace wheeltapper::trial {
namespace {

// A run in which no rank has announced itself yet counts as running for so long: importing a
// framework takes its time.
constexpr TimeNs kStartTimeoutNs = 600'000'000'000;
constexpr TimeNs kFirstPauseNs = 1'000'000;
constexpr TimeNs kLongestPauseNs = 50'000'000;

void Sleep(TimeNs ns) {
  Mutex mutex;
  CondVar never_notified;
  const MutexLock lock(mutex);
  (void)never_notified.WaitFor(mutex, ns);
}

RunState StateFromEnd(const format::EndInfo& end) {
  if (end.state == "stopped") {
    return RunState::kStopped;
  }
  if (end.state == "interrupted") {
    return RunState::kInterrupted;
  }
  return end.state == "finished" && end.exit_code == 0 ? RunState::kFinished : RunState::kFailed;
}

std::string StepText(int64_t step, std::optional<Mode> mode) {
  return (mode ? std::string(ModeName(*mode)) + " step " : std::string("step ")) +
         std::to_string(step);
}

}  // namespace

Result<std::unique_ptr<Trial>> Trial::Open(const std::string& path) { return OpenTrial(path, {}); }

Result<std::unique_ptr<Trial>> OpenTrial(const std::string& path, const TrialOptions& options) {
  auto trial = std::make_unique<DirectoryTrial>(path, options);
  WT_RETURN_IF_ERROR(trial->Start());
  return std::unique_ptr<Trial>(std::move(trial));
}

DirectoryTrial::DirectoryTrial(std::string path, const TrialOptions& options)
    : path_(std::move(path)),
      clock_(options.clock != nullptr ? *options.clock : SystemClock()),
      pause_(options.pause ? options.pause : Sleep),
      view_(path_, options.cache_bytes, options.mapped_blobs),
      liveness_(path_, clock_) {}

Status DirectoryTrial::Start() {
  format::ReaderOptions options;
  options.deliver_sealed = false;
  WT_ASSIGN_OR_RETURN(view_.tail_reader, format::RunReader::Open(path_, options));
  return Refresh();
}

Status DirectoryTrial::Refresh() {
  // Liveness first: a rank seen dead has written its last, so what follows reads all of it.
  if (!end_) {
    WT_RETURN_IF_ERROR(liveness_.Refresh());
  }
  WT_RETURN_IF_ERROR(view_.tail_reader->Poll([this](format::StepBatch&& batch) {
    uint64_t& reached = refreshed_to_[batch.key.rank];
    reached = std::max(reached, batch.last_seq);
    AddSteps(batch, &steps_);
    view_.AddToTail(std::move(batch));
  }));
  // After the poll: whatever it did not deliver because it was sealed is listed now.
  WT_RETURN_IF_ERROR(view_.AbsorbSealed());
  for (const auto& [rank, sets] : view_.sealed.ranks()) {
    for (const auto& [first_seq, set] : sets) {
      uint64_t& reached = refreshed_to_[rank];
      reached = std::max(reached, set.last_seq);
    }
  }
  end_ = view_.tail_reader->end();
  UpdateState();
  return {};
}

void DirectoryTrial::UpdateState() {
  if (end_) {
    state_ = StateFromEnd(*end_);
    return;
  }
  const bool starting =
      liveness_.ranks().empty() && clock_.WallNs() - info().started_wall_ns < kStartTimeoutNs;
  state_ = liveness_.anyone_writing() || starting ? RunState::kRunning : RunState::kAbandoned;
}

Status DirectoryTrial::FollowSteps(const std::function<void(const format::StepBatch&)>& sink) {
  if (follower_ == nullptr) {
    WT_ASSIGN_OR_RETURN(follower_, format::RunReader::Open(path_));
  }
  WT_RETURN_IF_ERROR(Refresh());
  Status handed;
  WT_RETURN_IF_ERROR(follower_->Poll([&](format::StepBatch&& batch) {
    if (handed.ok()) {
      handed = HandOn(std::move(batch), sink);
    }
  }));
  return handed;
}

Status DirectoryTrial::HandOn(format::StepBatch&& batch,
                              const std::function<void(const format::StepBatch&)>& sink) {
  Status refreshed;
  if (batch.last_seq > refreshed_to_[batch.key.rank]) {
    refreshed = Refresh();
  }
  const auto translate = [this](auto* rows) {
    for (auto& row : *rows) {
      const size_t theirs = row.name;
      while (follower_ids_.size() <= theirs) {
        const auto next = static_cast<format::NameId>(follower_ids_.size());
        follower_ids_.push_back(view_.names.Intern(follower_->names().info(next).name));
      }
      row.name = follower_ids_[theirs];
    }
  };
  translate(&batch.scalars);
  translate(&batch.stats);
  translate(&batch.tensors);
  sink(batch);
  return refreshed;
}

Result<std::vector<std::string>> DirectoryTrial::Names(const NameFilter& filter) {
  WT_ASSIGN_OR_RETURN(const auto ids, FilterNames(&view_, filter));
  std::vector<std::string> names;
  names.reserve(ids.size());
  for (const format::NameId id : ids) {
    names.push_back(view_.names.info(id).name);
  }
  return names;
}

Result<std::vector<std::string>> DirectoryTrial::Collections() {
  std::set<std::string> collections;
  for (format::NameId id = 0; id < view_.names.size(); ++id) {
    const auto& of_name = view_.names.info(id).collections;
    collections.insert(of_name.begin(), of_name.end());
  }
  return std::vector<std::string>(collections.begin(), collections.end());
}

Status DirectoryTrial::IndexSealedSteps() {
  for (auto& [rank, sets] : view_.sealed.ranks()) {
    for (auto& [first_seq, set] : sets) {
      if (!indexed_sets_.contains(&set)) {
        WT_RETURN_IF_ERROR(IndexSteps(set, &steps_));
        indexed_sets_.insert(&set);
      }
    }
  }
  return {};
}

int64_t DirectoryTrial::CompleteUpTo() const {
  return over() ? kEverything : steps_.CompleteUpTo(liveness_.live());
}

Result<std::vector<int64_t>> DirectoryTrial::Steps(const StepFilter& filter) {
  WT_RETURN_IF_ERROR(IndexSealedSteps());
  const int64_t up_to = filter.include_incomplete ? kEverything : CompleteUpTo();
  if (!filter.name) {
    return steps_.Steps(filter.mode, filter.rank, up_to);
  }
  WT_ASSIGN_OR_RETURN(const format::NameId id, view_.IdOf(*filter.name));
  WT_ASSIGN_OR_RETURN(const auto keys, KeysOfName(&view_, id, filter.rank));
  StepSet set;
  for (const format::StepKey& key : keys) {
    set.Add(key);
  }
  return StepsOf(set, filter.mode, up_to);
}

Result<std::vector<Mode>> DirectoryTrial::Modes() {
  WT_RETURN_IF_ERROR(IndexSealedSteps());
  return steps_.Modes();
}

Result<std::vector<Rank>> DirectoryTrial::Ranks() {
  std::set<Rank> ranks;
  for (const Rank rank : liveness_.ranks()) {
    ranks.insert(rank);
  }
  for (const Rank rank : view_.tail_reader->ranks()) {
    ranks.insert(rank);
  }
  for (const auto& [rank, sets] : view_.sealed.ranks()) {
    ranks.insert(rank);
  }
  return std::vector<Rank>(ranks.begin(), ranks.end());
}

Result<StepState> DirectoryTrial::StateOfStep(int64_t step, std::optional<Mode> mode) {
  WT_RETURN_IF_ERROR(IndexSealedSteps());
  return steps_.StateOf(step, mode, CompleteUpTo());
}

Status DirectoryTrial::WaitForStep(int64_t step, std::optional<Mode> mode, TimeNs timeout_ns) {
  const TimeNs started = clock_.MonotonicNs();
  TimeNs pause = kFirstPauseNs;
  for (;;) {
    WT_RETURN_IF_ERROR(Refresh());
    WT_ASSIGN_OR_RETURN(const StepState state, StateOfStep(step, mode));
    if (state == StepState::kAvailable) {
      return {};
    }
    if (state == StepState::kUnavailable && steps_.HasLater(step, mode)) {
      return NotFoundError("waiting for " + StepText(step, mode) +
                           ": it was skipped: later steps are there");
    }
    if (state == StepState::kUnavailable) {
      return OutOfRangeError("waiting for " + StepText(step, mode) +
                             ": the run is over: " + RunStateName(state_));
    }
    const TimeNs left = timeout_ns - (clock_.MonotonicNs() - started);
    if (left <= 0) {
      return DeadlineExceededError("waiting for " + StepText(step, mode) + ": it has not come yet");
    }
    pause_(std::min(pause, left));
    pause = std::min(2 * pause, kLongestPauseNs);
  }
}

Result<std::vector<ScalarPoint>> DirectoryTrial::Scalars(const std::string& name,
                                                         const SeriesQuery& query) {
  return ReadScalars(&view_, name, query);
}

Result<std::vector<StatsPoint>> DirectoryTrial::Stats(const std::string& name,
                                                      const SeriesQuery& query) {
  return ReadStats(&view_, name, query);
}

Result<std::vector<ScalarPoint>> DirectoryTrial::StatSeries(const std::string& name,
                                                            const std::string& column,
                                                            const SeriesQuery& query) {
  return ReadStatSeries(&view_, name, column, query);
}

Result<TensorValue> DirectoryTrial::Value(const std::string& name, Step step, Mode mode,
                                          Rank rank) {
  return ReadValue(&view_, name, {rank, step, mode, 0});
}

Result<std::vector<ValueRun>> DirectoryTrial::Values(const std::string& name, Mode mode,
                                                     Rank rank) {
  return ReadValues(&view_, name, mode, rank);
}

Result<std::vector<StepPoint>> DirectoryTrial::StepTimes(const SeriesQuery& query) {
  return ReadStepTimes(&view_, query);
}

Result<std::vector<int64_t>> DirectoryTrial::CapturedSteps() { return ReadCapturedSteps(&view_); }

Result<std::vector<format::GapRow>> DirectoryTrial::Gaps() { return ReadGaps(&view_); }

std::vector<Damage> DirectoryTrial::Damaged() const {
  std::vector<Damage> all = view_.sealed.damaged();
  for (const format::SkippedBytes& skipped : view_.tail_reader->skipped()) {
    all.push_back({.table = "", .file = skipped.file, .what = skipped.reason});
  }
  return all;
}

Result<std::vector<std::string>> DirectoryTrial::Metas() { return ReadMetas(&view_); }

Result<Overhead> DirectoryTrial::MeasuredOverhead() {
  WT_ASSIGN_OR_RETURN(const std::vector<StepPoint> steps, StepTimes({}));
  Overhead overhead;
  for (const StepPoint& step : steps) {
    if (step.step_ns > 0) {  // 0: unknown, as for the first step of a mode
      overhead.blocked_ns += step.blocked_ns;
      overhead.elapsed_ns += step.step_ns;
    }
  }
  if (overhead.elapsed_ns > 0) {
    overhead.fraction =
        static_cast<double>(overhead.blocked_ns) / static_cast<double>(overhead.elapsed_ns);
  }
  return overhead;
}

Result<format::Table> DirectoryTrial::ReadTable(const std::string& table, const NameFilter& names,
                                                const SeriesQuery& query) {
  return ReadRunTable(&view_, table, names, query);
}

Result<format::Table> DirectoryTrial::SalvageTable(const std::string& table,
                                                   const NameFilter& names,
                                                   const SeriesQuery& query,
                                                   std::vector<Damage>* lost) {
  for (Damage& damage : Damaged()) {
    if (damage.table.empty() || damage.table == table) {
      lost->push_back(std::move(damage));
    }
  }
  return ReadRunTable(
      &view_, table, names, query, [&](const SealedTable& sealed, const Status& why) {
        const std::string file = RelativeTo(path_, sealed.path());
        if (lost->empty() || lost->back().file != file) {  // told already, at another name's rows
          lost->push_back({.table = table, .file = file, .what = why.message()});
        }
      });
}

}  // namespace wheeltapper::trial
