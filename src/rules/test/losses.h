// Losses as training gives them.
#pragma once

#include <cmath>
#include <random>
#include <vector>

namespace wheeltapper::rules {

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
