// Why a value is NaN or infinity, as far as what was captured before and beside it shows.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "wheeltapper/format/rows.h"
#include "wheeltapper/rules/rule.h"

#include "growth.h"
#include "loss_terms.h"
#include "model_description.h"
#include "stats_index.h"
#include "tensor_names.h"

namespace wheeltapper::rules {

struct NonfiniteHit {
  format::StepKey key;
  std::string tensor;
  TensorRole role;
  std::string what;   // "holds 3 NaN of 8,192 values"
  int64_t order = 0;  // within its class
  tensor::DType dtype = tensor::DType::kF32;
};

class NonfiniteCause {
 public:
  void Add(const format::StepBatch& batch, const format::NameTable& names);

  // Sets the cause, what to try and the evidence. Of the first hit, once all of its step is added.
  void Explain(const NonfiniteHit& hit, Observation* observation) const;

  [[nodiscard]] const ModelDescription& model() const { return model_; }

 private:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::min();
  struct FiniteParameter {
    int64_t step = 0;  // the newest
    double abs_max = 0;
    double rms = 0;
    double l2 = 0;
    double update_l2 = 0;  // of the update of that step
  };
  struct KnownParameters {
    std::optional<int64_t> finite_step;  // the newest at which all that are captured were finite
    double largest = 0;                  // max |x| of the finite ones, when last looked at
  };

  void NoteLosses(const format::StepBatch& batch, const format::NameTable& names);
  // Whether it is, because something had grown before.
  bool ExplainGrowth(Observation* observation) const;
  void ExplainByKind(const NonfiniteHit& hit, Observation* observation) const;
  void ExplainOutput(const NonfiniteHit& hit, Observation* observation) const;
  // An update that left a parameter of the module far larger than it was; nullptr: none did.
  [[nodiscard]] const std::pair<const std::string, FiniteParameter>* ThrownOff(
      const ModuleDescription& module) const;
  [[nodiscard]] std::vector<const std::pair<const std::string, FiniteParameter>*> FiniteIn(
      const ModuleDescription& module) const;
  // False for layers that do more than multiply and add.
  bool ExplainProduct(const NonfiniteHit& hit, const ModuleDescription& module,
                      Observation* observation) const;
  void ExplainLoss(const format::StepKey& key, Observation* observation) const;
  void ExplainGradient(const format::StepKey& key, Observation* observation) const;
  void ExplainUpdate(const NonfiniteHit& hit, Observation* observation) const;
  [[nodiscard]] std::string CaptureAdvice(const format::StepKey& key,
                                          const std::string& more_flags) const;
  [[nodiscard]] KnownParameters ParametersOf(const ModuleDescription& module) const;

  TensorRoles roles_;
  StatsIndex index_;
  ModelDescription model_;
  GrowthTracker growth_;
  LossTerms terms_;
  std::string maximised_;  // a loss whose negative is minimised; "": none
  // The newest steps at which something was captured, or captured and finite.
  int64_t tensors_step_ = kNever;
  int64_t outputs_step_ = kNever;
  int64_t finite_loss_step_ = kNever;
  bool outputs_are_half_ = false;  // the newest captured one is float16
  std::unordered_map<std::string, FiniteParameter> finite_parameters_;
  std::unordered_map<std::string, int64_t> finite_inputs_;  // by module
};

}  // namespace wheeltapper::rules
