// Why weights, gradients or a loss grow, as far as the run shows it: gradients that nothing clears,
// or else the learning rate.
#pragma once

#include <optional>
#include <string>

#include "growth.h"
#include "model_description.h"

namespace wheeltapper::rules {

struct Cause {
  std::string cause;
  std::string try_;
};

// Set where backward() was seen to begin on the gradients of the step before.
std::optional<Cause> GradientsAddUp(const ModelDescription& model);
// Of a loss whose negative backward() starts from.
Cause CauseOfMaximising(const std::string& loss);
Cause CauseOfGrowth(const GrowthTracker& growth, const ModelDescription& model);

}  // namespace wheeltapper::rules
