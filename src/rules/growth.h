// How much each parameter, gradient and loss has grown since the run began: the pattern that tells
// a learning rate that is too high from other reasons for a large or non-finite value.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "wheeltapper/format/rows.h"
#include "wheeltapper/rules/finding.h"

#include "tensor_names.h"

namespace wheeltapper::rules {

// A tensor whose elements are smaller than this (biases and adapters start at zero) has not grown
// when it reaches it.
inline constexpr double kParameterFloorRms = 0.01;

struct Growth {
  format::NameId name = 0;
  std::string tensor;
  TensorRole role;
  double from = 0;  // l2 norm at the start, or the loss
  double to = 0;    // the latest finite one
  int64_t from_step = 0;
  int64_t to_step = 0;
  double factor = 0;  // to / max(from, a floor that keeps zero-initialised tensors from counting)
};

class GrowthTracker {
 public:
  void Add(const format::StepBatch& batch, const format::NameTable& names);

  // The parameter or gradient that grew most; none before any was seen twice.
  [[nodiscard]] std::optional<Growth> Tensor() const;
  // The loss that grew most.
  [[nodiscard]] std::optional<Growth> Loss() const;
  // l2 norm (or loss) over the last captured steps.
  [[nodiscard]] Evidence EvidenceOf(const Growth& growth) const;
  // The latest learning rate the run recorded.
  [[nodiscard]] std::optional<double> learning_rate() const { return learning_rate_; }
  [[nodiscard]] bool LearningRateRises() const { return Rising() != nullptr; }
  // Where every learning rate is next to nothing of what it was at its highest: that, what it is
  // now, and the first of the steps at which it has been so.
  struct Fallen {
    double from = 0;
    double to = 0;
    int64_t since_step = 0;
  };
  [[nodiscard]] std::optional<Fallen> LearningRateFell() const;
  // "the learning rate (10) is too high", or of one that still rises "the learning rate grew from
  // 0.01 to 3.2 between steps 0 and 40 and is too high".
  [[nodiscard]] std::string LearningRateCause() const;
  // What to try about it: "lower the learning rate to about 1, or …".
  [[nodiscard]] std::string LearningRateAdvice() const;
  // The same of a loss whose rise began at step `onset`: of the learning rate that led to it.
  [[nodiscard]] std::string LearningRateCauseAt(int64_t onset) const;
  [[nodiscard]] std::string LearningRateAdviceAt(int64_t onset, format::NameId loss) const;
  // By how much weights grew around `step`, in the median of them: from the capture before it to
  // one of the next 16 steps, or, at the rate of so many steps, to the next capture; nothing where
  // there is none yet.
  [[nodiscard]] std::optional<double> WeightGrowthAt(int64_t step) const;
  // Whether any weight is captured at all.
  [[nodiscard]] bool SeesWeights() const;
  // The largest part of its first norm by which the norm of a parameter has changed; nothing before
  // any was seen twice.
  [[nodiscard]] std::optional<double> LargestChangeOfNorm() const;
  // The loss that fell most below zero, to its lowest value, where that is a multiple of its start,
  // and it still falls or the multiple is huge: nothing ends it.
  [[nodiscard]] std::optional<Growth> EndlessLoss() const;
  // The median among weights (not biases, which start near zero) by how much they shrank; none
  // before any was seen twice.
  [[nodiscard]] std::optional<Growth> MostShrunkenWeight() const;

 private:
  struct Track {
    Growth growth;
    std::vector<EvidencePoint> recent;
    bool is_loss = false;
    double floor = 0;
    double lowest = 0;
    int64_t lowest_step = 0;
    int far_lows = 0;  // values lower than all before, and far below zero
  };
  // The present rise of a learning rate: since it last fell, or was last at that lowest value.
  struct Rise {
    double from = 0;
    double to = 0;
    int64_t from_step = 0;
    int64_t to_step = 0;  // of the last increase
  };
  struct RateChange {
    int64_t step = 0;
    double rate = 0;
  };
  static bool IsWeight(const Track& track);
  static constexpr size_t kMostChanges = 1024;
  // The largest learning rate in force at a step, as far back as changes are remembered.
  [[nodiscard]] std::optional<double> RateAt(int64_t step) const;
  // The learning rate that led to the values of a step: that of the step before.
  [[nodiscard]] std::optional<double> RateBefore(int64_t step) const { return RateAt(step - 1); }
  void AddLearningRate(format::NameId id, double value, int64_t step);
  // The largest rise that goes on now.
  [[nodiscard]] const Rise* Rising() const;
  [[nodiscard]] std::string AdviceFor(const Rise& rise) const;
  void AddValue(const format::NameTable& names, format::NameId id, double value, double floor,
                int64_t step);
  [[nodiscard]] const Track* Largest(bool loss) const;

  TensorRoles roles_;
  std::unordered_map<format::NameId, Track> tracks_;
  std::optional<double> learning_rate_;
  std::optional<double> best_rate_;       // the learning rate when a loss was at its lowest
  std::map<format::NameId, Rise> rises_;  // by the name of the learning rate
  std::map<format::NameId, std::deque<RateChange>> changes_;
  int64_t step_ = 0;  // the latest
};

}  // namespace wheeltapper::rules
