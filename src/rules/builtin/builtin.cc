#include "builtin/builtin.h"

#include <array>

namespace wheeltapper::rules {

std::span<const RuleType> BuiltinRules() {
  static const std::array<RuleType, 13> kAll = {
      kNonfinite,     kExplodingTensor, kVanishingGradient, kLossNotDecreasing, kOverfit,
      kOvertraining,  kStalledTraining, kDeadRelu,          kWeightUpdateRatio, kUnchangedTensor,
      kOptimizerNoOp, kGradientsAddUp,  kLossInput,
  };
  return kAll;
}

const RuleType* FindRule(std::string_view name) {
  for (const RuleType& type : BuiltinRules()) {
    if (name == type.info->name) {
      return &type;
    }
  }
  return nullptr;
}

}  // namespace wheeltapper::rules
