#include "watched_runs.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/run_reader.h"
#include "wheeltapper/report/report.h"
#include "wheeltapper/trial/trial.h"

#include "context.h"
#include "render.h"

namespace wheeltapper::cli {
namespace {

// How often the processes of trainings are looked for, and runs without any at.
constexpr TimeNs kSeldomNs = 1'000'000'000;

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

// Whether a process of a training lives, by now.
bool LivesOn(const std::string& run_dir, int64_t training) {
  const std::vector<format::TrainingRecord> all =
      format::ListTrainings(run_dir).value_or(std::vector<format::TrainingRecord>());
  const format::TrainingRecord* record = format::FindTraining(all, training);
  return record != nullptr && record->living;
}

// Of a run that could not be watched.
void MarkEnd(const std::string& run_dir, const WatchedRuns::Ending& ending, const Clock& clock) {
  constexpr TimeNs kPatienceNs = 5'000'000'000;
  Status done = format::RecoverEndedRun(run_dir, clock, kPatienceNs).status();
  const Status marked = format::WriteEnd(run_dir, {.state = ending.state,
                                                   .exit_code = ending.exit_code,
                                                   .reason = ending.reason,
                                                   .ended_wall_ns = clock.WallNs()});
  done = done.ok() ? marked : done;
  if (!done.ok()) {
    SayError(fmt::format("ending run {}: {}", Printable(run_dir), done.message()));
  }
}

}  // namespace

WatchedRuns::~WatchedRuns() = default;

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
  run.stop = std::make_unique<StopOfRun>(&first_stop_, BaseName(run_dir));
  WT_ASSIGN_OR_RETURN(run.watcher, Watcher::Create({.run_dir = run_dir,
                                                    .config = options_.config,
                                                    .job = run.stop.get(),
                                                    .quiet = options_.quiet},
                                                   clock_));
  return {};
}

bool WatchedRuns::MayHaveNews(uint64_t trainings_bytes) const {
  if (trainings_bytes != trainings_bytes_) {
    return true;
  }
  // Processes end without a line, too.
  return clock_.MonotonicNs() - trainings_read_ns_ >= kSeldomNs &&
         std::any_of(trainings_.begin(), trainings_.end(),
                     [](const auto& training) { return training.living; });
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
  trainings_read_ns_ = clock_.MonotonicNs();
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
  runs_.back().started_wall_ns = training.began_wall_ns;
  several_ = true;
  for (const Watched& each : runs_) {
    if (each.watcher && !each.ending) {
      each.watcher->NameRun();
    }
  }
}

bool WatchedRuns::IsDue(const Watched& run, const format::TrainingRecord* record) const {
  const bool dead = runs_.size() > 1 && record != nullptr && !record->living;
  return !dead || clock_.MonotonicNs() - run.looked_ns >= kSeldomNs;
}

void WatchedRuns::Advance() {
  FindNewTrainings();
  enders_.JoinEnded();
  for (Watched& run : runs_) {
    const format::TrainingRecord* record = format::FindTraining(trainings_, run.training);
    if (run.ending || !IsDue(run, record)) {
      continue;
    }
    run.looked_ns = clock_.MonotonicNs();
    if (run.watcher) {
      run.watcher->Advance();
    }
    // A command that is being stopped ends its runs together: how is not known yet.
    if (runs_.size() > 1 && record != nullptr && record->over && first_stop_.asked().wall_ns == 0) {
      StartEnding(&run, EndingOf(*record, {}), record->ended_wall_ns);
    }
  }
}

WatchedRuns::Ending WatchedRuns::EndingOf(const format::TrainingRecord& training,
                                          const Ending& command) const {
  const FirstStop::Asked stop = first_stop_.asked();
  if (command.state == "stopped" &&
      (training.ended_wall_ns == 0 || training.ended_wall_ns >= stop.wall_ns)) {
    // One that cleans up and leaves when it is told to stop did not finish.
    const bool own = stop.run == BaseName(training.run_dir);
    const std::string whose = own ? "" : " in run " + stop.run;
    return {.state = "stopped",
            .exit_code = command.exit_code,
            .reason = command.reason + whose,
            .words = command.words + whose};
  }
  if (training.state == "finished") {
    return {.state = "finished", .exit_code = 0, .reason = "", .words = "finished"};
  }
  if (training.state == "failed") {
    return {.state = "failed",
            .exit_code = training.exit_code,
            .reason = "",
            .words = fmt::format("failed with exit code {}", training.exit_code)};
  }
  if (training.living || command.state == "interrupted") {
    return command;
  }
  const std::string why = "its process ended without a word: killed, or by os._exit";
  return {.state = "killed", .exit_code = format::kUnknownExit, .reason = why, .words = why};
}

void WatchedRuns::StartEnding(Watched* run, const Ending& ending, TimeNs ended_wall_ns) {
  run->ending = true;
  enders_.Start([this, run, ending, ended_wall_ns] { EndRun(run, ending, ended_wall_ns); });
}

void WatchedRuns::EndRun(Watched* run, const Ending& ending, TimeNs ended_wall_ns) const {
  if (run->watcher) {
    const int64_t training = run->training;
    run->watcher->Finish([&]() -> std::optional<Watcher::End> {
      if (LivesOn(options_.run_dir, training)) {
        Say(
            fmt::format("warning: the training of run {} outlives the command and goes on; it is "
                        "recorded, and `wheeltapper check` judges the rest",
                        Printable(BaseName(run->run_dir))));
        return std::nullopt;
      }
      return Watcher::End{
          .state = ending.state, .exit_code = ending.exit_code, .reason = ending.reason};
    });
    run->worst = run->watcher->WorstOpen();
  } else {
    MarkEnd(run->run_dir, ending, clock_);
  }
  if (!options_.quiet && run->watcher) {
    const std::string which =
        several_ ? fmt::format("run {}: ", BaseName(run->run_dir)) : std::string();
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
    if (run.ending) {
      continue;
    }
    const format::TrainingRecord* record = format::FindTraining(trainings_, run.training);
    const bool one_of_several = runs_.size() > 1 && record != nullptr;
    const TimeNs ended = one_of_several ? record->ended_wall_ns : 0;
    StartEnding(&run, one_of_several ? EndingOf(*record, ending) : ending,
                ended > 0 ? ended : clock_.WallNs());
  }
  enders_.JoinAll();
}

void WatchedRuns::FinishUnstarted(const Status& why) {
  constexpr int kNoSuchCommand = 127;
  runs_.front().watcher->Finish([&] {
    return Watcher::End{.state = "failed", .exit_code = kNoSuchCommand, .reason = why.message()};
  });
}

std::optional<rules::Severity> WatchedRuns::WorstOpen() const {
  std::optional<rules::Severity> worst;
  for (const Watched& run : runs_) {
    worst = std::max(worst, run.worst);  // none is less than any
  }
  return worst;
}

}  // namespace wheeltapper::cli
