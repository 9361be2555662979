#include "growth_cause.h"

#include <fmt/format.h>

#include "robust.h"

namespace wheeltapper::rules {

std::optional<Cause> GradientsAddUp(const ModelDescription& model) {
  const std::optional<ModelDescription::KeptGradient>& kept = model.kept_gradient();
  if (!kept) {
    return std::nullopt;
  }
  if (!kept->is_read) {
    return Cause{.cause = fmt::format("gradients seem to add up from step to step (nothing is seen "
                                      "to clear that of {} before backward(), up to step {})",
                                      kept->parameter, kept->step),
                 .try_ =
                     "call optimizer.zero_grad() in each step, before backward(), unless gradients "
                     "are zeroed through .data"};
  }
  return Cause{.cause = fmt::format("gradients add up from step to step ({} still had that of the "
                                    "step before when backward() began, at step {})",
                                    kept->parameter, kept->step),
               .try_ = "call optimizer.zero_grad() in each step, before backward()"};
}

Cause CauseOfInput(const LossInput& input) {
  return {.cause = fmt::format("{}: {}", MessageOf(input), ConsequenceOf(input)),
          .try_ = AdviceOn(input)};
}

std::optional<Cause> UnboundedInput(const ModelDescription& model) {
  for (const LossInput& input : model.loss_inputs()) {
    if (input.misfit == Misfit::kUnbounded) {
      return CauseOfInput(input);
    }
  }
  return std::nullopt;
}

Cause CauseOfMaximising(const std::string& loss) {
  return {.cause = fmt::format("backward() starts from the negative of {}, so that the optimizer "
                               "maximises it",
                               loss),
          .try_ = "call backward() on the loss itself, without a minus sign"};
}

std::optional<Cause> ShownCauseOfGrowth(const GrowthTracker& growth,
                                        const ModelDescription& model) {
  if (std::optional<Cause> unbounded = UnboundedInput(model)) {
    return unbounded;
  }
  if (const std::optional<Growth> endless = growth.EndlessLoss()) {
    return Cause{
        .cause = fmt::format("what is minimised has no lowest value, as with the wrong sign ({} "
                             "falls without an end, from {} at step {} to {} at step {})",
                             endless->tensor, NumberForPeople(endless->from), endless->from_step,
                             NumberForPeople(endless->to), endless->to_step),
        .try_ =
            "check the sign of the loss: a log-likelihood is maximised, so minimise its "
            "negative"};
  }
  return GradientsAddUp(model);
}

Cause CauseOfGrowth(const GrowthTracker& growth, const ModelDescription& model) {
  return ShownCauseOfGrowth(growth, model)
      .value_or(Cause{.cause = growth.LearningRateCause(), .try_ = growth.LearningRateAdvice()});
}

}  // namespace wheeltapper::rules
