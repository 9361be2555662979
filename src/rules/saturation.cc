#include "saturation.h"

#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace wheeltapper::rules {
namespace {

// What is granted for rounding: where no gradient passes, outputs are at their ends exactly.
constexpr double kAtEnd = 1e-6;

bool EndsAtMinusOne(const std::string& type) { return type == "Tanh" || type == "Hardtanh"; }

bool EndsAtZero(const std::string& type) { return type == "Sigmoid" || type == "Hardsigmoid"; }

// Of y in [0, 1] the mean of y·(1 − y) is zero only where every y is 0 or 1.
bool IsSaturated(const std::string& type, const tensor::TensorStats& output) {
  if (output.numel == 0 || output.finite() < output.numel) {
    return false;
  }
  if (EndsAtMinusOne(type)) {
    return output.abs_min >= 1 - kAtEnd && output.abs_max <= 1 + kAtEnd;  // Hardtanh has its own
  }
  return EndsAtZero(type) && std::abs(output.mean - output.rms() * output.rms()) <= kAtEnd;
}

}  // namespace

void Saturation::Add(const ModuleDescription& module, const tensor::TensorStats& output) {
  if (IsSaturated(module.type, output)) {
    saturated_.insert(module.path);
  } else {
    saturated_.erase(module.path);
  }
}

std::optional<Saturation::Found> Saturation::After(const std::string& path,
                                                   const ModelDescription& model) const {
  const size_t place = model.OrderOfModule(path).value_or(model.modules().size());
  for (size_t i = place + 1; i < model.modules().size() && model.modules()[i].parameters.empty();
       ++i) {
    const ModuleDescription& module = model.modules()[i];
    if (saturated_.contains(module.path)) {
      Cause why{
          .cause = fmt::format("{} ({}) is saturated: every one of its outputs is {} or 1, where "
                               "it has no slope, so no gradient passes",
                               module.path, module.type, EndsAtMinusOne(module.type) ? "-1" : "0"),
          .try_ = fmt::format("scale the inputs to zero mean and unit variance, draw the weights "
                              "smaller (Xavier initialisation), or normalise before {}",
                              module.path)};
      return Found{.why = std::move(why), .is_next = i == place + 1};
    }
  }
  return std::nullopt;
}

}  // namespace wheeltapper::rules
