// The trainings of one process one after the other, as of the folds of a cross-validation or the
// points of a sweep: what is found in one of them is a finding of its own, which no later one takes
// back.
//
// A fresh optimizer (fresh_models.h) may also be the second side of a game that takes its first
// step later, or one for layers that were frozen so far. The loss of the training before, as
// backward() starts from it, then comes again: it has not ended.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "wheeltapper/format/rows.h"

#include "loss_values.h"

namespace wheeltapper::rules {

class Trainings {
 public:
  void BeginAnew();
  void Note(const LossValue& loss);
  // The key of what the present training shows of the cause.
  [[nodiscard]] std::string KeyOf(const std::string& cause) const;
  // All keys under which it may have been shown.
  [[nodiscard]] std::vector<std::string> PresentKeysOf(const std::string& cause) const;

 private:
  int present_ = 0;
  int newest_ = 0;  // greater than the present one where that has come again
  std::unordered_map<format::NameId, int>
      of_loss_;  // the training in which backward() had it first
};

}  // namespace wheeltapper::rules
