#include "nonfinite_cause.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "growth_cause.h"
#include "robust.h"

namespace wheeltapper::rules {
namespace {

constexpr double kLossGrowth = 10;
constexpr double kTensorGrowth = 100;
// No weight of a training that goes well is near this; float16 cannot hold it.
constexpr double kHugeWeight = 1e6;

std::string GrowthText(const Growth& growth, bool is_tensor) {
  return fmt::format("{}{} grew from {} at step {} to {} at step {}",
                     is_tensor ? "the l2 norm of " : "", growth.tensor,
                     NumberForPeople(growth.from), growth.from_step, NumberForPeople(growth.to),
                     growth.to_step);
}

bool OnlyMultiplies(const std::string& type) {
  return type == "Linear" || type == "LazyLinear" || type == "Bilinear" || type == "RNN" ||
         type == "LSTM" || type == "GRU" || type.starts_with("Conv") ||
         type.starts_with("LazyConv") || type.starts_with("Embedding");
}

// The rms of weights that no layer begins with, and the part by which two norms may differ that are
// called the same.
constexpr double kLargeRms = 3;
constexpr double kSameNorm = 0.05;

// Half of the smallest number of float16: what is below rounds to zero.
constexpr double kLeastHalf = 0x1p-25;

// Optimizers that divide by a root of mean squares plus eps.
bool DividesByEps(const std::string& optimizer) {
  return optimizer == "Adam" || optimizer == "AdamW" || optimizer == "NAdam" ||
         optimizer == "RAdam" || optimizer == "RMSprop";
}

}  // namespace

void NonfiniteCause::Add(const format::StepBatch& batch, const format::NameTable& names) {
  model_.Add(batch.metas);
  growth_.Add(batch, names);
  NoteLosses(batch, names);
  const int64_t step = batch.key.step.value;
  index_.Fill(batch);
  for (const format::ScalarRow& row : batch.scalars) {
    if (std::isfinite(row.value) && roles_.Of(names, row.name).kind == TensorKind::kLoss) {
      finite_loss_step_ = step;
    }
  }
  for (const format::StatsRow& row : batch.stats) {
    const TensorRole& role = roles_.Of(names, row.name);
    const bool is_finite = row.stats.nonfinite_count() == 0;
    if (role.kind == TensorKind::kParameter && is_finite) {
      const format::StatsRow* update = index_.Find(names, "update/" + role.subject);
      finite_parameters_[role.subject] = {.step = step,
                                          .abs_max = row.stats.abs_max,
                                          .rms = row.stats.rms(),
                                          .l2 = row.stats.l2(),
                                          .update_l2 = update == nullptr ? 0 : update->stats.l2()};
    } else if (role.kind == TensorKind::kInput && is_finite) {
      finite_inputs_[role.subject] = step;
    } else if (role.kind == TensorKind::kOutput) {
      outputs_step_ = step;
      outputs_are_half_ = row.dtype == tensor::DType::kF16;
    }
    if (role.kind != TensorKind::kLoss && role.kind != TensorKind::kOther) {
      tensors_step_ = step;
    }
  }
}

void NonfiniteCause::NoteLosses(const format::StepBatch& batch, const format::NameTable& names) {
  static const TensorChoice kAllLosses;
  std::vector<LossValue> losses = LossesOf(batch, names, kAllLosses, roles_);
  std::erase_if(losses, [](const LossValue& loss) { return !std::isfinite(loss.value); });
  for (const LossValue& loss : losses) {
    terms_.Note(loss, false);
  }
  terms_.Compare(losses);
  if (const auto maximised = terms_.Maximised()) {
    maximised_ = names.info(*maximised).name;
  }
}

void NonfiniteCause::Explain(const NonfiniteHit& hit, Observation* observation) const {
  if (hit.role.kind == TensorKind::kInput) {
    observation->cause = "the input batch already holds them: the data or its preparation";
    observation->try_ = fmt::format(
        "check the batch of step {}: missing values, division by a zero standard deviation",
        hit.key.step.value);
    return;
  }
  if (!ExplainGrowth(observation)) {
    ExplainByKind(hit, observation);
  }
}

bool NonfiniteCause::ExplainGrowth(Observation* observation) const {
  const std::optional<Growth> loss = growth_.Loss();
  const std::optional<Growth> tensor = growth_.Tensor();
  const bool loss_grew = loss && loss->factor >= kLossGrowth;
  const bool tensor_grew = tensor && tensor->factor >= kTensorGrowth;
  if (!loss_grew && !tensor_grew) {
    return false;
  }
  if (loss_grew) {
    observation->evidence.push_back(growth_.EvidenceOf(*loss));
  }
  if (tensor_grew) {
    observation->evidence.push_back(growth_.EvidenceOf(*tensor));
  }
  Cause why = maximised_.empty() ? CauseOfGrowth(growth_, model_) : CauseOfMaximising(maximised_);
  observation->cause = std::move(why.cause);
  if (tensor_grew || !growth_.EndlessLoss()) {  // of which the cause says it by itself
    *observation->cause += ": " + GrowthText(tensor_grew ? *tensor : *loss, tensor_grew);
  }
  observation->try_ = std::move(why.try_);
  return true;
}

void NonfiniteCause::ExplainByKind(const NonfiniteHit& hit, Observation* observation) const {
  if (hit.key.mode == Mode::kEval) {
    observation->cause =
        "it came up in evaluation, whose outputs are not captured: in the validation data, or in "
        "what the model does to them";
    observation->try_ = "look for NaN or infinity in the validation data";
    return;
  }
  switch (hit.role.kind) {
    case TensorKind::kOutput:
      ExplainOutput(hit, observation);
      return;
    case TensorKind::kLoss:
      ExplainLoss(hit.key, observation);
      return;
    case TensorKind::kGradient:
      ExplainGradient(hit.key, observation);
      return;
    case TensorKind::kParameter:
    case TensorKind::kUpdate:
    case TensorKind::kOptimizer:
      ExplainUpdate(hit, observation);
      return;
    case TensorKind::kInput:
    case TensorKind::kOther:
      observation->try_ = "look at how this value is computed: division by zero, log of 0";
      return;
  }
}

void NonfiniteCause::ExplainOutput(const NonfiniteHit& hit, Observation* observation) const {
  const ModuleDescription* module = model_.Module(observation->module.value_or(""));
  if (module != nullptr && ExplainProduct(hit, *module, observation)) {
    return;
  }
  const std::string type =
      module != nullptr && !module->type.empty() ? " (" + module->type + ")" : "";
  observation->cause = fmt::format(
      "{}{} is the first module whose output is not finite: log or sqrt of a value out of "
      "range, division by zero, or overflow{}",
      hit.role.subject, type,
      hit.dtype == tensor::DType::kF16 ? " of float16, which ends at 65,504" : "");
  observation->try_ =
      "clamp or add an epsilon there; with float16, use bfloat16 or a loss "
      "scaler";
}

// A layer that only multiplies and adds makes no NaN of its own: its input or its weights hold
// one, or a product is too large.
bool NonfiniteCause::ExplainProduct(const NonfiniteHit& hit, const ModuleDescription& module,
                                    Observation* observation) const {
  if (!OnlyMultiplies(module.type)) {
    return false;
  }
  const int64_t step = hit.key.step.value;
  const std::string first = fmt::format("{} ({}) is the first module whose output is not finite",
                                        hit.role.subject, module.type);
  const KnownParameters known = ParametersOf(module);
  const auto input = finite_inputs_.find(module.path);
  const bool finite_input = input != finite_inputs_.end() && input->second == step;
  // Weights are captured after the update, which a NaN in the batch spoils as well.
  const bool finite_weights = known.finite_step && *known.finite_step >= step - 1;
  if (known.largest >= kHugeWeight) {
    observation->cause = fmt::format("{}: its weights have grown to {}, and the product overflowed",
                                     first, NumberForPeople(known.largest));
    observation->try_ = growth_.LearningRateAdvice();
  } else if (const auto* thrown = ThrownOff(module)) {
    observation->cause = fmt::format(
        "{}: the update of step {} had thrown its weights off ({} has an l2 norm of {} after it, "
        "next "
        "to nothing of which was there before)",
        first, thrown->second.step, thrown->first, NumberForPeople(thrown->second.l2));
    observation->try_ = growth_.LearningRateAdvice();
  } else if (finite_input) {
    observation->cause =
        first + (finite_weights ? ", of finite input and weights: the product overflowed"
                                : ", of finite input: its weights are not, or the product "
                                  "overflowed");
    observation->try_ =
        "look at the size of the weights; with float16, use bfloat16 or a loss "
        "scaler";
  } else if (finite_weights) {
    observation->cause = fmt::format(
        "{}; its weights {}: look for NaN or infinity in the input data", first,
        *known.finite_step >= step ? "are finite"
                                   : fmt::format("were finite at step {}", *known.finite_step));
    observation->try_ = fmt::format(
        "check the batch of step {} for missing values; if the data is finite, look at what the "
        "code computes from it before {}, and for overflow",
        step, hit.role.subject);
  } else {
    const std::string weights =
        step == 0 ? "the weights hold one from the start"
                  : fmt::format(
                        "the update of step {} made the weights so, which were not "
                        "captured then",
                        step - 1);
    observation->cause =
        fmt::format("{}: the data of step {} holds NaN or infinity, or {}", first, step, weights);
    // What was captured at the first step is all there is to capture.
    observation->try_ =
        step == 0
            ? "check the batch of step 0 (missing values, a division by a standard deviation of "
              "zero) and how the weights are made"
            : CaptureAdvice(hit.key, "");
  }
  if (hit.dtype == tensor::DType::kF16) {
    *observation->cause += "; it is float16, which ends at 65,504";
  }
  return true;
}

// The loss is the first non-finite value of its step; what that means depends on what was
// captured there.
void NonfiniteCause::ExplainLoss(const format::StepKey& key, Observation* observation) const {
  const int64_t step = key.step.value;
  if (tensors_step_ != step) {
    observation->cause =
        fmt::format("tensors were not captured at step {}, so the first is not known{}", step,
                    outputs_are_half_ ? "; outputs are float16, which ends at 65,504" : "");
    observation->try_ = CaptureAdvice(key, "");
  } else if (outputs_step_ != step) {
    observation->cause = fmt::format(
        "activations were not captured at step {}, so it is not known whether a layer, its input "
        "or the loss itself was the first",
        step);
    observation->try_ = CaptureAdvice(key, " --set capture.activations=stats");
  } else if (outputs_are_half_) {
    observation->cause =
        "no captured output is non-finite: the loss itself overflowed, if it is computed in "
        "float16 "
        "as the outputs are, which ends at 65,504; or it took the log of 0 or divided by 0";
    observation->try_ =
        "compute the loss in float32 (outputs.float()); take its mean over the batch, not the sum";
  } else {
    observation->cause =
        "no captured output is non-finite: the loss itself took the log of 0, divided by 0, or "
        "overflowed";
    observation->try_ =
        "use the loss on logits (cross_entropy, binary_cross_entropy_with_logits), or add an "
        "epsilon";
  }
}

void NonfiniteCause::ExplainGradient(const format::StepKey& key, Observation* observation) const {
  if (model_.world_size() > 1) {
    observation->cause = fmt::format(
        "the gradients of {} ranks are summed, and on rank {} the forward pass is finite: it "
        "came from another rank's batch, or the backward pass overflowed",
        model_.world_size(), key.rank.value);
    observation->try_ =
        "compare the ranks' losses and outputs at that step, captured with --every 1; look "
        "for NaN or infinity in their input data";
    return;
  }
  observation->cause =
      "the forward pass is finite: the backward pass divided by zero, took "
      "the gradient of sqrt or norm at 0, or overflowed";
  observation->try_ = "add an epsilon inside sqrt and norm; with float16, use a GradScaler";
}

void NonfiniteCause::ExplainUpdate(const NonfiniteHit& hit, Observation* observation) const {
  observation->cause = "an update went out of range: gradients are finite, the step is not";
  observation->try_ = growth_.LearningRateAdvice();
  if (hit.dtype != tensor::DType::kF16) {
    return;
  }
  *observation->cause += "; it is float16, which ends at 65,504";
  const std::string optimizer = model_.OptimizerOf(hit.role.subject);
  const std::optional<double> eps = model_.RunningMeansOf(hit.role.subject).eps;
  if (DividesByEps(optimizer) && eps && *eps < kLeastHalf) {
    *observation->cause += fmt::format(
        " and rounds numbers below {} to zero, as the eps of {} by which {} keeps from dividing by "
        "zero",
        NumberForPeople(kLeastHalf), NumberForPeople(*eps), optimizer);
  }
  observation->try_ =
      "keep the weights in float32 and use torch.autocast with a GradScaler, or train in bfloat16";
}

// From the last step that was finite as far as anybody saw: its update may be what went wrong.
// capture.start counts steps of the mode.
std::string NonfiniteCause::CaptureAdvice(const format::StepKey& key,
                                          const std::string& more_flags) const {
  const int64_t from = std::max<int64_t>(0, std::min(finite_loss_step_, key.step.value - 1));
  const int64_t others = key.mode == Mode::kTrain ? key.step.value - key.mode_step : 0;
  return fmt::format(
      "run the same command again, captured at every step from there on: wheeltapper run --every "
      "1 --set capture.start={}{} -- COMMAND; look for NaN or infinity in the input data",
      std::max<int64_t>(0, from - others), more_flags);
}

std::vector<const std::pair<const std::string, NonfiniteCause::FiniteParameter>*>
NonfiniteCause::FiniteIn(const ModuleDescription& module) const {
  std::vector<const std::pair<const std::string, FiniteParameter>*> found;
  for (const std::string& parameter : module.parameters) {
    const auto entry = finite_parameters_.find(parameter);
    if (entry != finite_parameters_.end()) {
      found.push_back(&*entry);
    }
  }
  return found;
}

NonfiniteCause::KnownParameters NonfiniteCause::ParametersOf(
    const ModuleDescription& module) const {
  KnownParameters known;
  for (const auto* entry : FiniteIn(module)) {
    const FiniteParameter& finite = entry->second;
    known.finite_step = std::min(known.finite_step.value_or(finite.step), finite.step);
    known.largest = std::max(known.largest, finite.abs_max);
  }
  return known;
}

// Weights as large as the update that made them so, and larger than any that a layer begins with.
const std::pair<const std::string, NonfiniteCause::FiniteParameter>* NonfiniteCause::ThrownOff(
    const ModuleDescription& module) const {
  for (const auto* entry : FiniteIn(module)) {
    const FiniteParameter& finite = entry->second;
    if (finite.rms > kLargeRms && std::abs(finite.update_l2 - finite.l2) < kSameNorm * finite.l2) {
      return entry;
    }
  }
  return nullptr;
}

}  // namespace wheeltapper::rules
