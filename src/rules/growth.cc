#include "growth.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "wheeltapper/format/scalar_names.h"

#include "robust.h"

namespace wheeltapper::rules {
namespace {

constexpr size_t kEvidencePoints = 64;
// A loss below zero is without an end when it is this many times as far from zero as its start.
constexpr double kEndless = 10;
// So far from zero it was without an end whatever it is now: weights that blew up spoil it.
constexpr double kFarBelow = 1e6;
// One such value may be a single bad batch.
constexpr int kFewestLows = 3;
// Steps within which a weight that is driven away shows it: later it may have grown as it learned.
// Of a capture that comes later, the growth in so many steps counts.
constexpr int64_t kSoonAfter = 16;
// A learning rate that is this part of its highest moves nothing any more.
constexpr double kNextToNothing = 1e-3;
// A learning rate that grew less than this times is called high, not grown.
constexpr double kNotableRise = 2;
// A rise is over when the learning rate has stayed where it is for more than this part of the steps
// that the rise took, and for more than kBriefRest steps: a warm-up that has ended is no cause.
constexpr int64_t kRestShare = 4;
constexpr int64_t kBriefRest = 10;

std::string AdviceToLower(double rate) {
  return fmt::format("lower the learning rate to {}; warm-up and gradient clipping help as well",
                     NumberForPeople(rate / 10));
}

}  // namespace

void GrowthTracker::AddValue(const format::NameTable& names, format::NameId id, double value,
                             double floor, int64_t step) {
  if (!std::isfinite(value)) {
    return;
  }
  const auto [slot, is_new] = tracks_.try_emplace(id);
  Track& track = slot->second;
  if (is_new) {
    track.growth.name = id;
    track.growth.tensor = names.info(id).name;
    track.growth.role = roles_.Of(names, id);
    track.growth.from = value;
    track.growth.from_step = step;
    track.is_loss = track.growth.role.kind == TensorKind::kLoss;
    track.floor = floor;
    track.lowest = value;
    track.lowest_step = step;
  }
  if (track.is_loss && value <= track.lowest) {
    const double scale = std::max(std::abs(track.growth.from), 1.0);
    track.far_lows += value < -kFarBelow * scale ? 1 : 0;
    track.lowest = value;
    track.lowest_step = step;
    best_rate_ = learning_rate_;
  }
  track.growth.to = value;
  track.growth.to_step = step;
  track.growth.factor = std::abs(value) / std::max(std::abs(track.growth.from), floor);
  if (track.recent.size() == kEvidencePoints) {
    track.recent.erase(track.recent.begin());
  }
  track.recent.push_back({.step = step, .value = value});
}

void GrowthTracker::Add(const format::StepBatch& batch, const format::NameTable& names) {
  const int64_t step = batch.key.step.value;
  step_ = step;
  for (const format::ScalarRow& row : batch.scalars) {
    const std::string& name = names.info(row.name).name;
    if (NamesLearningRate(name)) {
      AddLearningRate(row.name, row.value, step);
    } else if (format::NamesLoss(name)) {
      AddValue(names, row.name, row.value, 1e-3, step);
    }
  }
  for (const format::StatsRow& row : batch.stats) {
    const TensorKind kind = roles_.Of(names, row.name).kind;
    const double root_n = std::sqrt(static_cast<double>(row.stats.numel));
    if (kind == TensorKind::kLoss) {
      AddValue(names, row.name, row.stats.mean, 1e-3, step);
    } else if (kind == TensorKind::kParameter) {
      AddValue(names, row.name, row.stats.l2(), kParameterFloorRms * root_n, step);
    } else if (kind == TensorKind::kGradient) {
      AddValue(names, row.name, row.stats.l2(), 1e-6 * root_n, step);
    }
  }
}

void GrowthTracker::AddLearningRate(format::NameId id, double value, int64_t step) {
  learning_rate_ = value;
  std::deque<RateChange>& changes = changes_[id];
  if (changes.empty() || changes.back().rate != value) {
    changes.push_back({.step = step, .rate = value});
    if (changes.size() > kMostChanges) {
      changes.pop_front();
    }
  }
  const auto [slot, is_new] = rises_.try_emplace(id);
  Rise& rise = slot->second;
  if (is_new || !(value >= rise.to)) {
    rise = {.from = value, .to = value, .from_step = step, .to_step = step};
  } else if (value > rise.to) {
    rise.to = value;
    rise.to_step = step;
  } else if (rise.to == rise.from) {  // the rise, if one comes, begins where the plateau ends
    rise.from_step = step;
    rise.to_step = step;
  }
}

const GrowthTracker::Rise* GrowthTracker::Rising() const {
  const Rise* largest = nullptr;
  for (const auto& [id, rise] : rises_) {
    const int64_t took = rise.to_step - rise.from_step;
    const bool goes_on = step_ - rise.to_step <= std::max(kBriefRest, took / kRestShare);
    if (goes_on && took > 0 && rise.to >= kNotableRise * rise.from &&
        (largest == nullptr || rise.to > largest->to)) {
      largest = &rise;
    }
  }
  return largest;
}

const GrowthTracker::Track* GrowthTracker::Largest(bool loss) const {
  const Track* largest = nullptr;
  for (const auto& [id, track] : tracks_) {
    if (track.is_loss != loss || track.growth.to_step == track.growth.from_step) {
      continue;
    }
    // The smaller id decides between equals: the map's order must not show.
    if (largest == nullptr || track.growth.factor > largest->growth.factor ||
        (track.growth.factor == largest->growth.factor &&
         track.growth.name < largest->growth.name)) {
      largest = &track;
    }
  }
  return largest;
}

std::optional<Growth> GrowthTracker::Tensor() const {
  const Track* track = Largest(false);
  return track == nullptr ? std::nullopt : std::optional(track->growth);
}

std::optional<Growth> GrowthTracker::Loss() const {
  const Track* track = Largest(true);
  return track == nullptr ? std::nullopt : std::optional(track->growth);
}

Evidence GrowthTracker::EvidenceOf(const Growth& growth) const {
  const auto found = tracks_.find(growth.name);
  const bool is_loss = growth.role.kind == TensorKind::kLoss;
  return {.label = is_loss ? growth.tensor : "l2 of " + growth.tensor,
          .points = found == tracks_.end() ? std::vector<EvidencePoint>() : found->second.recent,
          .threshold = std::nullopt};
}

bool GrowthTracker::IsWeight(const Track& track) {
  return track.growth.role.kind == TensorKind::kParameter &&
         track.growth.tensor.find("bias") == std::string::npos;
}

bool GrowthTracker::SeesWeights() const {
  return std::any_of(tracks_.begin(), tracks_.end(),
                     [](const auto& entry) { return IsWeight(entry.second); });
}

std::optional<double> GrowthTracker::WeightGrowthAt(int64_t step) const {
  std::vector<double> factors;
  for (const auto& [id, track] : tracks_) {
    const std::vector<EvidencePoint>& points = track.recent;
    const auto after = std::find_if(points.begin(), points.end(),
                                    [&](const EvidencePoint& point) { return point.step >= step; });
    if (!IsWeight(track) || points.size() < 2 || after == points.end()) {
      continue;
    }
    const double before = after == points.begin() ? points.front().value : std::prev(after)->value;
    double largest = 0;
    for (auto point = after;
         point != points.end() && (point == after || point->step < step + kSoonAfter); ++point) {
      const auto span = static_cast<double>(std::max(point->step - step, kSoonAfter));
      largest = std::max(largest, std::pow(point->value / std::max(before, track.floor),
                                           static_cast<double>(kSoonAfter) / span));
    }
    factors.push_back(largest);
  }
  return factors.empty() ? std::nullopt : std::optional(Quantile(factors, 0.5));
}

std::optional<double> GrowthTracker::LargestChangeOfNorm() const {
  std::optional<double> largest;
  for (const auto& [id, track] : tracks_) {
    const Growth& growth = track.growth;
    if (growth.role.kind == TensorKind::kParameter && growth.to_step > growth.from_step &&
        growth.from > 0) {
      largest = std::max(largest.value_or(0), std::abs(growth.to - growth.from) / growth.from);
    }
  }
  return largest;
}

std::optional<Growth> GrowthTracker::EndlessLoss() const {
  std::optional<Growth> least;
  for (const auto& [id, track] : tracks_) {
    const double scale = std::max(std::abs(track.growth.from), 1.0);
    const bool still_falls =
        track.growth.to <= track.lowest / 2 && -track.growth.to > kEndless * scale;
    const bool is_endless = still_falls || track.far_lows >= kFewestLows;
    if (track.is_loss && is_endless && (!least || track.lowest < least->to)) {
      least = track.growth;
      least->to = track.lowest;
      least->to_step = track.lowest_step;
    }
  }
  return least;
}

std::optional<Growth> GrowthTracker::MostShrunkenWeight() const {
  std::vector<const Growth*> weights;
  for (const auto& [id, track] : tracks_) {
    const bool is_weight = track.growth.role.kind == TensorKind::kParameter &&
                           track.growth.tensor.ends_with("weight") && track.growth.from > 0;
    if (is_weight && track.growth.to_step > track.growth.from_step) {
      weights.push_back(&track.growth);
    }
  }
  if (weights.empty()) {
    return std::nullopt;
  }
  std::sort(weights.begin(), weights.end(), [](const Growth* a, const Growth* b) {
    return std::pair(a->to / a->from, a->name) < std::pair(b->to / b->from, b->name);
  });
  return *weights[(weights.size() - 1) / 2];
}

std::optional<GrowthTracker::Fallen> GrowthTracker::LearningRateFell() const {
  Fallen fallen;
  for (const auto& [id, changes] : changes_) {
    const auto higher = [](const RateChange& a, const RateChange& b) { return a.rate < b.rate; };
    const auto highest = std::max_element(changes.begin(), changes.end(), higher);
    const double small = kNextToNothing * highest->rate;
    if (changes.back().rate > small || highest->rate <= 0) {
      return std::nullopt;
    }
    const auto since = std::find_if(highest, changes.end(),
                                    [&](const RateChange& change) { return change.rate <= small; });
    fallen.since_step = std::max(fallen.since_step, since->step);
    if (highest->rate >= fallen.from) {
      fallen.from = highest->rate;
      fallen.to = changes.back().rate;
    }
  }
  return changes_.empty() ? std::nullopt : std::optional(fallen);
}

std::optional<double> GrowthTracker::RateAt(int64_t step) const {
  std::optional<double> largest;
  for (const auto& [id, changes] : changes_) {
    const auto after = std::find_if(changes.begin(), changes.end(),
                                    [&](const RateChange& change) { return change.step > step; });
    if (after != changes.begin()) {
      const double rate = std::prev(after)->rate;
      largest = std::max(largest.value_or(rate), rate);
    }
  }
  return largest;
}

std::string GrowthTracker::LearningRateCauseAt(int64_t onset) const {
  const std::optional<double> rate = RateBefore(onset);
  if (Rising() != nullptr || !rate || rate == learning_rate_) {
    return LearningRateCause();
  }
  return fmt::format("the learning rate ({} at step {}) is too high", NumberForPeople(*rate),
                     onset - 1);
}

std::string GrowthTracker::LearningRateAdviceAt(int64_t onset, format::NameId loss) const {
  const auto found = tracks_.find(loss);
  const std::optional<double> rate = RateBefore(onset);
  if (Rising() != nullptr || found == tracks_.end() || !rate) {
    return LearningRateAdvice();
  }
  // Reached by the learning rate before; the value of a step is computed before its update.
  const std::optional<double> best = RateBefore(found->second.lowest_step);
  if (best && *best > 0 && *best * kNotableRise <= *rate) {
    return fmt::format(
        "go back to a learning rate of {}, where the loss was lowest, and check the schedule",
        NumberForPeople(*best));
  }
  return AdviceToLower(*rate);
}

std::string GrowthTracker::LearningRateCause() const {
  if (const Rise* rise = Rising()) {
    return fmt::format(
        "the learning rate grew from {} to {} between steps {} and {} and is too high",
        NumberForPeople(rise->from), NumberForPeople(rise->to), rise->from_step, rise->to_step);
  }
  return learning_rate_
             ? fmt::format("the learning rate ({}) is too high", NumberForPeople(*learning_rate_))
             : "the learning rate is too high";
}

std::string GrowthTracker::AdviceFor(const Rise& rise) const {
  const bool best_is_known = best_rate_ && *best_rate_ >= rise.from && *best_rate_ < rise.to;
  const std::string where =
      best_is_known ? fmt::format("{}, where the loss was lowest", NumberForPeople(*best_rate_))
                    : NumberForPeople(std::max(rise.to / 10, rise.from));
  return fmt::format(
      "let the learning rate grow no further than {}, and check the schedule: a "
      "factor above 1 at each step has no end",
      where);
}

std::string GrowthTracker::LearningRateAdvice() const {
  if (const Rise* rise = Rising()) {
    return AdviceFor(*rise);
  }
  if (!learning_rate_ || *learning_rate_ <= 0) {
    return "lower the learning rate by a factor of 10; warm-up and gradient clipping help as well";
  }
  return AdviceToLower(*learning_rate_);
}

}  // namespace wheeltapper::rules
