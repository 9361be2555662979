#include "dead_runs.h"

#include <fmt/format.h>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/format/rank_segment.h"

#include "context.h"

namespace wheeltapper::cli {

DeadRuns::~DeadRuns() {
  Stop();
  thread_.Join();
}

void DeadRuns::Start() {
  if (const Status started = thread_.Start("wt-cli-dead", [this] { Work(); }); !started.ok()) {
    Say("warning: what killed jobs left is not brought in: " + started.message());
  }
}

void DeadRuns::Stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
}

void DeadRuns::Work() {
  LowerThreadPriority();
  const auto stopped = [this] {
    const MutexLock lock(mutex_);
    return stopping_;
  };
  for (bool again = true; again;) {
    const format::DeadRunsReport report =
        format::RecoverDeadRuns(storage_, SystemClock(), format::kSegmentFolder, stopped);
    Tell(report);
    again = report.again && WaitForMore();
  }
}

bool DeadRuns::WaitForMore() {
  const TimeNs until_ns = SystemClock().MonotonicNs() + format::kSettledNs;
  const MutexLock lock(mutex_);
  while (!stopping_ && SystemClock().MonotonicNs() < until_ns) {
    changed_.WaitFor(mutex_, until_ns - SystemClock().MonotonicNs());
  }
  return !stopping_;
}

void DeadRuns::Tell(const format::DeadRunsReport& report) {
  const auto once = [this](const std::string& message) {
    if (told_.insert(message).second) {  // a run has many ranks, and is looked at again
      Say(message);
    }
  };
  if (!report.failed.empty()) {
    once(fmt::format(
        "warning: what killed jobs left of {} cannot be brought in; "
        "`wheeltapper fsck --repair RUN` tries again; {}",
        Plural(static_cast<int64_t>(report.failed.size()), "run"), report.failed.front()));
  }
  if (quiet_) {
    return;
  }
  for (const std::string& run : report.recovered) {
    once("brought in what a killed job left in memory: " + run);
  }
  for (const std::string& run : report.gone) {
    once("gave back the shared memory of a killed job whose run is deleted: " + run);
  }
  for (const std::string& run : report.missing) {
    once(
        fmt::format("{}/{}* hold what a killed job left, and its run is not at {}; bring it back "
                    "and run `wheeltapper fsck --repair` on it, or remove them",
                    format::kSegmentFolder, format::kSegmentNamePrefix, run));
  }
}

}  // namespace wheeltapper::cli
