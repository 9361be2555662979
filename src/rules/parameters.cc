#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "wheeltapper/core/regex.h"
#include "wheeltapper/core/suggest.h"
#include "wheeltapper/rules/rule.h"

namespace wheeltapper::rules {
namespace {

template <typename T>
std::optional<T> ParseWhole(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

std::optional<bool> ParseBool(std::string_view text) {
  if (text == "true" || text == "True" || text == "1") {
    return true;
  }
  if (text == "false" || text == "False" || text == "0") {
    return false;
  }
  return std::nullopt;
}

// Empty when `text` is a value of the type, else what it should have been.
std::string Mistake(ParameterType type, const std::string& text) {
  switch (type) {
    case ParameterType::kNumber: {
      const auto value = ParseWhole<double>(text);
      return value && !std::isnan(*value) ? "" : "expected a number";
    }
    case ParameterType::kInteger:
      return ParseWhole<int64_t>(text) ? "" : "expected a whole number";
    case ParameterType::kBool:
      return ParseBool(text) ? "" : "expected true or false";
    case ParameterType::kRegex: {
      const auto regex = Regex::Compile(text);
      return regex.ok() ? "" : regex.status().message();
    }
    case ParameterType::kText:
      return "";
  }
  return "";
}

const ParameterSpec* FindSpec(const RuleInfo& info, const std::string& name) {
  for (const ParameterSpec& spec : info.parameters) {
    if (name == spec.name) {
      return &spec;
    }
  }
  return nullptr;
}

Status UnknownParameter(const RuleInfo& info, const std::string& name) {
  std::vector<std::string> known;
  for (const ParameterSpec& spec : info.parameters) {
    known.emplace_back(spec.name);
  }
  return InvalidArgumentError(
      fmt::format("rule {}: unknown parameter \"{}\"{}", info.name, name, DidYouMean(name, known)));
}

}  // namespace

Result<Parameters> Parameters::Make(const RuleInfo& info,
                                    const std::map<std::string, std::string>& given) {
  Parameters parameters;
  for (const ParameterSpec& spec : info.parameters) {
    parameters.values_[spec.name] = spec.default_value;
  }
  for (const auto& [name, text] : given) {
    const ParameterSpec* spec = FindSpec(info, name);
    if (spec == nullptr) {
      return UnknownParameter(info, name);
    }
    // An empty text unsets a parameter, where it may be unset.
    const bool unset = text.empty() && *spec->default_value == '\0';
    const std::string mistake = unset ? "" : Mistake(spec->type, text);
    if (!mistake.empty()) {
      return InvalidArgumentError(
          fmt::format("rule {}: parameter {}: {}: \"{}\"", info.name, name, mistake, text));
    }
    parameters.values_[name] = text;
  }
  return parameters;
}

double Parameters::Number(const char* name) const {
  return ParseWhole<double>(Text(name)).value_or(0);
}

int64_t Parameters::Integer(const char* name) const {
  return ParseWhole<int64_t>(Text(name)).value_or(0);
}

bool Parameters::Bool(const char* name) const { return ParseBool(Text(name)).value_or(false); }

const std::string& Parameters::Text(const char* name) const {
  static const std::string kNone;
  const auto found = values_.find(name);
  return found == values_.end() ? kNone : found->second;
}

bool Parameters::empty(const char* name) const { return Text(name).empty(); }

}  // namespace wheeltapper::rules
