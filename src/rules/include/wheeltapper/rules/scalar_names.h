// What a logged value is, by its name.
#pragma once

#include <string_view>

namespace wheeltapper::rules {

// True for "loss", "train/loss", "loss/CrossEntropyLoss", "val_loss", "multi_scale_loss"; not for
// what a loss or a gradient is multiplied by: "loss_scale", "grad_scaler". role_of_scalar of the
// Python package says the same (test/loss_names.json holds both to one table).
bool NamesLoss(std::string_view name);

}  // namespace wheeltapper::rules
