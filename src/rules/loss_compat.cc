#include "loss_compat.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "robust.h"

namespace wheeltapper::rules {

SageMakerLossJudge::SageMakerLossJudge(const Parameters& parameters)
    : num_steps_(parameters.Integer("num_steps")),
      diff_percent_(parameters.Number("diff_percent")),
      increase_percent_(parameters.Number("increase_threshold_percent")) {}

void SageMakerLossJudge::Judge(const LossValue& loss, RuleContext& context) {
  auto& points = points_[loss.id];
  const int64_t step = loss.key.step.value;
  points.push_back({.step = step, .value = loss.value});
  const int64_t since = checked_.try_emplace(loss.id, points.front().step).first->second;
  if (step - since < num_steps_) {
    return;
  }
  const auto reference =
      std::find_if(points.rbegin(), points.rend(),
                   [&](const EvidencePoint& point) { return point.step <= step - num_steps_; });
  if (reference == points.rend()) {
    return;
  }
  checked_[loss.id] = step;
  const EvidencePoint before = *reference;
  const double decrease = (before.value - loss.value) / std::abs(before.value) * 100;
  // Nothing older is asked for again.
  points.erase(points.begin(), reference.base() - 1);
  if (decrease >= diff_percent_) {
    context.Clear("", loss.key);
    return;
  }
  const bool increased = -decrease > increase_percent_;
  const auto& [from, to] = NumbersForPeople(before.value, loss.value);
  context.Observe({.cause_key = "",
                   .tensor = loss.name,
                   .module = {},
                   .key = loss.key,
                   .message = fmt::format("{} {} between steps {} and {}: {} → {}", loss.name,
                                          increased ? "increased" : "did not decrease", before.step,
                                          step, from, to),
                   .cause = {},
                   .try_ = "check the learning rate",
                   .evidence = {},
                   .severity = {}});
}

}  // namespace wheeltapper::rules
