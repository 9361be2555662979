// Which steps exist, on which rank, and how far the ranks have come: the basis of completeness.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "wheeltapper/core/ids.h"
#include "wheeltapper/format/rows.h"
#include "wheeltapper/trial/trial.h"

namespace wheeltapper::trial {

// Every step is complete: nothing more will come.
inline constexpr int64_t kEverything = std::numeric_limits<int64_t>::max();

// Ascending sets of global steps and of (mode step, global step) per mode. Steps arrive nearly in
// order, so sorted vectors are both the smallest and the fastest form.
class StepSet {
 public:
  using ModeSteps = std::vector<std::pair<int64_t, int64_t>>;

  void Add(const format::StepKey& key) { Add(key.step.value, key.mode, key.mode_step); }
  void Add(int64_t step, Mode mode, int64_t mode_step);
  [[nodiscard]] const std::vector<int64_t>& global() const { return global_; }
  [[nodiscard]] const ModeSteps& of(Mode mode) const { return by_mode_[static_cast<size_t>(mode)]; }

 private:
  std::vector<int64_t> global_;
  std::array<ModeSteps, 4> by_mode_;
};

class StepIndex {
 public:
  // Notes that `key.rank` has committed this step (`finished`), or has logged something at it.
  // Steps are the finished ones; only of a rank that has never finished one, the logged ones count.
  // Adding a key again changes nothing. Negative steps (before the first) are no steps.
  void Add(const format::StepKey& key, bool finished);

  // The step up to which all of `live` have come; with nobody alive, the furthest of all ranks; −1
  // when a live rank has no step.
  [[nodiscard]] int64_t CompleteUpTo(const std::vector<Rank>& live) const;

  // smdebug's has_passed_step with `complete_up_to` as its last_complete_step: a step that exists
  // is available once complete; one that does not is unavailable once a later one of the mode is
  // complete or nothing will come (kEverything).
  [[nodiscard]] StepState StateOf(int64_t step, std::optional<Mode> mode,
                                  int64_t complete_up_to) const;
  // True when a later step of the mode than `step` exists.
  [[nodiscard]] bool HasLater(int64_t step, std::optional<Mode> mode) const;

  // Steps (mode steps with a mode) not beyond the global step `complete_up_to`, ascending.
  [[nodiscard]] std::vector<int64_t> Steps(std::optional<Mode> mode, std::optional<Rank> rank,
                                           int64_t complete_up_to) const;
  [[nodiscard]] std::vector<Mode> Modes() const;

 private:
  struct RankSteps {
    bool finishes = false;  // `steps` holds finished ones, else logged ones
    StepSet steps;
  };
  // The first step at or after `step`: (number asked for, global step); none at the end.
  [[nodiscard]] std::optional<std::pair<int64_t, int64_t>> AtOrAfter(
      int64_t step, std::optional<Mode> mode) const;

  void GatherAll();

  StepSet all_;  // of all ranks
  std::map<Rank, RankSteps> ranks_;
};

// The steps of a set as Steps() returns them.
std::vector<int64_t> StepsOf(const StepSet& set, std::optional<Mode> mode, int64_t complete_up_to);

}  // namespace wheeltapper::trial
