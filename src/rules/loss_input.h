// What a loss is given that does not fit it, as the attach reads it from the graph that backward()
// begins on (python/wheeltapper/torch/loss_graph.py), in META records:
//   {"kind":"loss_input","loss":"cross_entropy","input":"softmax","classes":10,"step":0}
//   {"kind":"loss_input","loss":"nll_loss","input":"layer","step":0}
//   {"kind":"loss_input","loss":"nll_loss","input":"dimension","shape":[64,10],"step":0}
//   {"kind":"loss_input","loss":"mse_loss","input":"broadcast","shape":[64,1],"to":[64,64],"step":0}
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "wheeltapper/rules/finding.h"

namespace wheeltapper::rules {

enum class Misfit : uint8_t {
  kSquashed,       // a softmax or sigmoid before a loss that takes its own
  kClipped,        // a ReLU before a loss that expects any number
  kProbabilities,  // no log-probabilities, but probabilities
  kUnbounded,      // nor these, so that the loss has no lowest value
  kDimension,      // log-probabilities that sum to 1 along another dimension than the classes
  kBroadcast,      // n predictions and n targets, compared each with each
};

struct LossInput {
  Misfit misfit = Misfit::kSquashed;
  std::string loss;  // "cross_entropy"
  std::string input;
  int64_t classes = 0;  // 0: not known
  std::vector<int64_t> shape = {};
  std::vector<int64_t> to = {};
  int64_t step = 0;
};

// Whether a model learns all the same, though badly.
bool LearnsWith(Misfit misfit);

// Nothing where it is malformed, or of a later version.
std::optional<LossInput> LossInputFrom(const nlohmann::json& meta);

// "cross_entropy, which takes a softmax itself, is given the output of a softmax".
std::string MessageOf(const LossInput& input);
// What it does to a training, and what to do.
std::string ConsequenceOf(const LossInput& input);
std::string AdviceOn(const LossInput& input);

}  // namespace wheeltapper::rules
