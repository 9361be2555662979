// What a rule's process may do to files and, through them, to other processes (Landlock). Also
// closes /proc/PID of every process outside the sandbox: mem, environ, fd, maps.
#pragma once

#include <string>

#include "wheeltapper/core/file.h"

namespace wheeltapper::rules {

// The version of Landlock that this kernel offers; 0 when there is none or it is turned off.
int KernelLandlockAbi();

// Writing allowed in the private folder and to /dev/null, reading everywhere; from ABI 6 (kernel
// 6.12) also no signals and no abstract sockets to processes outside. `abi` is at most the
// kernel's. For landlock_restrict_self; above the standard descriptors, closed on exec; invalid
// when it cannot be made.
FileDescriptor MakeRuleset(const std::string& private_dir, int abi);

}  // namespace wheeltapper::rules
