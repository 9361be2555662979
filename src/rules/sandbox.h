// Starts an untrusted program with everything taken from it that the kernel lets us take: see
// python_rules.h for what that is. Linux only.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <sys/types.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::rules {

struct SandboxOptions {
  std::vector<std::string> argv;         // argv[0] is a path
  std::vector<std::string> environment;  // "NAME=value", the whole of it
  std::string private_dir;               // made by the caller; the only place it may write to
  std::vector<std::string> readable;     // what it must be able to read as an unprivileged user
  int64_t memory_mb = 1024;
  // Uses no more of Landlock than this version has, as on an older kernel; 0 for none of it.
  int most_landlock_abi = std::numeric_limits<int>::max();
};

// All ends are non-blocking on this side and closed on exec.
struct SandboxedProcess {
  pid_t pid = -1;
  FileDescriptor to_child;    // its stdin: a socket, to be written with send(MSG_NOSIGNAL)
  FileDescriptor from_child;  // its stdout
  FileDescriptor errors;      // its stderr
  std::string note;           // what could not be taken from it, "" when nothing
};

// ResourceExhausted when no process or pipe can be made. That the program cannot be executed shows
// as exit status 127.
Result<SandboxedProcess> StartSandboxed(const SandboxOptions& options);

}  // namespace wheeltapper::rules
