#include "wheeltapper/core/config.h"

#include <algorithm>
#include <cctype>

#include <nlohmann/json.hpp>

#include "wheeltapper/core/json.h"
#include "wheeltapper/core/log.h"

#include "config_layers.h"

namespace wheeltapper {
namespace {

using nlohmann::json;

constexpr int kJsonSchema = 1;

std::optional<ConfigLayer> LayerFromName(std::string_view name) {
  for (const ConfigLayer layer : {ConfigLayer::kDefault, ConfigLayer::kUser, ConfigLayer::kProject,
                                  ConfigLayer::kEnvironment, ConfigLayer::kFlag}) {
    if (ConfigLayerName(layer) == name) {
      return layer;
    }
  }
  return std::nullopt;
}

template <typename T>
std::optional<ConfigValue> ListFromJson(const json& array) {
  std::vector<T> list;
  for (const json& element : array) {
    if constexpr (std::is_same_v<T, int64_t>) {
      if (!element.is_number_integer()) {
        return std::nullopt;
      }
    } else if (!element.is_string()) {
      return std::nullopt;
    }
    list.push_back(element.get<T>());
  }
  return ConfigValue(std::move(list));
}

std::optional<ConfigValue> ValueFromJson(const json& value) {
  if (value.is_boolean()) {
    return ConfigValue(value.get<bool>());
  }
  if (value.is_number_integer()) {
    return ConfigValue(value.get<int64_t>());
  }
  if (value.is_number_float()) {
    return ConfigValue(value.get<double>());
  }
  if (value.is_string()) {
    return ConfigValue(value.get<std::string>());
  }
  if (value.is_array()) {
    const bool numbers = !value.empty() && value.front().is_number_integer();
    return numbers ? ListFromJson<int64_t>(value) : ListFromJson<std::string>(value);
  }
  return std::nullopt;
}

// Resolved values are stored as held: an automatic interval as 0, a percentage as a fraction.
Result<ConfigValue> CheckStored(std::string_view name, ConfigValue value) {
  const ConfigKey* key = FindConfigKey(name);
  const auto* whole = std::get_if<int64_t>(&value);
  if (key == nullptr || (key->type == ConfigType::kEvery && whole != nullptr && *whole == 0)) {
    return value;
  }
  if (key->type == ConfigType::kPercent && whole != nullptr) {
    return CheckConfigValue(*key, static_cast<double>(*whole));
  }
  return CheckConfigValue(*key, std::move(value));
}

Result<ConfigEntry> EntryFromJson(const std::string& name, const json& stored) {
  const auto text = [&stored](const char* field) {
    const auto found = stored.find(field);
    return found != stored.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const std::optional<ConfigLayer> layer = LayerFromName(text("origin"));
  if (!stored.is_object() || !layer || !stored.contains("value")) {
    return DataLossError("entry \"" + name + "\" has no value or origin");
  }
  std::optional<ConfigValue> value = ValueFromJson(stored["value"]);
  if (!value) {
    return DataLossError("entry \"" + name + "\" holds a value of no known type");
  }
  Result<ConfigValue> checked = CheckStored(name, *std::move(value));
  if (!checked.ok()) {
    return DataLossError("entry \"" + name + "\": " + checked.status().message());
  }
  return ConfigEntry{*std::move(checked), *layer, text("where")};
}

template <typename T>
const T* Held(const Config& config, std::string_view key) {
  const ConfigEntry* entry = config.Find(key);
  if (entry == nullptr) {
    if (FindConfigKey(key) == nullptr) {
      Log(LogLevel::kError, "internal: no configuration key \"" + std::string(key) + "\"");
    }
    return nullptr;
  }
  const T* value = std::get_if<T>(&entry->value);
  if (value == nullptr) {
    Log(LogLevel::kError,
        "internal: configuration key \"" + std::string(key) + "\" is of another type");
  }
  return value;
}

template <typename T>
T HeldOr(const Config& config, std::string_view key, const T& fallback) {
  const T* value = Held<T>(config, key);
  return value == nullptr ? fallback : *value;
}

}  // namespace

std::string RuleNameOfClass(std::string_view class_name) {
  const auto is_in = [class_name](size_t place, int (*kind)(int)) {
    return place < class_name.size() && kind(static_cast<unsigned char>(class_name[place])) != 0;
  };
  std::string name;
  for (size_t i = 0; i < class_name.size(); ++i) {
    const bool follows_word = i > 0 && class_name[i - 1] != '_';
    const bool begins =
        is_in(i, std::isupper) && (!is_in(i - 1, std::isupper) || is_in(i + 1, std::islower));
    name += follows_word && begins ? "_" : "";
    name += static_cast<char>(std::tolower(static_cast<unsigned char>(class_name[i])));
  }
  return name;
}

std::string_view ConfigLayerName(ConfigLayer layer) {
  switch (layer) {
    case ConfigLayer::kDefault:
      return "default";
    case ConfigLayer::kUser:
      return "user";
    case ConfigLayer::kProject:
      return "project";
    case ConfigLayer::kEnvironment:
      return "environment";
    case ConfigLayer::kFlag:
      return "flag";
  }
  return "default";
}

const ConfigKey* FindConfigKey(std::string_view key) {
  for (const ConfigKey& row : ConfigKeys()) {
    if (ConfigNameMatches(row.name, key)) {
      return &row;
    }
  }
  return nullptr;
}

const ConfigEntry* Config::Find(std::string_view key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

bool Config::WasChosen(std::string_view key) const {
  const ConfigEntry* entry = Find(key);
  return entry != nullptr && entry->layer != ConfigLayer::kDefault;
}

bool Config::GetBool(std::string_view key) const { return HeldOr<bool>(*this, key, false); }

int64_t Config::GetInt(std::string_view key) const { return HeldOr<int64_t>(*this, key, 0); }

double Config::GetFloat(std::string_view key) const {
  if (const ConfigEntry* entry = Find(key); entry != nullptr) {
    if (const auto* whole = std::get_if<int64_t>(&entry->value)) {
      return static_cast<double>(*whole);
    }
  }
  return HeldOr<double>(*this, key, 0);
}

std::string Config::GetText(std::string_view key) const {
  return HeldOr<std::string>(*this, key, {});
}

std::vector<int64_t> Config::GetInts(std::string_view key) const {
  if (const ConfigEntry* entry = Find(key); entry != nullptr) {
    // An empty list of a parameter without a row is held as a list of strings.
    if (const auto* texts = std::get_if<std::vector<std::string>>(&entry->value);
        texts != nullptr && texts->empty()) {
      return {};
    }
  }
  return HeldOr<std::vector<int64_t>>(*this, key, {});
}

std::vector<std::string> Config::GetTexts(std::string_view key) const {
  return HeldOr<std::vector<std::string>>(*this, key, {});
}

Config Config::Without(std::string_view table) const {
  const std::string prefix = std::string(table) + ".";
  Config copy = *this;
  std::erase_if(copy.entries_, [&](const auto& item) { return item.first.starts_with(prefix); });
  return copy;
}

Config Config::With(std::string_view key, ConfigValue value) const {
  Config copy = *this;
  if (const auto entry = copy.entries_.find(key); entry != copy.entries_.end()) {
    entry->second.value = std::move(value);
  }
  return copy;
}

std::vector<std::string> Config::ChildrenOf(std::string_view table) const {
  const std::string prefix = std::string(table) + ".";
  std::vector<std::string> children;
  for (auto entry = entries_.lower_bound(prefix);
       entry != entries_.end() && entry->first.starts_with(prefix); ++entry) {
    std::string child = entry->first.substr(prefix.size());
    child.resize(std::min(child.size(), child.find('.')));
    if (children.empty() || children.back() != child) {
      children.push_back(std::move(child));
    }
  }
  // '.' sorts before letters but after '-': names that share a prefix may come interleaved.
  std::sort(children.begin(), children.end());
  children.erase(std::unique(children.begin(), children.end()), children.end());
  return children;
}

std::string Config::ToJson() const {
  json values = json::object();
  for (const auto& [name, entry] : entries_) {
    json stored = {{"origin", ConfigLayerName(entry.layer)}};
    std::visit([&stored](const auto& value) { stored["value"] = value; }, entry.value);
    if (!entry.where.empty()) {
      stored["where"] = entry.where;
    }
    values[name] = std::move(stored);
  }
  const json document = {{"schema", kJsonSchema}, {"values", std::move(values)}};
  return JsonIndented(document) + "\n";
}

Result<Config> Config::FromJson(std::string_view text) {
  const json document = ParseJson(text);
  const auto values = document.is_object() ? document.find("values") : document.end();
  if (!document.is_object() || values == document.end() || !values->is_object()) {
    return DataLossError("reading configuration: no object with \"values\"");
  }
  Config config = Defaults();
  for (const auto& [name, stored] : values->items()) {
    Result<ConfigEntry> entry = EntryFromJson(name, stored);
    if (!entry.ok()) {
      return entry.status().WithContext("reading configuration");
    }
    config.entries_.insert_or_assign(name, *std::move(entry));
  }
  return config;
}

}  // namespace wheeltapper
