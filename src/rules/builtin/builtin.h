// The built-in rules, one file each. A rule's metadata table stands at the head of its file.
#pragma once

#include "wheeltapper/rules/rule.h"

namespace wheeltapper::rules {

extern const RuleType kNonfinite;
extern const RuleType kExplodingTensor;
extern const RuleType kVanishingGradient;
extern const RuleType kLossNotDecreasing;
extern const RuleType kOverfit;
extern const RuleType kOvertraining;
extern const RuleType kStalledTraining;
extern const RuleType kDeadRelu;
extern const RuleType kWeightUpdateRatio;
extern const RuleType kUnchangedTensor;
extern const RuleType kOptimizerNoOp;
extern const RuleType kGradientsAddUp;
extern const RuleType kLossInput;

// `source` column of parameters.
inline constexpr const char* kSageMaker = "SageMaker Debugger";
inline constexpr const char* kOurs = "Wheeltapper";

}  // namespace wheeltapper::rules
