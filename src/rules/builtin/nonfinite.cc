// NaN or infinity anywhere, traced to where it began: within a step the causes run input → output
// (forward order) → loss → gradient (deepest layer first) → parameter → optimizer state, so the
// first of these that is non-finite is named, and the rest is counted.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "growth.h"
#include "model_description.h"
#include "robust.h"
#include "spoiled_names.h"
#include "tensor_names.h"

namespace wheeltapper::rules {
namespace {

constexpr double kLossGrowth = 10;
constexpr double kTensorGrowth = 100;
// No weight of a training that goes well is near this; float16 cannot hold it.
constexpr double kHugeWeight = 1e6;
constexpr int64_t kNever = std::numeric_limits<int64_t>::min();

constexpr std::array<ParameterSpec, 2> kParameters = {{
    {"collection_names", ParameterType::kText, "",
     "Collections to look at, separated by commas; nothing chosen: everything.", kOurs},
    {"tensor_regex", ParameterType::kRegex, "", "Names to look at, in addition.", kOurs},
}};

const RuleInfo kInfo = {
    .name = "nonfinite",
    .title = "Non-finite value",
    .summary = "NaN or infinity, with the tensor and step where it began.",
    .smdebug_name = "",
    .severity = Severity::kCritical,
    .on_by_default = true,
    .warm_up_steps = 0,
    .parameters = kParameters,
    .needs = {.collections = {"weights", "gradients", "activations", "losses", "inputs",
                              "optimizer"},
              .scalars = true},
    .what_it_means =
        "A tensor or a logged value holds NaN or infinity. From there it spreads: a NaN in one "
        "activation makes the loss NaN, then every gradient, then every weight, and the training "
        "is lost. The finding names the first tensor in causal order at the first step that shows "
        "it, and counts all the others.",
    .false_alarms =
        "With a GradScaler, infinite gradients on single steps are part of the search for the loss "
        "scale; the finding resolves by itself after three clean steps (twice as many each time it "
        "soon comes back). So does what is not seen again at 10 steps that capture tensors, or 100 "
        "at which values are logged, or three times its own interval where that is longer. Masks "
        "that hold -infinity "
        "on purpose show up in outputs: leave those tensors out of the capture. Only captured "
        "tensors are seen, so the true origin may lie in one that is not captured.",
    .how_to_fix =
        "If loss or weights grew before: lower the learning rate, add warm-up or gradient "
        "clipping. If an input is non-finite, or the first output that is comes from a linear, "
        "convolution or embedding layer with finite weights: check the data. If one module makes "
        "it out of finite "
        "inputs: look there for log, sqrt, division, exp, or an overflow of float16.",
};

// Class 0 … 6: the order in which causes run within a step.
int CausalClass(TensorKind kind) {
  switch (kind) {
    case TensorKind::kInput:
      return 0;
    case TensorKind::kOutput:
      return 1;
    case TensorKind::kLoss:
      return 2;
    case TensorKind::kGradient:
      return 3;
    case TensorKind::kParameter:
    case TensorKind::kUpdate:
      return 4;
    case TensorKind::kOptimizer:
      return 5;
    case TensorKind::kOther:
      return 6;
  }
  return 6;
}

struct Hit {
  format::StepKey key;
  std::string tensor;
  TensorRole role;
  std::string what;   // "holds 3 NaN of 8,192 values"
  int64_t order = 0;  // within its class
};

std::string Counts(const tensor::TensorStats& stats) {
  const int64_t infinite = stats.posinf_count + stats.neginf_count;
  std::string text;
  if (stats.nan_count > 0) {
    text = CountForPeople(stats.nan_count) + " NaN";
  }
  if (infinite > 0) {
    text += (text.empty() ? "" : " and ") + CountForPeople(infinite) + " infinite";
  }
  return fmt::format("holds {} of {} values", text, CountForPeople(stats.numel));
}

class Nonfinite final : public Rule {
 public:
  explicit Nonfinite(const Parameters& parameters)
      : choice_(TensorChoice::Make(parameters.Text("collection_names"),
                                   parameters.Text("tensor_regex"))) {}

  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    WT_RETURN_IF_ERROR(choice_.status());
    model_.Add(batch.metas);
    Collect(batch, context.names());
    growth_.Add(batch, context.names());
    Remember(batch, context.names());
    if (!Closes(batch)) {
      return {};
    }
    if (spoiled_.empty()) {
      context.Clear("", batch.key);
    }
    Report(context);
    return {};
  }

  Status OnIdle(TimeNs /*now_ns*/, bool ended, RuleContext& context) override {
    if (ended) {
      Report(context);
    }
    return {};
  }

 private:
  // What is logged between two steps waits for the next step, whose tensors may show the origin. A
  // job that only logs has no such step: there the next number that is logged says that it is over.
  bool Closes(const format::StepBatch& batch) {
    const int64_t step = batch.key.step.value;
    const bool closes = batch.is_step || step > last_closed_ + 1;
    if (closes) {
      last_closed_ = batch.is_step ? step : step - 1;
    }
    return closes;
  }

  [[nodiscard]] bool Chosen(const format::NameInfo& info) const {
    return choice_->empty() || choice_->Has(info);
  }

  // What was captured when, for the cause.
  void Remember(const format::StepBatch& batch, const format::NameTable& names) {
    const int64_t step = batch.key.step.value;
    for (const format::ScalarRow& row : batch.scalars) {
      if (std::isfinite(row.value) && roles_.Of(names, row.name).kind == TensorKind::kLoss) {
        finite_loss_step_ = step;
      }
    }
    for (const format::StatsRow& row : batch.stats) {
      const TensorRole& role = roles_.Of(names, row.name);
      const bool is_finite = row.stats.nonfinite_count() == 0;
      if (role.kind == TensorKind::kParameter && is_finite) {
        finite_parameters_[role.subject] = {.step = step, .abs_max = row.stats.abs_max};
      } else if (role.kind == TensorKind::kInput && is_finite) {
        finite_inputs_[role.subject] = step;
      } else if (role.kind == TensorKind::kOutput) {
        outputs_step_ = step;
      }
      if (role.kind != TensorKind::kLoss && role.kind != TensorKind::kOther) {
        tensors_step_ = step;
      }
    }
  }

  void Collect(const format::StepBatch& batch, const format::NameTable& names) {
    spoiled_.Begin(batch);
    for (const format::StatsRow& row : batch.stats) {
      const bool is_hit = row.stats.nonfinite_count() > 0 && Chosen(names.info(row.name));
      spoiled_.SeeTensor(row.name, !is_hit);
      if (is_hit) {
        AddHit(batch.key, names, row.name, Counts(row.stats));
      }
    }
    for (const format::ScalarRow& row : batch.scalars) {
      const bool is_hit = !std::isfinite(row.value) && Chosen(names.info(row.name));
      spoiled_.SeeScalar(row.name, !is_hit);
      if (is_hit) {
        AddHit(batch.key, names, row.name, "is " + NumberForPeople(row.value));
      }
    }
    spoiled_.End();
  }

  void AddHit(const format::StepKey& key, const format::NameTable& names, format::NameId id,
              std::string what) {
    const TensorRole& role = roles_.Of(names, id);
    hits_.push_back({.key = key,
                     .tensor = names.info(id).name,
                     .role = role,
                     .what = std::move(what),
                     .order = OrderOf(role, id)});
  }

  [[nodiscard]] int64_t OrderOf(const TensorRole& role, format::NameId id) const {
    const bool of_module = role.kind == TensorKind::kInput || role.kind == TensorKind::kOutput;
    const auto known =
        of_module ? model_.OrderOfModule(role.subject) : model_.OrderOfParameter(role.subject);
    const auto order = static_cast<int64_t>(known.value_or(id));
    return role.kind == TensorKind::kGradient ? -order : order;
  }

  void Report(RuleContext& context) {
    std::stable_sort(hits_.begin(), hits_.end(), [](const Hit& a, const Hit& b) {
      return std::tuple(a.key.step, CausalClass(a.role.kind), a.order) <
             std::tuple(b.key.step, CausalClass(b.role.kind), b.order);
    });
    for (size_t i = 0; i < hits_.size(); ++i) {
      const Hit& hit = hits_[i];
      Observation observation{.cause_key = "",
                              .tensor = hit.tensor,
                              .module = ModuleOf(hit.role),
                              .key = hit.key,
                              .message = fmt::format("{} {} at step {}{}", hit.tensor, hit.what,
                                                     hit.key.step.value, OnRank(hit.key.rank)),
                              .cause = {},
                              .try_ = {},
                              .evidence = {},
                              .severity = {},
                              .causal_order = CausalClass(hit.role.kind)};
      if (i == 0) {
        Explain(hit, &observation);
      }
      context.Observe(std::move(observation));
    }
    hits_.clear();
  }

  [[nodiscard]] std::string OnRank(Rank rank) const {
    return model_.world_size() > 1 ? fmt::format(" on rank {}", rank.value) : "";
  }

  void Explain(const Hit& hit, Observation* observation) const {
    const std::optional<Growth> loss = growth_.Loss();
    const std::optional<Growth> tensor = growth_.Tensor();
    if (hit.role.kind == TensorKind::kInput) {
      observation->cause = "the input batch already holds them: the data or its preparation";
      observation->try_ = fmt::format(
          "check the batch of step {}: missing values, division by a zero standard deviation",
          hit.key.step.value);
      return;
    }
    const bool loss_grew = loss && loss->factor >= kLossGrowth;
    const bool tensor_grew = tensor && tensor->factor >= kTensorGrowth;
    if (loss_grew) {
      observation->evidence.push_back(growth_.EvidenceOf(*loss));
    }
    if (tensor_grew) {
      observation->evidence.push_back(growth_.EvidenceOf(*tensor));
    }
    if (loss_grew || tensor_grew) {
      observation->cause = growth_.LearningRateCause() + ": " +
                           GrowthText(tensor_grew ? *tensor : *loss, tensor_grew);
      observation->try_ = growth_.LearningRateAdvice();
      return;
    }
    ExplainByKind(hit, observation);
  }

  static std::string GrowthText(const Growth& growth, bool is_tensor) {
    return fmt::format("{}{} grew from {} at step {} to {} at step {}",
                       is_tensor ? "the l2 norm of " : "", growth.tensor,
                       NumberForPeople(growth.from), growth.from_step, NumberForPeople(growth.to),
                       growth.to_step);
  }

  void ExplainByKind(const Hit& hit, Observation* observation) const {
    if (hit.key.mode == Mode::kEval) {
      observation->cause =
          "it came up in evaluation, whose outputs are not captured: in the validation data, or in "
          "what the model does to them";
      observation->try_ = "look for NaN or infinity in the validation data";
      return;
    }
    const ModuleDescription* module = model_.Module(observation->module.value_or(""));
    const std::string type =
        module != nullptr && !module->type.empty() ? " (" + module->type + ")" : "";
    switch (hit.role.kind) {
      case TensorKind::kOutput:
        if (module != nullptr && ExplainProduct(hit, *module, observation)) {
          return;
        }
        observation->cause = fmt::format(
            "{}{} is the first module whose output is not finite: log or sqrt of a value out of "
            "range, division by zero, or overflow",
            hit.role.subject, type);
        observation->try_ =
            "clamp or add an epsilon there; with float16, use bfloat16 or a loss "
            "scaler";
        return;
      case TensorKind::kLoss:
        ExplainLoss(hit.key, observation);
        return;
      case TensorKind::kGradient:
        if (model_.world_size() > 1) {
          observation->cause = fmt::format(
              "the gradients of {} ranks are summed, and on rank {} the forward pass is finite: it "
              "came from another rank's batch, or the backward pass overflowed",
              model_.world_size(), hit.key.rank.value);
          observation->try_ =
              "compare the ranks' losses and outputs at that step, captured with --every 1; look "
              "for NaN or infinity in their input data";
          return;
        }
        observation->cause =
            "the forward pass is finite: the backward pass divided by zero, took "
            "the gradient of sqrt or norm at 0, or overflowed";
        observation->try_ = "add an epsilon inside sqrt and norm; with float16, use a GradScaler";
        return;
      case TensorKind::kParameter:
      case TensorKind::kUpdate:
      case TensorKind::kOptimizer:
        observation->cause = "an update went out of range: gradients are finite, the step is not";
        observation->try_ = growth_.LearningRateAdvice();
        return;
      case TensorKind::kInput:
      case TensorKind::kOther:
        observation->try_ = "look at how this value is computed: division by zero, log of 0";
        return;
    }
  }

  // The loss is the first non-finite value of its step; what that means depends on what was
  // captured there.
  void ExplainLoss(const format::StepKey& key, Observation* observation) const {
    const int64_t step = key.step.value;
    if (tensors_step_ != step) {
      observation->cause =
          fmt::format("tensors were not captured at step {}, so the first is not known", step);
      observation->try_ = CaptureAdvice(key, "");
    } else if (outputs_step_ != step) {
      observation->cause = fmt::format(
          "activations were not captured at step {}, so it is not known whether a layer, its input "
          "or the loss itself was the first",
          step);
      observation->try_ = CaptureAdvice(key, " --set capture.activations=stats");
    } else {
      observation->cause =
          "no captured output is non-finite: the loss itself took the log of 0, divided by 0, or "
          "overflowed";
      observation->try_ =
          "use the loss on logits (cross_entropy, binary_cross_entropy_with_logits), or add an "
          "epsilon";
    }
  }

  // From the last step that was finite as far as anybody saw: its update may be what went wrong.
  // capture.start counts steps of the mode.
  [[nodiscard]] std::string CaptureAdvice(const format::StepKey& key,
                                          const std::string& more_flags) const {
    const int64_t from = std::max<int64_t>(0, std::min(finite_loss_step_, key.step.value - 1));
    const int64_t others = key.mode == Mode::kTrain ? key.step.value - key.mode_step : 0;
    return fmt::format(
        "run the same command again, captured at every step from there on: wheeltapper run --every "
        "1 --set capture.start={}{} -- COMMAND; look for NaN or infinity in the input data",
        std::max<int64_t>(0, from - others), more_flags);
  }

  // A layer that only multiplies and adds makes no NaN of its own: its input or its weights hold
  // one, or a product is too large. False for other layers.
  bool ExplainProduct(const Hit& hit, const ModuleDescription& module,
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
      observation->cause =
          fmt::format("{}: its weights have grown to {}, and the product overflowed", first,
                      NumberForPeople(known.largest));
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
      observation->try_ = CaptureAdvice(hit.key, "");
    }
    return true;
  }

  static bool OnlyMultiplies(const std::string& type) {
    return type == "Linear" || type == "LazyLinear" || type == "Bilinear" || type == "RNN" ||
           type == "LSTM" || type == "GRU" || type.starts_with("Conv") ||
           type.starts_with("LazyConv") || type.starts_with("Embedding");
  }

  struct FiniteParameter {
    int64_t step = 0;  // the newest
    double abs_max = 0;
  };
  struct KnownParameters {
    std::optional<int64_t> finite_step;  // the newest at which all that are captured were finite
    double largest = 0;                  // max |x| of the finite ones, when last looked at
  };
  [[nodiscard]] KnownParameters ParametersOf(const ModuleDescription& module) const {
    KnownParameters known;
    for (const std::string& parameter : module.parameters) {
      auto found = finite_parameters_.find(parameter);
      if (found == finite_parameters_.end()) {
        found = finite_parameters_.find(module.path + "." + parameter);
      }
      if (found != finite_parameters_.end()) {
        const FiniteParameter& finite = found->second;
        known.finite_step = std::min(known.finite_step.value_or(finite.step), finite.step);
        known.largest = std::max(known.largest, finite.abs_max);
      }
    }
    return known;
  }

  const Result<TensorChoice> choice_;
  TensorRoles roles_;
  ModelDescription model_;
  GrowthTracker growth_;
  std::vector<Hit> hits_;
  SpoiledNames spoiled_;
  int64_t last_closed_ = -1;  // the newest step that is over
  // The newest steps at which something was captured, or captured and finite.
  int64_t tensors_step_ = kNever;
  int64_t outputs_step_ = kNever;
  int64_t finite_loss_step_ = kNever;
  std::unordered_map<std::string, FiniteParameter> finite_parameters_;
  std::unordered_map<std::string, int64_t> finite_inputs_;  // by module
};

}  // namespace

const RuleType kNonfinite = {&kInfo, [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                               return std::make_unique<Nonfinite>(parameters);
                             }};

}  // namespace wheeltapper::rules
