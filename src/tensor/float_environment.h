// Puts the thread into the default floating-point mode and takes it back.
//
// Frameworks let users flush denormals (torch.set_flush_denormal) or trap on NaN (feenableexcept):
// the first would make our counts wrong, the second would kill the job because of an element we
// only looked at. The user's sticky exception flags are restored as well.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace wheeltapper::tensor {

class DefaultFloatEnvironment {
 public:
#if defined(__x86_64__)
  DefaultFloatEnvironment() noexcept : saved_(_mm_getcsr()) {
    if ((saved_ & ~kStickyFlags) != kDefault) {
      _mm_setcsr(kDefault);
    }
  }
  ~DefaultFloatEnvironment() {
    if (_mm_getcsr() != saved_) {
      _mm_setcsr(saved_);
    }
  }
#elif defined(__aarch64__)
  DefaultFloatEnvironment() noexcept {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    if (saved_ != 0) {
      asm volatile("msr fpcr, %0" : : "r"(uint64_t{0}));
    }
  }
  ~DefaultFloatEnvironment() {
    if (saved_ != 0) {
      asm volatile("msr fpcr, %0" : : "r"(saved_));
    }
  }
#else
  DefaultFloatEnvironment() noexcept = default;
  ~DefaultFloatEnvironment() = default;
#endif
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr uint32_t kDefault = 0x1f80;  // all exceptions masked, to nearest, denormals kept
  static constexpr uint32_t kStickyFlags = 0x3f;
  uint32_t saved_;
#else
  uint64_t saved_ = 0;
#endif
};

}  // namespace wheeltapper::tensor
