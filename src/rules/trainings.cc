#include "trainings.h"

#include <algorithm>

#include "wheeltapper/rules/rule.h"

namespace wheeltapper::rules {
namespace {

std::string KeyIn(int training, const std::string& cause) {
  return training == 0 ? cause : cause + kCauseOccurrence + std::to_string(training + 1);
}

}  // namespace

void Trainings::BeginAnew() { present_ = ++newest_; }

void Trainings::Note(const LossValue& loss) {
  if (loss.name.starts_with("loss/backward")) {
    present_ = std::min(present_, of_loss_.try_emplace(loss.id, present_).first->second);
  }
}

std::string Trainings::KeyOf(const std::string& cause) const { return KeyIn(present_, cause); }

std::vector<std::string> Trainings::PresentKeysOf(const std::string& cause) const {
  std::vector<std::string> keys;
  for (int training = present_; training <= newest_; ++training) {
    keys.push_back(KeyIn(training, cause));
  }
  return keys;
}

}  // namespace wheeltapper::rules
