#include "loss_judge.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace wheeltapper::rules {
namespace {

constexpr size_t kStartValues = 10;
constexpr size_t kFlatWindow = 15;
constexpr size_t kLeastWindow = 3;
constexpr size_t kMostWindow = 25;
// Above everything before by this many times its own magnitude.
constexpr double kBlowUp = 2;
// A blow-up to this many times that is told at once; once windows are long, a smaller one must
// last.
constexpr double kFar = 4;
constexpr double kDeviations = 10;
// Values below this have nothing left to lose.
constexpr double kNoLoss = 1e-6;
// A loss whose medians are uncertain by more than this part of the start is never called flat, and
// a gain of this part is a decrease however noisy the loss is.
constexpr double kLargestError = 0.05;
constexpr double kLeastGain = 0.02;
// Hardly a value below the first: of all values, this part.
constexpr double kRarelyBelow = 0.05;
// A start this much above the first value, and by so many sigmas of the newest values, was a jump,
// where hardly a value lies below the first.
constexpr double kNotableJump = 0.25;
constexpr double kJumpSigmas = 4;
constexpr size_t kSigmaWindow = 64;
// A jump at the start is looked for among so many values, of which some in a row lie above the
// first by this much; it has come back when it is above this part of the first.
constexpr size_t kJumpValues = 20;
constexpr double kLastingJump = 0.5;
constexpr double kBackAtFirst = 0.8;
// Halves of a noisy run are compared when three standard errors of that are below this part.
constexpr double kLargestErrorOfHalves = 0.1;
// What a loss reached more rarely than in the rest of this part of its steps is not usual for it.
constexpr double kUsual = 0.95;
// A loss that was down to this part of its start, and is above the start again, has lost it all.
constexpr double kGained = 0.75;
// Values fall when their second half is below this part of the first.
constexpr double kStillFalling = 0.8;
// The newest values are at a level when they are not scattered by more than this part of it.
constexpr double kScattered = 0.5;
// A diverged loss has recovered when it lies above its former level by no more than this share of
// that level.
constexpr double kRecoveredShare = 0.25;
// One that was back at the start has recovered below this part of the start.
constexpr double kRelearnedShare = 0.6;

// Standard error of a decrease from the start to the newest values.
double ErrorOf(const LossTrack& track) {
  return RobustSigma(track.start) / std::sqrt(static_cast<double>(kStartValues)) +
         RobustSigma(track.values.Newest(kFlatWindow)) /
             std::sqrt(static_cast<double>(kFlatWindow));
}

// The values since most was learned, but the newest `window`.
std::vector<double> SinceLearned(const LossTrack& track, size_t window) {
  std::vector<double> values = track.values.AllBut(window);
  const std::vector<double> steps = track.steps.AllBut(window);
  const auto after = std::upper_bound(steps.begin(), steps.end(),
                                      static_cast<double>(track.learned_step.value_or(0)));
  values.erase(values.begin(), values.begin() + (after - steps.begin()));
  return values;
}

// Whether both halves are above the level, and the second is not clearly below the first.
bool StaysAbove(double level, std::span<const double> values) {
  const size_t half = values.size() / 2;
  const double first = Median(values.first(half));
  const double second = Median(values.last(half));
  return first > level && second > level && second > kStillFalling * first;
}

// Whether what was learned is lost: the loss is near the start after having been below half of it,
// higher than has been usual since then, and stays there (the loss of Q-learning returns there
// and falls again whenever its targets move); or at a level above the start after having been
// clearly below it.
bool Unlearned(const LossTrack& track, size_t window, double start, double recent) {
  const std::vector<double> newest = track.values.Newest(window);
  if (!StaysAbove(std::max(kGained * start, recent / 2), newest)) {
    return false;
  }
  const double sigma = RobustSigma(newest);
  const double noise = sigma / std::sqrt(static_cast<double>(window));
  if (track.best_median < start / 2 && recent > 0.9 * start + noise) {
    const std::vector<double> since_learned = SinceLearned(track, window);
    if (since_learned.size() < kStartValues || recent > Quantile(since_learned, kUsual)) {
      return true;
    }
  }
  const double error =
      noise + RobustSigma(track.start) / std::sqrt(static_cast<double>(kStartValues));
  return track.best_median < kGained * start && start - track.best_median > 6 * error &&
         recent > start + 3 * noise && sigma < kScattered * recent;
}

// A loss that jumps to a multiple of its first value at once started there: measured from the top
// of the jump, coming back would look like learning.
void AddStart(double value, LossTrack* track) {
  if (track->start.size() == kStartValues) {
    return;
  }
  track->start.push_back(value);
  const double first = track->start.front();
  // Of one that begins below zero, as that of a policy, no multiple says anything.
  if (track->start.size() == kStartValues && first > 0 &&
      Median(track->start) > first + kBlowUp * std::abs(first)) {
    track->jumped = true;
    track->start.assign(kStartValues, first);
  }
}

}  // namespace

LossJudge::LossJudge(const Parameters& parameters)
    : num_steps_(parameters.Integer("num_steps")),
      diff_fraction_(parameters.Number("diff_percent") / 100),
      min_points_(static_cast<size_t>(std::max<int64_t>(1, parameters.Integer("min_points")))) {}

void LossJudge::Add(const LossValue& loss, LossTrack* track) {
  track->name = loss.name;
  if (track->count == 0) {
    track->first_step = loss.key.step.value;
  }
  ++track->count;
  track->latest = loss.key;
  track->peak = std::max(track->peak, loss.value);
  AddStart(loss.value, track);
  if (track->early.size() < LossTrack::kEarly) {
    track->early.push_back(loss.value);
  }
  track->below_first += loss.value < track->early.front() ? 1U : 0U;
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
  if (!track->learned_step && track->best_median < Median(track->start) / 2) {
    track->learned_step = track->best_step;
  }
}

std::optional<Divergence> LossJudge::Diverged(const LossTrack& track) {
  const size_t window = std::clamp(track.count / 4, kLeastWindow, kMostWindow);
  const std::vector<double> before = track.values.AllBut(window);
  if (before.empty()) {
    return std::nullopt;
  }
  const double recent = Median(track.values.Newest(window));
  const double first = track.start.front();
  const double high = Quantile(before, 0.9);
  const double level = std::max(high + kBlowUp * std::abs(high), first + kBlowUp * std::abs(first));
  // One that comes down from a jump was told of at the jump, or was none.
  const bool falls = before.size() >= window && window == kMostWindow &&
                     Median(std::span(before).last(window)) > recent;
  if (falls) {
    return std::nullopt;
  }
  const bool blew_up = recent > level && recent > high + 3 * RobustSigma(before) &&
                       (recent > kFar * level || window < kMostWindow ||
                        StaysAbove(level, track.values.Newest(window)));
  if (blew_up) {
    return Divergence{.from = before.back(),
                      .to = recent,
                      .recovered_below = std::max(high + kRecoveredShare * std::abs(high),
                                                  first + kRecoveredShare * std::abs(first))};
  }
  if (track.start.size() < kStartValues || track.count < 2 * kMostWindow) {
    return std::nullopt;
  }
  const double start = Median(track.start);
  const double noise = kDeviations * RobustSigma(track.values.Newest(window)) /
                       std::sqrt(static_cast<double>(window));
  const bool above_start = recent > start + std::abs(start) + noise && std::abs(start) > kNoLoss;
  if (above_start) {
    return Divergence{
        .from = start, .to = recent, .recovered_below = start + kRecoveredShare * std::abs(start)};
  }
  // A best that lies within the window is a fall, not what has been unlearned.
  const bool best_is_past =
      track.best_step < static_cast<int64_t>(track.steps.Newest(window).front());
  if (start <= 0 || !best_is_past || !Unlearned(track, window, start, recent)) {
    return std::nullopt;
  }
  return Divergence{.from = track.best_median,
                    .to = recent,
                    .recovered_below = kRelearnedShare * start,
                    .is_unlearned = true};
}

std::optional<double> LossJudge::Guess(const LossTrack& track) {
  return track.classes > 1 ? std::optional(std::log(static_cast<double>(track.classes)))
                           : std::nullopt;
}

bool LossJudge::CanFall(const LossTrack& track) { return track.count >= 2 * kStartValues; }

bool LossJudge::Fell(const LossTrack& track) {
  return CanFall(track) &&
         Median(track.values.Newest(kFlatWindow)) < Median(track.start) - 3 * ErrorOf(track);
}

std::optional<double> LossJudge::Risen(const LossTrack& track) {
  const double start = Median(track.start);
  const double recent = Median(track.values.Newest(kFlatWindow));
  const bool risen = recent > start + kRecoveredShare * std::abs(start);
  return risen ? std::optional(recent) : std::nullopt;
}

int64_t LossJudge::OnsetOf(const LossTrack& track, const Divergence& divergence) {
  const size_t judged = std::clamp(track.count / 4, kLeastWindow, kMostWindow) + 1;
  const std::vector<double> values = track.values.Newest(judged);
  const std::vector<double> steps = track.steps.Newest(judged);
  const double middle = divergence.from + (divergence.to - divergence.from) / 2;
  const auto onset = std::find_if(values.begin(), std::prev(values.end()),
                                  [&](double value) { return value > middle; });
  return static_cast<int64_t>(steps[static_cast<size_t>(onset - values.begin())]);
}

bool LossJudge::ChecksFlat(const LossTrack& track, bool ended) const {
  const int64_t step = track.latest.step.value;
  return track.count >= min_points_ && track.count >= kStartValues + kFlatWindow &&
         (track.last_flat_check == std::numeric_limits<int64_t>::min() ||
          step - track.last_flat_check >= (ended ? 1 : num_steps_));
}

bool LossJudge::ThrownOffForGood(LossTrack* track) {
  const double first = track->early.front();
  const std::vector<double> newest = track->values.Newest(kFlatWindow);
  const double jump = std::max(kNotableJump * std::abs(first),
                               kJumpSigmas * RobustSigma(track->values.Newest(kSigmaWindow)));
  const bool thrown_off =
      first >= kNoLoss && Median(newest) > first && Median(track->start) > first + jump &&
      static_cast<double>(track->below_first) <= kRarelyBelow * static_cast<double>(track->count);
  if (thrown_off) {
    track->jumped = true;
    track->start.assign(kStartValues, first);
  }
  return thrown_off;
}

// The newest half of the run (128 values at most), where it is at one level: its own second half is
// not below its first by more than that is uncertain, nor could be by much.
std::optional<LossJudge::Plateau> LossJudge::PlateauOf(LossTrack* track, bool ended) const {
  const size_t half = std::min(track->count / 2, LossTrack::kEarly);
  const size_t due = ended ? 0 : track->plateau_due;
  if (track->count < std::max(2 * min_points_, due) || half < kJumpValues) {
    return std::nullopt;
  }
  track->plateau_due = 2 * track->count;
  const std::vector<double> late = track->values.Newest(half);
  const double level = Median(late);
  const double sigma = RobustSigma(late);
  const double error = 2 * sigma / std::sqrt(static_cast<double>(half) / 2);
  const double fall =
      Median(std::span(late).first(half / 2)) - Median(std::span(late).last(half / 2));
  if (fall > error || fall + 2 * error > kLargestErrorOfHalves * level) {
    return std::nullopt;
  }
  return Plateau{.values = half,
                 .level = level,
                 .sigma = sigma,
                 .highest = *std::max_element(late.begin(), late.end()),
                 .largest_fall = std::max(fall, 0.0) + 2 * error};
}

// After a jump of several values within the first of the run to a multiple of the first value, a
// level near that value: what a model does that its first updates have brought to chance. Its loss
// may end a little below the start, because the frequencies of the classes are all that it still
// learns.
bool LossJudge::CameBackFromJump(const LossTrack& track, const Plateau& plateau) {
  const double first = track.early.front();
  const std::span<const double> early = std::span(track.early).first(kJumpValues);
  const double peak = *std::max_element(early.begin(), early.end());
  double lasting = 0;  // one bad batch is no jump
  for (size_t i = 0; i + kLeastWindow <= early.size(); ++i) {
    lasting = std::max(lasting, Median(early.subspan(i, kLeastWindow)));
  }
  return first >= kNoLoss && peak >= first + kBlowUp * first &&
         lasting >= first + kLastingJump * first &&
         peak >= plateau.level + kDeviations * plateau.sigma && plateau.highest < peak &&
         plateau.level >= kBackAtFirst * first && plateau.level <= first + kRecoveredShare * first;
}

// A model may learn those frequencies, or unlearn a bad guess, and nothing else. Told only where
// noise could not hide a fall that matters on this scale.
bool LossJudge::HardlyFell(const LossTrack& track, const Plateau& plateau) {
  const double start = Median(track.start);
  return start >= kNoLoss && plateau.largest_fall <= kLeastGain / 2 * start &&
         std::abs(plateau.level - start) < kLeastGain * start;
}

// A bad start may have been unlearned, and nothing else learned.
bool LossJudge::IsGuessing(const LossTrack& track, const Plateau& plateau) {
  const std::optional<double> guess = Guess(track);
  return guess && plateau.largest_fall <= kLeastGain / 2 * *guess &&
         std::abs(plateau.level - *guess) <= kLeastGain / 2 * *guess;
}

bool LossJudge::IsStuck(LossTrack* track, bool ended) const {
  const std::optional<Plateau> plateau = PlateauOf(track, ended);
  if (!plateau) {
    return false;
  }
  track->after_jump = CameBackFromJump(*track, *plateau);
  track->at_guess = !track->after_jump && IsGuessing(*track, *plateau);
  if (!track->after_jump && !track->at_guess && !HardlyFell(*track, *plateau)) {
    return false;
  }
  track->plateau = plateau->values;
  track->resolve_level = plateau->level;
  return true;
}

// No start of the run, however short, lies above its second half. Asked whenever the run has
// doubled: the more often noise is looked at, the more often it shows what one looks for.
bool LossJudge::HalvesAreLevel(LossTrack* track) const {
  const size_t half = std::min(track->count / 2, LossTrack::kEarly);
  if (track->count < std::max(2 * min_points_, track->halves_due) || half < 2 * kStartValues) {
    return false;
  }
  track->halves_due = 2 * track->count;
  const std::vector<double> late = track->values.Newest(half);
  const std::span<const double> early = std::span(track->early).first(half);
  const double level = Median(late);
  const double error =
      (RobustSigma(early) + RobustSigma(late)) / std::sqrt(static_cast<double>(half));
  if (std::abs(level) < kNoLoss || 3 * error > kLargestErrorOfHalves * std::abs(level)) {
    return false;
  }
  for (size_t count = kStartValues; count < half; count *= 2) {
    if (Median(early.first(count)) > level) {
      return false;
    }
  }
  const bool level_or_up = Median(early) <= level;
  track->halves = level_or_up ? half : 0;
  return level_or_up;
}

bool LossJudge::Flat(LossTrack* track, bool ended) const {
  const double error = ErrorOf(*track);
  if (track->was_flat) {
    const double level = track->resolve_level;
    const double gain = std::max(kLeastGain, diff_fraction_) * std::abs(level);
    return Median(track->values.Newest(kFlatWindow)) >= level - std::max(gain, 3 * error);
  }
  track->halves = 0;
  track->plateau = 0;
  const bool thrown_off = ThrownOffForGood(track);
  const double start = Median(track->start);
  track->resolve_level = start;
  if (thrown_off) {
    return true;
  }
  // Too noisy to tell by a window.
  if (std::abs(start) < kNoLoss || 3 * error > kLargestError * std::abs(start)) {
    return HalvesAreLevel(track) || IsStuck(track, ended);
  }
  const double least =
      std::max(diff_fraction_ * std::abs(start), std::min(3 * error, kLeastGain * std::abs(start)));
  return track->best_median > start - least || IsStuck(track, ended);
}

}  // namespace wheeltapper::rules
