// What the metadata tables of the built-in rules generate: configuration keys, the explanation at
// the terminal, and the reference page.
#pragma once

#include <string>
#include <vector>

#include "wheeltapper/core/config.h"
#include "wheeltapper/rules/rule.h"

namespace wheeltapper::rules {

// For ConfigSources::rule_keys: every parameter of every built-in rule as "rules.<rule>.<name>".
std::vector<ConfigKey> RuleConfigKeys();

// `wheeltapper explain RULE`: what it means, when it may be wrong, how to fix it, parameters.
// Markdown.
std::string ExplainRule(const RuleInfo& info);

// docs/reference/rules.md.
std::string RulesReferenceMarkdown();

// "number", "integer", "bool", "text", "regex".
std::string_view ParameterTypeName(ParameterType type);

}  // namespace wheeltapper::rules
