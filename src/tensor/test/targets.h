// Runs a test body once per instruction set that this build has kernels for and this CPU can run.
#pragma once

#include <gtest/gtest.h>

#include "simd_targets.h"
// The targets must be fixed before Highway is seen.
#include <hwy/highway.h>

#include "wheeltapper/tensor/stats.h"

namespace wheeltapper::tensor {

// Restores the normal choice when it goes.
class TargetOverride {
 public:
  explicit TargetOverride(int64_t target) { Choose(target); }
  ~TargetOverride() { Choose(0); }
  TargetOverride(const TargetOverride&) = delete;
  TargetOverride& operator=(const TargetOverride&) = delete;

 private:
  static void Choose(int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

template <typename Body>
void OnEveryTarget(Body body) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    const TargetOverride chosen(target);
    SCOPED_TRACE(KernelTarget());
    body();
  }
}

}  // namespace wheeltapper::tensor
