// Backward passes while no optimizer steps: optimizer.step() was forgotten.
//
// The attach counts them in the scalar wheeltapper/backwards_without_step, as long as there are
// optimizers, none has ever stepped, and their weights rest.
#pragma once

#include <cstdint>
#include <optional>

#include "wheeltapper/format/rows.h"
#include "wheeltapper/rules/rule.h"

namespace wheeltapper::rules {

inline constexpr const char* kNeverStepped =
    "never_stepped";  // the cause key of what is said of it

class MissingSteps {
 public:
  // Takes in a batch; what there is to say about it. `stepped`: some optimizer has made a step.
  std::optional<Observation> Add(const format::StepBatch& batch, const format::NameTable& names,
                                 bool stepped);
  // The same at the end of the run, when no step can come any more.
  [[nodiscard]] std::optional<Observation> AtEnd() const;
  // Some passes were counted.
  [[nodiscard]] bool looked() const { return backwards_ > 0; }

 private:
  [[nodiscard]] Observation Describe(Severity severity) const;

  int64_t backwards_ = 0;
  bool stepped_ = false;
  format::StepKey key_{};  // of the latest count
};

}  // namespace wheeltapper::rules
