// The runs of one command: that of its first training and, as they begin, those of the others
// (format/trainings.h), each with a watcher and a report of its own.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/config.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/trainings.h"
#include "wheeltapper/format/watcher_lock.h"
#include "wheeltapper/rules/finding.h"

#include "ending_threads.h"
#include "first_stop.h"
#include "watcher.h"

namespace wheeltapper::cli {

// One thread calls it; the threads that end runs are its own.
class WatchedRuns {
 public:
  struct Options {
    std::string run_dir;  // of the first training
    const Config* config = nullptr;
    actions::JobControl* job = nullptr;
    bool quiet = false;
    bool no_report = false;
  };
  // How a command ended, as END says it, and in words.
  struct Ending {
    std::string state;
    int exit_code = 0;
    std::string reason;
    std::string words;
  };

  // Takes the first run's watcher lock and makes its watcher. Errors of the configuration.
  static Result<std::unique_ptr<WatchedRuns>> Create(const Options& options, const Clock& clock);
  WatchedRuns(const WatchedRuns&) = delete;
  WatchedRuns& operator=(const WatchedRuns&) = delete;
  ~WatchedRuns();

  // Looks for trainings that have begun, at what is new in each, and ends the runs of those that
  // are over while the command goes on, each on a thread of its own: what ending one waits for
  // (recovery, rules in Python, deliveries) must hold up no signal. Never fails.
  void Advance();
  // The command is over: ends all the runs that have not ended.
  void Finish(const Ending& ending);
  // The command could not be started.
  void FinishUnstarted(const Status& why);
  // Worst severity of the findings open at the end of the runs; after Finish.
  [[nodiscard]] std::optional<rules::Severity> WorstOpen() const;

 private:
  struct Watched {
    std::string run_dir;
    int64_t training = 1;
    TimeNs started_wall_ns = 0;
    TimeNs looked_ns = 0;  // by the monotonic clock
    std::optional<format::WatcherLock> lock;
    std::unique_ptr<StopOfRun> stop;   // outlives the watcher
    std::unique_ptr<Watcher> watcher;  // null when it could not be made
    bool ending = false;               // what follows belongs to its thread until that is joined
    std::optional<rules::Severity> worst;
  };

  WatchedRuns(const Options& options, const Clock& clock)
      : options_(options), clock_(clock), first_stop_(options.job, clock) {}
  // Adds the run, also when it cannot be watched.
  Status StartWatching(const std::string& run_dir, int64_t training);
  [[nodiscard]] bool MayHaveNews(uint64_t trainings_bytes) const;
  void FindNewTrainings();
  void Begin(const format::TrainingRecord& training);
  // Whether it is time to look at a run again: of one whose processes are dead, seldom.
  [[nodiscard]] bool IsDue(const Watched& run, const format::TrainingRecord* record) const;
  // How a run ended: as its processes said, where no stop or interruption was the reason, else as
  // the command.
  [[nodiscard]] Ending EndingOf(const format::TrainingRecord& training,
                                const Ending& command) const;
  // Starts the thread that ends a run.
  void StartEnding(Watched* run, const Ending& ending, TimeNs ended_wall_ns);
  void EndRun(Watched* run, const Ending& ending, TimeNs ended_wall_ns) const;

  const Options options_;
  const Clock& clock_;
  FirstStop first_stop_;      // outlives the runs
  std::deque<Watched> runs_;  // threads point into it
  std::vector<format::TrainingRecord> trainings_;
  uint64_t trainings_bytes_ = 0;  // of trainings.jsonl when it was read
  TimeNs trainings_read_ns_ = 0;  // when, by the monotonic clock
  bool told_ = false;             // that it cannot be read
  std::atomic<bool> several_ = false;
  EndingThreads enders_;  // joined before the runs go
};

}  // namespace wheeltapper::cli
