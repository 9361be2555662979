#include "relu_cause.h"

#include <algorithm>

#include <fmt/format.h>

#include "robust.h"

namespace wheeltapper::rules {
namespace {

// Weights whose rms grew by this much were driven away: as a layer learns, it grows by less.
constexpr double kDrivenAway = 3;

}  // namespace

void ReluCause::Add(const format::StatsRow& row) {
  const bool is_zero = row.stats.numel > 0 && row.stats.zero_count == row.stats.numel;
  const auto [slot, is_new] = seen_.try_emplace(row.name);
  if (is_new) {
    slot->second.first_mean = row.stats.mean;
    slot->second.first_rms = row.stats.rms();
    slot->second.was_zero = is_zero;
  }
  slot->second.mean = row.stats.mean;
  slot->second.rms = row.stats.rms();
  slot->second.is_zero = is_zero;
}

const ReluCause::Seen* ReluCause::Find(const format::NameTable& names,
                                       const std::string& name) const {
  const format::NameId* id = names.Find(name);
  const auto found = id == nullptr ? seen_.end() : seen_.find(*id);
  return found == seen_.end() ? nullptr : &found->second;
}

// The weight is told before the bias where it is zero, and after it where it was only driven away.
std::optional<Cause> ReluCause::Of(const ModuleDescription& layer, const std::string& inputs,
                                   const format::NameTable& names) const {
  std::optional<Cause> of_weight;
  std::optional<Cause> of_bias;
  bool is_zero = false;
  for (const std::string& name : layer.parameters) {
    const Seen* seen = Find(names, name);
    if (seen != nullptr && name.ends_with("weight")) {
      of_weight = seen->is_zero ? OfZeros(name, *seen, inputs) : OfWeight(name, *seen, inputs);
      is_zero = seen->is_zero;
    } else if (seen != nullptr && name.ends_with("bias")) {
      of_bias = OfBias(name, *seen, Find(names, "output/" + layer.path), inputs);
    }
  }
  return is_zero || !of_bias ? of_weight : of_bias;
}

Cause ReluCause::OfZeros(const std::string& name, const Seen& weight, const std::string& inputs) {
  return {.cause = fmt::format("every element of {} is zero{}, so {}", name,
                               weight.was_zero ? " from the start" : "", inputs),
          .try_ = weight.was_zero ? fmt::format("draw {} at random when the model is made", name)
                                  : fmt::format("look for what sets {} to zero", name)};
}

std::optional<Cause> ReluCause::OfWeight(const std::string& name, const Seen& weight,
                                         const std::string& inputs) {
  if (!(weight.rms > kDrivenAway * std::max(weight.first_rms, kParameterFloorRms))) {
    return std::nullopt;
  }
  return Cause{
      .cause = fmt::format("updates drove {} away (its rms grew from {} to {}), so {}", name,
                           NumberForPeople(weight.first_rms), NumberForPeople(weight.rms), inputs),
      .try_ = "lower the learning rate, clip gradients by norm, or begin with a warm-up"};
}

// Where the bias is at least half of what makes the layer's output negative, as far as that was
// captured.
std::optional<Cause> ReluCause::OfBias(const std::string& name, const Seen& bias,
                                       const Seen* output, const std::string& inputs) {
  if (bias.mean >= 0 || (output != nullptr && bias.mean > output->mean / 2)) {
    return std::nullopt;
  }
  const bool from_start = bias.first_mean <= bias.mean / 2;
  return Cause{
      .cause = fmt::format("{} averages {}{}, so {}", name, NumberForPeople(bias.mean),
                           from_start ? " from the start"
                                      : " (" + NumberForPeople(bias.first_mean) + " at the start)",
                           inputs),
      .try_ = from_start
                  ? fmt::format("start {} at 0", name)
                  : fmt::format("lower the learning rate: an update drove {} negative", name)};
}

}  // namespace wheeltapper::rules
