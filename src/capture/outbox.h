// One slot through which the drain thread hands a META text to the producer: the drain formats (it
// may allocate), the training thread copies the bytes into the ring at its next FinishStep. So the
// ring keeps one producer and the training thread never waits for the low-priority drain.
#pragma once

#include <array>
#include <atomic>
#include <cstring>
#include <string_view>

namespace wheeltapper::capture {

class Outbox {
 public:
  static constexpr size_t kMaxBytes = 4000;

  // Drain thread. False when the slot is still full or the text too long.
  bool Post(std::string_view json) noexcept {
    if (ready_.load(std::memory_order_acquire) || json.size() > kMaxBytes) {
      return false;
    }
    std::memcpy(text_.data(), json.data(), json.size());
    nbytes_ = json.size();
    ready_.store(true, std::memory_order_release);
    return true;
  }
  // Producer. Empty when there is nothing.
  [[nodiscard]] std::string_view waiting() const noexcept {
    return ready_.load(std::memory_order_acquire) ? std::string_view(text_.data(), nbytes_)
                                                  : std::string_view();
  }
  // Producer: the waiting text is in the ring.
  void Taken() noexcept { ready_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> ready_{false};
  size_t nbytes_ = 0;
  std::array<char, kMaxBytes> text_{};
};

}  // namespace wheeltapper::capture
