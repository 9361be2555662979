// Processes: children of this one, and any by their number.
#pragma once

#include <cstdint>
#include <optional>

#include <sys/types.h>

namespace wheeltapper {

// True when the child has exited, and when there is none of that number. Its exit status stays
// where it is, for waitpid. Does not wait.
bool HasExited(pid_t pid);

// When a process started, in clock ticks since the machine did: with its number, it names one
// process of this start of the machine. None when there is no process of that number, or when it
// has ended and only waits to be asked for its exit status.
std::optional<uint64_t> ProcessStart(pid_t pid);

}  // namespace wheeltapper
