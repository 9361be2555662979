#include "loss_game.h"

#include "tensor_names.h"

namespace wheeltapper::rules {

void LossGame::Note(const LossValue& loss) {
  if (loss.name.starts_with("loss/backward")) {
    backward_.insert(loss.name);
  } else if (!NamesValidation(loss.name)) {
    logged_.insert(loss.name);
  }
}

bool LossGame::on() const {
  if (!backward_.empty()) {
    return model_.optimizers() >= 2 && backward_.size() >= 2;
  }
  return model_.trains_apart() && logged_.size() >= 2;
}

}  // namespace wheeltapper::rules
