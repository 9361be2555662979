// The configuration of Wheeltapper: one table of keys (config_keys.cc), five layers, one resolved
// result with the origin of every value.
//
//   flag  >  environment WHEELTAPPER_A_B  >  project  >  user  >  default
//
// project: `wheeltapper.toml`, or `[tool.wheeltapper]` in `pyproject.toml`, of the nearest folder
// at or above the working directory that has one. user: `$XDG_CONFIG_HOME/wheeltapper/` (or
// `~/.config/wheeltapper/`) `wheeltapper.toml`. Each key is overridden by itself; lists are
// replaced, never merged. The watcher resolves once and writes RUN/config.json; the job reads that.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "wheeltapper/core/env.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper {

enum class ConfigType : uint8_t {
  kBool,       // bool
  kInt,        // int64_t
  kFloat,      // double
  kPercent,    // "1%" or a fraction 0.01; held as double, the fraction
  kEvery,      // "auto" or a whole number; held as int64_t, 0 = auto
  kText,       // std::string
  kChoice,     // std::string, one of `choices`
  kIntList,    // std::vector<int64_t>
  kTextList,   // std::vector<std::string>, each one of `choices` where those are given
  kRegexList,  // std::vector<std::string>, each compiles as a Regex
  kAny,        // whatever was written: a parameter whose type only its owner knows
};

using ConfigValue = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>,
                                 std::vector<std::string>>;

// One row of the key table.
struct ConfigKey {
  // Dotted path. A part in angle brackets stands for any name: "rules.<rule>.severity".
  std::string name;
  ConfigType type = ConfigType::kText;
  // As it would stand in wheeltapper.toml (`"auto"`, `[]`, `256`); "" = unset by default.
  std::string default_toml = {};
  std::string meaning = {};
  std::string unit = {};
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  std::string choices = {};  // "off|stats|hist|raw"
};

// All built-in keys, in the order of the reference page. Lives for ever.
const std::vector<ConfigKey>& ConfigKeys();

// Variables WHEELTAPPER_* that are no configuration keys (set by a watcher for its job, by tests).
struct ReservedVariable {
  std::string_view name;
  std::string_view meaning;
};
const std::vector<ReservedVariable>& ReservedVariables();

enum class ConfigLayer : uint8_t { kDefault, kUser, kProject, kEnvironment, kFlag };
std::string_view ConfigLayerName(ConfigLayer layer);

struct ConfigEntry {
  ConfigValue value;
  ConfigLayer layer = ConfigLayer::kDefault;
  // "wheeltapper.toml:12", "WHEELTAPPER_BUDGET", "--set budget"; "" for a default.
  std::string where;
};

// One `--set key=value` or a flag that stands for a key (`--budget 2%`).
struct ConfigFlag {
  std::string key;
  std::string text;
  std::string spelled;  // how the user typed it, for messages: "--budget"
};

struct ConfigSources {
  // Where the search for the project file begins; "" = no project file.
  std::string working_directory;
  // --config FILE: read in place of the project file; must exist.
  std::optional<std::string> file;
  Environment environment;
  std::vector<ConfigFlag> flags;
  // Parameters of the known rules, each named "rules.<rule>.<parameter>": they get their defaults,
  // their type checks, their variables and their place in suggestions. When none is given (the job
  // does not know the rules) every rules.<rule>.<parameter> is taken as it stands.
  std::vector<ConfigKey> rule_keys;
  // The working directory and environment of this process, no flags.
  static ConfigSources Current();
};

// One thing that is wrong with a setting, as it is told.
struct ConfigMistake {
  ConfigLayer layer = ConfigLayer::kDefault;
  std::string key = {};  // "" where it is no matter of one key: a file that cannot be read
  Status status;
};

// The resolved configuration. Immutable and copyable; thread-safe to read.
class Config {
 public:
  // Every mistake of all layers is reported, one per line, each as "what: why; how to fix".
  // InvalidArgument for unknown keys (with a suggestion), types, ranges and regular expressions;
  // NotFound for a missing `file`.
  static Result<Config> Load(const ConfigSources& sources);
  // For those who read a key or two and should not fail over the others: settings of files and
  // of the environment that are wrong are left out, and `mistakes` (never null) says which and why
  // as Load would; "" when there are none. What is wrong with a flag, or a `file` that cannot be
  // read, is an error as in Load.
  static Result<Config> LoadTolerantly(const ConfigSources& sources, std::string* mistakes);
  // What is right of it; what is wrong is left out and added to `mistakes` (never null). For those
  // who have more to check before they tell all of it.
  static Config LoadPartly(const ConfigSources& sources, std::vector<ConfigMistake>* mistakes);
  static Config Defaults();
  // Reads what ToJson wrote, of this or another version: unknown keys are kept, missing ones get
  // their default. DataLoss when it is no such text.
  static Result<Config> FromJson(std::string_view text);
  [[nodiscard]] std::string ToJson() const;
  // A copy without the keys under a table ("actions"): what is written down for others to read.
  [[nodiscard]] Config Without(std::string_view table) const;
  // A copy with another value of a key that is set, as if it stood where the old one does.
  [[nodiscard]] Config With(std::string_view key, ConfigValue value) const;

  // nullptr when the key is unset (or does not exist).
  [[nodiscard]] const ConfigEntry* Find(std::string_view key) const;
  // Whether somebody wrote it down, even if to what it is by default.
  [[nodiscard]] bool WasChosen(std::string_view key) const;

  // The value, or zero / "" / {} when unset. Asking with another type than the key's is a mistake
  // in the program: it yields zero and one error line in the log.
  [[nodiscard]] bool GetBool(std::string_view key) const;
  [[nodiscard]] int64_t GetInt(std::string_view key) const;   // kInt, kEvery
  [[nodiscard]] double GetFloat(std::string_view key) const;  // kFloat, kPercent, kInt
  [[nodiscard]] std::string GetText(std::string_view key) const;
  [[nodiscard]] std::vector<int64_t> GetInts(std::string_view key) const;
  [[nodiscard]] std::vector<std::string> GetTexts(std::string_view key) const;

  // The names directly under a table, sorted: ChildrenOf("capture.collections") → the user's
  // collections; ChildrenOf("rules.overfit") → the parameters that have a value.
  [[nodiscard]] std::vector<std::string> ChildrenOf(std::string_view table) const;

  // All set keys, sorted by name.
  [[nodiscard]] const std::map<std::string, ConfigEntry, std::less<>>& entries() const {
    return entries_;
  }

 private:
  friend class ConfigLoader;
  std::map<std::string, ConfigEntry, std::less<>> entries_;
};

// InvalidArgument as Load tells it, with the key and where its value comes from: `bad value for
// configuration key "rules.select" (wheeltapper.toml:3): <problem>`. For values that only their
// users can judge. The second keeps another code.
Status BadConfigValue(const Config& config, std::string_view key, const std::string& problem);
Status BadConfigValue(const Config& config, std::string_view key, const Status& problem);

// A value as it would stand in wheeltapper.toml: `"auto"` for an automatic interval, `"1%"`, `[]`.
// `key` may be null for parameters without a row.
std::string ConfigValueToml(const ConfigValue& value, const ConfigKey* key);

// The value as plain text, the way a flag or a variable is written: no quotes, lists joined by
// commas.
std::string ConfigValueText(const ConfigValue& value);

// The row for a concrete key ("rules.overfit.severity" → "rules.<rule>.severity"), or nullptr.
const ConfigKey* FindConfigKey(std::string_view key);

// The name of a custom rule in findings, tables and flags, by its class: "MyRule" → "my_rule". A
// run of capitals is one word, whose last begins the next: "KLDivergence" → "kl_divergence".
std::string RuleNameOfClass(std::string_view class_name);

// The variable of a key: "capture.ring_mb" → "WHEELTAPPER_CAPTURE_RING_MB".
std::string ConfigVariable(std::string_view key);

// docs/reference/config.md, generated from the table.
std::string ConfigReferenceMarkdown();

}  // namespace wheeltapper
