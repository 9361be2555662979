#include "watched_runs.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/report/report.h"
#include "wheeltapper/trial/trial.h"

#include "context.h"
#include "render.h"

namespace wheeltapper::cli {
namespace {

// What it means that this process does not hold the watcher's lock.
std::string WithoutWatcherLock(const std::string& run_dir) {
  if (format::IsSurelyWatched(run_dir)) {
    return "; that one brings in the last steps should this one be killed";
  }
  return format::IsWatched(run_dir) ? "; should this process be killed, `wheeltapper fsck "
                                      "--repair` brings in the last steps"
                                    : "; other runs may recover this one";
}

format::WatcherLock TakeLock(const std::string& run_dir) {
  Result<format::WatcherLock> lock = format::WatcherLock::Take(run_dir);
  if (lock.ok()) {
    return std::move(*lock);
  }
  Say("warning: " + lock.status().message() + WithoutWatcherLock(run_dir));
  return {};
}

void LeaveReport(const std::string& run_dir, bool quiet) {
  Result<std::unique_ptr<trial::Trial>> trial = trial::Trial::Open(run_dir);
  if (!trial.ok()) {
    SayError("writing the report: " + trial.status().message());
    return;
  }
  const Result<std::string> path = report::WriteReport(**trial);
  if (!path.ok()) {
    SayError("writing the report: " + path.status().message());
  } else if (!quiet) {
    Say("report " + *path);
  }
}

// How the run of one training of several ended: as its processes said, where they did so before a
// stop could be the reason, else as the command.
WatchedRuns::Ending EndingOf(const format::TrainingRecord& training,
                             const WatchedRuns::Ending& command) {
  const bool stopped =
      command.stopped_wall_ns > 0 && training.ended_wall_ns >= command.stopped_wall_ns;
  if (stopped || training.state.empty()) {
    return command;
  }
  if (training.state == "finished") {
    return {.state = "finished", .exit_code = 0, .reason = "", .words = "finished"};
  }
  const std::string why = "an exception ended the training";
  return {.state = "failed", .exit_code = 1, .reason = why, .words = why};
}

}  // namespace

Result<std::unique_ptr<WatchedRuns>> WatchedRuns::Create(const Options& options,
                                                         const Clock& clock) {
  std::unique_ptr<WatchedRuns> made(
      new WatchedRuns(options, clock));  // NOLINT(cppcoreguidelines-owning-memory): private
  WT_RETURN_IF_ERROR(made->StartWatching(options.run_dir, 1));
  return made;
}

Status WatchedRuns::StartWatching(const std::string& run_dir, int64_t training) {
  Watched& run = runs_.emplace_back();
  run.run_dir = run_dir;
  run.training = training;
  run.started_wall_ns = clock_.WallNs();
  run.lock.emplace(TakeLock(run_dir));
  run.stop = std::make_unique<NamedStop>(options_.job, BaseName(run_dir));
  WT_ASSIGN_OR_RETURN(run.watcher, Watcher::Create({.run_dir = run_dir,
                                                    .config = options_.config,
                                                    .job = run.stop.get(),
                                                    .quiet = options_.quiet},
                                                   clock_));
  return {};
}

bool WatchedRuns::MayHaveNews(uint64_t trainings_bytes) const {
  return trainings_bytes != trainings_bytes_ ||
         std::any_of(trainings_.begin(), trainings_.end(), [](const auto& training) {
           return training.state == "finished" && !training.over;  // its process is about to go
         });
}

void WatchedRuns::FindNewTrainings() {
  const std::string path = format::TrainingsPath(options_.run_dir);
  std::error_code none;  // there is no file before the first training
  const uint64_t bytes = std::filesystem::file_size(path, none);
  if (none || !MayHaveNews(bytes)) {
    return;
  }
  Result<std::vector<format::TrainingRecord>> trainings = format::ListTrainings(options_.run_dir);
  if (!trainings.ok()) {
    if (!std::exchange(told_, true)) {
      SayError("looking for further trainings: " + trainings.status().message());
    }
    return;
  }
  trainings_bytes_ = bytes;
  trainings_ = std::move(*trainings);
  for (const format::TrainingRecord& training : trainings_) {
    const bool known = std::any_of(runs_.begin(), runs_.end(), [&](const Watched& run) {
      return run.training == training.number;
    });
    if (!known) {
      Begin(training);
    }
  }
}

void WatchedRuns::Begin(const format::TrainingRecord& training) {
  if (!options_.quiet) {
    Say(fmt::format("training {} of this command: run {}, recorded in {}", training.number,
                    Printable(BaseName(training.run_dir)), Printable(training.run_dir)));
  }
  const Status watching = StartWatching(training.run_dir, training.number);
  if (!watching.ok()) {
    SayError(fmt::format("watching run {}: {}; it is recorded, and no rule looks at it",
                         Printable(BaseName(training.run_dir)), watching.message()));
  }
  for (const Watched& each : runs_) {
    each.stop->NameRun();
    if (each.watcher) {
      each.watcher->NameRun();
    }
  }
}

const format::TrainingRecord* WatchedRuns::RecordOf(const Watched& run) const {
  const auto found = std::find_if(
      trainings_.begin(), trainings_.end(),
      [&](const format::TrainingRecord& training) { return training.number == run.training; });
  return found == trainings_.end() ? nullptr : &*found;
}

void WatchedRuns::Advance() {
  FindNewTrainings();
  for (Watched& run : runs_) {
    if (!run.watcher) {
      continue;
    }
    run.watcher->Advance();
    const format::TrainingRecord* record = RecordOf(run);
    if (runs_.size() > 1 && record != nullptr && record->over) {
      EndRun(&run, EndingOf(*record, {}), record->ended_wall_ns);
    }
  }
}

void WatchedRuns::EndRun(Watched* run, const Ending& ending, TimeNs ended_wall_ns) {
  run->watcher->Finish(ending.state, ending.exit_code, ending.reason);
  run->worst = run->watcher->WorstOpen();
  if (!options_.quiet) {
    const std::string which =
        runs_.size() > 1 ? fmt::format("run {} ", BaseName(run->run_dir)) : std::string();
    // The reason may hold names from the job.
    Say(Printable(fmt::format("{}{}: {}", which, ending.words,
                              run->watcher->Summary(ended_wall_ns - run->started_wall_ns))));
  }
  run->watcher.reset();
  if (!options_.no_report) {
    LeaveReport(run->run_dir, options_.quiet);
  }
  run->lock.reset();
}

void WatchedRuns::Finish(const Ending& ending) {
  Advance();  // a training may have begun or ended since the last look
  for (Watched& run : runs_) {
    if (!run.watcher) {
      continue;
    }
    const format::TrainingRecord* record = RecordOf(run);
    const bool one_of_several = runs_.size() > 1 && record != nullptr;
    const TimeNs ended = one_of_several ? record->ended_wall_ns : 0;
    EndRun(&run, one_of_several ? EndingOf(*record, ending) : ending,
           ended > 0 ? ended : clock_.WallNs());
  }
}

void WatchedRuns::FinishUnstarted(const Status& why) {
  constexpr int kNoSuchCommand = 127;
  runs_.front().watcher->Finish("failed", kNoSuchCommand, why.message());
}

std::optional<rules::Severity> WatchedRuns::WorstOpen() const {
  std::optional<rules::Severity> worst;
  for (const Watched& run : runs_) {
    const std::optional<rules::Severity> its = run.watcher ? run.watcher->WorstOpen() : run.worst;
    worst = std::max(worst, its);  // none is less than any
  }
  return worst;
}

}  // namespace wheeltapper::cli
