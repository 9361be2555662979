// Counts what the training thread must not do on the hot path: heap, locks, system calls. The
// functions of libc are defined again in this executable (interposer.cc); calls made by the thread
// inside a HotPathScope are counted, then passed on.
#pragma once

#include <cstdint>

namespace wheeltapper::capture {

class HotPathScope {
 public:
  HotPathScope();
  HotPathScope(const HotPathScope&) = delete;
  HotPathScope& operator=(const HotPathScope&) = delete;
  ~HotPathScope();

  // Forbidden calls of this thread since the scope began, and the first one's name.
  [[nodiscard]] static int64_t forbidden();
  [[nodiscard]] static const char* first();
  // True where the kernel itself reports this thread's system calls (syscall user dispatch), so
  // that none escapes, whoever makes it; elsewhere only calls of libc's functions are counted.
  [[nodiscard]] static bool SeesSystemCalls();
};

}  // namespace wheeltapper::capture
