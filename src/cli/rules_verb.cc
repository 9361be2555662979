// `wheeltapper rules`, `explain` and `config`: what there is to evaluate and to set, from the
// metadata tables.
#include <sstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/suggest.h"
#include "wheeltapper/rules/rule.h"

#include "context.h"
#include "render.h"
#include "verbs.h"

namespace wheeltapper::cli {
namespace {

using nlohmann::json;

constexpr size_t kTextWidth = 96;

const char* TypeName(rules::ParameterType type) {
  switch (type) {
    case rules::ParameterType::kNumber:
      return "number";
    case rules::ParameterType::kInteger:
      return "integer";
    case rules::ParameterType::kBool:
      return "bool";
    case rules::ParameterType::kText:
      return "text";
    case rules::ParameterType::kRegex:
      return "regex";
  }
  return "text";
}

json RuleJson(const rules::RuleInfo& info) {
  json parameters = json::array();
  for (const rules::ParameterSpec& parameter : info.parameters) {
    parameters.push_back({{"name", parameter.name},
                          {"type", TypeName(parameter.type)},
                          {"default", parameter.default_value},
                          {"meaning", parameter.meaning},
                          {"source", parameter.source}});
  }
  return {{"name", info.name},
          {"title", info.title},
          {"summary", info.summary},
          {"smdebug_name", *info.smdebug_name == '\0' ? json() : json(info.smdebug_name)},
          {"severity", rules::SeverityName(info.severity)},
          {"on_by_default", info.on_by_default},
          {"warm_up_steps", info.warm_up_steps},
          {"parameters", parameters},
          {"what_it_means", info.what_it_means},
          {"false_alarms", info.false_alarms},
          {"how_to_fix", info.how_to_fix}};
}

// Words of `text` in lines of at most kTextWidth, each indented.
std::string Wrap(const std::string& text, const std::string& indent) {
  std::istringstream words(text);
  std::string out;
  std::string line;
  std::string word;
  while (words >> word) {
    if (!line.empty() && line.size() + word.size() + 1 + indent.size() > kTextWidth) {
      out += indent + line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return line.empty() ? out : out + indent + line + "\n";
}

std::string Explain(const rules::RuleInfo& info) {
  std::string out =
      fmt::format("{} ({}, {})\n", info.title, info.name, rules::SeverityName(info.severity));
  out += Wrap(info.summary, "  ") + "\nWhat it means\n" + Wrap(info.what_it_means, "  ");
  out += "\nHow to fix it\n" + Wrap(info.how_to_fix, "  ");
  out += "\nWhen it may be wrong\n" + Wrap(info.false_alarms, "  ") + "\nParameters\n";
  for (const rules::ParameterSpec& parameter : info.parameters) {
    const std::string value = *parameter.default_value == '\0' ? "unset" : parameter.default_value;
    out += fmt::format("  rules.{}.{} = {}\n", info.name, parameter.name, value) +
           Wrap(parameter.meaning, "      ");
  }
  if (*info.smdebug_name != '\0') {
    out += fmt::format("\nIn Amazon SageMaker Debugger: {}\n", info.smdebug_name);
  }
  return out;
}

}  // namespace

int RulesVerb(const Arguments& arguments) {
  if (arguments.json) {
    json all = json::array();
    for (const rules::RuleType& type : rules::BuiltinRules()) {
      all.push_back(RuleJson(*type.info));
    }
    Print(all.dump(2) + "\n");
    return kExitOk;
  }
  Print(fmt::format("{:<22}  {:<8}  {}\n", "RULE", "SEVERITY", "WHAT IT FINDS"));
  for (const rules::RuleType& type : rules::BuiltinRules()) {
    Print(fmt::format("{:<22}  {:<8}  {}\n", type.info->name,
                      rules::SeverityName(type.info->severity), type.info->summary));
  }
  return kExitOk;
}

int ExplainVerb(const Arguments& arguments) {
  const rules::RuleType* type = rules::FindRule(arguments.rule);
  if (type == nullptr) {
    std::vector<std::string> names;
    for (const rules::RuleType& known : rules::BuiltinRules()) {
      names.emplace_back(known.info->name);
    }
    return Fail(NotFoundError("there is no rule \"" + arguments.rule + "\"" +
                              DidYouMean(arguments.rule, names) +
                              "; `wheeltapper rules` lists them"));
  }
  Print(arguments.json ? RuleJson(*type->info).dump(2) + "\n" : Explain(*type->info));
  return kExitOk;
}

int ConfigVerb(const Arguments& arguments) {
  const Result<Config> config = LoadConfig(arguments);
  if (!config.ok()) {
    return Fail(config.status());
  }
  json all = json::array();
  for (const auto& [key, entry] : config->entries()) {
    const std::string value = ConfigValueToml(entry.value, FindConfigKey(key));
    const std::string origin =
        entry.where.empty() ? std::string(ConfigLayerName(entry.layer)) : entry.where;
    if (arguments.json) {
      all.push_back({{"key", key},
                     {"value", value},
                     {"layer", ConfigLayerName(entry.layer)},
                     {"where", entry.where}});
    } else {
      Print(fmt::format("{} = {}  # {}\n", key, value, origin));
    }
  }
  if (arguments.json) {
    Print(all.dump(2) + "\n");
  }
  return kExitOk;
}

}  // namespace wheeltapper::cli
