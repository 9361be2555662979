#include "loss_input.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/core/json.h"

#include "robust.h"

namespace wheeltapper::rules {
namespace {

using Json = nlohmann::json;

struct Known {
  const char* loss;
  const char* input;
  Misfit misfit;
};

constexpr Known kKnown[] = {
    {"cross_entropy", "softmax", Misfit::kSquashed},
    {"cross_entropy", "sigmoid", Misfit::kSquashed},
    {"cross_entropy", "relu", Misfit::kClipped},
    {"binary_cross_entropy_with_logits", "softmax", Misfit::kSquashed},
    {"binary_cross_entropy_with_logits", "sigmoid", Misfit::kSquashed},
    {"binary_cross_entropy_with_logits", "relu", Misfit::kClipped},
    {"nll_loss", "softmax", Misfit::kProbabilities},
    {"nll_loss", "sigmoid", Misfit::kProbabilities},
    {"nll_loss", "relu", Misfit::kUnbounded},
    {"nll_loss", "layer", Misfit::kUnbounded},
    {"nll_loss", "dimension", Misfit::kDimension},
    {"mse_loss", "broadcast", Misfit::kBroadcast},
    {"l1_loss", "broadcast", Misfit::kBroadcast},
    {"smooth_l1_loss", "broadcast", Misfit::kBroadcast},
    {"huber_loss", "broadcast", Misfit::kBroadcast},
};

std::vector<int64_t> SizesOf(const Json& meta, const char* key) {
  std::vector<int64_t> sizes;
  if (const auto found = meta.find(key); found != meta.end() && found->is_array()) {
    for (const Json& size : *found) {
      if (size.is_number_integer()) {
        sizes.push_back(size.get<int64_t>());
      }
    }
  }
  return sizes;
}

std::string OwnActivation(const LossInput& input) {
  return input.loss == "cross_entropy" ? "softmax" : "sigmoid";
}

}  // namespace

std::optional<LossInput> LossInputFrom(const Json& meta) {
  LossInput input{.loss = JsonText(meta, "loss"),
                  .input = JsonText(meta, "input"),
                  .classes = JsonInteger(meta, "classes"),
                  .shape = SizesOf(meta, "shape"),
                  .to = SizesOf(meta, "to"),
                  .step = JsonInteger(meta, "step")};
  const auto* known = std::find_if(std::begin(kKnown), std::end(kKnown), [&](const Known& each) {
    return input.loss == each.loss && input.input == each.input;
  });
  if (known == std::end(kKnown)) {
    return std::nullopt;
  }
  input.misfit = known->misfit;
  const bool needs_shape = input.misfit == Misfit::kDimension || input.misfit == Misfit::kBroadcast;
  const bool needs_to = input.misfit == Misfit::kBroadcast;
  const bool lacks_any = (needs_shape && input.shape.empty()) || (needs_to && input.to.empty());
  return lacks_any ? std::nullopt : std::optional(std::move(input));
}

bool LearnsWith(Misfit misfit) {
  return misfit == Misfit::kSquashed || misfit == Misfit::kClipped ||
         misfit == Misfit::kProbabilities;
}

std::string MessageOf(const LossInput& input) {
  switch (input.misfit) {
    case Misfit::kSquashed:
      return fmt::format("{}, which takes a {} itself, is given the output of a {}", input.loss,
                         OwnActivation(input), input.input);
    case Misfit::kProbabilities:
    case Misfit::kUnbounded:
      return fmt::format("{} expects log-probabilities, and is given the output of a {}",
                         input.loss, input.input == "layer" ? "layer as it is" : input.input);
    case Misfit::kClipped:
      return fmt::format("{} expects any number, and is given the output of a relu, never below 0",
                         input.loss);
    case Misfit::kDimension:
      return fmt::format(
          "nll_loss is given the log_softmax along another dimension than that of the classes, of "
          "shape [{}]",
          fmt::join(input.shape, ", "));
    case Misfit::kBroadcast:
      return fmt::format(
          "{} compares {} predictions with the targets each with each: [{}] was broadcast to [{}]",
          input.loss, CountForPeople(input.to.back()), fmt::join(input.shape, ", "),
          fmt::join(input.to, ", "));
  }
  return "";
}

// Of C classes with inputs in [0, 1], cross entropy is least where the right one is 1 and all
// others are 0: ln(1 + (C - 1)/e).
std::string ConsequenceOf(const LossInput& input) {
  switch (input.misfit) {
    case Misfit::kSquashed:
      return input.loss == "cross_entropy" && input.classes > 1
                 ? fmt::format(
                       "inputs between 0 and 1 keep it above {}, that of a model "
                       "that is right for certain, and make its gradients small",
                       NumberForPeople(
                           std::log1p(static_cast<double>(input.classes - 1) / std::exp(1.0))))
                 : "inputs between 0 and 1 keep it from getting near zero, and make its gradients "
                   "small";
    case Misfit::kClipped:
      return input.loss == "cross_entropy"
                 ? "an output of 0 has no gradient, and no class can be made less likely than that"
                 : "an output of 0 has no gradient, and no probability can get below 1/2";
    case Misfit::kProbabilities:
      return "what is minimised is the mean error of a guess by these probabilities, not a cross "
             "entropy: its gradient is small where the model is wrong and sure of it";
    case Misfit::kUnbounded:
      return "what is minimised is not a cross entropy and has no lowest value: larger outputs for "
             "the right class lower it, whatever those of the others are";
    case Misfit::kDimension:
      return "the probabilities of the classes of a sample do not sum to 1";
    case Misfit::kBroadcast:
      return "the shapes of predictions and targets differ, so that all predictions are drawn to "
             "one and the same value";
  }
  return "";
}

std::string AdviceOn(const LossInput& input) {
  switch (input.misfit) {
    case Misfit::kSquashed:
    case Misfit::kClipped:
      return fmt::format("give {} the outputs of the last layer, without the {}", input.loss,
                         input.input);
    case Misfit::kProbabilities:
    case Misfit::kUnbounded:
      return input.input == "layer"
                 ? "use cross_entropy, or put log_softmax before nll_loss"
                 : fmt::format("use cross_entropy on the outputs of the last layer, without the {}",
                               input.input);
    case Misfit::kDimension:
      return "take log_softmax along the dimension of the classes (1, or 0 of a single sample), or "
             "use cross_entropy";
    case Misfit::kBroadcast:
      return input.shape.size() == 1
                 ? "give both the same shape: targets.squeeze(-1), or predictions.unsqueeze(-1)"
                 : "give both the same shape: predictions.squeeze(-1), or targets.unsqueeze(-1)";
  }
  return "";
}

}  // namespace wheeltapper::rules
