#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/config.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/suggest.h"
#include "wheeltapper/rules/engine.h"
#include "wheeltapper/rules/python_rules.h"

namespace wheeltapper::rules {
namespace {

std::string NumberText(double value) {
  std::array<char, 32> buffer{};
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return error == std::errc() ? std::string(buffer.data(), end) : "0";
}

template <typename T>
std::string Joined(const std::vector<T>& items) {
  std::string text;
  for (const T& item : items) {
    text += text.empty() ? "" : ",";
    if constexpr (std::is_same_v<T, std::string>) {
      text += item;
    } else {
      text += std::to_string(item);
    }
  }
  return text;
}

std::string ParameterText(const ConfigValue& value) {
  struct Visitor {
    std::string operator()(bool flag) const { return flag ? "true" : "false"; }
    std::string operator()(int64_t number) const { return std::to_string(number); }
    std::string operator()(double number) const { return NumberText(number); }
    std::string operator()(const std::string& text) const { return text; }
    std::string operator()(const std::vector<int64_t>& list) const { return Joined(list); }
    std::string operator()(const std::vector<std::string>& list) const { return Joined(list); }
  };
  return std::visit(Visitor{}, value);
}

std::vector<std::string> BuiltinNames() {
  std::vector<std::string> names;
  for (const RuleType& type : BuiltinRules()) {
    names.emplace_back(type.info->name);
  }
  return names;
}

// `rules.<table>.*` into a selection: everything but severity and action is a parameter.
void ReadTable(const Config& config, const std::string& table, RuleSelection* selection) {
  for (const std::string& child : config.ChildrenOf("rules." + table)) {
    const ConfigEntry* entry = config.Find("rules." + table + "." + child);
    if (entry == nullptr || child == "action") {
      continue;
    }
    if (child == "severity") {
      selection->severity = SeverityFromName(ParameterText(entry->value));
    } else {
      selection->parameters[child] = ParameterText(entry->value);
    }
  }
}

std::string Spaced(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    text += (text.empty() ? "" : ", ") + name;
  }
  return text;
}

// The rules that a key names. Those that there are not become problems.
std::set<std::string> ReadNames(const Config& config, const std::string& key,
                                const std::vector<std::string>& also_known, Problems* problems) {
  std::set<std::string> names;
  for (const std::string& name : config.GetTexts(key)) {
    const bool known = FindRule(name) != nullptr ||
                       (key == "rules.select" && (name == "all" || name == "default"));
    if (known || std::find(also_known.begin(), also_known.end(), name) != also_known.end()) {
      names.insert(name);
    } else {
      problems->Add(BadConfigValue(config, key,
                                   "unknown rule \"" + name + "\"" +
                                       DidYouMean(name, BuiltinNames()) +
                                       "; `wheeltapper rules` lists them"));
    }
  }
  return names;
}

// Each parameter by itself, so that a mistake in one is told with its place and hides no other's.
void CheckParameters(const Config& config, const RuleInfo& info, const RuleSelection& selection,
                     Problems* problems) {
  for (const auto& parameter : selection.parameters) {
    if (const Status made = Parameters::Make(info, {parameter}).status(); !made.ok()) {
      problems->Add(
          BadConfigValue(config, "rules." + selection.name + "." + parameter.first, made));
    }
  }
}

// One entry of `rules.custom`, by class.
std::vector<std::string> RulesOfFile(const Config& config, const std::string& python_file) {
  const auto& [path, class_name] = SplitRuleFile(python_file);
  if (!class_name.empty() || !path.ends_with(".py") || !PathExists(path)) {
    return {python_file};
  }
  PythonRuleOptions options;
  options.file = python_file;
  options.memory_mb = config.GetInt("rules.custom_memory_mb");
  std::vector<std::string> rules;
  for (const std::string& name :
       ListPythonRules(options, SystemClock()).value_or(std::vector<std::string>())) {
    rules.push_back(path + ":" + name);
  }
  return rules.empty() ? std::vector{python_file} : rules;
}

// [rules.X] for an X that is no rule would silently do nothing. Where a file stood without a class
// the configuration could not know that.
void CheckTables(const Config& config, const std::vector<std::string>& custom_names,
                 Problems* problems) {
  for (const std::string& table : config.ChildrenOf("rules")) {
    const bool known =
        FindConfigKey("rules." + table) != nullptr || FindRule(table) != nullptr ||
        std::any_of(custom_names.begin(), custom_names.end(), [&table](const std::string& name) {
          return table == name || RuleNameOfClass(table) == name;
        });
    if (!known) {
      problems->Add(InvalidArgumentError(
          "unknown rule \"" + table + "\" in [rules." + table +
          "]; the rules of a file are named after their classes: " + Spaced(custom_names)));
    }
  }
}

}  // namespace

Config NameRulesOfFiles(const Config& config) {
  std::vector<std::string> named;
  for (const std::string& entry : config.GetTexts("rules.custom")) {
    const std::vector<std::string> rules = RulesOfFile(config, entry);
    named.insert(named.end(), rules.begin(), rules.end());
  }
  return config.With("rules.custom", std::move(named));
}

Result<RuleSelection> SelectPythonRule(const Config& config, const std::string& python_file) {
  const auto& [file, class_name] = SplitRuleFile(python_file);
  if (!file.ends_with(".py") || python_file.ends_with(".py:")) {
    return BadConfigValue(config, "rules.custom",
                          "expected FILE.py or FILE.py:CLASS: \"" + python_file + "\"");
  }
  RuleSelection selection;
  selection.python_file = python_file;
  const std::string base = BaseName(file);
  selection.name =
      class_name.empty() ? base.substr(0, base.size() - 3) : RuleNameOfClass(class_name);
  if (FindRule(selection.name) != nullptr) {
    return BadConfigValue(config, "rules.custom",
                          "a built-in rule has the name \"" + selection.name +
                              "\"; rename the class: \"" + python_file + "\"");
  }
  selection.python_deadline_s = config.GetFloat("rules.custom_deadline_s");
  selection.python_memory_mb = config.GetInt("rules.custom_memory_mb");
  if (!class_name.empty() && class_name != selection.name) {
    ReadTable(config, class_name, &selection);
  }
  ReadTable(config, selection.name, &selection);
  return selection;
}

std::vector<RuleSelection> SelectRules(const Config& config, Problems* problems) {
  std::vector<RuleSelection> customs;
  std::vector<std::string> custom_names;
  for (const std::string& file : config.GetTexts("rules.custom")) {
    Result<RuleSelection> selection = SelectPythonRule(config, file);
    problems->Add(selection.status());
    if (selection.ok()) {
      custom_names.push_back(selection->name);
      customs.push_back(*std::move(selection));
    }
  }
  const bool all_named = std::none_of(customs.begin(), customs.end(), [](const auto& custom) {
    return SplitRuleFile(custom.python_file).class_name.empty();
  });
  if (all_named && !customs.empty()) {
    CheckTables(config, custom_names, problems);
  }
  const auto selected = ReadNames(config, "rules.select", custom_names, problems);
  const auto ignored = ReadNames(config, "rules.ignore", custom_names, problems);
  std::vector<RuleSelection> selections;
  for (const RuleType& type : BuiltinRules()) {
    RuleSelection selection{
        .name = type.info->name, .parameters = {}, .severity = {}, .python_file = {}};
    ReadTable(config, selection.name, &selection);
    // A mistake in a table is told even when the rule does not run.
    CheckParameters(config, *type.info, selection, problems);
    const bool wanted = selected.contains("all") || selected.contains(selection.name) ||
                        (selected.contains("default") && type.info->on_by_default);
    if (wanted && !ignored.contains(selection.name)) {
      selections.push_back(std::move(selection));
    }
  }
  for (RuleSelection& custom : customs) {
    if (!ignored.contains(custom.name)) {
      selections.push_back(std::move(custom));
    }
  }
  return selections;
}

Result<std::vector<RuleSelection>> SelectRules(const Config& config) {
  Problems problems;
  std::vector<RuleSelection> selections = SelectRules(config, &problems);
  return problems.empty() ? Result<std::vector<RuleSelection>>(std::move(selections))
                          : problems.status();
}

}  // namespace wheeltapper::rules
