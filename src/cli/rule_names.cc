#include "rule_names.h"

#include <algorithm>

#include "wheeltapper/core/suggest.h"
#include "wheeltapper/rules/rule.h"

namespace wheeltapper::cli {
namespace {

// "WeightsTooLarge" and "weights_too_large" alike.
std::string LettersOf(const std::string& name) {
  std::string letters;
  for (const char letter : name) {
    if (letter != '_') {
      letters += letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
    }
  }
  return letters;
}

}  // namespace

Status NoSuchRule(const std::string& name, const std::vector<std::string>& others) {
  std::vector<std::string> names = others;
  for (const rules::RuleType& type : rules::BuiltinRules()) {
    names.emplace_back(type.info->name);
  }
  std::string hint = DidYouMean(name, names);
  const std::string letters = LettersOf(name);
  const auto alike = std::find_if(names.begin(), names.end(), [&letters](const std::string& known) {
    return letters.size() >= 3 && LettersOf(known).find(letters) != std::string::npos;
  });
  if (alike != names.end()) {
    hint = "; did you mean \"" + *alike + "\"?";
  }
  return NotFoundError("there is no rule \"" + name + "\"" + hint +
                       "; `wheeltapper rules` lists them");
}

}  // namespace wheeltapper::cli
