// The fuse: counts errors inside the training job and, after too many, switches capture off for
// good. Lock-free and allocation-free, because hot code reports through it; the drain thread turns
// the counts into records.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "wheeltapper/core/status.h"

namespace wheeltapper::capture {

class Fuse {
 public:
  explicit Fuse(int64_t max_errors) : max_errors_(max_errors) {}

  // Any thread. `what` is a string literal: it is kept, not copied.
  void Report(StatusCode code, const char* what) noexcept;

  // Any thread. Blows at once, whatever was tolerated so far.
  void Blow(StatusCode code, const char* what) noexcept;

  [[nodiscard]] bool blown() const noexcept { return blown_.load(std::memory_order_acquire); }
  [[nodiscard]] int64_t errors() const noexcept { return errors_.load(std::memory_order_relaxed); }
  // The first error; OK when there was none.
  [[nodiscard]] Status first() const;
  // The META text that tells why capture is off: {"kind":"disabled",…}.
  [[nodiscard]] std::string ToJson() const;

  // Drain thread: calls `sink(code, what, count)` for every code with errors since the last call.
  template <typename Sink>
  void TakeNew(Sink&& sink) {
    for (size_t i = 0; i < kCodes; ++i) {
      const int64_t count = counts_[i].load(std::memory_order_acquire);
      const char* what = latest_[i].load(std::memory_order_acquire);
      if (count > taken_[i] && what != nullptr) {
        sink(static_cast<StatusCode>(i), what, count);
        taken_[i] = count;
      }
    }
  }

 private:
  static constexpr size_t kCodes = static_cast<size_t>(StatusCode::kInternal) + 1;

  const int64_t max_errors_;
  std::atomic<int64_t> errors_{0};
  std::atomic<bool> blown_{false};
  std::atomic<const char*> first_what_{nullptr};
  std::atomic<StatusCode> first_code_{StatusCode::kOk};
  std::array<std::atomic<int64_t>, kCodes> counts_{};
  std::array<std::atomic<const char*>, kCodes> latest_{};
  std::array<int64_t, kCodes> taken_{};  // drain thread's
};

}  // namespace wheeltapper::capture
