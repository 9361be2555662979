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
  const size_t losses = backward_.empty() ? logged_.size() : backward_.size();
  return model_.optimizers() >= 2 && losses >= 2;
}

}  // namespace wheeltapper::rules
