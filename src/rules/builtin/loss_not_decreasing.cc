// A loss that does not go down, or goes up.
//
// SageMaker's rule compares single values num_steps apart and so alarms at every plateau and at
// every noisy loss; it is here behind `compat`. Ours looks at medians of windows, and reports
//   diverged  the newest window lies far above everything before, far above the start, or back at
//             the start after most of the loss had been unlearned;
//   flat      no window of the whole run lies below the start.
// A loss that has once decreased is never called flat, so convergence raises no alarm.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "growth.h"
#include "loss_values.h"
#include "robust.h"
#include "tensor_names.h"

namespace wheeltapper::rules {
namespace {

constexpr size_t kHistory = 256;
constexpr size_t kStartValues = 10;
constexpr size_t kFlatWindow = 15;
constexpr size_t kLeastWindow = 3;
constexpr size_t kMostWindow = 25;
// Above everything before by this many times its own magnitude.
constexpr double kBlowUp = 2;
constexpr double kDeviations = 10;
// Values below this have nothing left to lose.
constexpr double kNoLoss = 1e-6;
constexpr double kSuspectGrowth = 10;
// A loss whose medians are uncertain by more than this part of the start is never called flat, and
// a gain of this part is a decrease however noisy the loss is.
constexpr double kLargestError = 0.05;
constexpr double kLeastGain = 0.02;

constexpr std::array<ParameterSpec, 9> kParameters = {{
    {"collection_names", ParameterType::kText, "",
     "Collections to look at, separated by commas, in place of the losses.", kSageMaker},
    {"tensor_regex", ParameterType::kRegex, "", "Names to look at, in place of the losses.",
     kSageMaker},
    {"use_losses_collection", ParameterType::kBool, "true",
     "Look at everything that is a loss as well.", kSageMaker},
    {"num_steps", ParameterType::kInteger, "10",
     "Steps between two checks, and how far back to "
     "compare with `compat`.",
     kSageMaker},
    {"diff_percent", ParameterType::kNumber, "0.1", "A decrease below this percentage is none.",
     kSageMaker},
    {"increase_threshold_percent", ParameterType::kNumber, "5",
     "With `compat`: an increase above this percentage is worded as one.", kSageMaker},
    {"mode", ParameterType::kText, "",
     "train, eval, predict or global; unset: train and global (with `compat`: the first of eval, "
     "train, global that has a loss).",
     kSageMaker},
    {"min_points", ParameterType::kInteger, "100", "Loss values before a loss can be called flat.",
     kOurs},
    {"compat", ParameterType::kBool, "false",
     "Compare single values as SageMaker's rule does: alarms at plateaus too.", kOurs},
}};

const RuleInfo kInfo = {
    .name = "loss_not_decreasing",
    .title = "Loss not decreasing",
    .summary = "The loss diverges, or has not decreased since the start.",
    .smdebug_name = "LossNotDecreasing",
    .severity = Severity::kError,
    .on_by_default = true,
    .warm_up_steps = 4,
    .parameters = kParameters,
    .needs = {.collections = {"losses"}, .scalars = true},
    .what_it_means =
        "Diverged: the median of the newest values (a quarter of the run so far, 3 to 25 values) "
        "is three times the 90 % quantile of what came before and three times the first value, or "
        "has stayed above twice the starting level, or is back at the starting level after having "
        "been below half of it. Flat: after `min_points` values no window of 15 values has a "
        "median below the median of the first ten by more than `diff_percent` percent and three "
        "standard errors (2 percent are always enough); nothing is said of a loss so noisy that "
        "three standard errors are more than 5 percent of it.",
    .false_alarms =
        "Losses that are not meant to fall: the two sides of a GAN, policy losses, a loss whose "
        "weight is raised on a schedule. A run that starts from a converged checkpoint is flat "
        "from its first step. Name the losses that matter with `tensor_regex`, or ignore the rule.",
    .how_to_fix =
        "Diverged: lower the learning rate, add warm-up or gradient clipping. Flat: check that "
        "the optimizer holds the parameters (optimizer_no_op), that labels match inputs, that the "
        "learning rate is neither far too high nor far too low, that no layer is dead (dead_relu).",
};

// The start, the extremes and the recent past of one loss.
struct LossTrack {
  std::string name;
  std::vector<double> start;  // the first kStartValues
  Window values{kHistory};
  Window steps{kHistory};
  double best_median = std::numeric_limits<double>::infinity();
  int64_t best_step = 0;
  size_t count = 0;
  int64_t last_flat_check = std::numeric_limits<int64_t>::min();
  int blown = 0;  // consecutive values that met the criteria of divergence
  int64_t first_step = 0;
  std::optional<int64_t> diverged_since;
};

struct Divergence {
  double from = 0;
  double to = 0;
};

class RobustJudge {
 public:
  explicit RobustJudge(const Parameters& parameters)
      : num_steps_(parameters.Integer("num_steps")),
        diff_fraction_(parameters.Number("diff_percent") / 100),
        min_points_(static_cast<size_t>(std::max<int64_t>(1, parameters.Integer("min_points")))) {}

  static void Add(const LossValue& loss, LossTrack* track) {
    track->name = loss.name;
    if (track->count == 0) {
      track->first_step = loss.key.step.value;
    }
    ++track->count;
    if (track->start.size() < kStartValues) {
      track->start.push_back(loss.value);
    }
    track->values.Add(loss.value);
    track->steps.Add(static_cast<double>(loss.key.step.value));
    if (track->count < kStartValues + kFlatWindow) {
      return;
    }
    const double median = Median(track->values.Newest(kFlatWindow));
    if (median < track->best_median) {
      track->best_median = median;
      track->best_step = loss.key.step.value;
    }
  }

  [[nodiscard]] static std::optional<Divergence> Diverged(const LossTrack& track) {
    const size_t window = std::clamp(track.count / 4, kLeastWindow, kMostWindow);
    const std::vector<double> before = track.values.AllBut(window);
    if (before.empty()) {
      return std::nullopt;
    }
    const double recent = Median(track.values.Newest(window));
    const double first = track.start.front();
    const double high = Quantile(before, 0.9);
    const bool blew_up = recent > high + kBlowUp * std::abs(high) &&
                         recent > first + kBlowUp * std::abs(first) &&
                         recent > high + 3 * RobustSigma(before);
    if (blew_up) {
      return Divergence{.from = before.back(), .to = recent};
    }
    if (track.start.size() < kStartValues || track.count < 2 * kMostWindow) {
      return std::nullopt;
    }
    const double start = Median(track.start);
    const double noise = kDeviations * RobustSigma(track.values.Newest(window)) /
                         std::sqrt(static_cast<double>(window));
    const bool above_start = recent > start + std::abs(start) + noise && std::abs(start) > kNoLoss;
    if (above_start) {
      return Divergence{.from = start, .to = recent};
    }
    const bool unlearned = start > 0 && track.best_median < start / 2 && recent > 0.9 * start &&
                           recent > 0.9 * start + noise / kDeviations;
    return unlearned ? std::optional(Divergence{.from = track.best_median, .to = recent})
                     : std::nullopt;
  }

  // Only asked every num_steps.
  [[nodiscard]] bool Flat(int64_t step, LossTrack* track) const {
    if (track->count < min_points_ || track->count < kStartValues + kFlatWindow ||
        (track->last_flat_check != std::numeric_limits<int64_t>::min() &&
         step - track->last_flat_check < num_steps_)) {
      return false;
    }
    track->last_flat_check = step;
    const double start = Median(track->start);
    if (std::abs(start) < kNoLoss) {
      return false;
    }
    const double error = RobustSigma(track->start) / std::sqrt(static_cast<double>(kStartValues)) +
                         RobustSigma(track->values.Newest(kFlatWindow)) /
                             std::sqrt(static_cast<double>(kFlatWindow));
    // Too noisy to tell.
    if (3 * error > kLargestError * std::abs(start)) {
      return false;
    }
    const double least = std::max(diff_fraction_ * std::abs(start),
                                  std::min(3 * error, kLeastGain * std::abs(start)));
    return track->best_median > start - least;
  }

 private:
  const int64_t num_steps_;
  const double diff_fraction_;
  const size_t min_points_;
};

class LossNotDecreasing final : public Rule {
 public:
  explicit LossNotDecreasing(const Parameters& parameters)
      : choice_(TensorChoice::Make(parameters.Text("collection_names"),
                                   parameters.Text("tensor_regex"))),
        use_losses_(parameters.Bool("use_losses_collection")),
        mode_text_(parameters.Text("mode")),
        mode_(ModeFromName(mode_text_)),
        compat_(parameters.Bool("compat")),
        num_steps_(parameters.Integer("num_steps")),
        diff_percent_(parameters.Number("diff_percent")),
        increase_percent_(parameters.Number("increase_threshold_percent")),
        judge_(parameters) {}

  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    WT_RETURN_IF_ERROR(choice_.status());
    if (!mode_text_.empty() && !mode_) {
      return InvalidArgumentError(
          "rule loss_not_decreasing: parameter mode: expected train, eval, predict or global: \"" +
          mode_text_ + "\"");
    }
    growth_.Add(batch, context.names());
    for (const LossValue& loss : Losses(batch, context.names())) {
      // The rule nonfinite reports the others.
      if (std::isfinite(loss.value)) {
        compat_ ? JudgeAsSageMaker(loss, context) : Judge(loss, context);
      }
    }
    return {};
  }

 private:
  std::vector<LossValue> Losses(const format::StepBatch& batch, const format::NameTable& names) {
    static const TensorChoice all_losses;
    std::vector<LossValue> losses;
    if (!choice_->empty()) {
      losses = LossesOf(batch, names, *choice_, roles_);
    }
    if (choice_->empty() || use_losses_) {
      for (LossValue& loss : LossesOf(batch, names, all_losses, roles_)) {
        const bool known = std::any_of(losses.begin(), losses.end(),
                                       [&](const LossValue& other) { return other.id == loss.id; });
        if (!known) {
          losses.push_back(std::move(loss));
        }
      }
    }
    std::erase_if(losses, [&](const LossValue& loss) { return !WantedMode(loss); });
    return losses;
  }

  bool WantedMode(const LossValue& loss) {
    const Mode mode = loss.key.mode;
    if (mode_) {
      return mode == *mode_;
    }
    if (!compat_) {
      return mode == Mode::kTrain || mode == Mode::kGlobal;
    }
    // The first of eval, train, global that has a loss; a better one may turn up later.
    const auto preference = [](Mode m) {
      return m == Mode::kEval ? 0 : m == Mode::kTrain ? 1 : m == Mode::kGlobal ? 2 : 3;
    };
    if (!compat_mode_ || preference(mode) < preference(*compat_mode_)) {
      compat_mode_ = mode;
    }
    return mode == *compat_mode_;
  }

  void Judge(const LossValue& loss, RuleContext& context) {
    LossTrack& track = tracks_[loss.id];
    RobustJudge::Add(loss, &track);
    const std::optional<Divergence> divergence = RobustJudge::Diverged(track);
    track.blown = divergence ? track.blown + 1 : 0;
    if (track.blown >= 2) {
      ReportDivergence(loss, *divergence, &track, context);
    } else if (!divergence) {
      track.diverged_since.reset();
      context.Clear("diverged", loss.key);
    }
    const int64_t step = loss.key.step.value;
    if (judge_.Flat(step, &track)) {
      ReportFlat(loss, track, context);
    } else if (track.last_flat_check == step) {
      context.Clear("flat", loss.key);
    }
  }

  void ReportDivergence(const LossValue& loss, const Divergence& divergence, LossTrack* track,
                        RuleContext& context) const {
    if (!track->diverged_since) {
      track->diverged_since = OnsetOf(*track, divergence);
    }
    std::string message =
        fmt::format("{} rises from {} to {} between steps {} and {}", loss.name,
                    NumberForPeople(divergence.from), NumberForPeople(divergence.to),
                    *track->diverged_since, loss.key.step.value);
    Observation observation{.cause_key = "diverged",
                            .tensor = loss.name,
                            .module = {},
                            .key = loss.key,
                            .message = {},
                            .cause = growth_.LearningRateCause(),
                            .try_ = growth_.LearningRateAdvice(),
                            .evidence = {EvidenceOf(*track)},
                            .severity = {},
                            .since = Step{*track->diverged_since}};
    const std::optional<Growth> suspect = growth_.Tensor();
    if (suspect && suspect->factor >= kSuspectGrowth) {
      observation.tensor = suspect->tensor;
      observation.module = ModuleOf(suspect->role);
      observation.evidence.push_back(growth_.EvidenceOf(*suspect));
      message += fmt::format("; {} grew most, its l2 norm from {} at step {} to {} at step {}",
                             suspect->tensor, NumberForPeople(suspect->from), suspect->from_step,
                             NumberForPeople(suspect->to), suspect->to_step);
    }
    observation.message = std::move(message);
    context.Observe(std::move(observation));
  }

  // The first of the recent values that lies more than half of the way up.
  static int64_t OnsetOf(const LossTrack& track, const Divergence& divergence) {
    const std::vector<double> values = track.values.Newest(kMostWindow + 1);
    const std::vector<double> steps = track.steps.Newest(kMostWindow + 1);
    const double middle = divergence.from + (divergence.to - divergence.from) / 2;
    size_t onset = values.size() - 1;
    while (onset > 0 && values[onset - 1] > middle) {
      --onset;
    }
    return static_cast<int64_t>(steps[onset]);
  }

  void ReportFlat(const LossValue& loss, const LossTrack& track, RuleContext& context) const {
    context.Observe(
        {.cause_key = "flat",
         .tensor = loss.name,
         .module = {},
         .key = loss.key,
         .message =
             fmt::format("{} has not decreased: {} over the first {} values from step {}, "
                         "at best {} since, after {} values up to step {}",
                         loss.name, NumberForPeople(Median(track.start)), track.start.size(),
                         track.first_step, NumberForPeople(track.best_median),
                         CountForPeople(static_cast<int64_t>(track.count)), loss.key.step.value),
         .cause = "the model does not learn: learning rate far off, parameters missing from the "
                  "optimizer, a dead layer, or labels that do not fit the inputs",
         .try_ =
             "overfit a single batch: if that fails too, the model or the optimizer is at fault",
         .evidence = {EvidenceOf(track)},
         .severity = Severity::kWarning,
         .since = Step{track.first_step}});
  }

  static Evidence EvidenceOf(const LossTrack& track) {
    Evidence evidence{.label = track.name, .points = {}, .threshold = std::nullopt};
    const std::vector<double> values = track.values.AllBut(0);
    const std::vector<double> steps = track.steps.AllBut(0);
    for (size_t i = 0; i < values.size(); ++i) {
      evidence.points.push_back({.step = static_cast<int64_t>(steps[i]), .value = values[i]});
    }
    return evidence;
  }

  // At most every num_steps: the value against the newest one at least num_steps older.
  void JudgeAsSageMaker(const LossValue& loss, RuleContext& context) {
    auto& points = compat_points_[loss.id];
    const int64_t step = loss.key.step.value;
    points.push_back({.step = step, .value = loss.value});
    const int64_t since = compat_checked_.try_emplace(loss.id, points.front().step).first->second;
    if (step - since < num_steps_) {
      return;
    }
    const auto reference =
        std::find_if(points.rbegin(), points.rend(),
                     [&](const EvidencePoint& point) { return point.step <= step - num_steps_; });
    if (reference == points.rend()) {
      return;
    }
    compat_checked_[loss.id] = step;
    const EvidencePoint before = *reference;
    const double decrease = (before.value - loss.value) / std::abs(before.value) * 100;
    // Nothing older is asked for again.
    points.erase(points.begin(), reference.base() - 1);
    if (decrease >= diff_percent_) {
      context.Clear("", loss.key);
      return;
    }
    const bool increased = -decrease > increase_percent_;
    context.Observe(
        {.cause_key = "",
         .tensor = loss.name,
         .module = {},
         .key = loss.key,
         .message = fmt::format("{} {} between steps {} and {}: {} → {}", loss.name,
                                increased ? "increased" : "did not decrease", before.step, step,
                                NumberForPeople(before.value), NumberForPeople(loss.value)),
         .cause = {},
         .try_ = "check the learning rate",
         .evidence = {},
         .severity = {}});
  }

  const Result<TensorChoice> choice_;
  const bool use_losses_;
  const std::string mode_text_;
  const std::optional<Mode> mode_;
  const bool compat_;
  const int64_t num_steps_;
  const double diff_percent_;
  const double increase_percent_;
  const RobustJudge judge_;
  TensorRoles roles_;
  GrowthTracker growth_;
  std::unordered_map<format::NameId, LossTrack> tracks_;
  std::optional<Mode> compat_mode_;
  std::unordered_map<format::NameId, std::vector<EvidencePoint>> compat_points_;
  std::unordered_map<format::NameId, int64_t> compat_checked_;
};

}  // namespace

const RuleType kLossNotDecreasing = {&kInfo,
                                     [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                                       return std::make_unique<LossNotDecreasing>(parameters);
                                     }};

}  // namespace wheeltapper::rules
