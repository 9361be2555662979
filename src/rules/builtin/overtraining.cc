// Training on after the loss has stopped to improve.
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "robust.h"
#include "tensor_names.h"
#include "validation_losses.h"

namespace wheeltapper::rules {
namespace {

constexpr size_t kMostEvidence = 256;

constexpr std::array<ParameterSpec, 4> kParameters = {{
    {"patience_train", ParameterType::kInteger, "5",
     "With `compat`: training losses without an improvement.", kSageMaker},
    {"patience_validation", ParameterType::kInteger, "10",
     "Evaluations without an improvement of the validation loss.", kSageMaker},
    {"delta", ParameterType::kNumber, "0.01",
     "An improvement below this is none: of the loss itself with `compat`, else as a fraction of "
     "it.",
     kSageMaker},
    {"compat", ParameterType::kBool, "false",
     "Judge single values of the training loss too, as SageMaker's rule does.", kOurs},
}};

constexpr std::array<Explanation, 1> kExplainedBy = {{
    {"validation", "overfit", kAnyCause},
}};

const RuleInfo kInfo = {
    .name = "overtraining",
    .title = "Overtraining",
    .summary = "The validation loss stopped to improve long ago: the rest of the run is wasted.",
    .smdebug_name = "Overtraining",
    .severity = Severity::kInfo,
    .on_by_default = true,
    .warm_up_steps = 0,
    .parameters = kParameters,
    .needs = {.collections = {"losses"}, .scalars = true},
    .what_it_means =
        "No evaluation since the best one improved the validation loss by more than `delta`, for "
        "`patience_validation` evaluations at least and for as many as the run had before it. What "
        "the job computes since then buys nothing.",
    .false_alarms =
        "Losses that improve again after a change of the learning rate. Metrics that still improve "
        "although the loss does not. Without a validation loss nothing is judged, and `show` "
        "says so, unless `compat` asks for the training loss, which alarms at every plateau.",
    .how_to_fix =
        "Stop earlier (early stopping on the validation loss), or lower the learning "
        "rate and go on.",
    .explained_by = kExplainedBy,
};

// The best value of a series and how long ago it was.
struct Progress {
  double best = std::numeric_limits<double>::infinity();
  int64_t best_step = 0;
  int64_t until_best = 0;  // values up to and with the best
  int64_t since_best = 0;

  void Add(double value, int64_t step, double least_gain) {
    if (value < best - least_gain) {
      best = value;
      best_step = step;
      until_best += since_best + 1;
      since_best = 0;
    } else {
      ++since_best;
    }
  }
};

class Overtraining final : public Rule {
 public:
  explicit Overtraining(const Parameters& parameters)
      : losses_(TensorChoice()),
        patience_train_(parameters.Integer("patience_train")),
        patience_validation_(parameters.Integer("patience_validation")),
        delta_(parameters.Number("delta")),
        compat_(parameters.Bool("compat")) {}

  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    for (const Evaluation& evaluation : losses_.Add(batch, context.names())) {
      JudgeValidation(evaluation, context);
    }
    if (!compat_) {
      return {};
    }
    for (const LossValue& loss : LossesOf(batch, context.names(), TensorChoice(), roles_)) {
      const bool is_training = loss.key.mode != Mode::kEval && !NamesValidation(loss.name);
      if (is_training && std::isfinite(loss.value)) {
        JudgeTraining(loss, context);
      }
    }
    return {};
  }

  Status OnIdle(TimeNs /*now_ns*/, bool ended, RuleContext& context) override {
    if (const auto last = ended ? losses_.Finish() : std::nullopt) {
      JudgeValidation(*last, context);
    }
    return {};
  }

  [[nodiscard]] std::string NothingJudged() const override {
    const bool judged = !evidence_.points.empty() || std::isfinite(training_.best);
    return judged ? "" : losses_.Missing();
  }

 private:
  void JudgeValidation(const Evaluation& now, RuleContext& context) {
    if (now.is_anew) {
      validation_ = Progress();
      evidence_.points.clear();
    }
    if (evidence_.points.size() == kMostEvidence) {
      evidence_.points.erase(evidence_.points.begin());
    }
    evidence_.label = losses_.validation_name();
    evidence_.points.push_back({.step = now.key.step.value, .value = now.validation});
    Progress& progress = validation_;
    const double gain =
        compat_ || !std::isfinite(progress.best) ? delta_ : delta_ * std::abs(progress.best);
    progress.Add(now.validation, now.key.step.value, std::isfinite(progress.best) ? gain : 0);
    const bool long_enough = compat_ || progress.since_best >= progress.until_best;
    if (progress.since_best < patience_validation_ || !long_enough) {
      context.Clear("validation", now.key);
      return;
    }
    Report("validation", losses_.validation_name(), now.key, progress, context);
  }

  void JudgeTraining(const LossValue& loss, RuleContext& context) {
    training_.Add(loss.value, loss.key.step.value, std::isfinite(training_.best) ? delta_ : 0);
    if (training_.since_best < patience_train_) {
      context.Clear("training", loss.key);
      return;
    }
    Report("training", loss.name, loss.key, training_, context);
  }

  void Report(const char* cause_key, const std::string& name, const format::StepKey& key,
              const Progress& progress, RuleContext& context) const {
    const bool validation = std::string_view(cause_key) == "validation";
    context.Observe(
        {.cause_key = cause_key,
         .tensor = name,
         .module = {},
         .key = key,
         .message = fmt::format("{} has not improved since step {} ({}): {} {} since", name,
                                progress.best_step, NumberForPeople(progress.best),
                                progress.since_best, validation ? "evaluations" : "values"),
         .cause = "the model has learned what it can at this learning rate",
         .try_ = fmt::format("stop at step {}, or lower the learning rate", progress.best_step),
         .evidence = validation ? std::vector{evidence_} : std::vector<Evidence>(),
         .severity = {}});
  }

  ValidationLosses losses_;
  const int64_t patience_train_;
  const int64_t patience_validation_;
  const double delta_;
  const bool compat_;
  TensorRoles roles_;
  Progress validation_;
  Progress training_;
  Evidence evidence_;
};

}  // namespace

const RuleType kOvertraining = {&kInfo, [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                                  return std::make_unique<Overtraining>(parameters);
                                }};

}  // namespace wheeltapper::rules
