// One hot call inside the recorder: takes the flag, and measures how long the training thread was
// held, whether the flag was free or not. Private to the recorder's own files.
#pragma once

#include "recorder.h"

namespace wheeltapper::capture {

inline void SpinPause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Recorder::HotScope {
 public:
  HotScope(Recorder* recorder, int spins) noexcept
      : recorder_(recorder),
        begin_ns_(recorder->clock_->MonotonicNs()),
        entered_(recorder->Enter(spins)) {}
  HotScope(const HotScope&) = delete;
  HotScope& operator=(const HotScope&) = delete;
  ~HotScope() {
    const TimeNs held_ns = counted_ ? recorder_->clock_->MonotonicNs() - begin_ns_ : 0;
    recorder_->CountHeld(held_ns);
    if (!entered_) {
      recorder_->contended_.fetch_add(1, std::memory_order_relaxed);
      recorder_->contended_ns_.fetch_add(held_ns, std::memory_order_relaxed);
      return;
    }
    recorder_->blocked_ns_ += held_ns;
    recorder_->Leave();
  }

  [[nodiscard]] bool entered() const noexcept { return entered_; }
  [[nodiscard]] TimeNs begin_ns() const noexcept { return begin_ns_; }
  // The caller has accounted for this call's time itself.
  void DoNotCount() noexcept { counted_ = false; }

 private:
  Recorder* const recorder_;
  const TimeNs begin_ns_;
  const bool entered_;
  bool counted_ = true;
};

}  // namespace wheeltapper::capture
