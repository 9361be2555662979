// NaN or infinity anywhere, traced to where it began: within a step the causes run input → output
// (forward order) → loss → gradient (deepest layer first) → parameter → optimizer state, so the
// first of these that is non-finite is named, and the rest is counted.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "nonfinite_cause.h"
#include "robust.h"
#include "spoiled_names.h"
#include "tensor_names.h"

namespace wheeltapper::rules {
namespace {

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
        "If loss or weights grew before: check that zero_grad() is called in each step, lower the "
        "learning rate, add warm-up or gradient clipping. If an input is non-finite, or the first "
        "output that is comes from a linear, "
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
    cause_.Add(batch, context.names());
    Collect(batch, context.names());
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

  void Collect(const format::StepBatch& batch, const format::NameTable& names) {
    spoiled_.Begin(batch);
    for (const format::StatsRow& row : batch.stats) {
      const bool is_hit = row.stats.nonfinite_count() > 0 && Chosen(names.info(row.name));
      spoiled_.SeeTensor(row.name, !is_hit);
      if (is_hit) {
        AddHit(batch.key, names, row.name, Counts(row.stats), row.dtype);
      }
    }
    for (const format::ScalarRow& row : batch.scalars) {
      const bool is_hit = !std::isfinite(row.value) && Chosen(names.info(row.name));
      spoiled_.SeeScalar(row.name, !is_hit);
      if (is_hit) {
        AddHit(batch.key, names, row.name, "is " + NumberForPeople(row.value), tensor::DType::kF64);
      }
    }
    spoiled_.End();
  }

  void AddHit(const format::StepKey& key, const format::NameTable& names, format::NameId id,
              std::string what, tensor::DType dtype) {
    const TensorRole& role = roles_.Of(names, id);
    hits_.push_back({.key = key,
                     .tensor = names.info(id).name,
                     .role = role,
                     .what = std::move(what),
                     .order = OrderOf(role, id),
                     .dtype = dtype});
  }

  [[nodiscard]] int64_t OrderOf(const TensorRole& role, format::NameId id) const {
    const bool of_module = role.kind == TensorKind::kInput || role.kind == TensorKind::kOutput;
    const auto known = of_module ? cause_.model().OrderOfModule(role.subject)
                                 : cause_.model().OrderOfParameter(role.subject);
    const auto order = static_cast<int64_t>(known.value_or(id));
    return role.kind == TensorKind::kGradient ? -order : order;
  }

  void Report(RuleContext& context) {
    std::stable_sort(hits_.begin(), hits_.end(), [](const NonfiniteHit& a, const NonfiniteHit& b) {
      return std::tuple(a.key.step, CausalClass(a.role.kind), a.order) <
             std::tuple(b.key.step, CausalClass(b.role.kind), b.order);
    });
    for (size_t i = 0; i < hits_.size(); ++i) {
      const NonfiniteHit& hit = hits_[i];
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
        cause_.Explain(hit, &observation);
      }
      context.Observe(std::move(observation));
    }
    hits_.clear();
  }

  [[nodiscard]] std::string OnRank(Rank rank) const {
    return cause_.model().world_size() > 1 ? fmt::format(" on rank {}", rank.value) : "";
  }

  const Result<TensorChoice> choice_;
  TensorRoles roles_;
  NonfiniteCause cause_;
  std::vector<NonfiniteHit> hits_;
  SpoiledNames spoiled_;
  int64_t last_closed_ = -1;  // the newest step that is over
};

}  // namespace

const RuleType kNonfinite = {&kInfo, [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                               return std::make_unique<Nonfinite>(parameters);
                             }};

}  // namespace wheeltapper::rules
