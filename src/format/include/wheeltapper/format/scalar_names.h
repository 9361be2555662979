// What a logged value is, by its name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace wheeltapper::format {

// Runs of letters and digits in lower case; a capital after a small letter begins a new one:
// "train/totalLoss" → train, total, loss.
std::vector<std::string> WordsOfName(std::string_view name);

// True for "loss", "train/loss", "loss/CrossEntropyLoss", "val_loss", "train_loss_epoch",
// "multi_scale_loss"; not for what a loss or a gradient is multiplied by, nor for what counts one
// or says when it was best: "loss_scale", "kl_loss_weight", "loss/kl_beta", "best_loss_epoch".
// Decides the collection of a logged value, and with it what rules and reports take for a loss.
bool NamesLoss(std::string_view name);

}  // namespace wheeltapper::format
