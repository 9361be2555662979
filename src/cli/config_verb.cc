// `wheeltapper config`: every key there is, set or not, from the metadata tables.
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/rules/catalogue.h"

#include "context.h"
#include "verbs.h"

namespace wheeltapper::cli {
namespace {

using nlohmann::json;

struct KeyRow {
  const ConfigKey* key = nullptr;      // null: a parameter of the user's own rule
  const ConfigEntry* entry = nullptr;  // null: unset
};

// By name. A key with a placeholder is listed as it is: any name may stand there.
std::map<std::string, KeyRow> KeyRows(const Config& config,
                                      const std::vector<ConfigKey>& rule_keys) {
  std::map<std::string, KeyRow> rows;
  for (const std::vector<ConfigKey>* keys : {&ConfigKeys(), &rule_keys}) {
    for (const ConfigKey& key : *keys) {
      rows[key.name].key = &key;
    }
  }
  for (const auto& [name, entry] : config.entries()) {
    KeyRow& row = rows[name];
    row.entry = &entry;
    row.key = row.key == nullptr ? FindConfigKey(name) : row.key;
  }
  return rows;
}

// "Time between SIGTERM and SIGKILL when a job is stopped. Default 10 s.", on one line.
std::string MeaningOf(const KeyRow& row) {
  if (row.key == nullptr) {
    return "A parameter of a rule of your own.";
  }
  const std::string unit = row.key->unit.empty() ? "" : " " + row.key->unit;
  return row.key->meaning + (row.key->default_toml.empty()
                                 ? " Unset by default."
                                 : fmt::format(" Default {}{}.", row.key->default_toml, unit));
}

std::string Setting(const std::string& name, const KeyRow& row) {
  if (row.entry == nullptr) {
    return fmt::format("{} =  # unset\n", name);
  }
  return fmt::format("{} = {}  # {}\n", name, ConfigValueToml(row.entry->value, row.key),
                     row.entry->where.empty() ? ConfigLayerName(row.entry->layer)
                                              : std::string_view(row.entry->where));
}

// What it means, what it is and where that comes from; a blank line after it.
std::string Text(const std::string& name, const KeyRow& row) {
  return "# " + MeaningOf(row) + "\n" + Setting(name, row) + "\n";
}

json TextOrNull(const std::string& text) { return text.empty() ? json() : json(text); }

json RowJson(const std::string& name, const KeyRow& row) {
  const bool set = row.entry != nullptr;
  return {{"key", name},
          {"value", set ? json(ConfigValueToml(row.entry->value, row.key)) : json()},
          {"layer", set ? ConfigLayerName(row.entry->layer) : "unset"},
          {"where", set ? row.entry->where : ""},
          {"default", row.key == nullptr ? json() : TextOrNull(row.key->default_toml)},
          {"unit", row.key == nullptr ? json() : TextOrNull(row.key->unit)},
          {"meaning", row.key == nullptr ? json() : TextOrNull(row.key->meaning)}};
}

}  // namespace

int ConfigVerb(const Arguments& arguments) {
  const Result<Config> config = LoadConfig(arguments);
  if (!config.ok()) {
    return Fail(config.status());
  }
  const std::vector<ConfigKey> rule_keys = rules::RuleConfigKeys();
  json all = json::array();
  for (const auto& [name, row] : KeyRows(*config, rule_keys)) {
    if (arguments.json) {
      all.push_back(RowJson(name, row));
    } else {
      Print(Text(name, row));
    }
  }
  if (arguments.json) {
    PrintJson(all);
  }
  return kExitOk;
}

}  // namespace wheeltapper::cli
