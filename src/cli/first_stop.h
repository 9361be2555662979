// The stop of a command that was asked for first: by which of its runs, and why.
#pragma once

#include <string>
#include <utility>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/mutex.h"

namespace wheeltapper::cli {

// Thread-safe: rules are evaluated, and ask, on the thread that watches and on those that end runs.
class FirstStop {
 public:
  struct Asked {
    TimeNs wall_ns = 0;  // 0: nobody has asked
    std::string run;     // the name of the run whose rule asked
    std::string reason;
  };

  FirstStop(actions::JobControl* job, const Clock& clock) : job_(job), clock_(clock) {}

  // Passes the stop on. Whoever asks, and whoever reaches the job first: its reason is that of the
  // run that is noted here.
  void Ask(const std::string& run, const std::string& reason) WT_EXCLUDES(mutex_);
  [[nodiscard]] Asked asked() const WT_EXCLUDES(mutex_);

 private:
  actions::JobControl* const job_;
  const Clock& clock_;
  mutable Mutex mutex_;
  Asked asked_ WT_GUARDED_BY(mutex_);
};

// The job's control as the actions of one run have it.
class StopOfRun final : public actions::JobControl {
 public:
  StopOfRun(FirstStop* first, std::string run) : first_(first), run_(std::move(run)) {}
  void RequestStop(const std::string& reason) override { first_->Ask(run_, reason); }

 private:
  FirstStop* const first_;
  const std::string run_;
};

}  // namespace wheeltapper::cli
