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
constexpr double kDeviations = 10;
// Values below this have nothing left to lose.
constexpr double kNoLoss = 1e-6;
// A loss whose medians are uncertain by more than this part of the start is never called flat, and
// a gain of this part is a decrease however noisy the loss is.
constexpr double kLargestError = 0.05;
constexpr double kLeastGain = 0.02;
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

// A loss that jumps to a multiple of its first value at once started there: measured from the top
// of the jump, coming back would look like learning.
void AddStart(double value, LossTrack* track) {
  if (track->start.size() == kStartValues) {
    return;
  }
  track->start.push_back(value);
  const double first = track->start.front();
  if (track->start.size() == kStartValues &&
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

std::optional<Divergence> LossJudge::Diverged(const LossTrack& track) {
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
  const bool unlearned = start > 0 && track.best_median < start / 2 && best_is_past &&
                         recent > 0.9 * start && recent > 0.9 * start + noise / kDeviations;
  if (!unlearned) {
    return std::nullopt;
  }
  return Divergence{
      .from = track.best_median, .to = recent, .recovered_below = kRelearnedShare * start};
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

bool LossJudge::Flat(const LossTrack& track) const {
  const double start = Median(track.start);
  const double error = ErrorOf(track);
  if (track.was_flat) {
    const double gain = std::max(kLeastGain, diff_fraction_) * std::abs(start);
    return Median(track.values.Newest(kFlatWindow)) >= start - std::max(gain, 3 * error);
  }
  // Too noisy to tell.
  if (std::abs(start) < kNoLoss || 3 * error > kLargestError * std::abs(start)) {
    return false;
  }
  const double least =
      std::max(diff_fraction_ * std::abs(start), std::min(3 * error, kLeastGain * std::abs(start)));
  return track.best_median > start - least;
}

}  // namespace wheeltapper::rules
