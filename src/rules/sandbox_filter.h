// Which system calls a rule's process may make (seccomp): see custom-rules.md in docs/guide for
// what that comes to. Linux on x86-64 and AArch64.
#pragma once

#include <cstddef>
#include <vector>

#include <linux/filter.h>
#include <sys/types.h>

namespace wheeltapper::rules {

struct SandboxFilter {
  std::vector<sock_filter> code;
  std::vector<size_t> own_pid_at;  // statements that wait for the process's own id
};

// `landlock_abi` is what the kernel offers, 0 for none: what Landlock does not cover there, the
// filter does. A refused call answers EPERM, or ENOSYS where the C library then takes an older one;
// a call of another architecture kills the process.
SandboxFilter BuildSandboxFilter(int landlock_abi);

// Neither allocates nor locks: for the child, between fork and the installing of the filter.
void InsertOwnPid(SandboxFilter& filter, pid_t pid);

}  // namespace wheeltapper::rules
