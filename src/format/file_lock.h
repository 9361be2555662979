// An advisory lock that dies with the process that took it.
#pragma once

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::format {

// Takes flock(LOCK_EX | LOCK_NB) on `file`. Unavailable when another open file holds it.
//
// A flock belongs to the open file, which fork() shares: a forked DataLoader worker that outlives
// its parent would keep the parent's lock. So each locked descriptor is registered, and a forked
// child lets go of its copies (the numbers then refer to /dev/null, so that closing them later
// stays harmless).
Status LockExclusively(const FileDescriptor& file);
// The same; while another open file holds it, it is tried again for `wait_ns`.
Status LockWithin(const FileDescriptor& file, TimeNs wait_ns);
// Whether another open file holds that lock; also when the system does not say. Two that ask at
// once do not see each other.
bool IsLocked(const FileDescriptor& file) noexcept;
// The same, but not when the system does not say.
bool IsSurelyLocked(const FileDescriptor& file) noexcept;
// Forgets a descriptor taken by LockExclusively; call before closing it.
void ForgetLock(const FileDescriptor& file) noexcept;

}  // namespace wheeltapper::format
