// A loss that does not go down, or goes up.
//
// SageMaker's rule compares single values num_steps apart and so alarms at every plateau and at
// every noisy loss; it is here behind `compat`. Ours looks at medians of windows, and reports
//   diverged  the newest window lies far above everything before, far above the start, or back at
//             the start after most of the loss had been unlearned;
//   flat      no window of the whole run lies below the start.
// A loss that has once decreased is never called flat, so convergence raises no alarm. Where
// several optimizers have a loss each (a GAN), nothing is called flat, and a rise that another's
// fall balances is no divergence.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "growth.h"
#include "incidents.h"
#include "loss_game.h"
#include "loss_judge.h"
#include "loss_values.h"
#include "robust.h"
#include "tensor_names.h"

namespace wheeltapper::rules {
namespace {

constexpr double kSuspectGrowth = 10;
// What one side of a game may lose to another, in times of the largest loss at the start.
constexpr double kGameStakes = 10;
constexpr double kLeastStakes =
    1;  // a critic's loss starts near zero and takes its values from there

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

constexpr std::array<Explanation, 6> kExplainedBy = {{
    {"flat", "optimizer_no_op", kAnyCause, Reach::kWholeModel},
    {"flat", "dead_relu", kAnyCause, Reach::kWholeModel},
    {"flat", "vanishing_gradient", kAnyCause, Reach::kWholeModel},
    {"diverged", "nonfinite", kAnyCause},
    {"diverged", "exploding_tensor", "growth"},
    {"diverged", "weight_update_ratio", "large"},
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
        "three standard errors are more than 5 percent of it, nor where several optimizers "
        "minimise "
        "a loss each, as in a GAN, unless you name the losses that are meant to fall; there, a "
        "rise to less than ten times the largest of the losses at the start, or to less than 10 "
        "where none of them starts above 1, is no divergence while another loss falls. A "
        "divergence "
        "is an error and resolves "
        "when the loss has come back near its former level for 15 values; a flat loss is only a "
        "warning, because it may just need more time, and resolves when the loss stays below the "
        "start by 2 percent and three standard errors.",
    .false_alarms =
        "Losses that are not meant to fall: policy losses, the sides of a game that share one "
        "optimizer, a loss whose "
        "weight is raised on a schedule. A run that starts from a converged checkpoint is flat "
        "from its first step. Name the losses that matter with `tensor_regex`, or ignore the rule.",
    .how_to_fix =
        "Diverged: lower the learning rate, add warm-up or gradient clipping. Flat: check that "
        "the optimizer holds the parameters (optimizer_no_op), that labels match inputs, that the "
        "learning rate is neither far too high nor far too low, that no layer is dead (dead_relu).",
    .explained_by = kExplainedBy,
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
    game_.Add(batch);
    for (const LossValue& loss : Losses(batch, context.names())) {
      if (std::isfinite(loss.value)) {
        compat_ ? JudgeAsSageMaker(loss, context) : Judge(loss, context);
      } else if (const auto found = tracks_.find(loss.id); found != tracks_.end()) {
        found->second.since_diverged.Clear();  // no recovery; the rule nonfinite reports it
      }
    }
    return {};
  }

  // What came since the last check of a loss is judged too.
  Status OnIdle(TimeNs /*now_ns*/, bool ended, RuleContext& context) override {
    std::map<format::NameId, LossTrack*> unchecked;
    for (auto& [id, track] : tracks_) {
      if (ended && judge_.ChecksFlat(track, true)) {
        unchecked.emplace(id, &track);
      }
    }
    for (auto& [id, track] : unchecked) {
      JudgeFlat(track, context);
    }
    return {};
  }

  [[nodiscard]] std::string NothingJudged() const override {
    return tracks_.empty() && compat_points_.empty()
               ? "no loss was seen; log it: wheeltapper.log({\"loss\": value})"
               : "";
  }

  [[nodiscard]] std::string LeftOut() const override {
    return LeavesOutFlat() && !compat_
               ? "several optimizers minimise a loss each, as in a GAN, so that no loss is called "
                 "flat; name the losses that are meant to fall: "
                 "rules.loss_not_decreasing.tensor_regex"
               : "";
  }

 private:
  std::vector<LossValue> Losses(const format::StepBatch& batch, const format::NameTable& names) {
    static const TensorChoice kAllLosses;
    std::vector<LossValue> losses;
    if (!choice_->empty()) {
      losses = LossesOf(batch, names, *choice_, roles_);
    }
    if (choice_->empty() || use_losses_) {
      for (LossValue& loss : LossesOf(batch, names, kAllLosses, roles_)) {
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
    if (!compat_) {  // a validation loss that rises is overfit's, also where only its name says it
                     // is one
      return (mode == Mode::kTrain || mode == Mode::kGlobal) && !NamesValidation(loss.name);
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
    LossJudge::Add(loss, &track);
    game_.Note(loss);
    JudgeDivergence(loss, &track, context);
    if (judge_.ChecksFlat(track, false)) {
      JudgeFlat(&track, context);
    }
  }

  void JudgeFlat(LossTrack* judged, RuleContext& context) {
    LossTrack& track = *judged;
    track.last_flat_check = track.latest.step.value;
    // One that was called flat before the game began is no more so, nor one that diverges.
    track.is_flat = !LeavesOutFlat() && !track.diverged_since && judge_.Flat(track);
    if (track.is_flat) {
      track.was_flat = true;
      track.decreases = 0;
      ReportFlat(track, context);
      return;
    }
    track.was_flat = track.was_flat && ++track.decreases < kClearsToResolve;
    if (LeavesOutFlat() || Nowhere(&LossTrack::is_flat)) {
      context.Clear("flat", track.latest);
    }
  }

  // In a game no loss is called flat, unless the user names the ones that are meant to fall.
  [[nodiscard]] bool LeavesOutFlat() const { return game_.on() && choice_->empty(); }

  // Opens when two values in a row meet the criteria. These compare with a past that soon holds the
  // diverged values themselves, so what keeps it open is the level of before.
  void JudgeDivergence(const LossValue& loss, LossTrack* track, RuleContext& context) const {
    if (!track->diverged_since) {
      std::optional<Divergence> divergence = LossJudge::Diverged(*track);
      if (divergence && Balanced(*track, *divergence)) {
        divergence.reset();
      }
      track->blown = divergence ? track->blown + 1 : 0;
      if (track->blown >= 2) {
        track->diverged_since = LossJudge::OnsetOf(*track, *divergence);
        track->recovered_below = divergence->recovered_below;
        track->diverged_from = divergence->from;
        track->since_diverged.Clear();
        ReportDivergence(loss, divergence->to, *track, context);
      } else if (!divergence && Nowhere(&LossTrack::diverged_since)) {
        context.Clear("diverged", loss.key);
      }
      return;
    }
    track->since_diverged.Add(loss.value);
    const double recent = Median(track->since_diverged.Newest(LossTrack::kRecoveryWindow));
    if (track->since_diverged.size() == LossTrack::kRecoveryWindow &&
        recent < track->recovered_below) {
      track->diverged_since.reset();
      track->blown = 0;
    } else if (loss.value >= track->recovered_below) {
      ReportDivergence(loss, recent, *track, context);
    }
  }

  // Whether the rise is what one side of a game loses to another.
  [[nodiscard]] bool Balanced(const LossTrack& track, const Divergence& divergence) const {
    if (!game_.on()) {
      return false;
    }
    double stakes = kLeastStakes;
    bool another_fell = false;
    for (const auto& [id, other] : tracks_) {
      stakes = std::max(stakes, std::abs(Median(other.start)));
      another_fell = another_fell || (&other != &track && LossJudge::Fell(other));
    }
    return another_fell && divergence.to < kGameStakes * stakes;
  }

  // One loss that is well must not resolve what another one shows.
  template <typename Flag>
  [[nodiscard]] bool Nowhere(Flag flag) const {
    return std::none_of(tracks_.begin(), tracks_.end(),
                        [&](const auto& track) { return static_cast<bool>(track.second.*flag); });
  }

  void ReportDivergence(const LossValue& loss, double to, const LossTrack& track,
                        RuleContext& context) const {
    const int64_t since = *track.diverged_since;
    const int64_t step = loss.key.step.value;
    std::string message =
        fmt::format("{} rises from {} to {} {}", loss.name, NumberForPeople(track.diverged_from),
                    NumberForPeople(to),
                    since == step ? fmt::format("at step {}", step)
                                  : fmt::format("between steps {} and {}", since, step));
    Observation observation{.cause_key = "diverged",
                            .tensor = loss.name,
                            .module = {},
                            .key = loss.key,
                            .message = {},
                            .cause = growth_.LearningRateCause(),
                            .try_ = growth_.LearningRateAdvice(),
                            .evidence = {EvidenceOf(track)},
                            .severity = {},
                            .since = Step{since}};
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

  static void ReportFlat(const LossTrack& track, RuleContext& context) {
    context.Observe(
        {.cause_key = "flat",
         .tensor = track.name,
         .module = {},
         .key = track.latest,
         .message =
             fmt::format("{} has not decreased: {}, after {} values up to step {}", track.name,
                         StartAndBestOf(track), CountForPeople(static_cast<int64_t>(track.count)),
                         track.latest.step.value),
         .cause = track.jumped
                      ? "the first steps threw the model off: the learning rate is far too high"
                      : "the model does not learn: learning rate far off, parameters missing from "
                        "the optimizer, a dead layer, or labels that do not fit the inputs",
         .try_ =
             "overfit a single batch: if that fails too, the model or the optimizer is at fault",
         .evidence = {EvidenceOf(track)},
         .severity = Severity::kWarning,
         .since = Step{track.first_step}});
  }

  static std::string StartAndBestOf(const LossTrack& track) {
    const double level = track.jumped ? track.start.front() : Median(track.start);
    const auto& [start, best] = NumbersForPeople(level, track.best_median);
    return (track.jumped ? fmt::format("{} at step {}, then up to {}", start, track.first_step,
                                       NumberForPeople(track.peak))
                         : fmt::format("{} over the first {} values from step {}", start,
                                       track.start.size(), track.first_step)) +
           (level == track.best_median ? ", and never lower since"
                                       : fmt::format(", at best {} since", best));
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
    const auto& [from, to] = NumbersForPeople(before.value, loss.value);
    context.Observe({.cause_key = "",
                     .tensor = loss.name,
                     .module = {},
                     .key = loss.key,
                     .message = fmt::format("{} {} between steps {} and {}: {} → {}", loss.name,
                                            increased ? "increased" : "did not decrease",
                                            before.step, step, from, to),
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
  const LossJudge judge_;
  TensorRoles roles_;
  GrowthTracker growth_;
  LossGame game_;
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
