#include "step_index.h"

#include <algorithm>

namespace wheeltapper::trial {
namespace {

constexpr std::array kModes{Mode::kTrain, Mode::kEval, Mode::kPredict, Mode::kGlobal};

template <typename T>
void InsertSorted(std::vector<T>* sorted, const T& value) {
  if (sorted->empty() || sorted->back() < value) {
    sorted->push_back(value);
    return;
  }
  const auto at = std::lower_bound(sorted->begin(), sorted->end(), value);
  if (*at != value) {
    sorted->insert(at, value);
  }
}

}  // namespace

void StepSet::Add(int64_t step, Mode mode, int64_t mode_step) {
  InsertSorted(&global_, step);
  InsertSorted(&by_mode_[static_cast<size_t>(mode)], {mode_step, step});
}

void StepIndex::Add(const format::StepKey& key, bool finished) {
  if (key.step.value < 0) {
    return;
  }
  RankSteps& rank = ranks_[key.rank];
  if (rank.finishes && !finished) {
    return;
  }
  if (finished && !rank.finishes) {
    rank.finishes = true;
    rank.steps = {};
    GatherAll();
  }
  rank.steps.Add(key);
  all_.Add(key);
}

void StepIndex::GatherAll() {
  all_ = {};
  for (const auto& [rank, of_rank] : ranks_) {
    for (const Mode mode : kModes) {
      for (const auto& [mode_step, step] : of_rank.steps.of(mode)) {
        all_.Add(step, mode, mode_step);
      }
    }
  }
}

int64_t StepIndex::CompleteUpTo(const std::vector<Rank>& live) const {
  if (live.empty()) {
    return all_.global().empty() ? -1 : all_.global().back();
  }
  int64_t least = kEverything;
  for (const Rank rank : live) {
    const auto at = ranks_.find(rank);
    const bool none = at == ranks_.end() || at->second.steps.global().empty();
    least = std::min(least, none ? -1 : at->second.steps.global().back());
  }
  return least;
}

std::optional<std::pair<int64_t, int64_t>> StepIndex::AtOrAfter(int64_t step,
                                                                std::optional<Mode> mode) const {
  if (!mode) {
    const auto at = std::lower_bound(all_.global().begin(), all_.global().end(), step);
    return at == all_.global().end() ? std::nullopt : std::optional(std::pair(*at, *at));
  }
  const StepSet::ModeSteps& steps = all_.of(*mode);
  const auto at = std::lower_bound(steps.begin(), steps.end(),
                                   std::pair(step, std::numeric_limits<int64_t>::min()));
  return at == steps.end() ? std::nullopt : std::optional(*at);
}

StepState StepIndex::StateOf(int64_t step, std::optional<Mode> mode, int64_t complete_up_to) const {
  const auto found = AtOrAfter(step, mode);
  if (!found) {
    return complete_up_to == kEverything ? StepState::kUnavailable : StepState::kNotYetAvailable;
  }
  if (found->second > complete_up_to) {
    return StepState::kNotYetAvailable;
  }
  return found->first == step ? StepState::kAvailable : StepState::kUnavailable;
}

bool StepIndex::HasLater(int64_t step, std::optional<Mode> mode) const {
  return step < kEverything && AtOrAfter(step + 1, mode).has_value();
}

std::vector<int64_t> StepIndex::Steps(std::optional<Mode> mode, std::optional<Rank> rank,
                                      int64_t complete_up_to) const {
  if (!rank) {
    return StepsOf(all_, mode, complete_up_to);
  }
  const auto at = ranks_.find(*rank);
  return at == ranks_.end() ? std::vector<int64_t>{}
                            : StepsOf(at->second.steps, mode, complete_up_to);
}

std::vector<Mode> StepIndex::Modes() const {
  std::vector<Mode> modes;
  for (const Mode mode : kModes) {
    if (!all_.of(mode).empty()) {
      modes.push_back(mode);
    }
  }
  return modes;
}

std::vector<int64_t> StepsOf(const StepSet& set, std::optional<Mode> mode, int64_t complete_up_to) {
  std::vector<int64_t> steps;
  if (!mode) {
    const auto& global = set.global();
    steps.assign(global.begin(), std::upper_bound(global.begin(), global.end(), complete_up_to));
    return steps;
  }
  for (const auto& [mode_step, step] : set.of(*mode)) {
    // A mode step recorded twice (a second attempt) is one mode step.
    if (step <= complete_up_to && (steps.empty() || steps.back() != mode_step)) {
      steps.push_back(mode_step);
    }
  }
  return steps;
}

}  // namespace wheeltapper::trial
