// Training on after the loss has stopped to improve.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
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

// The validation loss has not improved because nothing is learned.
constexpr const char* kNothingLearned = "nothing_learned";

constexpr std::array<Explanation, 2> kExplainedBy = {{
    {"validation", "overfit", kAnyCause},
    {kNothingLearned, "loss_not_decreasing", kAnyCause},
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
        "the job computes since then buys nothing. Where that best evaluation is the first one, "
        "and the training loss has not fallen since the start either by more than `delta` and its "
        "noise, nothing is learned at all; where only the training loss falls, the model learns "
        "what does not hold for the validation data.",
    .false_alarms =
        "Losses that improve again after a change of the learning rate. Metrics that still improve "
        "although the loss does not. Without a validation loss nothing is judged, and `show` "
        "says so, unless `compat` asks for the training loss, which alarms at every plateau.",
    .how_to_fix =
        "Stop earlier (early stopping on the validation loss), or lower the learning "
        "rate and go on. Where it never improved: find out why the model does not learn "
        "(loss_not_decreasing), or whether the validation data fit the training data and are "
        "prepared alike.",
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
      first_.reset();
      evidence_.points.clear();
    }
    if (evidence_.points.size() == kMostEvidence) {
      evidence_.points.erase(evidence_.points.begin());
    }
    first_ = first_ ? first_ : std::optional(now);
    evidence_.label = losses_.validation_name();
    evidence_.points.push_back({.step = now.key.step.value, .value = now.validation});
    Progress& progress = validation_;
    const double gain =
        compat_ || !std::isfinite(progress.best) ? delta_ : delta_ * std::abs(progress.best);
    progress.Add(now.validation, now.key.step.value, std::isfinite(progress.best) ? gain : 0);
    const bool long_enough = compat_ || progress.since_best >= progress.until_best;
    if (progress.since_best < patience_validation_ || !long_enough) {
      now.Clear("validation", context);
      now.Clear(kNothingLearned, context);
      return;
    }
    Verdict verdict = VerdictOn(now);
    now.Clear(verdict.cause_key == kNothingLearned ? "validation" : kNothingLearned, context);
    verdict.cause_key = now.KeyOf(verdict.cause_key);
    Report(verdict, losses_.validation_name(), now.key, progress, context);
  }

  void JudgeTraining(const LossValue& loss, RuleContext& context) {
    training_.Add(loss.value, loss.key.step.value, std::isfinite(training_.best) ? delta_ : 0);
    if (training_.since_best < patience_train_) {
      context.Clear("training", loss.key);
      return;
    }
    Report(Converged("training", training_), loss.name, loss.key, training_, context);
  }

  struct Verdict {
    std::string cause_key;
    std::string cause;
    std::string try_;
  };

  static Verdict Converged(const char* cause_key, const Progress& progress) {
    return {.cause_key = cause_key,
            .cause = "the model has learned what it can at this learning rate",
            .try_ = fmt::format("stop at step {}, or lower the learning rate", progress.best_step)};
  }

  // Whether the training loss is below a level by more than noise and `delta`.
  [[nodiscard]] bool Fell(const Evaluation& now, std::optional<double> from, double noise) const {
    return now.training && from &&
           *from - *now.training > std::max(delta_ * std::abs(*from), noise);
  }

  // Of a validation loss that has not improved for long. Where its first evaluation is the best,
  // the training loss says why.
  [[nodiscard]] Verdict VerdictOn(const Evaluation& now) const {
    const bool improved = validation_.until_best > 1;
    const bool learned = Fell(now, now.training_start, now.training_error);
    if (improved || !now.training || !now.training_start) {
      return Converged("validation", validation_);
    }
    if (!learned) {
      return {.cause_key = kNothingLearned,
              .cause =
                  "the model does not learn, or had learned it before: its training loss has "
                  "not fallen either since the start",
              .try_ =
                  "unless the model came trained, check that the learning rate is not far off and "
                  "that the optimizer holds the parameters; stopping earlier helps nothing"};
    }
    if (Fell(now, first_->training, now.training_error)) {
      return {.cause_key = "validation",
              .cause =
                  "the model learns only its training data: their loss falls, that of the "
                  "validation data never did after the first evaluation",
              .try_ = fmt::format("keep the checkpoint of step {}; check that the validation data "
                                  "are prepared as the training data are; add data, weight decay "
                                  "or dropout",
                                  validation_.best_step)};
    }
    return Converged("validation", validation_);
  }

  void Report(const Verdict& verdict, const std::string& name, const format::StepKey& key,
              const Progress& progress, RuleContext& context) const {
    const bool validation = verdict.cause_key != "training";
    context.Observe(
        {.cause_key = verdict.cause_key,
         .tensor = name,
         .module = {},
         .key = key,
         .message = fmt::format("{} has not improved since step {} ({}): {} {} since", name,
                                progress.best_step, NumberForPeople(progress.best),
                                progress.since_best, validation ? "evaluations" : "values"),
         .cause = verdict.cause,
         .try_ = verdict.try_,
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
  std::optional<Evaluation> first_;
  Evidence evidence_;
};

}  // namespace

const RuleType kOvertraining = {&kInfo, [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                                  return std::make_unique<Overtraining>(parameters);
                                }};

}  // namespace wheeltapper::rules
