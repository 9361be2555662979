// fork + exec with the error of exec reported, not swallowed.
#pragma once

#include <csignal>
#include <map>
#include <string>
#include <vector>

#include <sys/types.h>

#include "wheeltapper/core/status.h"

namespace wheeltapper::supervisor {

struct SpawnOptions {
  std::vector<std::string> argv;
  std::map<std::string, std::string> environment;  // added to ours
  sigset_t signal_mask;                            // what the child starts with
  void (*sigpipe)(int) = SIG_DFL;                  // the caller's disposition of SIGPIPE
  bool take_terminal = false;  // the child makes itself the terminal's foreground group before exec
};

// Starts argv[0] (searched in PATH) as the leader of a new process group. NotFound,
// FailedPrecondition (not executable) or the errno of fork/exec; then no process is left behind.
Result<pid_t> SpawnInOwnGroup(const SpawnOptions& options);

}  // namespace wheeltapper::supervisor
