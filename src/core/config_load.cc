#include <algorithm>
#include <array>
#include <cctype>
#include <climits>
#include <set>
#include <utility>

#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/suggest.h"

#include "config_layers.h"

namespace wheeltapper {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;
constexpr std::string_view kVariablePrefix = "WHEELTAPPER_";
// The watcher's messages to its job travel in variables of this prefix; they are no configuration.
constexpr std::string_view kJobPrefix = "WHEELTAPPER_JOB_";

// "" above the topmost.
std::string ParentFolder(const std::string& folder) {
  return folder == "/" || folder.find('/') == std::string::npos ? "" : FolderOf(folder);
}

std::string Uppercase(std::string_view text) {
  std::string upper(text);
  for (char& letter : upper) {
    letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
  }
  return upper;
}

std::string Lowercase(std::string_view text) {
  std::string lower(text);
  for (char& letter : lower) {
    letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  return lower;
}

struct FoundFile {
  std::string path;
  std::string table;  // "" or "tool.wheeltapper"
};

// The project's file of the nearest folder that has one.
std::optional<FoundFile> FindProjectFile(const std::string& start) {
  for (std::string folder = start; !folder.empty(); folder = ParentFolder(folder)) {
    const std::string own = JoinPath(folder, "wheeltapper.toml");
    if (PathExists(own)) {
      return FoundFile{own, ""};
    }
    const std::string shared = JoinPath(folder, "pyproject.toml");
    if (!PathExists(shared)) {
      continue;
    }
    // Someone else's pyproject.toml is none of our business, readable or not.
    const Result<std::string> text = ReadWholeFile(shared, kMaxConfigBytes);
    if (text.ok() && text->find("tool.wheeltapper") != std::string::npos) {
      return FoundFile{shared, "tool.wheeltapper"};
    }
  }
  return std::nullopt;
}

std::optional<std::string> FindUserFile(const Environment& environment) {
  const auto of = [&environment](std::string_view name) {
    const auto found = environment.find(name);
    return found == environment.end() ? std::string() : found->second;
  };
  std::string folder = of("XDG_CONFIG_HOME");
  if (folder.empty() && !of("HOME").empty()) {
    folder = JoinPath(of("HOME"), ".config");
  }
  if (folder.empty()) {
    return std::nullopt;
  }
  std::string path = JoinPath(JoinPath(folder, "wheeltapper"), "wheeltapper.toml");
  return PathExists(path) ? std::optional<std::string>(std::move(path)) : std::nullopt;
}

Status BadValue(std::string_view key, const std::string& where, const Status& problem) {
  std::string text = "bad value for configuration key \"" + std::string(key) + "\"";
  text += where.empty() ? "" : " (" + where + ")";
  return {problem.code(), text + ": " + problem.message()};
}

}  // namespace

// One Load: applies layer after layer and gathers every mistake.
class ConfigLoader {
 public:
  ConfigLoader(const ConfigSources& sources, std::vector<ConfigMistake>* mistakes)
      : sources_(sources), mistakes_(mistakes) {}

  Config Run() {
    ApplyDefaults();
    if (const auto user = FindUserFile(sources_.environment)) {
      ApplyFile({*user, ""}, ConfigLayer::kUser);
    }
    if (sources_.file) {
      ApplyFile({*sources_.file, ""}, ConfigLayer::kProject);
    } else if (const auto project = FindProjectFile(sources_.working_directory)) {
      ApplyFile(*project, ConfigLayer::kProject);
    }
    ApplyEnvironment();
    for (const ConfigFlag& flag : sources_.flags) {
      ApplyText(flag.key, flag.text, {ConfigLayer::kFlag, flag.spelled});
    }
    CheckRuleNames();
    CheckCollections();
    CheckSchedules();
    return std::move(config_);
  }

 private:
  struct Origin {
    ConfigLayer layer;
    std::string where;
  };

  void AddMistake(ConfigLayer layer, const std::string& key, Status status) {
    mistakes_->push_back({.layer = layer, .key = key, .status = std::move(status)});
  }

  void ApplyDefaults() {
    for (const std::vector<ConfigKey>* keys : {&ConfigKeys(), &sources_.rule_keys}) {
      for (const ConfigKey& key : *keys) {
        ApplyDefault(key);
      }
    }
  }

  void ApplyDefault(const ConfigKey& key) {
    if (key.default_toml.empty()) {
      return;
    }
    const auto parsed = ParseTomlSettings("value = " + key.default_toml, "");
    if (!parsed.ok() || parsed->size() != 1) {
      AddMistake(
          ConfigLayer::kDefault, key.name,
          InvalidArgumentError("default of \"" + key.name + "\" is no TOML: " + key.default_toml));
      return;
    }
    Result<ConfigValue> value = CheckConfigValue(key, parsed->front().value);
    if (!value.ok()) {
      AddMistake(ConfigLayer::kDefault, key.name,
                 value.status().WithContext("default of \"" + key.name + "\""));
      return;
    }
    config_.entries_.insert_or_assign(key.name,
                                      ConfigEntry{*std::move(value), ConfigLayer::kDefault, ""});
  }

  void ApplyFile(const FoundFile& file, ConfigLayer layer) {
    const Result<std::string> text = ReadWholeFile(file.path, kMaxConfigBytes);
    if (!text.ok()) {
      // --config FILE is a flag; what is in the file is not.
      const bool by_flag = sources_.file && layer == ConfigLayer::kProject;
      AddMistake(by_flag ? ConfigLayer::kFlag : layer, "",
                 text.status().WithContext("reading configuration"));
      return;
    }
    const auto settings = ParseTomlSettings(*text, file.table);
    if (!settings.ok()) {
      AddMistake(layer, "",
                 InvalidArgumentError("reading configuration: not valid TOML: \"" + file.path +
                                      "\", " + settings.status().message()));
      return;
    }
    for (const TomlSetting& setting : *settings) {
      const Origin origin{layer, file.path + ":" + std::to_string(setting.line)};
      const ConfigKey* key = RowFor(setting.key);
      if (setting.empty_table && HoldsKeys(setting.key)) {
        continue;
      }
      if (key == nullptr) {
        AddUnknown(setting.key, origin);
      } else if (setting.empty_table) {
        AddBadValue(setting.key, InvalidArgumentError("expected a value, got a table"), origin);
      } else if (!setting.problem.empty()) {
        AddBadValue(setting.key, InvalidArgumentError(setting.problem), origin);
      } else {
        Store(setting.key, CheckConfigValue(*key, setting.value), origin);
      }
    }
  }

  void ApplyEnvironment() {
    for (const auto& [name, text] : sources_.environment) {
      if (!name.starts_with(kVariablePrefix) || name.starts_with(kJobPrefix) || IsReserved(name)) {
        continue;
      }
      const std::string key = KeyOfVariable(name);
      if (key.empty()) {
        AddMistake(
            ConfigLayer::kEnvironment, "",
            InvalidArgumentError("unknown variable " + name +
                                 ": no configuration key has this name, unset it or correct it" +
                                 DidYouMean(name, KnownVariables())));
        continue;
      }
      ApplyText(key, text, {ConfigLayer::kEnvironment, name});
    }
  }

  void ApplyText(const std::string& name, const std::string& text, const Origin& origin) {
    const ConfigKey* key = RowFor(name);
    if (key == nullptr) {
      AddUnknown(name, origin);
      return;
    }
    Store(name, ParseConfigText(*key, text), origin);
  }

  void Store(const std::string& name, Result<ConfigValue> value, const Origin& origin) {
    if (!value.ok()) {
      AddBadValue(name, value.status(), origin);
      return;
    }
    config_.entries_.insert_or_assign(name,
                                      ConfigEntry{*std::move(value), origin.layer, origin.where});
  }

  void AddUnknown(const std::string& name, const Origin& origin) {
    AddMistake(
        origin.layer, name,
        InvalidArgumentError("unknown configuration key \"" + name + "\" (" + origin.where +
                             "), correct or remove it" + DidYouMean(name, KnownNames(name))));
  }

  void AddBadValue(const std::string& name, const Status& problem, const Origin& origin) {
    AddMistake(origin.layer, name, BadValue(name, origin.where, problem));
  }

  [[nodiscard]] bool IsReserved(std::string_view name) const {
    const auto& reserved = ReservedVariables();
    return std::any_of(reserved.begin(), reserved.end(),
                       [name](const ReservedVariable& each) { return each.name == name; });
  }

  // The row that decides about `name`: a rule's own parameter before the patterns.
  [[nodiscard]] const ConfigKey* RowFor(std::string_view name) const {
    for (const ConfigKey& key : sources_.rule_keys) {
      if (key.name == name) {
        return &key;
      }
    }
    const ConfigKey* row = FindConfigKey(name);
    const bool checked = row != nullptr && row->name == "rules.<rule>.<parameter>" &&
                         !sources_.rule_keys.empty() && KnownRules().contains(PartOf(name, 1));
    return checked ? nullptr : row;
  }

  [[nodiscard]] bool HoldsKeys(const std::string& table) const {
    const std::vector<std::string> names = KnownNames(table);
    return std::any_of(names.begin(), names.end(),
                       [&table](const std::string& name) { return name.starts_with(table + "."); });
  }

  static std::string PartOf(std::string_view name, int index) {
    for (; index > 0; --index) {
      name.remove_prefix(std::min(name.find('.'), name.size() - 1) + 1);
    }
    return std::string(name.substr(0, name.find('.')));
  }

  [[nodiscard]] std::set<std::string> KnownRules() const {
    std::set<std::string> rules;
    for (const ConfigKey& key : sources_.rule_keys) {
      rules.insert(PartOf(key.name, 1));
    }
    return rules;
  }

  // Concrete names near `name`: the patterns filled in with the parts that `name` itself has.
  [[nodiscard]] std::vector<std::string> KnownNames(const std::string& name) const {
    std::vector<std::string> names;
    names.reserve(sources_.rule_keys.size() + ConfigKeys().size());
    for (const ConfigKey& key : sources_.rule_keys) {
      names.push_back(key.name);
    }
    for (const ConfigKey& key : ConfigKeys()) {
      std::string filled = key.name;
      const size_t open = filled.find('<');
      if (open != std::string::npos) {
        const size_t close = filled.find('>');
        const auto index = static_cast<int>(
            std::count(filled.begin(), filled.begin() + static_cast<std::ptrdiff_t>(open), '.'));
        filled.replace(open, close - open + 1, PartOf(name, index));
      }
      if (filled.find('<') == std::string::npos) {
        names.push_back(std::move(filled));
      }
    }
    return names;
  }

  [[nodiscard]] std::vector<std::string> KnownVariables() const {
    std::vector<std::string> variables;
    for (const std::string& name : KnownNames("")) {
      variables.push_back(ConfigVariable(name));
    }
    for (const ReservedVariable& reserved : ReservedVariables()) {
      variables.emplace_back(reserved.name);
    }
    return variables;
  }

  // "" when no key has this variable. A pattern's placeholder takes what stands between the fixed
  // parts, in lower case.
  [[nodiscard]] std::string KeyOfVariable(const std::string& variable) const {
    for (const std::vector<ConfigKey>* keys : {&sources_.rule_keys, &ConfigKeys()}) {
      for (const ConfigKey& key : *keys) {
        if (ConfigVariable(key.name) == variable) {
          return key.name;
        }
      }
    }
    for (const ConfigKey& key : ConfigKeys()) {
      const size_t open = key.name.find('<');
      const size_t close = key.name.find('>');
      if (open == std::string::npos || key.name.find('<', close) != std::string::npos) {
        continue;
      }
      const std::string before = ConfigVariable(key.name.substr(0, open));
      const std::string after = Uppercase(key.name.substr(close + 1));
      const std::string suffix = after.empty() ? "" : "_" + after.substr(1);
      if (variable.size() > before.size() + suffix.size() && variable.starts_with(before) &&
          variable.ends_with(suffix)) {
        return key.name.substr(0, open) +
               Lowercase(std::string_view(variable).substr(
                   before.size(), variable.size() - before.size() - suffix.size())) +
               key.name.substr(close + 1);
      }
    }
    return "";
  }

  // [rules.X] for an X that is no rule would silently do nothing.
  void CheckRuleNames() {
    if (sources_.rule_keys.empty()) {
      return;
    }
    std::set<std::string> known = KnownRules();
    for (const std::string& custom : config_.GetTexts("rules.custom")) {
      const size_t colon = custom.rfind(':');
      if (colon == std::string::npos) {
        return;  // a whole file: its rules' names are not known here
      }
      known.insert(custom.substr(colon + 1));
      known.insert(RuleNameOfClass(custom.substr(colon + 1)));
    }
    const std::vector<std::string> candidates(known.begin(), known.end());
    for (const std::string& rule : config_.ChildrenOf("rules")) {
      if (FindConfigKey("rules." + rule) == nullptr && !known.contains(rule)) {
        const ConfigEntry last = RemoveUnder("rules." + rule);
        AddMistake(last.layer, "rules." + rule,
                   InvalidArgumentError("unknown rule \"" + rule + "\" in [rules." + rule + "] (" +
                                        last.where + ")" + DidYouMean(rule, candidates) +
                                        "; `wheeltapper rules` lists them"));
      }
    }
  }

  // Takes the settings under a table out. Returns the first of those of the strongest layer: a flag
  // is wrong also when a file began the table.
  ConfigEntry RemoveUnder(const std::string& table) {
    const std::string prefix = table + ".";
    auto entry = config_.entries_.lower_bound(prefix);
    ConfigEntry strongest = entry == config_.entries_.end() ? ConfigEntry() : entry->second;
    while (entry != config_.entries_.end() && entry->first.starts_with(prefix)) {
      if (entry->second.layer > strongest.layer) {
        strongest = entry->second;
      }
      entry = config_.entries_.erase(entry);
    }
    return strongest;
  }

  void CheckCollections() {
    for (const std::string& name : config_.ChildrenOf("capture.collections")) {
      if (config_.GetTexts("capture.collections." + name + ".include").empty()) {
        const std::string table = "capture.collections." + name;
        const ConfigEntry last = RemoveUnder(table);
        AddMistake(last.layer, table,
                   InvalidArgumentError(
                       "collection \"" + name + "\" is empty: it has no `include` (" + last.where +
                       "). Add include = [\"a regular expression\"] to [" + table + "]"));
      }
    }
  }

  // An interval that ends before it begins would silently capture nothing. An end of 0 says so.
  void CheckSchedules() {
    constexpr std::string_view kEnd = ".end";
    std::vector<std::string> empty;
    for (const auto& [key, entry] : config_.entries_) {
      if (!key.starts_with("capture.") || !key.ends_with(kEnd) || config_.GetInt(key) == 0) {
        continue;
      }
      const std::string table = key.substr(0, key.size() - kEnd.size());
      const bool own_start = config_.entries_.contains(table + ".start");
      const std::string start = (own_start ? table : "capture") + ".start";
      if (config_.GetInt(key) <= config_.GetInt(start)) {
        empty.push_back(key);
        AddMistake(
            entry.layer, key,
            InvalidArgumentError("nothing would be captured: " + start + " is " +
                                 std::to_string(config_.GetInt(start)) + ", and " + key + " (" +
                                 entry.where + ") is " + std::to_string(config_.GetInt(key)) +
                                 ", the first step that is no longer captured"));
      }
    }
    for (const std::string& key : empty) {
      config_.entries_.erase(key);
    }
  }

  const ConfigSources& sources_;
  std::vector<ConfigMistake>* mistakes_;
  Config config_;
};

Config Config::LoadPartly(const ConfigSources& sources, std::vector<ConfigMistake>* mistakes) {
  return ConfigLoader(sources, mistakes).Run();
}

Result<Config> Config::Load(const ConfigSources& sources) {
  std::vector<ConfigMistake> mistakes;
  Config config = LoadPartly(sources, &mistakes);
  Problems problems;
  for (const ConfigMistake& mistake : mistakes) {
    problems.Add(mistake.status);
  }
  return problems.empty() ? Result<Config>(std::move(config)) : problems.status();
}

Result<Config> Config::LoadTolerantly(const ConfigSources& sources, std::string* mistakes) {
  std::vector<ConfigMistake> found;
  Config config = LoadPartly(sources, &found);
  Problems all;
  Problems refused;
  for (const ConfigMistake& mistake : found) {
    all.Add(mistake.status);
    if (mistake.layer == ConfigLayer::kFlag) {
      refused.Add(mistake.status);
    }
  }
  *mistakes = all.status().message();
  return refused.empty() ? Result<Config>(std::move(config)) : refused.status();
}

Status BadConfigValue(const Config& config, std::string_view key, const Status& problem) {
  const ConfigEntry* entry = config.Find(key);
  return BadValue(key, entry == nullptr ? "" : entry->where, problem);
}

Status BadConfigValue(const Config& config, std::string_view key, const std::string& problem) {
  return BadConfigValue(config, key, InvalidArgumentError(problem));
}

Config Config::Defaults() {
  // The table's own defaults are checked by a test; there is nothing to report here.
  return Load(ConfigSources{}).value_or(Config());
}

ConfigSources ConfigSources::Current() {
  ConfigSources sources;
  std::array<char, PATH_MAX> folder{};
  if (getcwd(folder.data(), folder.size()) != nullptr) {
    sources.working_directory = folder.data();
  }
  sources.environment = CurrentEnvironment();
  return sources;
}

std::string ConfigVariable(std::string_view key) {
  std::string variable = std::string(kVariablePrefix) + Uppercase(key);
  std::replace(variable.begin(), variable.end(), '.', '_');
  std::replace(variable.begin(), variable.end(), '-', '_');
  return variable;
}

}  // namespace wheeltapper
