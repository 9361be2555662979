#include "wheeltapper/rules/catalogue.h"

#include <algorithm>

#include <fmt/format.h>

namespace wheeltapper::rules {
namespace {

ConfigType ConfigTypeOf(ParameterType type) {
  switch (type) {
    case ParameterType::kNumber:
      return ConfigType::kFloat;
    case ParameterType::kInteger:
      return ConfigType::kInt;
    case ParameterType::kBool:
      return ConfigType::kBool;
    case ParameterType::kText:
    case ParameterType::kRegex:
      return ConfigType::kAny;  // a text, or a list that means its items joined by commas
  }
  return ConfigType::kAny;
}

// `|` would end a cell of a Markdown table.
std::string Cell(std::string_view text) {
  std::string cell;
  for (const char letter : text) {
    cell += letter == '|' ? "\\|" : std::string(1, letter);
  }
  return cell;
}

std::string ParameterTable(const RuleInfo& info) {
  if (info.parameters.empty()) {
    return "It has no parameters.\n";
  }
  std::string text = "| parameter | type | default | meaning | source |\n|---|---|---|---|---|\n";
  for (const ParameterSpec& spec : info.parameters) {
    const std::string_view value = spec.default_value;
    text += fmt::format("| `{}` | {} | {} | {} | {} |\n", spec.name, ParameterTypeName(spec.type),
                        value.empty() ? "unset" : fmt::format("`{}`", Cell(value)),
                        Cell(spec.meaning), Cell(spec.source));
  }
  return text;
}

std::string NeedsText(const RuleNeeds& needs) {
  std::string text;
  for (const char* collection : needs.collections) {
    text += fmt::format("{}`{}`", text.empty() ? "statistics of " : " or ", collection);
  }
  if (needs.scalars) {
    text += text.empty() ? "a loss" : ", or a loss";
  }
  return text.empty() ? "nothing but the run" : text;
}

// "; part of the finding of `overfit`, while that is open"; "" for a rule that nothing explains.
std::string ExplainedByText(const RuleInfo& info) {
  std::string names;
  std::string_view last;
  for (const Explanation& explanation : info.explained_by) {
    const bool is_own = info.name == std::string_view(explanation.rule);
    if (!is_own && last != explanation.rule) {  // the causes of one rule stand together
      names += fmt::format("{}`{}`", names.empty() ? "" : " or ", explanation.rule);
    }
    last = explanation.rule;
  }
  return names.empty() ? "" : "; with the same cause part of a finding of " + names;
}

}  // namespace

std::string_view ParameterTypeName(ParameterType type) {
  switch (type) {
    case ParameterType::kNumber:
      return "number";
    case ParameterType::kInteger:
      return "integer";
    case ParameterType::kBool:
      return "bool";
    case ParameterType::kText:
      return "text";
    case ParameterType::kRegex:
      return "regex";
  }
  return "text";
}

std::vector<ConfigKey> RuleConfigKeys() {
  std::vector<ConfigKey> keys;
  for (const RuleType& type : BuiltinRules()) {
    // What every rule has, so that one without parameters is known too.
    const std::string name = fmt::format("rules.{}.severity", type.info->name);
    if (const ConfigKey* severity = FindConfigKey(name)) {
      keys.push_back(*severity);
      keys.back().name = name;
    }
    for (const ParameterSpec& spec : type.info->parameters) {
      const bool is_text = ConfigTypeOf(spec.type) == ConfigType::kAny;
      const std::string value = spec.default_value;
      keys.push_back({.name = fmt::format("rules.{}.{}", type.info->name, spec.name),
                      .type = ConfigTypeOf(spec.type),
                      .default_toml = is_text && !value.empty() ? "'" + value + "'" : value,
                      .meaning = spec.meaning});
    }
  }
  return keys;
}

std::string ExplainRule(const RuleInfo& info) {
  std::string text = fmt::format("# {} (`{}`)\n\n{}\n\n", info.title, info.name, info.summary);
  text +=
      fmt::format("Severity {}, {}; needs {}", SeverityName(info.severity),
                  info.on_by_default ? "on by default" : "off by default", NeedsText(info.needs));
  if (info.warm_up_steps > 0) {
    text += fmt::format("; silent for the first {} captured steps", info.warm_up_steps);
  }
  if (*info.smdebug_name != '\0') {
    text += fmt::format("; SageMaker Debugger's {}", info.smdebug_name);
  }
  text += ExplainedByText(info);
  text += fmt::format(".\n\n## What it means\n\n{}\n\n## How to fix it\n\n{}\n\n",
                      info.what_it_means, info.how_to_fix);
  text += fmt::format("## When it may be wrong\n\n{}\n\n## Parameters\n\n{}", info.false_alarms,
                      ParameterTable(info));
  return text;
}

std::string RulesReferenceMarkdown() {
  std::string text =
      "# Rules\n\n"
      "This page is generated from the rules' metadata tables (`src/rules/builtin/`): do not edit "
      "it. A rule is\nchosen by `rules.select` and `rules.ignore`; its parameters and the severity "
      "of its findings are set in\n`[rules.<name>]` of `wheeltapper.toml`.\n\n"
      "A finding resolves once what it reports was clearly over (a value by a factor of two inside "
      "its threshold,\nas a rule) on as many captured steps in a row as it took to be reported, at "
      "least three. If it comes back,\nthe same finding is open again, tells what is so now, and, "
      "unless it had stayed away for long, takes twice as many\nsteps to resolve each time, up to "
      "96. The finding of a too large update or an exploding tensor is open as long as the loss "
      "that diverged for it.\nA tensor that is no longer finite has not recovered: a divergence "
      "that "
      "ends in NaN goes on as part\nof the finding of "
      "`nonfinite`.\n\n"
      "| rule | severity | what it reports | SageMaker Debugger |\n|---|---|---|---|\n";
  for (const RuleType& type : BuiltinRules()) {
    const RuleInfo& info = *type.info;
    text += fmt::format("| [`{0}`](#{0}) | {1} | {2} | {3} |\n", info.name,
                        SeverityName(info.severity), Cell(info.summary), info.smdebug_name);
  }
  for (const RuleType& type : BuiltinRules()) {
    // The page's own headings are one level deeper than those of a single explanation.
    std::string section = ExplainRule(*type.info);
    section.replace(0, section.find('\n'), fmt::format("# {}", type.info->name));
    text += "\n#";
    for (size_t i = 0; i < section.size(); ++i) {
      text += section[i];
      if (section[i] == '\n' && i + 1 < section.size() && section[i + 1] == '#') {
        text += '#';
      }
    }
  }
  return text;
}

}  // namespace wheeltapper::rules
