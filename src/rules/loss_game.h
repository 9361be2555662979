// Runs in which several optimizers minimise a loss each, as the two sides of a GAN: what one gains
// another may lose, and losses that balance are no failure.
//
// Known by its structure, not by the curves, whose noise hides the opposition wherever each side
// draws a batch of its own: at least two optimizers over different parameters, and a loss for each
// of them, loss/backward and loss/backward.<label>. Where the values of these cannot be read, two
// losses that the script logs count for them if the optimizers train models of their own: those
// that share one model (Muon beside AdamW) minimise one loss, however many terms of it are logged.
#pragma once

#include <cstddef>
#include <set>
#include <string>

#include "wheeltapper/format/rows.h"

#include "loss_values.h"
#include "model_description.h"

namespace wheeltapper::rules {

class LossGame {
 public:
  void Add(const format::StepBatch& batch) { model_.Add(batch.metas); }
  // A training loss of the run.
  void Note(const LossValue& loss);
  [[nodiscard]] bool on() const;
  [[nodiscard]] const ModelDescription& model() const { return model_; }

 private:
  ModelDescription model_;
  std::set<std::string> backward_;  // losses that backward() started from
  std::set<std::string> logged_;    // all others
};

}  // namespace wheeltapper::rules
