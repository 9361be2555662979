// Losses as training gives them.
#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "run_fixture.h"

namespace wheeltapper::rules {

// A run that logs the values, one every `interval` steps.
inline RunBuilder LossEvery(int64_t interval, const std::vector<double>& values,
                            Mode mode = Mode::kTrain) {
  RunBuilder run;
  for (size_t i = 0; i < values.size(); ++i) {
    run.Step(static_cast<int64_t>(i) * interval, mode).Scalar("loss/ce", values[i]);
  }
  return run;
}

// Fall from 2.3 to `floor`, half of the way every `half_life` steps, under noise.
inline std::vector<double> NoisyLosses(unsigned seed, double floor, double noise, int count,
                                       double half_life = 40) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1);
  std::vector<double> values;
  for (int i = 0; i < count; ++i) {
    const double level = floor + (2.3 - floor) * std::exp2(-i / half_life);
    values.push_back(std::abs(level * (1 + noise * normal(random))));
  }
  return values;
}

}  // namespace wheeltapper::rules
