#include "loss_cause.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "robust.h"

namespace wheeltapper::rules {
namespace {

// Weights that have lost so much of their norm hold nothing that was learned.
constexpr double kShrunken = 0.1;
// Weights that grew by this much as a loss began to rise were driven away. One of them may as it
// learns: an output layer begins small.
constexpr double kDriven = 1.5;
// Weights whose norms have changed by less than this part in a hundred steps learn nothing.
constexpr double kStill = 1e-3;

}  // namespace

Cause CauseOfDivergence(format::NameId id, int64_t onset, bool negated, const GrowthTracker& growth,
                        const ModelDescription& model) {
  if (negated) {
    return CauseOfMaximising("this loss");
  }
  if (std::optional<Cause> unbounded = UnboundedInput(model)) {
    return *std::move(unbounded);
  }
  if (std::optional<Cause> adds_up = GradientsAddUp(model)) {
    return *std::move(adds_up);
  }
  // Then nothing but the rise itself speaks against the learning rate.
  const bool is_doubtful = !IsDriven(onset, growth) && !growth.LearningRateRises();
  return {
      .cause = growth.LearningRateCauseAt(onset) +
               (is_doubtful ? ", or what the loss is computed from has changed: the data, the "
                              "targets, a reward"
                            : ""),
      .try_ = growth.LearningRateAdviceAt(onset, id) +
              (is_doubtful ? ", unless the loss may rise, as in reinforcement learning: look at "
                             "the metric that counts"
                           : "")};
}

bool IsDriven(int64_t onset, const GrowthTracker& growth) {
  return !growth.SeesWeights() || growth.WeightGrowthAt(onset).value_or(0) >= kDriven;
}

namespace {

// Where nothing that was measured says why.
Cause CauseOfNoLearning(const LossTrack& track, const ModelDescription& model) {
  const std::vector<LossInput>& inputs = model.loss_inputs();
  const auto spoiled = std::find_if(inputs.begin(), inputs.end(), [](const LossInput& input) {
    return !LearnsWith(input.misfit);
  });
  if (spoiled != inputs.end()) {
    return CauseOfInput(*spoiled);
  }
  const std::string stays =
      track.plateau > 0 && track.at_guess
          ? fmt::format(
                "the model hardly tells one class from another (guessing one of {} gives "
                "{}): ",
                track.classes, NumberForPeople(LossJudge::Guess(track).value_or(0)))
          : "the model does not learn: ";
  const std::string hindered = inputs.empty() ? "" : MessageOf(inputs.front()) + ", ";
  return {
      .cause = stays + hindered +
               "learning rate far off, parameters missing from the optimizer, a dead layer, too "
               "much dropout, or labels that do not fit the inputs",
      .try_ = inputs.empty()
                  ? "overfit a single batch: if that fails too, the model or the optimizer is at "
                    "fault"
                  : AdviceOn(inputs.front())};
}

}  // namespace

Cause CauseOfFlatness(const LossTrack& track, const GrowthTracker& growth,
                      const ModelDescription& model) {
  if (std::optional<Cause> adds_up = GradientsAddUp(model)) {
    return *std::move(adds_up);
  }
  // A rate of next to nothing holds the loss where it is; that it was there before has another
  // cause.
  const std::optional<GrowthTracker::Fallen> fallen = growth.LearningRateFell();
  const int64_t steps = track.latest.step.value - track.first_step;
  if (fallen && fallen->since_step - track.first_step <= steps / 4) {
    return {.cause = fmt::format(
                "the learning rate fell from {} to {}, and moves nothing since step "
                "{}",
                NumberForPeople(fallen->from), NumberForPeople(fallen->to), fallen->since_step),
            .try_ =
                "check the schedule: how often it is stepped (per batch or per epoch), and how "
                "many steps it is made for"};
  }
  const std::optional<double> change = growth.LargestChangeOfNorm();
  const std::optional<double> rate = growth.learning_rate();
  if (change && *change < kStill && rate && *rate > 0) {
    return {.cause = fmt::format("the weights hardly move: no norm has changed by more than {} % "
                                 "since the start; the learning rate ({}) is too low",
                                 NumberForPeople(100 * *change), NumberForPeople(*rate)),
            .try_ = "raise the learning rate, tenfold at a time, until the weights move"};
  }
  const std::optional<Growth> shrunk = growth.MostShrunkenWeight();
  if (model.weight_decay() > 0 && shrunk && shrunk->to < kShrunken * shrunk->from) {
    return {.cause = fmt::format("weight decay ({}) takes away what the model learns: the l2 norm "
                                 "of {} fell from {} at step {} to {} at step {}",
                                 NumberForPeople(model.weight_decay()), shrunk->tensor,
                                 NumberForPeople(shrunk->from), shrunk->from_step,
                                 NumberForPeople(shrunk->to), shrunk->to_step),
            .try_ = fmt::format("lower the weight decay, to {} for a start",
                                NumberForPeople(model.weight_decay() / 100))};
  }
  if (track.jumped || (track.plateau > 0 && track.after_jump)) {
    return {.cause = "the first steps threw the model off: the learning rate" +
                     (rate ? fmt::format(" ({})", NumberForPeople(*rate)) : "") +
                     " is far too high",
            .try_ = growth.LearningRateAdvice()};
  }
  return CauseOfNoLearning(track, model);
}

std::string StartAndBest(const LossTrack& track) {
  if (track.halves > 0) {
    const std::span<const double> early = std::span(track.early).first(track.halves);
    const auto& [first, last] =
        NumbersForPeople(Median(early), Median(track.values.Newest(track.halves)));
    return fmt::format("{} over its first {} values, {} over its last", first, track.halves, last);
  }
  if (track.plateau > 0) {
    const auto& [start, level] =
        NumbersForPeople(track.after_jump ? track.early.front() : Median(track.start),
                         Median(track.values.Newest(track.plateau)));
    const std::string from = track.after_jump
                                 ? fmt::format("at step {}, then up to {}", track.first_step,
                                               NumberForPeople(track.peak))
                                 : fmt::format("over the first {} values from step {}",
                                               track.start.size(), track.first_step);
    return fmt::format("{} {}, {} over its last {} values", start, from, level, track.plateau);
  }
  const double level = track.jumped ? track.start.front() : Median(track.start);
  const auto& [start, best] = NumbersForPeople(level, track.best_median);
  return (track.jumped ? fmt::format("{} at step {}, then up to {}", start, track.first_step,
                                     NumberForPeople(track.peak))
                       : fmt::format("{} over the first {} values from step {}", start,
                                     track.start.size(), track.first_step)) +
         (level == track.best_median ? ", and never lower since"
                                     : fmt::format(", at best {} since", best));
}

Evidence LossEvidence(const LossTrack& track) {
  Evidence evidence{.label = track.name, .points = {}, .threshold = std::nullopt};
  const std::vector<double> values = track.values.AllBut(0);
  const std::vector<double> steps = track.steps.AllBut(0);
  for (size_t i = 0; i < values.size(); ++i) {
    evidence.points.push_back({.step = static_cast<int64_t>(steps[i]), .value = values[i]});
  }
  return evidence;
}

}  // namespace wheeltapper::rules
