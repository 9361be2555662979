// Training and validation loss of a run as two series of evaluations.
//
// Validation losses come from eval-mode steps or from values whose name says so (val_loss). All
// losses of one pass over the validation data (eval-mode records with no training step between
// them, or one logged value) make one evaluation; it closes when training goes on, or with the run.
// The training loss of an evaluation is the median of the training losses since the one before.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "wheeltapper/core/status.h"
#include "wheeltapper/format/rows.h"
#include "wheeltapper/rules/rule.h"

#include "fresh_models.h"
#include "loss_values.h"
#include "model_description.h"
#include "trainings.h"

namespace wheeltapper::rules {

struct Evaluation {
  format::StepKey key;  // of its last record
  double validation = 0;
  std::optional<double> training;
  // The level of the training loss when training began (anew), and by how much noise hides it.
  std::optional<double> training_start = std::nullopt;
  double training_error = 0;
  bool is_anew = false;  // the first since training began anew (fresh_models.h)
  // To be added to a cause: of the training that it belongs to (trainings.h), then of those that
  // may be the same.
  std::vector<std::string> trainings = {""};

  [[nodiscard]] std::string KeyOf(const std::string& cause) const {
    return cause + trainings.front();
  }
  void Clear(const std::string& cause, RuleContext& context) const {
    for (const std::string& suffix : trainings) {
      context.Clear(cause + suffix, key);
    }
  }
};

class ValidationLosses {
 public:
  explicit ValidationLosses(TensorChoice choice) : choice_(std::move(choice)) {}

  // Evaluations that closed with this batch, in order.
  std::vector<Evaluation> Add(const format::StepBatch& batch, const format::NameTable& names);
  // After the run's last batch: the evaluation that no training step followed.
  std::optional<Evaluation> Finish() { return Close(); }
  // Why no evaluation has closed, or none with a training loss beside it, and what to do about it.
  [[nodiscard]] std::string Missing() const;
  [[nodiscard]] const std::string& validation_name() const { return validation_name_; }
  [[nodiscard]] const std::string& training_name() const { return training_name_; }

 private:
  std::optional<Evaluation> Close();
  static bool IsValidation(const LossValue& loss);
  void AddLoss(const LossValue& loss, std::vector<Evaluation>* closed);
  // The first name of each kind decides: a run may have many losses.
  static bool Admit(const std::string& name, std::string* chosen);

  const TensorChoice choice_;
  TensorRoles roles_;
  std::string validation_name_;
  std::string training_name_;
  std::string nonfinite_name_;  // of a validation loss that was NaN or infinite
  std::vector<double> open_validation_;
  std::vector<double> open_training_;
  std::vector<double> training_start_;  // the first values since training began
  format::StepKey open_key_;
  ModelDescription model_;
  FreshModels fresh_;
  Trainings trainings_;
  std::vector<std::string> before_ = {""};  // Evaluation::trainings, until fresh_step_
  std::optional<int64_t>
      fresh_step_;  // training began anew there, and no evaluation has closed since
};

}  // namespace wheeltapper::rules
