// A loss that is given what does not fit it: probabilities in place of logits, or shapes that
// differ. The attach sees it in the graph of backward() (python/wheeltapper/torch/loss_graph.py);
// a model that trains badly for it may still learn something.
#include "loss_input.h"

#include <array>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "model_description.h"

namespace wheeltapper::rules {
namespace {

// Each of these names the input as its cause, where it is known.
constexpr std::array<Explanation, 9> kExplainedBy = {{
    {"squashed", "loss_not_decreasing", "flat"},
    {"unbounded", "loss_not_decreasing", "flat"},
    {"clipped", "loss_not_decreasing", "flat"},
    {"dimension", "loss_not_decreasing", "flat"},
    {"broadcast", "loss_not_decreasing", "flat"},
    {"unbounded", "loss_not_decreasing", "diverged"},
    {"unbounded", "nonfinite", kAnyCause},
    {"unbounded", "exploding_tensor", "growth"},
    {"unbounded", "weight_update_ratio", "large"},
}};

const RuleInfo kInfo = {
    .name = "loss_input",
    .title = "Loss input does not fit",
    .summary = "A loss is given probabilities in place of logits, or shapes that do not match.",
    .smdebug_name = "",
    .severity = Severity::kError,
    .on_by_default = true,
    .warm_up_steps = 0,
    .parameters = {},
    .needs = {},
    .what_it_means =
        R"(What a loss is computed from is read from the autograd graph, when the first backward passes begin; no value is looked at.

- `cross_entropy` (`nn.CrossEntropyLoss`) takes a softmax itself, and `binary_cross_entropy_with_logits` a sigmoid. The output of another softmax or sigmoid, between 0 and 1, keeps their loss far from zero and makes gradients small; that of a ReLU, never below 0, lets no class become less likely than that. A warning, because the model still learns.
- `nll_loss` expects log-probabilities. Given the output of a layer as it is, or probabilities, it is no cross entropy: an error. So it is where their softmax was taken along another dimension than that of the classes.
- `mse_loss`, `l1_loss`, `smooth_l1_loss` and `huber_loss`, or the same written by hand, of predictions of shape `[64, 1]` and targets of shape `[64]` compare each of them with each, because both are broadcast to `[64, 64]`: an error.

Where it keeps the loss from falling or makes it diverge as well, that is one finding with this one.)",
    .false_alarms =
        "Predictions that are meant to be compared with each of the targets; a softmax whose "
        "outputs are meant to be logits.",
    .how_to_fix =
        "Take the softmax or sigmoid out of the model (and apply it where it predicts), or use "
        "the loss that expects what the model returns: nll_loss after log_softmax, "
        "binary_cross_entropy after a sigmoid. Give predictions and targets the same shape. What "
        "torch.compile has compiled together with its loss is not seen.",
    .explained_by = kExplainedBy,
};

const char* KeyOf(Misfit misfit) {
  switch (misfit) {
    case Misfit::kSquashed:
      return "squashed";
    case Misfit::kUnbounded:
      return "unbounded";
    case Misfit::kClipped:
      return "clipped";
    case Misfit::kDimension:
      return "dimension";
    case Misfit::kBroadcast:
      return "broadcast";
  }
  return "";
}

class LossInputRule final : public Rule {
 public:
  // At every step: nothing shows that it is otherwise later.
  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    model_.Add(batch.metas);
    if (batch.is_step || model_.loss_inputs().size() > told_) {
      for (const LossInput& input : model_.loss_inputs()) {
        context.Observe(Describe(input, batch.key));
      }
      told_ = model_.loss_inputs().size();
    }
    return {};
  }

 private:
  static Observation Describe(const LossInput& input, const format::StepKey& key) {
    const bool learns = input.misfit == Misfit::kSquashed || input.misfit == Misfit::kClipped;
    return {.cause_key = KeyOf(input.misfit),
            .tensor = "loss/backward",
            .module = {},
            .key = key,
            .message = fmt::format("{}, as of step {}", MessageOf(input), input.step),
            .cause = ConsequenceOf(input),
            .try_ = AdviceOn(input),
            .evidence = {},
            .severity = learns ? std::optional(Severity::kWarning) : std::nullopt,
            .since = Step{input.step}};
  }

  ModelDescription model_;
  size_t told_ = 0;
};

}  // namespace

const RuleType kLossInput = {&kInfo, [](const Parameters& /*parameters*/) -> std::unique_ptr<Rule> {
                               return std::make_unique<LossInputRule>();
                             }};

}  // namespace wheeltapper::rules
