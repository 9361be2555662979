// The command line as a function, so that tests call it in process.
#pragma once

#include <string>
#include <vector>

namespace wheeltapper::cli {

// Exit codes (DESIGN §12). `run` passes the command's own code on unless one of these applies.
enum ExitCode : int {
  kExitOk = 0,
  kExitFindings = 1,  // query verbs: findings at or above the level asked for, or problems found
  kExitUsage = 2,     // wrong arguments, configuration, no such run
  kExitFailOn = 3,    // `run --fail-on` reached
  kExitStoppedByRule = 4,
  kExitStoppedBySupervisor = 5,
  kExitInternal = 6,  // never while only observing
};

// `args` without the program's name. Data goes to stdout, messages to stderr.
int Main(const std::vector<std::string>& args);

}  // namespace wheeltapper::cli
