// Makes recorders inert in forked children, from the child's first instruction: a DataLoader worker
// must neither write into its parent's rings nor meet a lock that no thread of its own will free.
#pragma once

#include "wheeltapper/core/status.h"

#include "recorder.h"

namespace wheeltapper::capture {

inline constexpr size_t kMaxGuardedRecorders = 64;

// ResourceExhausted when kMaxGuardedRecorders are guarded already. Lock-free; any thread.
Status GuardAgainstFork(Recorder* recorder);
// Call before the recorder is destroyed. No-op when it is not guarded.
void ForgetForkGuard(Recorder* recorder) noexcept;

}  // namespace wheeltapper::capture
