// The runs of one command: that of its first training and, as they begin, those of the others
// (format/trainings.h), each with a watcher and a report of its own.
#pragma once

#include <atomic>
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

#include "watcher.h"

namespace wheeltapper::cli {

// Single-threaded.
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
    TimeNs stopped_wall_ns = 0;  // when a stop was asked for; 0 when none was
  };

  // Takes the first run's watcher lock and makes its watcher. Errors of the configuration.
  static Result<std::unique_ptr<WatchedRuns>> Create(const Options& options, const Clock& clock);
  WatchedRuns(const WatchedRuns&) = delete;
  WatchedRuns& operator=(const WatchedRuns&) = delete;
  ~WatchedRuns() = default;

  // Looks for trainings that have begun, at what is new in each, and ends the runs of those that
  // are over while the command goes on. Never fails.
  void Advance();
  // The command is over: ends all the runs that have not ended.
  void Finish(const Ending& ending);
  // The command could not be started.
  void FinishUnstarted(const Status& why);
  // Worst severity of the findings open at the end of each run, or now.
  [[nodiscard]] std::optional<rules::Severity> WorstOpen() const;

 private:
  // Says, once the command has several runs, which of them asked for the stop.
  class NamedStop final : public actions::JobControl {
   public:
    NamedStop(actions::JobControl* job, std::string run) : job_(job), run_(std::move(run)) {}
    void NameRun() { named_ = true; }
    void RequestStop(const std::string& reason) override {
      job_->RequestStop(named_ ? reason + " in run " + run_ : reason);
    }

   private:
    actions::JobControl* job_;
    std::string run_;
    std::atomic<bool> named_ = false;
  };
  struct Watched {
    std::string run_dir;
    int64_t training = 1;
    TimeNs started_wall_ns = 0;
    std::optional<format::WatcherLock> lock;
    std::unique_ptr<NamedStop> stop;   // outlives the watcher
    std::unique_ptr<Watcher> watcher;  // null once the run has ended
    std::optional<rules::Severity> worst;
  };

  WatchedRuns(const Options& options, const Clock& clock) : options_(options), clock_(clock) {}
  // Adds the run, also when it cannot be watched.
  Status StartWatching(const std::string& run_dir, int64_t training);
  [[nodiscard]] bool MayHaveNews(uint64_t trainings_bytes) const;
  void FindNewTrainings();
  void Begin(const format::TrainingRecord& training);
  void EndRun(Watched* run, const Ending& ending, TimeNs ended_wall_ns);
  [[nodiscard]] const format::TrainingRecord* RecordOf(const Watched& run) const;

  const Options options_;
  const Clock& clock_;
  std::vector<Watched> runs_;
  std::vector<format::TrainingRecord> trainings_;
  uint64_t trainings_bytes_ = 0;  // of trainings.jsonl when it was read
  bool told_ = false;             // that it cannot be read
};

}  // namespace wheeltapper::cli
