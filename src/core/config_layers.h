// Private to core: the steps between a source of configuration and ConfigEntry.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "wheeltapper/core/config.h"

namespace wheeltapper {

// One assignment or empty table found in a TOML file. `problem` is set instead of a value for TOML
// that no key can hold (a date, an array of tables).
struct TomlSetting {
  std::string key;
  ConfigValue value = {};
  std::string problem = {};
  int line = 0;
  bool empty_table = false;  // `key` is a table that sets nothing
};

// Flattens a TOML document below `table` (dotted; "" = all) into settings, in file order of tables.
// InvalidArgument with line and column when it is no TOML.
Result<std::vector<TomlSetting>> ParseTomlSettings(std::string_view toml, std::string_view table);

// Checks type, range, choices and regular expressions and brings the value to the type that `key`
// holds. The error text has no location: "expected a whole number, got \"x\"".
Result<ConfigValue> CheckConfigValue(const ConfigKey& key, ConfigValue value);

// The value that `text` (a flag's or a variable's) means for `key`, checked.
Result<ConfigValue> ParseConfigText(const ConfigKey& key, std::string_view text);

// "a whole number, at least 1"
std::string DescribeConfigType(const ConfigKey& key);

// True when the row's name, with its <placeholders>, stands for the concrete `name`.
bool ConfigNameMatches(std::string_view row_name, std::string_view name);

}  // namespace wheeltapper
