// How SageMaker's LossNotDecreasing judges a loss: at most every num_steps, the value against the
// newest one at least num_steps older.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "wheeltapper/rules/rule.h"

#include "loss_values.h"

namespace wheeltapper::rules {

class SageMakerLossJudge {
 public:
  // Takes num_steps, diff_percent and increase_threshold_percent of loss_not_decreasing.
  explicit SageMakerLossJudge(const Parameters& parameters);

  void Judge(const LossValue& loss, RuleContext& context);
  [[nodiscard]] bool empty() const { return points_.empty(); }

 private:
  const int64_t num_steps_;
  const double diff_percent_;
  const double increase_percent_;
  std::unordered_map<format::NameId, std::vector<EvidencePoint>> points_;
  std::unordered_map<format::NameId, int64_t> checked_;
};

}  // namespace wheeltapper::rules
