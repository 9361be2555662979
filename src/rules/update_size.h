// Whether what an optimizer adds to a weight could be seen in it: a sum is rounded to the weight's
// dtype, and an update below half of the distance to the next number leaves it as it was.
#pragma once

#include <string_view>

#include "wheeltapper/format/rows.h"

namespace wheeltapper::rules {

// About the largest update of one element, from its largest |gradient|: the learning rate times the
// gradient for plain gradient descent; for optimizers that scale by the gradient's own size (Adam
// and all that are not known) the learning rate itself, less only where the gradient is below their
// epsilon (1e-8).
double LargestUpdate(std::string_view optimizer, double learning_rate, double largest_gradient);

// Whether an update of this size changes a typical element (one as large as the rms) of the weight.
bool UpdateShows(double update, const format::StatsRow& weight);

}  // namespace wheeltapper::rules
