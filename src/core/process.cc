#include "wheeltapper/core/process.h"

#include <cerrno>
#include <sstream>
#include <string>

#include <sys/wait.h>

#include "wheeltapper/core/file.h"

namespace wheeltapper {

bool HasExited(pid_t pid) {
  siginfo_t info = {};
  const int asked = waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT);
  return asked == 0 ? info.si_pid != 0 : errno == ECHILD;
}

std::optional<uint64_t> ProcessStart(pid_t pid) {
  constexpr uint64_t kMaxBytes = 4096;
  constexpr int kFieldsBetween = 18;  // of proc(5): those from ppid to itrealvalue
  const std::string text =
      ReadWholeFile("/proc/" + std::to_string(pid) + "/stat", kMaxBytes).value_or("");
  // The name stands in parentheses and may hold any byte.
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) {
    return std::nullopt;
  }
  std::istringstream fields(text.substr(name_end + 1));
  char state = 0;
  std::string passed;
  fields >> state;
  for (int i = 0; i < kFieldsBetween; ++i) {
    fields >> passed;
  }
  uint64_t start = 0;
  fields >> start;
  const bool ended = state == 'Z' || state == 'X';
  return fields.fail() || ended ? std::nullopt : std::optional(start);
}

}  // namespace wheeltapper
