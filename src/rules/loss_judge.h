// What is kept of one loss, and whether it diverges or stays where it started.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "wheeltapper/rules/rule.h"

#include "loss_values.h"
#include "robust.h"

namespace wheeltapper::rules {

// The start, the extremes and the recent past of one loss.
struct LossTrack {
  static constexpr size_t kHistory = 256;
  static constexpr size_t kEarly = kHistory / 2;
  // A diverged loss has recovered when the median of so many values is back.
  static constexpr size_t kRecoveryWindow = 15;

  std::string name;
  std::vector<double> start;  // the first ten; the very first one as often, where the loss jumped
  bool jumped = false;        // from its first value far up at once
  std::vector<double> early;  // the first kEarly
  size_t below_first = 0;     // how many values lay below the very first
  double peak = -std::numeric_limits<double>::infinity();
  Window values{kHistory};
  Window steps{kHistory};
  double best_median = std::numeric_limits<double>::infinity();
  int64_t best_step = 0;
  std::optional<int64_t> learned_step;  // where the median was first below half of the start
  size_t count = 0;
  int64_t first_step = 0;
  format::StepKey latest;  // of the newest value

  int blown = 0;  // consecutive values that met the criteria of divergence
  std::optional<int64_t> diverged_since;
  double diverged_from = 0;
  double diverged_to = 0;
  double recovered_below = 0;
  bool shows_divergence = false;  // with the newest value
  std::string cause;              // of the divergence, as it was when it opened
  std::string try_;               // NOLINT(readability-identifier-naming): as in Finding
  bool is_failure = false;        // with the newest value, for certain
  Window since_diverged{kRecoveryWindow};

  int64_t last_flat_check = std::numeric_limits<int64_t>::min();
  bool checked = false;      // with the newest value
  bool is_flat = false;      // at the last check
  size_t halves_due = 0;     // of how many values halves are compared next
  size_t halves = 0;         // of how many values the halves are that showed it; 0: windows did
  size_t plateau_due = 0;    // of how many values a plateau is looked for next
  size_t plateau = 0;        // how many values at one level showed it; 0: none did
  bool after_jump = false;   // of the plateau
  bool at_guess = false;     // of the plateau
  int64_t classes = 0;       // of which it is the mean cross entropy; 0: not known
  double resolve_level = 0;  // of a flat loss: clearly below it has decreased
  bool was_flat = false;     // and no lasting decrease since
  int decreases = 0;         // consecutive checks that saw one
};

struct Divergence {
  double from = 0;
  double to = 0;
  // A loss that stays below this has recovered. Lower than what counts as diverged, so that a
  // loss at the limit does not open and resolve in turns.
  double recovered_below = 0;
  bool is_unlearned = false;  // not far above the start, but back there
};

class LossJudge {
 public:
  // Takes num_steps, diff_percent and min_points of loss_not_decreasing.
  explicit LossJudge(const Parameters& parameters);

  static void Add(const LossValue& loss, LossTrack* track);
  // Whether the newest values lie far above the past.
  [[nodiscard]] static std::optional<Divergence> Diverged(const LossTrack& track);
  // The cross entropy of a model that gives all classes the same probability.
  [[nodiscard]] static std::optional<double> Guess(const LossTrack& track);
  // Whether there are enough values to ask for Fell.
  [[nodiscard]] static bool CanFall(const LossTrack& track);
  // Whether the newest values lie below the start by more than their noise.
  [[nodiscard]] static bool Fell(const LossTrack& track);
  // The level of the newest values where it lies above the start by more than it may.
  [[nodiscard]] static std::optional<double> Risen(const LossTrack& track);
  // The first step of the values judged that lies more than half of the way up; values below may
  // follow it in a noisy rise.
  [[nodiscard]] static int64_t OnsetOf(const LossTrack& track, const Divergence& divergence);
  // Whether it is time to ask for Flat: every num_steps, and at the run's end.
  [[nodiscard]] bool ChecksFlat(const LossTrack& track, bool ended) const;
  // Whether no window of the whole run lies below the start, or it jumped from its first value
  // and hardly one lay below that since, or it is at one level now that is near the first value
  // after a jump, or next to the start, or what guessing gives, or, of a noisy loss, the second
  // half of the run not below the first. Once that was so it stays so until the newest window lies
  // clearly below: a change of the noise takes nothing back.
  [[nodiscard]] bool Flat(LossTrack* track, bool ended) const;

 private:
  [[nodiscard]] static bool ThrownOffForGood(LossTrack* track);
  struct Plateau {
    size_t values = 0;
    double level = 0;
    double sigma = 0;
    double highest = 0;
    double largest_fall = 0;  // of its second half below its first, as far as noise could hide it
  };
  [[nodiscard]] std::optional<Plateau> PlateauOf(LossTrack* track, bool ended) const;
  [[nodiscard]] static bool CameBackFromJump(const LossTrack& track, const Plateau& plateau);
  [[nodiscard]] static bool IsGuessing(const LossTrack& track, const Plateau& plateau);
  [[nodiscard]] static bool HardlyFell(const LossTrack& track, const Plateau& plateau);
  [[nodiscard]] bool IsStuck(LossTrack* track, bool ended) const;
  [[nodiscard]] bool HalvesAreLevel(LossTrack* track) const;

  const int64_t num_steps_;
  const double diff_fraction_;
  const size_t min_points_;
};

}  // namespace wheeltapper::rules
