// Gradients that nothing clears between two steps: zero_grad() is missing. The attach sees it
// (python/wheeltapper/torch/kept_gradient.py); a model that trains badly for it need not diverge.
#include <array>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "model_description.h"
#include "tensor_names.h"

namespace wheeltapper::rules {
namespace {

// Each of these names the missing zero_grad() as its cause, where it is known to be missing.
constexpr std::array<Explanation, 6> kExplainedBy = {{
    {"", "nonfinite", kAnyCause},
    {"", "exploding_tensor", "growth"},
    {"", "weight_update_ratio", "large"},
    {"", "dead_relu", kAnyCause},
    {"", "loss_not_decreasing", "diverged"},
    {"", "loss_not_decreasing", "flat"},
}};

const RuleInfo kInfo = {
    .name = "gradients_add_up",
    .title = "Gradients add up",
    .summary = "Gradients stay from one step to the next, because zero_grad() is missing.",
    .smdebug_name = "",
    .severity = Severity::kWarning,
    .on_by_default = true,
    .warm_up_steps = 4,
    .parameters = {},
    .needs = {},
    .what_it_means =
        "On three steps in a row backward() began on the gradient that the step before had left, "
        "and added to it. Each step then follows the sum of all gradients since the start, not "
        "that of its own batch: a training that may not diverge, but learns badly. The gradient "
        "of one parameter of each optimizer is looked at, in its first steps. Several backward() "
        "before one step() are no such thing, nor are the closures of LBFGS. On a GPU the values "
        "are not read, because that would wait for it: there the finding is only informative. "
        "Where a loss, weights or updates explode, a loss stays flat or a layer dies as well, "
        "that is one finding with this one.",
    .false_alarms =
        "Gradients that are meant to add up while step() is called after each backward(). On a "
        "GPU, gradients that are zeroed through `.data`, as `p.grad.data.zero_()` does, which "
        "leaves no trace.",
    .how_to_fix =
        "Call optimizer.zero_grad() in each step, before backward(). To add up gradients over "
        "several batches, call step() and zero_grad() only after the last of them. Ignore the "
        "rule where it is meant to be so.",
    .explained_by = kExplainedBy,
};

class GradientsAddUpRule final : public Rule {
 public:
  // At every step: nothing shows that they are cleared later.
  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    model_.Add(batch.metas);
    if (const auto& kept = model_.kept_gradient(); kept && (batch.is_step || !told_)) {
      context.Observe(Describe(*kept, batch.key));
      told_ = true;
    }
    return {};
  }

  [[nodiscard]] std::string NothingJudged() const override {
    return model_.optimizer_known() || told_
               ? ""
               : "no optimizer was seen to step, so that it is not known whether gradients are "
                 "cleared; start the training with `wheeltapper run`, or attach to its model and "
                 "optimizer";
  }

 private:
  static Observation Describe(const ModelDescription::KeptGradient& kept,
                              const format::StepKey& key) {
    Observation observation{
        .cause_key = "",
        .tensor = "gradient/" + kept.parameter,
        .module = ModuleOfParameter(kept.parameter),
        .key = key,
        .message = fmt::format("Gradients add up: {} still had that of the step before when "
                               "backward() began, at step {} and the two before",
                               kept.parameter, kept.step),
        .cause = "zero_grad() is not called between two steps",
        .try_ =
            "call optimizer.zero_grad() in each step, before backward(); to add up on "
            "purpose, call step() only after the last backward()",
        .evidence = {},
        .severity = {},
        .since = Step{kept.step}};
    if (!kept.is_read) {
      observation.severity = Severity::kInfo;
      observation.message = fmt::format(
          "Gradients seem to add up: nothing is seen to clear that of {} before backward(), at "
          "step {} and the two before",
          kept.parameter, kept.step);
      *observation.cause += ", unless gradients are zeroed through .data (not read on this device)";
    }
    return observation;
  }

  ModelDescription model_;
  bool told_ = false;
};

}  // namespace

const RuleType kGradientsAddUp = {&kInfo,
                                  [](const Parameters& /*parameters*/) -> std::unique_ptr<Rule> {
                                    return std::make_unique<GradientsAddUpRule>();
                                  }};

}  // namespace wheeltapper::rules
