#include "gradient_absence.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include <fmt/format.h>

namespace wheeltapper::rules {
namespace {

constexpr std::string_view kWithout = "wheeltapper/steps_without_gradient";

// "…/steps_without_gradient.head" → "head"; "" without a label.
std::string LabelIn(const std::string& scalar) {
  return scalar.size() > kWithout.size() ? scalar.substr(kWithout.size() + 1) : "";
}

bool IsThere(const tensor::TensorStats& gradient) {
  return gradient.abs_max > 0 || gradient.nonfinite_count() > 0;
}

}  // namespace

Observation DescribeAbsence(const GradientAbsence& absence, const format::StepKey& key,
                            const ModelDescription& model, bool backward_seen) {
  const std::string who = absence.optimizer.empty() ? "" : fmt::format(" of {}", absence.optimizer);
  const int64_t others = absence.parameters - 1;
  const std::string which =
      others < 0 ? ""
                 : fmt::format(" ({}{})", absence.tensor,
                               others == 0 ? "" : fmt::format(" and {} more", others));
  Observation observation{
      .cause_key = kNoGradient,
      .tensor = {},
      .module = {},
      .key = key,
      .message = fmt::format("optimizer.step(){} changes nothing: none of its parameters{} has "
                             "had a gradient{} at {} "
                             "captured steps, {} to {}",
                             who, which, absence.zero ? " other than zero" : "", absence.steps,
                             absence.since_step, key.step.value),
      .cause = {},
      .try_ =
          "call loss.backward() between zero_grad() and optimizer.step(), on a loss computed "
          "from the model's outputs without detach(), item() or no_grad()",
      .evidence = {},
      .severity = {},
      .since = Step{absence.since_step},
      .whole_model = !absence.alone};
  // A reward that is zero for many episodes looks the same, weights that are not captured may
  // move by gradients from elsewhere, and beside an optimizer that trains a task may be rare.
  if (absence.zero || absence.parameters == 0 || absence.alone) {
    observation.severity = Severity::kWarning;
  }
  if (absence.parameters > 0) {
    observation.tensor = absence.tensor;
    observation.module = ModuleOfParameter(absence.tensor);
  }
  if (model.known() && absence.parameters > 0 && !model.OrderOfParameter(absence.tensor)) {
    observation.cause =
        "they belong to no model that is called in training: the model was made anew after the "
        "optimizer was";
    observation.try_ =
        "create the optimizer from model.parameters() of the model that is trained, once it is "
        "made";
    return observation;
  }
  const std::string other = model.FirstOfModelWithoutOptimizer();
  if (backward_seen && !absence.zero && !other.empty()) {
    observation.cause = fmt::format(
        "the loss does not depend on these parameters, or zero_grad() is called between backward() "
        "and step(); another model, that of {}, has no optimizer",
        other);
    observation.try_ =
        "create the optimizer from the parameters of the model that the loss is computed from";
    return observation;
  }
  if (absence.zero) {
    observation.cause =
        "zero_grad() is called between backward() and step(), or what the loss is computed from "
        "has no slope: an output that is saturated, or the same whatever the parameters are";
    observation.try_ =
        "call zero_grad() before backward(); look at the outputs: a sigmoid or softmax at its "
        "ends (scale the inputs, use a loss on logits), or a softmax over a single value";
    return observation;
  }
  observation.cause = backward_seen
                          ? "zero_grad() is called between backward() and step(), or the loss "
                            "does not depend on these parameters (a detached graph)"
                          : "loss.backward() is not called, or zero_grad() comes between it and "
                            "step(), or the graph is detached";
  return observation;
}

bool GradientWatch::IsGone(const Count& count) {
  return count.silent > std::max(kGoneAfter, 2 * count.longest_pause);
}

bool GradientWatch::present() const {
  return any_gradient_ && std::all_of(without_.begin(), without_.end(),
                                      [](const auto& entry) { return IsGone(entry.second); });
}

bool GradientWatch::Lacks(const std::string& optimizer) const {
  const auto found = without_.find(optimizer);
  return found != without_.end() && !IsGone(found->second);
}

void GradientWatch::NoteStep(int64_t steps, Step step, Count* count) {
  if (steps < count->steps) {
    *count = {};  // another optimizer of this label
  }
  count->since_step = count->steps == 0 ? step.value : count->since_step;
  count->steps = steps;
  count->longest_pause = std::max(count->longest_pause, count->silent);
  count->silent = 0;
}

std::optional<std::string> GradientWatch::NoteScalars(const format::StepBatch& batch,
                                                      const format::NameTable& names) {
  std::optional<std::string> without;
  if (batch.is_step && !batch.stats.empty()) {
    for (auto& [optimizer, count] : without_) {
      ++count.silent;
    }
  }
  for (const format::ScalarRow& row : batch.scalars) {
    const std::string& name = names.info(row.name).name;
    backward_seen_ = backward_seen_ || name.starts_with("loss/backward");
    if (!name.starts_with(kWithout)) {
      continue;
    }
    const std::string optimizer = LabelIn(name);
    if (!(row.value > 0)) {
      without_.erase(optimizer);
      any_gradient_ = true;
      continue;
    }
    Count& count = without_[optimizer];
    NoteStep(static_cast<int64_t>(row.value), batch.key.step, &count);
    if (!without || count.steps > without_[*without].steps) {
      without = optimizer;
    }
  }
  return without;
}

bool GradientWatch::AllZero(const format::StepBatch& batch, const format::NameTable& names) {
  bool any = false;
  for (const format::StatsRow& row : batch.stats) {
    if (roles_.Of(names, row.name).kind == TensorKind::kGradient) {
      any = true;
      any_gradient_ = any_gradient_ || IsThere(row.stats);
    }
  }
  return any && !any_gradient_;
}

bool GradientWatch::NoteWeights(const format::StepBatch& batch, const StatsIndex& index,
                                const format::NameTable& names, const ModelDescription& model,
                                GradientAbsence* absence) {
  bool moved = false;
  // Rows come in the order of recording while a run is live, and sealed ones sorted by name.
  constexpr size_t kNone = std::numeric_limits<size_t>::max();
  size_t first = kNone;
  for (const format::StatsRow& row : batch.stats) {
    const TensorRole& role = roles_.Of(names, row.name);
    if (role.kind != TensorKind::kParameter && role.kind != TensorKind::kUpdate) {
      continue;
    }
    const format::StatsRow* gradient = index.Find(names, "gradient/" + role.subject);
    if (gradient != nullptr && IsThere(gradient->stats)) {
      continue;  // another optimizer's
    }
    if (role.kind == TensorKind::kUpdate) {
      moved = moved || row.stats.abs_max > 0;
      continue;
    }
    const size_t order = model.OrderOfParameter(role.subject).value_or(kNone - 1);
    if (order < first) {
      first = order;
      absence->tensor = role.subject;
    }
    ++absence->parameters;
    const auto [slot, is_new] = weights_.try_emplace(row.name, row.stats);
    moved = moved || (!is_new && !SameStats(slot->second, row.stats));
    slot->second = row.stats;
  }
  return moved;
}

std::optional<GradientAbsence> GradientWatch::Add(const format::StepBatch& batch,
                                                  const StatsIndex& index,
                                                  const format::NameTable& names,
                                                  const ModelDescription& model) {
  const std::optional<std::string> without = NoteScalars(batch, names);
  const bool zero = AllZero(batch, names);
  if (!without && !zero) {
    return std::nullopt;
  }
  GradientAbsence absence;
  Count& count = without ? without_[*without] : zeros_;
  if (without) {
    absence.optimizer = *without;
  } else {
    count.since_step = count.steps == 0 ? batch.key.step.value : count.since_step;
    ++count.steps;
    absence.zero = true;
  }
  if (NoteWeights(batch, index, names, model, &absence)) {
    count.moved_until = count.steps;
    count.since_step = batch.key.step.value;
  }
  absence.steps = count.steps - count.moved_until;
  absence.since_step = count.since_step;
  absence.alone = any_gradient_;
  return absence;
}

}  // namespace wheeltapper::rules
