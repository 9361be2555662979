// Why a loss rises or stays where it is, as far as the run shows it.
#pragma once

#include <cstdint>
#include <string>

#include "growth.h"
#include "loss_judge.h"
#include "model_description.h"

namespace wheeltapper::rules {

struct LossCause {
  std::string cause;
  std::string try_;
};

// Of the loss `id`, whose rise began at step `onset`. `negated`: backward() starts from its
// negative.
LossCause CauseOfDivergence(format::NameId id, int64_t onset, bool negated,
                            const GrowthTracker& growth, const ModelDescription& model);
LossCause CauseOfFlatness(const LossTrack& track, const GrowthTracker& growth,
                          const ModelDescription& model);

}  // namespace wheeltapper::rules
