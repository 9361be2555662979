// Why weights, gradients or a loss grow, as far as the run shows it.
#pragma once

#include <optional>
#include <string>

#include "growth.h"
#include "model_description.h"

namespace wheeltapper::rules {

struct Cause {
  std::string cause;
  std::string try_;  // NOLINT(readability-identifier-naming): as in Finding
};

// Set where backward() was seen to begin on the gradients of the step before.
std::optional<Cause> GradientsAddUp(const ModelDescription& model);
// Of a loss that is given what does not fit it.
Cause CauseOfInput(const LossInput& input);
// Of one that has no lowest value for what it is given.
std::optional<Cause> UnboundedInput(const ModelDescription& model);
// Of a loss whose negative backward() starts from.
Cause CauseOfMaximising(const std::string& loss);
// What the run itself shows to drive them: a loss that has no lowest value, by what it is given or
// because it falls without an end, or gradients that add up.
std::optional<Cause> ShownCauseOfGrowth(const GrowthTracker& growth, const ModelDescription& model);
// That, or else the learning rate.
Cause CauseOfGrowth(const GrowthTracker& growth, const ModelDescription& model);

}  // namespace wheeltapper::rules
