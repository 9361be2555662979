// A small convolutional network: its model record, and what it looks like while it learns.
#pragma once

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "run_fixture.h"

namespace wheeltapper::rules {

inline constexpr const char* kSmallNetwork = R"({"kind":"model","modules":[
  {"path":"conv1","type":"Conv2d","parameters":["conv1.weight","conv1.bias"]},
  {"path":"relu1","type":"torch.nn.modules.activation.ReLU","parameters":[]},
  {"path":"conv2","type":"Conv2d","parameters":["conv2.weight","conv2.bias"]},
  {"path":"relu2","type":"ReLU","parameters":[]},
  {"path":"fc","type":"Linear","parameters":["fc.weight","fc.bias"]}],
 "parameters":[{"name":"conv1.weight","numel":64,"requires_grad":true},
  {"name":"conv1.bias","numel":8,"requires_grad":true},
  {"name":"conv2.weight","numel":64,"requires_grad":true},
  {"name":"conv2.bias","numel":8,"requires_grad":true},
  {"name":"fc.weight","numel":64,"requires_grad":true},
  {"name":"fc.bias","numel":8,"requires_grad":true}]})";

inline const std::vector<std::string> kSmallNetworkParameters = {
    "conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc.weight", "fc.bias"};

// What a small network looks like while it learns: everything moves a little, gradients shrink.
inline RunBuilder HealthySmallNetwork(unsigned seed, int64_t steps) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1);
  RunBuilder run;
  run.Between(0)
      .Meta(kSmallNetwork)
      .Meta(R"({"kind":"optimizer","parameters":["conv1.weight","conv1.bias","conv2.weight",)"
            R"("conv2.bias","fc.weight","fc.bias"]})");
  for (int64_t step = 0; step < steps; ++step) {
    const double shrink = std::exp2(-static_cast<double>(step) / 20);
    run.Step(step).Scalar("loss/ce", 2.3 * shrink).Scalar("lr", 0.1);
    for (const std::string& name : kSmallNetworkParameters) {
      const bool starts_at_zero = name.ends_with("bias") && step == 0;
      run.Weight(name, starts_at_zero
                           ? ZeroStats()
                           : NormalStats(0.01 * normal(random), 0.1 + 1e-4 * normal(random)));
      run.Stats("gradient/" + name, NormalStats(0, shrink * std::exp(0.5 * normal(random))));
    }
    for (const char* name : {"relu1", "relu2"}) {
      tensor::TensorStats stats = NormalStats(1, 0.5 + 0.01 * normal(random), 8192);
      stats.negative_count = 0;
      stats.zero_count = 4000;
      run.Stats(std::string("output/") + name, stats, {"activations"});
    }
  }
  return run;
}

}  // namespace wheeltapper::rules
