// `wheeltapper rules` and `explain`: what there is to evaluate, from the metadata tables.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/rules/catalogue.h"
#include "wheeltapper/rules/rule.h"

#include "context.h"
#include "rule_names.h"
#include "verbs.h"

namespace wheeltapper::cli {
namespace {

using nlohmann::json;

json RuleJson(const rules::RuleInfo& info) {
  json parameters = json::array();
  for (const rules::ParameterSpec& parameter : info.parameters) {
    parameters.push_back({{"name", parameter.name},
                          {"type", rules::ParameterTypeName(parameter.type)},
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

}  // namespace

int RulesVerb(const Arguments& arguments) {
  if (arguments.json) {
    json all = json::array();
    for (const rules::RuleType& type : rules::BuiltinRules()) {
      all.push_back(RuleJson(*type.info));
    }
    PrintJson(all);
    return kExitOk;
  }
  Print(fmt::format("{:<22}  {:<8}  {}\n", "RULE", "SEVERITY", "WHAT IT FINDS"));
  for (const rules::RuleType& type : rules::BuiltinRules()) {
    Print(fmt::format("{:<22}  {:<8}  {}\n", type.info->name,
                      rules::SeverityName(type.info->severity), type.info->summary));
    for (const rules::ParameterSpec& parameter : type.info->parameters) {
      Print(fmt::format("    rules.{}.{} = {}\n", type.info->name, parameter.name,
                        *parameter.default_value == '\0' ? "(unset)" : parameter.default_value));
    }
  }
  return kExitOk;
}

int ExplainVerb(const Arguments& arguments) {
  const rules::RuleType* type = rules::FindRule(arguments.rule);
  if (type == nullptr) {
    return Fail(NoSuchRule(arguments.rule, {}));
  }
  if (arguments.json) {
    PrintJson(RuleJson(*type->info));
  } else {
    Print(rules::ExplainRule(*type->info));
  }
  return kExitOk;
}

}  // namespace wheeltapper::cli
