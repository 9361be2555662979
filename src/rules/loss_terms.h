// Which losses of a run its optimizers minimise, and which are only terms of those.
//
// A term may rise by design while the loss falls: the KL divergence of a VAE, a regulariser, a
// penalty that starts at zero. What backward() starts from is minimised; where that is not known,
// what a loss module returns or what is logged under a plain name ("loss", "train/total_loss");
// where there is none of these either, everything logged. A loss that the user names is never a
// term.
#pragma once

#include <cstddef>
#include <optional>
#include <unordered_map>
#include <vector>

#include "wheeltapper/format/rows.h"

#include "loss_values.h"

namespace wheeltapper::rules {

class LossTerms {
 public:
  void Note(const LossValue& loss, bool chosen);
  // Looks for a loss whose negative is minimised: `losses` are of one batch.
  void Compare(const std::vector<LossValue>& losses);

  [[nodiscard]] bool IsTerm(format::NameId id) const;
  // backward() starts from the negative of this loss, so that it is maximised.
  [[nodiscard]] bool IsNegated(format::NameId id) const;
  // The first such loss.
  [[nodiscard]] std::optional<format::NameId> Maximised() const;
  // Several losses that may be terms of one that is not known.
  [[nodiscard]] bool SeveralAreLogged() const { return least_ > kBackward && at_least_ > 1; }

 private:
  static constexpr int kBackward = 0;
  struct Standing {
    int tier = 0;
    int negations = 0;  // batches in a row in which it was the negative of what is minimised
  };
  static int TierOf(std::string_view name);

  std::unordered_map<format::NameId, Standing> standings_;
  int least_ = 3;
  size_t at_least_ = 0;  // losses of the least tier
};

}  // namespace wheeltapper::rules
