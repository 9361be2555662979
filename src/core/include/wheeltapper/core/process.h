// Child processes of this one.
#pragma once

#include <sys/types.h>

namespace wheeltapper {

// True when the child has exited, and when there is none of that number. Its exit status stays
// where it is, for waitpid. Does not wait.
bool HasExited(pid_t pid);

}  // namespace wheeltapper
