#include "loss_terms.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "wheeltapper/format/scalar_names.h"

namespace wheeltapper::rules {
namespace {

constexpr int kModuleOrTotal = 1;
constexpr int kOther = 2;
constexpr std::string_view kBackwardName = "loss/backward";
constexpr double kSameValue = 1e-5;
constexpr int kLeastNegations = 5;

// "loss", "train_loss", "train/total_loss": every word says that it is the loss of training.
bool NamesTotal(std::string_view name) {
  constexpr std::array<std::string_view, 12> kPlain = {"loss",     "losses",  "total",   "train",
                                                       "training", "trainer", "overall", "batch",
                                                       "step",     "running", "avg",     "mean"};
  const std::vector<std::string> words = format::WordsOfName(name);
  return std::all_of(words.begin(), words.end(), [&](const std::string& word) {
    return std::find(kPlain.begin(), kPlain.end(), word) != kPlain.end();
  });
}

}  // namespace

int LossTerms::TierOf(std::string_view name) {
  if (name.starts_with(kBackwardName)) {
    return kBackward;
  }
  return name.starts_with("loss/") || NamesTotal(name) ? kModuleOrTotal : kOther;
}

void LossTerms::Note(const LossValue& loss, bool chosen) {
  const auto [slot, is_new] = standings_.try_emplace(loss.id);
  if (!is_new) {
    return;
  }
  slot->second.tier = chosen ? kBackward : TierOf(loss.name);
  if (slot->second.tier < least_) {
    least_ = slot->second.tier;
    at_least_ = 0;
  }
  at_least_ += slot->second.tier == least_ ? 1U : 0U;
}

void LossTerms::Compare(const std::vector<LossValue>& losses) {
  const auto is_backward = [](const LossValue& loss) { return loss.name == kBackwardName; };
  const auto backward = std::find_if(losses.begin(), losses.end(), is_backward);
  if (backward == losses.end()) {
    return;
  }
  for (const LossValue& loss : losses) {
    int& negations = standings_[loss.id].negations;
    const bool is_negative =
        std::abs(loss.value) > kSameValue &&
        std::abs(loss.value + backward->value) <= kSameValue * std::abs(loss.value);
    negations = is_negative ? std::min(negations + 1, kLeastNegations) : 0;
  }
}

bool LossTerms::IsTerm(format::NameId id) const {
  const auto found = standings_.find(id);
  return found != standings_.end() && found->second.tier > least_ && !IsNegated(id);
}

std::optional<format::NameId> LossTerms::Maximised() const {
  std::optional<format::NameId> first;
  for (const auto& [id, standing] : standings_) {
    if (IsNegated(id)) {
      first = std::min(first.value_or(id), id);
    }
  }
  return first;
}

bool LossTerms::IsNegated(format::NameId id) const {
  const auto found = standings_.find(id);
  return found != standings_.end() && found->second.negations >= kLeastNegations;
}

}  // namespace wheeltapper::rules
