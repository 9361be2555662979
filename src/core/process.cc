#include "wheeltapper/core/process.h"

#include <cerrno>

#include <sys/wait.h>

namespace wheeltapper {

bool HasExited(pid_t pid) {
  siginfo_t info = {};
  const int asked = waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT);
  return asked == 0 ? info.si_pid != 0 : errno == ECHILD;
}

}  // namespace wheeltapper
