// Starts the user's command, stays invisible to it, and knows how it ended.
//
// The command runs in a process group of its own with the watcher's stdin, stdout, stderr and
// terminal; SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP and SIGCONT pass
// through, and a command that the terminal stops (Ctrl-Z, reading in the background) stops the
// watcher's process group with it, as if it had been a member. Its output is never touched.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::supervisor {

struct JobOptions {
  std::vector<std::string> argv;                   // at least the command
  std::map<std::string, std::string> environment;  // added to the watcher's own
  TimeNs grace_ns = 10'000'000'000;                // between SIGTERM and SIGKILL
};

struct JobExit {
  int exit_code = 0;  // the command's; 128 + signal
  int signal = 0;     // 0 when it exited by itself
  bool stop_requested = false;
  std::string stop_reason;  // why we stopped it, or ""
  // The signal that the user sent by Ctrl-C, or that somebody sent to the watcher, and that ends a
  // job; 0 for none.
  int interrupted_by = 0;
};

// One running command. Single-threaded but for RequestStop, which any thread may call.
class Job : public actions::JobControl {
 public:
  // NotFound when there is no such command, FailedPrecondition when it may not be executed.
  static Result<std::unique_ptr<Job>> Start(const JobOptions& options, const Clock& clock);
  // Waits up to `timeout_ns` for the command or a signal, forwarding signals and carrying out a
  // stop; true when it is over. Never fails: where the system refuses to wait for events, that is
  // logged once and the command is looked at every few milliseconds.
  virtual bool Poll(TimeNs timeout_ns) = 0;
  [[nodiscard]] virtual const JobExit& exit() const = 0;
  [[nodiscard]] virtual int64_t pid() const = 0;
};

}  // namespace wheeltapper::supervisor
