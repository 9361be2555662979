#include "wheeltapper/format/scalar_names.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>

namespace wheeltapper::format {
namespace {

// What says of a number that it multiplies or counts a loss.
constexpr std::array<std::string_view, 15> kFactorWords = {
    "weight", "coef",   "coeff", "coefficient", "factor", "multiplier",  "beta",     "lambda",
    "scale",  "scaler", "ratio", "rate",        "count",  "temperature", "threshold"};

// "weight", "weights", "weight2".
bool IsFactorWord(std::string_view word) {
  if (word.ends_with('s')) {
    word.remove_suffix(1);
  }
  return std::find(kFactorWords.begin(), kFactorWords.end(), word) != kFactorWords.end();
}

bool IsLossWord(std::string_view word) {
  return word.ends_with("loss") || word.ends_with("losses");
}

// Words of one part of a path, without trailing numbers: "loss1".
std::vector<std::string> WordsOfPart(std::string_view part) {
  std::vector<std::string> words = WordsOfName(part);
  for (std::string& word : words) {
    word.erase(word.find_last_not_of("0123456789") + 1);
  }
  std::erase(words, std::string());
  return words;
}

// What a loss is multiplied by: the last word says so ("kl_loss_weight"), or the one after the loss
// ("loss_scale_value").
bool SaysFactorOfLoss(const std::vector<std::string>& words) {
  const auto loss = std::find_if(words.begin(), words.end(), IsLossWord);
  return loss != words.end() && std::next(loss) != words.end() &&
         (IsFactorWord(*std::next(loss)) || IsFactorWord(words.back()));
}

// When something was best ("best_val_loss_epoch"). Without "best" it is a loss by step or by epoch:
// Lightning logs "train_loss_step" and "train_loss_epoch".
bool SaysWhenBest(const std::vector<std::string>& words) {
  constexpr std::array<std::string_view, 4> kTimes = {"step", "steps", "epoch", "epochs"};
  return std::find(words.begin(), words.end(), "best") != words.end() &&
         std::find(kTimes.begin(), kTimes.end(), words.back()) != kTimes.end();
}

// "loss/kl_weight": a job groups its values so. A single word may be a component or a class of a
// loss ("loss/scale"), and what backward() started from is a loss whatever its model is called.
bool IsFactorUnderLoss(std::string_view rest) {
  const std::vector<std::string> words = WordsOfPart(rest.substr(rest.rfind('/') + 1));
  return !rest.starts_with("backward") && words.size() > 1 &&
         (IsFactorWord(words.back()) || SaysWhenBest(words));
}

}  // namespace

std::vector<std::string> WordsOfName(std::string_view name) {
  std::vector<std::string> words(1);
  bool after_small = false;
  for (const char letter : name) {
    const auto byte = static_cast<unsigned char>(letter);
    const bool in_word = std::isalnum(byte) != 0;
    const bool begins = !in_word || (after_small && std::isupper(byte) != 0);
    if (begins && !words.back().empty()) {
      words.emplace_back();
    }
    if (in_word) {
      words.back() += static_cast<char>(std::tolower(byte));
    }
    after_small = std::islower(byte) != 0;
  }
  return words;
}

bool NamesLoss(std::string_view name) {
  constexpr std::string_view kPrefix = "loss/";
  if (name.starts_with(kPrefix)) {
    return !IsFactorUnderLoss(name.substr(kPrefix.size()));
  }
  if (SaysWhenBest(WordsOfName(name))) {
    return false;
  }
  bool is_loss = false;
  while (!name.empty()) {
    const size_t slash = std::min(name.find('/'), name.size());
    const std::vector<std::string> words = WordsOfPart(name.substr(0, slash));
    if (SaysFactorOfLoss(words)) {
      return false;
    }
    is_loss = is_loss || std::any_of(words.begin(), words.end(), IsLossWord);
    name.remove_prefix(std::min(slash + 1, name.size()));
  }
  return is_loss;
}

}  // namespace wheeltapper::format
