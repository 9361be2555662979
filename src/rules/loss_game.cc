#include "loss_game.h"

#include <algorithm>
#include <vector>

#include "tensor_names.h"

namespace wheeltapper::rules {

void Turns::See(const std::string& name, int64_t batch) {
  seen_.try_emplace(name, Seen{.first = batch}).first->second.latest = batch;
}

size_t Turns::SeenSince(int64_t batch) const {
  return static_cast<size_t>(std::count_if(
      seen_.begin(), seen_.end(), [&](const auto& entry) { return entry.second.latest >= batch; }));
}

bool Turns::AreTakenSince(int64_t batch) const {
  std::vector<Seen> present;
  for (const auto& [name, seen] : seen_) {
    if (seen.latest >= batch) {
      present.push_back(seen);
    }
  }
  return std::any_of(present.begin(), present.end(), [&](const Seen& one) {
    return std::any_of(present.begin(), present.end(), [&](const Seen& other) {
      return &one != &other && one.latest > other.first && other.latest > one.first;
    });
  });
}

void LossGame::Add(const format::StepBatch& batch, const format::NameTable& names) {
  ++batch_;
  model_.Add(batch.metas);
  for (const format::ScalarRow& row : batch.scalars) {
    if (const std::string& name = names.info(row.name).name; name.starts_with("learning_rate")) {
      rates_.See(name, batch_);
    }
  }
}

void LossGame::Note(const LossValue& loss) {
  if (loss.name.starts_with("loss/backward")) {
    backward_.See(loss.name, batch_);
  } else if (!NamesValidation(loss.name)) {
    logged_.See(loss.name, batch_);
  }
}

bool LossGame::on() const {
  if (model_.optimizers() < 2) {
    return false;
  }
  if (backward_.SeenSince(begun_) > 0) {
    return backward_.AreTakenSince(begun_);
  }
  // The same names may be logged in every training: the optimizers tell whether they take turns.
  const bool one_after_the_other = rates_.SeenSince(begun_) > 0 && !rates_.AreTakenSince(begun_);
  return model_.trains_apart() && logged_.AreTakenSince(begun_) && !one_after_the_other;
}

}  // namespace wheeltapper::rules
