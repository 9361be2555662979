// Runs in which several optimizers minimise a loss each, as the two sides of a GAN: what one gains
// another may lose, and losses that balance are no failure.
//
// Known by its structure, not by the curves, whose noise hides the opposition wherever each side
// draws a batch of its own: at least two optimizers over different parameters, and a loss for each
// of them, loss/backward and loss/backward.<label>. Where the values of these cannot be read, two
// losses that the script logs count for them if the optimizers train models of their own: those
// that share one model (Muon beside AdamW) minimise one loss, however many terms of it are logged.
//
// The sides take turns, in each step or in phases: trainings one after the other, as the folds of a
// cross-validation, play against nobody.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "wheeltapper/format/rows.h"

#include "loss_values.h"
#include "model_description.h"

namespace wheeltapper::rules {

// When names were seen, counted in batches.
class Turns {
 public:
  void See(const std::string& name, int64_t batch);
  // How many were seen in that batch or later.
  [[nodiscard]] size_t SeenSince(int64_t batch) const;
  // Whether two of them were, each again after the other had been seen for the first time.
  [[nodiscard]] bool AreTakenSince(int64_t batch) const;

 private:
  struct Seen {
    int64_t first = 0;
    int64_t latest = 0;
  };
  std::map<std::string, Seen> seen_;
};

class LossGame {
 public:
  void Add(const format::StepBatch& batch, const format::NameTable& names);
  // A training loss of the batch.
  void Note(const LossValue& loss);
  // With the newest batch training begins anew (fresh_models.h): who has played before and is not
  // seen again has left.
  void BeginAnew() { begun_ = batch_; }
  [[nodiscard]] bool on() const;
  [[nodiscard]] const ModelDescription& model() const { return model_; }

 private:
  ModelDescription model_;
  int64_t batch_ = 0;
  int64_t begun_ = 0;
  Turns backward_;  // losses that backward() started from
  Turns logged_;    // all others
  Turns rates_;     // the learning rates of the optimizers: recorded with each of their steps
};

}  // namespace wheeltapper::rules
