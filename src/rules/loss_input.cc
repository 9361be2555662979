#include "loss_input.h"

#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/core/json.h"

#include "robust.h"

namespace wheeltapper::rules {
namespace {

using Json = nlohmann::json;

std::optional<Misfit> MisfitOf(const std::string& loss, const std::string& input) {
  if (input == "broadcast") {
    return Misfit::kBroadcast;
  }
  const bool squashed = input == "softmax" || input == "sigmoid";
  if (loss == "nll_loss") {
    return input == "dimension"                              ? std::optional(Misfit::kDimension)
           : squashed || input == "relu" || input == "layer" ? std::optional(Misfit::kUnbounded)
                                                             : std::nullopt;
  }
  const bool squashes = loss == "cross_entropy" || loss == "binary_cross_entropy_with_logits";
  return !squashes         ? std::nullopt
         : squashed        ? std::optional(Misfit::kSquashed)
         : input == "relu" ? std::optional(Misfit::kClipped)
                           : std::nullopt;
}

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
  const std::optional<Misfit> misfit = MisfitOf(input.loss, input.input);
  const bool lacks_shapes =
      misfit == Misfit::kBroadcast && (input.shape.empty() || input.to.empty());
  if (!misfit || lacks_shapes) {
    return std::nullopt;
  }
  input.misfit = *misfit;
  return input;
}

std::string MessageOf(const LossInput& input) {
  switch (input.misfit) {
    case Misfit::kSquashed:
      return fmt::format("{}, which takes a {} itself, is given the output of a {}", input.loss,
                         OwnActivation(input), input.input);
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
                       "inputs between 0 and 1 keep the loss above {}, that of a model "
                       "that is right for certain, and make its gradients small",
                       NumberForPeople(
                           std::log1p(static_cast<double>(input.classes - 1) / std::exp(1.0))))
                 : "inputs between 0 and 1 keep the loss from getting near zero, and make its "
                   "gradients small";
    case Misfit::kUnbounded:
      return "what is minimised is not a cross entropy: larger outputs for the right class lower "
             "the loss, whatever those of the others are";
    case Misfit::kClipped:
      return "an output of 0 has no gradient, and no class can be made less likely than that";
    case Misfit::kDimension:
      return "the probabilities sum to 1 over the samples, and not over the classes";
    case Misfit::kBroadcast:
      return "the shapes of predictions and targets differ, so that every prediction is drawn to "
             "the mean of all targets";
  }
  return "";
}

std::string AdviceOn(const LossInput& input) {
  switch (input.misfit) {
    case Misfit::kSquashed:
    case Misfit::kClipped:
      return fmt::format("give {} the outputs of the last layer, without the {}", input.loss,
                         input.input);
    case Misfit::kUnbounded:
      return input.input == "layer"
                 ? "use cross_entropy, or put log_softmax before nll_loss"
                 : fmt::format("use cross_entropy on the outputs of the last layer, without the {}",
                               input.input);
    case Misfit::kDimension:
      return "take log_softmax along the dimension of the classes: dim=1, or use cross_entropy";
    case Misfit::kBroadcast:
      return "give both the same shape: predictions.squeeze(-1), or targets.unsqueeze(-1)";
  }
  return "";
}

}  // namespace wheeltapper::rules
