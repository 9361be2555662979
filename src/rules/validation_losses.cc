#include "validation_losses.h"

#include <cmath>

#include "robust.h"

namespace wheeltapper::rules {
namespace {

constexpr size_t kStartValues = 10;

}  // namespace

bool ValidationLosses::Admit(const std::string& name, std::string* chosen) {
  if (chosen->empty()) {
    *chosen = name;
  }
  return *chosen == name;
}

std::optional<Evaluation> ValidationLosses::Close() {
  if (open_validation_.empty()) {
    return std::nullopt;
  }
  double sum = 0;
  for (const double value : open_validation_) {
    sum += value;
  }
  Evaluation evaluation{.key = open_key_,
                        .validation = sum / static_cast<double>(open_validation_.size()),
                        .training = std::nullopt};
  if (!open_training_.empty()) {
    evaluation.training = Median(open_training_);
  }
  if (!training_start_.empty()) {
    evaluation.training_start = Median(training_start_);
    evaluation.training_error =
        3 * RobustSigma(training_start_) / std::sqrt(static_cast<double>(training_start_.size()));
  }
  // The last evaluation of the training before may be recorded only now.
  const bool is_of_before = fresh_step_ && open_key_.step.value < *fresh_step_;
  evaluation.trainings = is_of_before ? before_ : trainings_.PresentKeysOf("");
  if (fresh_step_ && !is_of_before) {
    evaluation.is_anew = true;
    fresh_step_.reset();
  }
  open_validation_.clear();
  open_training_.clear();
  return evaluation;
}

bool ValidationLosses::IsValidation(const LossValue& loss) {
  return loss.key.mode == Mode::kEval || NamesValidation(loss.name);
}

void ValidationLosses::AddLoss(const LossValue& loss, std::vector<Evaluation>* closed) {
  const bool by_name = NamesValidation(loss.name);
  if (!IsValidation(loss)) {
    trainings_.Note(loss);
    if (Admit(loss.name, &training_name_)) {
      if (auto evaluation = Close()) {
        closed->push_back(*evaluation);
      }
      if (training_start_.size() < kStartValues) {
        training_start_.push_back(loss.value);
      }
      open_training_.push_back(loss.value);
    }
    return;
  }
  if (!Admit(loss.name, &validation_name_)) {
    return;
  }
  // A second value of the same name outside an eval pass is the next evaluation.
  const bool next_pass = !open_validation_.empty() && by_name && loss.key.mode != Mode::kEval;
  if (next_pass) {
    if (auto evaluation = Close()) {
      closed->push_back(*evaluation);
    }
  }
  open_validation_.push_back(loss.value);
  open_key_ = loss.key;
}

std::string ValidationLosses::Missing() const {
  if (validation_name_.empty() && !nonfinite_name_.empty()) {
    return "every value of the validation loss " + nonfinite_name_ + " is NaN or infinity";
  }
  if (validation_name_.empty()) {
    return "no validation loss was seen (a loss computed by a function is not); log it: "
           "wheeltapper.log({\"val_loss\": value}), or call a loss module of torch.nn while the "
           "model is in eval mode";
  }
  return training_name_.empty() ? "no training loss was seen beside " + validation_name_ +
                                      "; log it: wheeltapper.log({\"train_loss\": value})"
                                : "only one evaluation of " + validation_name_ +
                                      " so far, with nothing to compare it to; evaluate more often";
}

std::vector<Evaluation> ValidationLosses::Add(const format::StepBatch& batch,
                                              const format::NameTable& names) {
  std::vector<Evaluation> closed;
  model_.Add(batch.metas);
  if (fresh_.Add(model_)) {
    fresh_step_ = batch.key.step.value;
    training_name_.clear();  // that of another model may have another name
    before_ = trainings_.PresentKeysOf("");
    trainings_.BeginAnew();
    training_start_.clear();
  }
  for (const LossValue& loss : LossesOf(batch, names, choice_, roles_)) {
    if (std::isfinite(loss.value)) {
      AddLoss(loss, &closed);
    } else if (IsValidation(loss)) {
      nonfinite_name_ = loss.name;
    }
  }
  return closed;
}

}  // namespace wheeltapper::rules
