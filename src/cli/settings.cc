#include "settings.h"

#include <algorithm>
#include <string>
#include <vector>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/rules/engine.h"

#include "context.h"
#include "rule_files.h"

namespace wheeltapper::cli {
namespace {

bool AnyBegins(const std::vector<ConfigMistake>& mistakes, const std::vector<std::string>& with) {
  return std::any_of(mistakes.begin(), mistakes.end(), [&with](const ConfigMistake& mistake) {
    return std::any_of(with.begin(), with.end(), [&mistake](const std::string& key) {
      return mistake.key.rfind(key, 0) == 0;
    });
  });
}

struct Loaded {
  Config config;
  std::vector<ConfigMistake> mistakes;
  Problems problems;
};

Loaded LoadWithRules(const Arguments& arguments) {
  Loaded loaded;
  loaded.config = Config::LoadPartly(SourcesOf(arguments), &loaded.mistakes);
  for (const ConfigMistake& mistake : loaded.mistakes) {
    loaded.problems.Add(mistake.status);
  }
  // Without the user's rules their names would be unknown ones.
  if (!AnyBegins(loaded.mistakes, {"rules.custom"})) {
    loaded.config = rules::NameRulesOfFiles(loaded.config);
    for (const rules::RuleSelection& rule : rules::SelectRules(loaded.config, &loaded.problems)) {
      if (const Status usable = CheckRuleFile(rule.python_file); !usable.ok()) {
        loaded.problems.Add(BadConfigValue(loaded.config, "rules.custom", usable));
      }
    }
  }
  return loaded;
}

Result<Config> Take(Loaded loaded) {
  return loaded.problems.empty() ? Result<Config>(std::move(loaded.config))
                                 : loaded.problems.status();
}

}  // namespace

Result<Config> LoadConfigToCheck(const Arguments& arguments) {
  return Take(LoadWithRules(arguments));
}

Result<Config> LoadConfigToRun(const Arguments& arguments, const Clock& clock) {
  Loaded loaded = LoadWithRules(arguments);
  if (!AnyBegins(loaded.mistakes, {"actions.", "rules.custom", "rules.select", "rules.ignore"})) {
    loaded.problems.Add(actions::ActionRouter::Check(loaded.config, clock));
  }
  return Take(std::move(loaded));
}

}  // namespace wheeltapper::cli
