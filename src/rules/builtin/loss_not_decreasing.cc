// A loss that does not go down, or goes up.
//
// SageMaker's rule compares single values num_steps apart and so alarms at every plateau and at
// every noisy loss; it is here behind `compat`. Ours looks at medians of windows, and reports
//   diverged  the newest window lies far above everything before, far above the start, or back at
//             the start after most of the loss had been unlearned;
//   flat      no window of the whole run lies below the start, or the newest half is at one level
//             next to it, near the first value after a jump at the start, or at what guessing
//             gives.
// A loss that has clearly decreased and stays below is never called flat, so convergence raises no
// alarm. Each training of a process is judged by itself, and has findings of its own. Where several
// optimizers have a loss each (a GAN), nothing is called flat, and a rise that another's fall
// balances is no divergence. A mere term of what is minimised is judged only while that is not
// well.
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
#include "builtin/loss_not_decreasing_info.h"
#include "fresh_models.h"
#include "growth.h"
#include "incidents.h"
#include "loss_cause.h"
#include "loss_compat.h"
#include "loss_game.h"
#include "loss_judge.h"
#include "loss_terms.h"
#include "loss_values.h"
#include "robust.h"
#include "tensor_names.h"
#include "trainings.h"

namespace wheeltapper::rules {
namespace {

constexpr double kSuspectGrowth = 10;
// A loss this many times above where it came from and where it began is bounded by nothing.
constexpr double kBoundless = 1000;
// What one side of a game may lose to another, in times of the largest loss at the start.
constexpr double kGameStakes = 10;
// Steps by which the onset of a rise may miss the first step of the optimizer that it belongs to.
constexpr int64_t kOfNewOptimizer = 3;
constexpr double kLeastStakes =
    1;  // a critic's loss starts near zero and takes its values from there

class LossNotDecreasing final : public Rule {
 public:
  explicit LossNotDecreasing(const Parameters& parameters)
      : choice_(TensorChoice::Make(parameters.Text("collection_names"),
                                   parameters.Text("tensor_regex"))),
        use_losses_(parameters.Bool("use_losses_collection")),
        mode_text_(parameters.Text("mode")),
        mode_(ModeFromName(mode_text_)),
        compat_(parameters.Bool("compat")),
        judge_(parameters),
        compat_judge_(parameters) {}

  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    WT_RETURN_IF_ERROR(choice_.status());
    if (!mode_text_.empty() && !mode_) {
      return InvalidArgumentError(
          "rule loss_not_decreasing: parameter mode: expected train, eval, predict or global: \"" +
          mode_text_ + "\"");
    }
    growth_.Add(batch, context.names());
    game_.Add(batch, context.names());
    if (fresh_.Add(game_.model())) {
      JudgeEnd(context);
      tracks_.clear();
      game_.BeginAnew();
      trainings_.BeginAnew();
    }
    std::vector<LossValue> losses = Losses(batch, context.names());
    for (const LossValue& loss : losses) {
      if (const auto found = tracks_.find(loss.id);
          found != tracks_.end() && !std::isfinite(loss.value)) {
        found->second.since_diverged.Clear();  // no recovery; the rule nonfinite reports it
      }
    }
    std::erase_if(losses, [](const LossValue& loss) { return !std::isfinite(loss.value); });
    if (compat_) {
      for (const LossValue& loss : losses) {
        compat_judge_.Judge(loss, context);
      }
    } else {
      Judge(losses, context);
    }
    return {};
  }

  Status OnIdle(TimeNs /*now_ns*/, bool ended, RuleContext& context) override {
    if (ended) {
      JudgeEnd(context);
    }
    return {};
  }

  [[nodiscard]] std::string NothingJudged() const override {
    return tracks_.empty() && compat_judge_.empty()
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
  // Of a training: what came since the last check of a loss is judged too.
  void JudgeEnd(RuleContext& context) {
    std::map<format::NameId, LossTrack*> unchecked;
    for (auto& [id, track] : tracks_) {
      if (judge_.ChecksFlat(track, true)) {
        unchecked.emplace(id, &track);
      }
    }
    for (const bool terms : {false, true}) {
      for (auto& [id, track] : unchecked) {
        if (terms_.IsTerm(id) == terms) {
          JudgeFlat(id, track, true);
        }
      }
    }
    for (auto& [id, track] : unchecked) {
      track->checked = false;
      ReportFlat(*track, context);
    }
  }

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

  // All losses of a batch are judged before any is reported: what is said of a term depends on what
  // is minimised.
  void Judge(const std::vector<LossValue>& losses, RuleContext& context) {
    for (const LossValue& loss : losses) {
      Note(loss, context);
    }
    terms_.Compare(losses);
    for (const bool terms : {false, true}) {
      for (const LossValue& loss : losses) {
        if (terms_.IsTerm(loss.id) == terms) {
          JudgeDivergence(loss, &tracks_[loss.id]);
        }
      }
      for (const LossValue& loss : losses) {
        LossTrack& track = tracks_[loss.id];
        if (terms_.IsTerm(loss.id) == terms && judge_.ChecksFlat(track, false)) {
          JudgeFlat(loss.id, &track, false);
        }
      }
    }
    for (const LossValue& loss : losses) {
      Report(loss, &tracks_[loss.id], context);
    }
  }

  void Note(const LossValue& loss, RuleContext& context) {
    LossTrack& track = tracks_[loss.id];
    LossJudge::Add(loss, &track);
    track.classes = IsCrossEntropy(loss) ? game_.model().classes() : 0;
    game_.Note(loss);
    trainings_.Note(loss);
    terms_.Note(loss, Chosen(loss, context));
  }

  // Where the one that is minimised is known to be a cross entropy.
  static bool IsCrossEntropy(const LossValue& loss) {
    return loss.name.starts_with("loss/backward") || loss.name.starts_with("loss/CrossEntropyLoss");
  }

  [[nodiscard]] bool Chosen(const LossValue& loss, RuleContext& context) const {
    return !choice_->empty() && choice_->Has(context.names().info(loss.id));
  }

  // A term is judged only where nothing that is minimised is well.
  [[nodiscard]] bool IsMootTerm(format::NameId id) const {
    return terms_.IsTerm(id) && std::any_of(tracks_.begin(), tracks_.end(), [&](const auto& entry) {
             return !terms_.IsTerm(entry.first) && !terms_.IsNegated(entry.first) &&
                    !entry.second.diverged_since && !entry.second.is_flat;
           });
  }

  void JudgeFlat(format::NameId id, LossTrack* judged, bool ended) {
    LossTrack& track = *judged;
    track.last_flat_check = track.latest.step.value;
    track.checked = true;
    // One that was called flat before the game began is no more so, nor one that diverges.
    const std::optional<double> risen_to = LossJudge::Risen(track);
    const bool is_balanced = risen_to && Balanced(id, track, *risen_to);
    // In a warm-up the loss has not had its chance.
    const bool may_open = track.was_flat || !growth_.LearningRateRises();
    track.is_flat = may_open && !LeavesOutFlat() && !IsMootTerm(id) && !is_balanced &&
                    !track.diverged_since && judge_.Flat(&track, ended);
    if (track.is_flat) {
      track.was_flat = true;
      track.decreases = 0;
    } else {
      track.was_flat = track.was_flat && ++track.decreases < kClearsToResolve;
    }
  }

  // In a game no loss is called flat, unless the user names the ones that are meant to fall.
  [[nodiscard]] bool LeavesOutFlat() const { return game_.on() && choice_->empty(); }

  // Opens when two values in a row meet the criteria. These compare with a past that soon holds the
  // diverged values themselves, so what keeps it open is the level of before.
  void JudgeDivergence(const LossValue& loss, LossTrack* track) {
    track->shows_divergence = false;
    const bool is_moot = IsMootTerm(loss.id);
    if (!track->diverged_since || is_moot) {
      track->diverged_since.reset();
      const std::optional<Divergence> divergence = DivergenceOf(loss.id, *track);
      if (divergence && WasReset(*track, *divergence)) {
        *track = {};
        LossJudge::Add(loss, track);
        return;
      }
      track->blown = divergence ? track->blown + 1 : 0;
      if (track->blown >= 2 && !is_moot) {
        track->diverged_since = LossJudge::OnsetOf(*track, *divergence);
        track->recovered_below = divergence->recovered_below;
        track->diverged_from = divergence->from;
        track->diverged_to = divergence->to;
        track->since_diverged.Clear();
        track->shows_divergence = true;
        track->cause.clear();
      }
      return;
    }
    track->since_diverged.Add(loss.value);
    track->diverged_to = Median(track->since_diverged.Newest(LossTrack::kRecoveryWindow));
    if (track->since_diverged.size() == LossTrack::kRecoveryWindow &&
        track->diverged_to < track->recovered_below) {
      track->diverged_since.reset();
      track->blown = 0;
    } else {
      track->shows_divergence = loss.value >= track->recovered_below;
    }
  }

  void Report(const LossValue& loss, LossTrack* track, RuleContext& context) {
    if (track->shows_divergence) {
      ReportDivergence(loss, track, context);
    } else if ((track->blown == 0 || IsMootTerm(loss.id)) && Nowhere(&LossTrack::diverged_since)) {
      Clear("diverged", loss.key, context);
    }
    if (track->checked) {
      track->checked = false;
      ReportFlat(*track, context);
    }
  }

  [[nodiscard]] std::optional<Divergence> DivergenceOf(format::NameId id,
                                                       const LossTrack& track) const {
    std::optional<Divergence> divergence = LossJudge::Diverged(track);
    // One side of a game loses what it had gained whenever the other side learns.
    const bool is_of_game = divergence && divergence->is_unlearned && LeavesOutFlat();
    if (is_of_game || (divergence && Balanced(id, track, divergence->to))) {
      divergence.reset();
    }
    return divergence;
  }

  // Whether the loss is back at its start because the model is: its parameters were drawn anew, as
  // for the next fold, and a new optimizer makes its first steps there.
  [[nodiscard]] bool WasReset(const LossTrack& track, const Divergence& divergence) const {
    const std::optional<int64_t> newest = game_.model().newest_optimizer_at();
    return divergence.is_unlearned && newest && *newest > track.first_step &&
           std::abs(LossJudge::OnsetOf(track, divergence) - *newest) <= kOfNewOptimizer;
  }

  // Whether the rise is what one side of a game loses to another, or one term of a loss that is not
  // known to others.
  [[nodiscard]] bool Balanced(format::NameId id, const LossTrack& track, double to) const {
    const bool may_be_terms = terms_.SeveralAreLogged() && !terms_.IsTerm(id);
    if (!game_.on() && !may_be_terms) {
      return false;
    }
    if (game_.on() && std::abs(to) < kLeastStakes) {
      return true;  // the values of a critic are of no scale of their own
    }
    double stakes = kLeastStakes;
    bool another_is_well = false;
    for (const auto& [other_id, other] : tracks_) {
      stakes = std::max(stakes, std::abs(Median(other.start)));
      const bool too_early = may_be_terms && !LossJudge::CanFall(other) && other.blown == 0;
      another_is_well = another_is_well || (&other != &track && !terms_.IsTerm(other_id) &&
                                            (too_early || LossJudge::Fell(other)));
    }
    return another_is_well && to < kGameStakes * stakes;
  }

  // A training that has ended stays as it was: only what the present one has shown may resolve.
  void Clear(const char* cause, const format::StepKey& key, RuleContext& context) const {
    for (const std::string& cause_key : trainings_.PresentKeysOf(cause)) {
      context.Clear(cause_key, key);
    }
  }

  // One loss that is well must not resolve what another one shows.
  template <typename Flag>
  [[nodiscard]] bool Nowhere(Flag flag) const {
    return std::none_of(tracks_.begin(), tracks_.end(),
                        [&](const auto& track) { return static_cast<bool>(track.second.*flag); });
  }

  void ReportDivergence(const LossValue& loss, LossTrack* diverged, RuleContext& context) const {
    LossTrack& track = *diverged;
    const int64_t since = *track.diverged_since;
    const int64_t step = loss.key.step.value;
    // What drove it shows with the next capture of the weights.
    if (track.cause.empty() || !std::exchange(track.is_failure, IsFailure(track))) {
      Cause why =
          CauseOfDivergence(loss.id, since, terms_.IsNegated(loss.id), growth_, game_.model());
      track.cause = std::move(why.cause);
      track.try_ = std::move(why.try_);
    }
    std::string message =
        fmt::format("{} rises from {} to {} {}", loss.name, NumberForPeople(track.diverged_from),
                    NumberForPeople(track.diverged_to),
                    since == step ? fmt::format("at step {}", step)
                                  : fmt::format("between steps {} and {}", since, step));
    Observation observation{.cause_key = trainings_.KeyOf("diverged"),
                            .tensor = loss.name,
                            .module = {},
                            .key = loss.key,
                            .message = {},
                            .cause = track.cause,
                            .try_ = track.try_,
                            .evidence = {LossEvidence(track)},
                            .severity = IsFailure(track) ? Severity::kError : Severity::kWarning,
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

  static const char* Standing(const LossTrack& track) {
    if (track.plateau == 0) {
      return "has not decreased";
    }
    return track.after_jump ? "does not decrease"
           : track.at_guess ? "stays at what guessing gives"
                            : "has hardly decreased";
  }

  // A loss may rise because its targets did: the return that an agent has learned to earn. Failed
  // is a training whose weights are driven away with it, or whose loss has no bounds.
  [[nodiscard]] bool IsFailure(const LossTrack& track) const {
    const double scale = std::max(std::abs(track.diverged_from), std::abs(track.start.front()));
    return track.diverged_to > kBoundless * scale || IsDriven(*track.diverged_since, growth_) ||
           growth_.LearningRateRises() || game_.model().kept_gradient();
  }

  void ReportFlat(const LossTrack& track, RuleContext& context) const {
    if (!track.is_flat) {
      if (LeavesOutFlat() || Nowhere(&LossTrack::is_flat)) {
        Clear("flat", track.latest, context);
      }
      return;
    }
    const Cause why = CauseOfFlatness(track, growth_, game_.model());
    context.Observe({.cause_key = trainings_.KeyOf("flat"),
                     .tensor = track.name,
                     .module = {},
                     .key = track.latest,
                     .message = fmt::format("{} {}: {}, after {} values up to step {}", track.name,
                                            Standing(track), StartAndBest(track),
                                            CountForPeople(static_cast<int64_t>(track.count)),
                                            track.latest.step.value),
                     .cause = why.cause,
                     .try_ = why.try_,
                     .evidence = {LossEvidence(track)},
                     .severity = Severity::kWarning,
                     .since = Step{track.first_step},
                     .lasts = true});
  }

  const Result<TensorChoice> choice_;
  const bool use_losses_;
  const std::string mode_text_;
  const std::optional<Mode> mode_;
  const bool compat_;
  const LossJudge judge_;
  SageMakerLossJudge compat_judge_;
  TensorRoles roles_;
  GrowthTracker growth_;
  LossGame game_;
  LossTerms terms_;
  FreshModels fresh_;
  Trainings trainings_;
  std::unordered_map<format::NameId, LossTrack> tracks_;
  std::optional<Mode> compat_mode_;
};

}  // namespace

const RuleType kLossNotDecreasing = {&kLossNotDecreasingInfo,
                                     [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                                       return std::make_unique<LossNotDecreasing>(parameters);
                                     }};

}  // namespace wheeltapper::rules
