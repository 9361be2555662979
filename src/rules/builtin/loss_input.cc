// A loss that is given what does not fit it: probabilities in place of logits, or shapes that
// differ. The attach sees it in the graph of backward() (python/wheeltapper/torch/loss_graph.py);
// a model that trains badly for it may still learn something.
#include "loss_input.h"

#include <array>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "model_description.h"

namespace wheeltapper::rules {
namespace {

// These name the input among their causes, where nothing that was measured says more.
constexpr std::array<Explanation, 7> kExplainedBy = {{
    {"squashed", "loss_not_decreasing", "flat"},
    {"clipped", "loss_not_decreasing", "flat"},
    {"probabilities", "loss_not_decreasing", "flat"},
    {"unbounded", "loss_not_decreasing", "flat"},
    {"unbounded", "loss_not_decreasing", "diverged"},
    {"dimension", "loss_not_decreasing", "flat"},
    {"broadcast", "loss_not_decreasing", "flat"},
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
- `nll_loss` expects log-probabilities. Given the output of a layer as it is, it has no lowest value: an error. So it is where their softmax was taken along another dimension than that of the classes. Given probabilities it minimises something else: a warning.
- `mse_loss`, `l1_loss`, `smooth_l1_loss` and `huber_loss` of predictions of shape `[64, 1]` and targets of shape `[64]` compare each of them with each, because both are broadcast to `[64, 64]`: an error.

The first eight backward passes after an optimizer was made are looked at, and each 64th of the others. A later training in the same process that is given what fits takes nothing back. A loss that is flat, or diverges because it has no lowest value, is one finding with this one.)",
    .false_alarms =
        "A softmax whose outputs are meant to be logits; nll_loss of probabilities as the mean "
        "error of a guess, which bears wrong labels. Not seen: what torch.compile has compiled, a "
        "softmax that other operations follow (but a clamp or an added epsilon), cross_entropy "
        "with probabilities as its targets, other losses or those written by hand, predictions "
        "given as the targets.",
    .how_to_fix =
        "Take the softmax or sigmoid out of the model (and apply it where it predicts), or use "
        "the loss that expects what the model returns: nll_loss after log_softmax, "
        "binary_cross_entropy after a sigmoid. Give predictions and targets the same shape.",
    .explained_by = kExplainedBy,
};

const char* NameOf(Misfit misfit) {
  switch (misfit) {
    case Misfit::kSquashed:
      return "squashed";
    case Misfit::kClipped:
      return "clipped";
    case Misfit::kProbabilities:
      return "probabilities";
    case Misfit::kUnbounded:
      return "unbounded";
    case Misfit::kDimension:
      return "dimension";
    case Misfit::kBroadcast:
      return "broadcast";
  }
  return "";
}

class LossInputRule final : public Rule {
 public:
  // At every step: it is so until the attach tells that it looks anew, and stays as it was then.
  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    model_.Add(batch.metas);
    const std::vector<LossInput>& inputs = model_.loss_inputs();
    if (batch.is_step || inputs.size() > told_) {
      for (const LossInput& input : inputs) {
        context.Observe(Describe(input, batch.key));
      }
    }
    told_ = inputs.size();
    return {};
  }

 private:
  // Several losses are several findings.
  static std::string KeyOf(const LossInput& input) {
    return fmt::format("{}{}{}", NameOf(input.misfit), kCauseOccurrence, input.loss);
  }

  static Observation Describe(const LossInput& input, const format::StepKey& key) {
    return {.cause_key = KeyOf(input),
            .tensor = "loss/backward",
            .module = {},
            .key = key,
            .message = fmt::format("{}, as of step {}", MessageOf(input), input.step),
            .cause = ConsequenceOf(input),
            .try_ = AdviceOn(input),
            .evidence = {},
            .severity = LearnsWith(input.misfit) ? std::optional(Severity::kWarning) : std::nullopt,
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
