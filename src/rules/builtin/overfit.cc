// Validation loss that rises while the training loss still falls.
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "persistence.h"
#include "robust.h"
#include "tensor_names.h"
#include "validation_losses.h"

namespace wheeltapper::rules {
namespace {

// Of what validation had gained, the part that must be lost again.
constexpr double kLostGain = 0.05;
// Validation that is above its bounds by less than this share of them clearly does not rise.
constexpr double kClearlyBelow = 0.5;
constexpr size_t kMostEvidence = 256;

constexpr std::array<ParameterSpec, 6> kParameters = {{
    {"tensor_regex", ParameterType::kRegex, "", "Losses to look at; unset: every loss.",
     kSageMaker},
    {"start_step", ParameterType::kInteger, "0", "Nothing is judged before this step.", kSageMaker},
    {"patience", ParameterType::kInteger, "1",
     "With `compat`: evaluations in a row above the threshold.", kSageMaker},
    {"ratio_threshold", ParameterType::kNumber, "0.1",
     "How far validation must lie above training, and above its own best, as a fraction.",
     kSageMaker},
    {"evaluations", ParameterType::kInteger, "3", "Evaluations in a row that must show it.", kOurs},
    {"compat", ParameterType::kBool, "false",
     "Judge the gap alone, (validation − training)/training, as SageMaker's rule does.", kOurs},
}};

const RuleInfo kInfo = {
    .name = "overfit",
    .title = "Overfit",
    .summary = "The validation loss rises while the training loss still falls.",
    .smdebug_name = "Overfit",
    .severity = Severity::kWarning,
    .on_by_default = true,
    .warm_up_steps = 0,
    .parameters = kParameters,
    .needs = {.collections = {"losses"}, .scalars = true},
    .what_it_means =
        "For `evaluations` evaluations in a row the validation loss was above its best by more "
        "than `ratio_threshold` and by more than 5 percent of all it had gained, lay above the "
        "training loss by more than `ratio_threshold`, and the training loss was below what it "
        "was at that best evaluation. The model learns its training data by heart.",
    .false_alarms =
        "A validation set so small that its loss jumps by ten percent. A gap alone is not "
        "reported, since dropout and augmentation make one in healthy runs; `compat` does report "
        "it. Runs without a validation loss are not judged, and `show` says so.",
    .how_to_fix =
        "Stop at the best evaluation and keep that checkpoint; add data, augmentation, weight "
        "decay or dropout, or make the model smaller.",
};

class Overfit final : public Rule {
 public:
  explicit Overfit(const Parameters& parameters)
      : choice_(TensorChoice::Make("", parameters.Text("tensor_regex"))),
        losses_(choice_.value_or(TensorChoice())),
        start_step_(parameters.Integer("start_step")),
        patience_(parameters.Integer("patience")),
        ratio_(parameters.Number("ratio_threshold")),
        evaluations_(parameters.Integer("evaluations")),
        compat_(parameters.Bool("compat")) {}

  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    WT_RETURN_IF_ERROR(choice_.status());
    for (const Evaluation& evaluation : losses_.Add(batch, context.names())) {
      JudgeIfComplete(evaluation, context);
    }
    return {};
  }

  Status OnIdle(TimeNs /*now_ns*/, bool ended, RuleContext& context) override {
    if (const auto last = ended ? losses_.Finish() : std::nullopt) {
      JudgeIfComplete(*last, context);
    }
    return {};
  }

  [[nodiscard]] std::string NothingJudged() const override {
    return best_ ? "" : losses_.Missing();
  }

 private:
  void JudgeIfComplete(const Evaluation& evaluation, RuleContext& context) {
    if (evaluation.key.step.value >= start_step_ && evaluation.training) {
      Judge(evaluation, context);
    }
  }

  void Judge(const Evaluation& now, RuleContext& context) {
    if (now.is_anew) {
      best_.reset();
      first_.reset();
      rising_ = Persistence();
      validation_.points.clear();
      training_.points.clear();
    }
    Remember(now);
    if (best_ && now.validation < best_->validation && !compat_) {
      // The best so far: what rose has come back, and advice to keep an older one would be wrong.
      rising_ = Persistence();
      for (const std::string& training : now.trainings) {
        context.ClearForCertain(training, now.key);
      }
    }
    const double gap = (now.validation - *now.training) / std::abs(*now.training);
    const auto holds = [&](double share) {
      return compat_ ? gap > share * ratio_ : Rising(now, gap, share);
    };
    const Seen seen = holds(1) ? Seen::kMet : holds(kClearlyBelow) ? Seen::kNear : Seen::kOver;
    const int64_t patience = compat_ ? patience_ : evaluations_;
    CauseAtStep overfit;
    overfit.Add(rising_.Add(seen, now.key.step.value, patience));
    if (!best_ || now.validation < best_->validation) {
      best_ = now;
    }
    first_ = first_ ? first_ : std::optional(now.validation);
    for (const std::string& training : now.trainings) {
      overfit.Tell(training, now.key, context);
    }
    if (!overfit.shown()) {
      return;
    }
    const auto& [from, to] = NumbersForPeople(best_->validation, now.validation);
    context.Observe(
        {.cause_key = now.KeyOf(""),
         .tensor = losses_.validation_name(),
         .module = {},
         .key = now.key,
         .message = fmt::format(
             "Validation loss {} has risen from {} at step {} to {} at step {}, while the training "
             "loss is {}",
             losses_.validation_name(), from, best_->key.step.value, to, now.key.step.value,
             NumberForPeople(*now.training)),
         .cause = "the model learns its training data by heart",
         .try_ = fmt::format("keep the checkpoint of step {}; add weight decay, dropout or data",
                             best_->key.step.value),
         .evidence = {validation_, training_},
         .severity = {},
         .since = Step{rising_.since_step()},
         .patience = patience});
  }

  // By so large a share of what it takes.
  [[nodiscard]] bool Rising(const Evaluation& now, double gap, double share) const {
    if (!best_ || !best_->training || !first_) {
      return false;
    }
    const double rise = now.validation - best_->validation;
    return gap > share * ratio_ && rise > share * ratio_ * std::abs(best_->validation) &&
           rise > share * kLostGain * (*first_ - best_->validation) &&
           *now.training < *best_->training;
  }

  void Remember(const Evaluation& now) {
    validation_.label = losses_.validation_name();
    training_.label = losses_.training_name();
    for (auto* series : {&validation_.points, &training_.points}) {
      if (series->size() == kMostEvidence) {
        series->erase(series->begin());
      }
    }
    validation_.points.push_back({.step = now.key.step.value, .value = now.validation});
    training_.points.push_back({.step = now.key.step.value, .value = *now.training});
  }

  const Result<TensorChoice> choice_;
  ValidationLosses losses_;
  const int64_t start_step_;
  const int64_t patience_;
  const double ratio_;
  const int64_t evaluations_;
  const bool compat_;
  std::optional<Evaluation> best_;
  std::optional<double> first_;
  Evidence validation_;
  Evidence training_;
  Persistence rising_;
};

}  // namespace

const RuleType kOverfit = {&kInfo, [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                             return std::make_unique<Overfit>(parameters);
                           }};

}  // namespace wheeltapper::rules
