// Steps of an optimizer at which nothing has a gradient: backward() was forgotten, undone, or does
// not reach its parameters.
//
// The attach counts those that are captured in scalars
//   wheeltapper/steps_without_gradient[.<label>]        one per optimizer
// from its first step until a gradient has come; then it writes 0, and nothing ever after. Where
// gradients are there but exactly zero, their statistics show it. An optimizer whose weights move
// all the same gets its gradients from elsewhere: its count begins anew. One that has not been
// heard of for kGoneAfter captured steps, and for twice as long as ever before, is gone, until it
// is heard of again: a task that is drawn at random may have its turn after a long pause.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>

#include "wheeltapper/format/rows.h"
#include "wheeltapper/rules/rule.h"

#include "model_description.h"
#include "stats_index.h"
#include "tensor_names.h"

namespace wheeltapper::rules {

inline constexpr int64_t kGoneAfter = 20;

struct GradientAbsence {
  std::string optimizer;   // its label; "" of the first or only one
  bool zero = false;       // there are gradients, but all are zero
  bool alone = false;      // other parameters have had gradients
  int64_t steps = 0;       // captured ones like this one, weights at rest
  int64_t since_step = 0;  // the first of them
  std::string
      tensor;  // the first parameter of the model that is concerned; "" when none is captured
  int64_t parameters = 0;  // how many of them are captured
};

inline constexpr const char* kNoGradient = "no_gradient";  // the cause key of what is said of it

// `backward_seen` as of GradientWatch.
Observation DescribeAbsence(const GradientAbsence& absence, const format::StepKey& key,
                            const ModelDescription& model, bool backward_seen);

class GradientWatch {
 public:
  // What the batch shows; nothing where something has a gradient, or nobody looked.
  std::optional<GradientAbsence> Add(const format::StepBatch& batch, const StatsIndex& index,
                                     const format::NameTable& names, const ModelDescription& model);
  // True once a gradient has come and no optimizer that is there is known to be without.
  [[nodiscard]] bool present() const;
  // The optimizer of this label is there, and no gradient of it has come.
  [[nodiscard]] bool Lacks(const std::string& optimizer) const;
  [[nodiscard]] bool any_gradient() const { return any_gradient_; }
  // backward() was called from a loss whose value could be read.
  [[nodiscard]] bool backward_seen() const { return backward_seen_; }

 private:
  struct Count {
    int64_t silent = 0;         // captured steps since it was heard of
    int64_t longest_pause = 0;  // captured steps between two times it was heard of
    int64_t steps = 0;
    int64_t moved_until = 0;  // of these, up to the last at which a weight moved
    int64_t since_step = 0;
  };
  static bool IsGone(const Count& count);
  // An optimizer is heard of at `step`: one more without a gradient, `steps` by now.
  static void NoteStep(int64_t steps, Step step, Count* count);
  // Takes in what the attach says; the optimizer that has no gradient now, of several the one of
  // most steps.
  std::optional<std::string> NoteScalars(const format::StepBatch& batch,
                                         const format::NameTable& names);
  // True when the batch has gradients and there has never been one that is not zero.
  bool AllZero(const format::StepBatch& batch, const format::NameTable& names);
  // True when a parameter without a gradient moved since the last call; notes the parameters.
  bool NoteWeights(const format::StepBatch& batch, const StatsIndex& index,
                   const format::NameTable& names, const ModelDescription& model,
                   GradientAbsence* absence);

  TensorRoles roles_;
  std::map<std::string, Count> without_;  // by the optimizer's label
  Count zeros_;
  std::unordered_map<format::NameId, tensor::TensorStats> weights_;
  bool any_gradient_ = false;
  bool backward_seen_ = false;
};

}  // namespace wheeltapper::rules
