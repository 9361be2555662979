#include "fork_guard.h"

#include <array>
#include <atomic>

#include <pthread.h>

namespace wheeltapper::capture {
namespace {

// Constant-initialised and trivially destroyed: valid in any child at any moment.
std::array<std::atomic<Recorder*>, kMaxGuardedRecorders>& Guarded() {
  static constinit std::array<std::atomic<Recorder*>, kMaxGuardedRecorders> guarded{};
  return guarded;
}

void MakeAllInert() {
  for (std::atomic<Recorder*>& slot : Guarded()) {
    if (Recorder* recorder = slot.load(std::memory_order_relaxed); recorder != nullptr) {
      recorder->BecomeInert();
      slot.store(nullptr, std::memory_order_relaxed);
    }
  }
}

}  // namespace

Status GuardAgainstFork(Recorder* recorder) {
  static const int kRegistered = pthread_atfork(nullptr, nullptr, MakeAllInert);
  if (kRegistered != 0) {
    return ErrnoError(kRegistered, "registering the fork handler");
  }
  for (std::atomic<Recorder*>& slot : Guarded()) {
    Recorder* none = nullptr;
    if (slot.compare_exchange_strong(none, recorder, std::memory_order_release)) {
      return Status::Ok();
    }
  }
  return ResourceExhaustedError("starting capture: too many sessions in one process");
}

void ForgetForkGuard(Recorder* recorder) noexcept {
  for (std::atomic<Recorder*>& slot : Guarded()) {
    Recorder* mine = recorder;
    slot.compare_exchange_strong(mine, nullptr, std::memory_order_relaxed);
  }
}

}  // namespace wheeltapper::capture
