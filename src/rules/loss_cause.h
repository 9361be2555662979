// What is told of a loss that rises or stays where it is, and why it does, as far as the run shows
// it.
#pragma once

#include <cstdint>
#include <string>

#include "growth.h"
#include "growth_cause.h"
#include "loss_judge.h"
#include "model_description.h"

namespace wheeltapper::rules {

// Of the loss `id`, whose rise began at step `onset`. `negated`: backward() starts from its
// negative.
Cause CauseOfDivergence(format::NameId id, int64_t onset, bool negated, const GrowthTracker& growth,
                        const ModelDescription& model);
// Whether weights have been driven away since `onset`, as a learning rate that is too high does;
// true where no weight is captured, so that nothing speaks against it.
bool IsDriven(int64_t onset, const GrowthTracker& growth);
Cause CauseOfFlatness(const LossTrack& track, const GrowthTracker& growth,
                      const ModelDescription& model);

// Of a flat loss: "2.3 over the first 10 values from step 0, at best 2.29 since".
std::string StartAndBest(const LossTrack& track);
Evidence LossEvidence(const LossTrack& track);

}  // namespace wheeltapper::rules
