// The only place that makes a thread. Inside the training job a Thread object lives on the heap, is
// stopped from atexit and is never destroyed: a joinable std::thread that is destroyed aborts the
// process at exit and in forked children (docs/design/life-of-a-step.md says how the job shuts
// down).
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "wheeltapper/core/status.h"

namespace wheeltapper {

// A named, joinable thread with all signals blocked but faults of its own. Not thread-safe: one
// owner starts and joins it. An exception that leaves the body ends the thread with one error line
// in the log, never the process.
class Thread {
 public:
  Thread() = default;
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  // Dies loudly when still joinable: the owner forgot to stop it.
  ~Thread() = default;

  // Starts `body`; `name` (≤ 15 bytes, "wt-<module>-<role>") shows in /proc and debuggers.
  // ResourceExhausted when the system refuses a thread; FailedPrecondition when already running.
  Status Start(const std::string& name, std::function<void()> body);
  // Waits for the body to return. Idempotent.
  void Join();
  [[nodiscard]] bool running() const { return thread_.joinable(); }

 private:
  std::thread thread_;
};

// Lowers the calling thread's scheduling claim (SCHED_BATCH, nice +10): background work in a
// training job.
void LowerThreadPriority();

}  // namespace wheeltapper
