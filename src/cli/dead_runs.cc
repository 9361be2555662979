#include "dead_runs.h"

#include <fmt/format.h>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/format/rank_segment.h"

#include "context.h"
#include "render.h"

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
  for (const std::string& message : DeadRunsMessages(report, quiet_)) {
    if (told_.insert(message).second) {  // a run has many ranks, and is looked at again
      Say(message);
    }
  }
}

std::vector<std::string> DeadRunsMessages(const format::DeadRunsReport& report, bool quiet) {
  std::vector<std::string> messages;
  if (!report.failed.empty()) {
    messages.push_back(
        fmt::format("warning: what killed jobs left of {} cannot be brought in; "
                    "`wheeltapper fsck --repair RUN` tries again; {}",
                    Plural(static_cast<int64_t>(report.failed.size()), "run"),
                    Printable(report.failed.front())));
  }
  if (quiet) {
    return messages;
  }
  for (const std::string& run : report.recovered) {
    messages.push_back("brought in the last steps of a killed job: " + Printable(run));
  }
  for (const std::string& run : report.gone) {
    messages.push_back("gave back the shared memory of a killed job whose run is deleted: " +
                       Printable(run));
  }
  for (const format::MissingRun& run : report.missing) {
    messages.push_back(
        fmt::format("{} holds the last steps of a killed job, and its run is not at {}; bring it "
                    "back and run `wheeltapper fsck --repair` on it, or remove that file",
                    Printable(run.segment), Printable(run.run_dir)));
  }
  return messages;
}

}  // namespace wheeltapper::cli
