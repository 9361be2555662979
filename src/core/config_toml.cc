#include <utility>

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "config_layers.h"

namespace wheeltapper {
namespace {

Result<ConfigValue> FromArray(const toml::array& array) {
  std::vector<int64_t> ints;
  std::vector<std::string> texts;
  for (const toml::node& element : array) {
    if (const auto* number = element.as_integer()) {
      ints.push_back(number->get());
    } else if (const auto* text = element.as_string()) {
      texts.push_back(text->get());
    } else {
      return InvalidArgumentError("a list holds only whole numbers or only strings");
    }
  }
  if (!ints.empty() && !texts.empty()) {
    return InvalidArgumentError("a list holds only whole numbers or only strings");
  }
  if (!ints.empty()) {
    return ConfigValue(std::move(ints));
  }
  return ConfigValue(std::move(texts));
}

Result<ConfigValue> FromNode(const toml::node& node) {
  if (const auto* boolean = node.as_boolean()) {
    return ConfigValue(boolean->get());
  }
  if (const auto* number = node.as_integer()) {
    return ConfigValue(number->get());
  }
  if (const auto* number = node.as_floating_point()) {
    return ConfigValue(number->get());
  }
  if (const auto* text = node.as_string()) {
    return ConfigValue(text->get());
  }
  if (const auto* array = node.as_array()) {
    return FromArray(*array);
  }
  return InvalidArgumentError("dates and times are no configuration values");
}

// toml++ bounds the nesting of what it parses (256), so this recursion is bounded too.
void Flatten(const toml::table& table, const std::string& prefix,
             std::vector<TomlSetting>* settings) {
  for (const auto& [name, node] : table) {
    const std::string key = prefix + std::string(name.str());
    if (const toml::table* inner = node.as_table()) {
      Flatten(*inner, key + ".", settings);
      continue;
    }
    TomlSetting setting{key, false, "", static_cast<int>(node.source().begin.line)};
    if (Result<ConfigValue> value = FromNode(node); value.ok()) {
      setting.value = *std::move(value);
    } else {
      setting.problem = value.status().message();
    }
    settings->push_back(std::move(setting));
  }
}

}  // namespace

Result<std::vector<TomlSetting>> ParseTomlSettings(std::string_view toml, std::string_view table) {
  const toml::parse_result parsed = toml::parse(toml);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return InvalidArgumentError("line " + std::to_string(error.source().begin.line) + ", column " +
                                std::to_string(error.source().begin.column) + ": " +
                                std::string(error.description()));
  }
  const toml::table* root = &parsed.table();
  if (!table.empty()) {
    root = parsed.at_path(table).as_table();
  }
  std::vector<TomlSetting> settings;
  if (root != nullptr) {
    Flatten(*root, "", &settings);
  }
  return settings;
}

}  // namespace wheeltapper
