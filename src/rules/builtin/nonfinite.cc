// NaN or infinity anywhere, traced to where it began: within a step the causes run input → output
// (forward order) → loss → gradient (deepest layer first) → parameter → optimizer state, so the
// first of these that is non-finite is named, and the rest is counted.
#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "growth.h"
#include "model_description.h"
#include "robust.h"
#include "tensor_names.h"

namespace wheeltapper::rules {
namespace {

constexpr double kLossGrowth = 10;
constexpr double kTensorGrowth = 100;

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
        "scale; the finding resolves by itself after three clean steps. Masks that hold -infinity "
        "on purpose show up in outputs: leave those tensors out of the capture. Only captured "
        "tensors are seen, so the true origin may lie in one that is not captured.",
    .how_to_fix =
        "If loss or weights grew before: lower the learning rate, add warm-up or gradient "
        "clipping. If an input is non-finite: check the data. If one module makes it out of finite "
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
    // What is logged between two steps waits for the next step, whose tensors may show the origin.
    if (!batch.is_step) {
      return {};
    }
    if (hits_.empty()) {
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
  [[nodiscard]] bool Chosen(const format::NameInfo& info) const {
    return choice_->empty() || choice_->Has(info);
  }

  void Collect(const format::StepBatch& batch, const format::NameTable& names) {
    for (const format::StatsRow& row : batch.stats) {
      if (row.stats.nonfinite_count() > 0 && Chosen(names.info(row.name))) {
        AddHit(batch.key, names, row.name, Counts(row.stats));
      }
    }
    for (const format::ScalarRow& row : batch.scalars) {
      if (!std::isfinite(row.value) && Chosen(names.info(row.name))) {
        AddHit(batch.key, names, row.name, "is " + NumberForPeople(row.value));
      }
    }
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
      Observation observation{
          .cause_key = "",
          .tensor = hit.tensor,
          .module = ModuleOf(hit.role),
          .key = hit.key,
          .message = fmt::format("{} {} at step {}", hit.tensor, hit.what, hit.key.step.value),
          .cause = {},
          .try_ = {},
          .evidence = {},
          .severity = {}};
      if (i == 0) {
        Explain(hit, &observation);
      }
      context.Observe(std::move(observation));
    }
    hits_.clear();
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
    const ModuleDescription* module = model_.Module(observation->module.value_or(""));
    const std::string type =
        module != nullptr && !module->type.empty() ? " (" + module->type + ")" : "";
    switch (hit.role.kind) {
      case TensorKind::kOutput:
        observation->cause = fmt::format(
            "{}{} is the first module whose output is not finite: log or sqrt of a value out of "
            "range, division by zero, or overflow",
            hit.role.subject, type);
        observation->try_ =
            "clamp or add an epsilon there; with float16, use bfloat16 or a loss "
            "scaler";
        return;
      case TensorKind::kLoss:
        observation->cause =
            "no captured output is non-finite: the loss itself took the log of 0, "
            "divided by 0, or overflowed";
        observation->try_ =
            "use the loss on logits (cross_entropy, "
            "binary_cross_entropy_with_logits), or add an epsilon";
        return;
      case TensorKind::kGradient:
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

  const Result<TensorChoice> choice_;
  TensorRoles roles_;
  ModelDescription model_;
  GrowthTracker growth_;
  std::vector<Hit> hits_;
};

}  // namespace

const RuleType kNonfinite = {&kInfo, [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                               return std::make_unique<Nonfinite>(parameters);
                             }};

}  // namespace wheeltapper::rules
