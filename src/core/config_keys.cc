// The one table of configuration keys. The reference page, the checks, the defaults, the variables
// and the suggestions all come from here.
#include <array>

#include "wheeltapper/core/config.h"

namespace wheeltapper {
namespace {

constexpr const char* kTake = "off|stats|hist|raw";
constexpr const char* kSeverities = "info|warning|error|critical";
constexpr const char* kThresholds = "never|info|warning|error|critical";

void AddGeneral(std::vector<ConfigKey>* keys) {
  keys->insert(
      keys->end(),
      {{.name = "budget",
        .type = ConfigType::kPercent,
        .default_toml = "\"1%\"",
        .meaning = "Share of the step time that observing may cost. Above it, capture backs off.",
        .min = 0.0001,
        .max = 1},
       {.name = "run.name",
        .meaning = "Name of the run and of its folder. Unset: two words and a number, such as "
                   "brave-otter-42."},
       {.name = "run.grace_s",
        .type = ConfigType::kFloat,
        .default_toml = "10",
        .meaning = "Time between SIGTERM and SIGKILL when a job is stopped.",
        .unit = "s",
        .min = 0,
        .max = 3600},
       {.name = "run.fail_on",
        .type = ConfigType::kChoice,
        .default_toml = "\"never\"",
        .meaning = "`run` exits with 3 when a finding of this severity or above is open.",
        .choices = kThresholds},
       {.name = "storage.path",
        .default_toml = "\"wheeltapper-runs\"",
        .meaning = "Folder that holds the run directories."},
       {.name = "storage.retain_raw_steps",
        .type = ConfigType::kInt,
        .default_toml = "0",
        .meaning = "Raw tensors of older steps are deleted; 0 keeps all. Statistics are kept.",
        .unit = "steps",
        .min = 0}});
}

// The schedule keys under `prefix`: capture itself, each mode, each collection.
void AddSchedule(std::vector<ConfigKey>* keys, const std::string& prefix,
                 const std::string& of_what, const std::string& every_default) {
  keys->insert(keys->end(),
               {{.name = prefix + "every",
                 .type = ConfigType::kEvery,
                 .default_toml = every_default,
                 .meaning = "Capture every n-th step" + of_what + "; \"auto\" keeps the budget.",
                 .unit = "steps",
                 .min = 1},
                {.name = prefix + "start",
                 .type = ConfigType::kInt,
                 .default_toml = every_default.empty() ? "" : "0",
                 .meaning = "First step captured" + of_what + ".",
                 .unit = "steps",
                 .min = 0},
                {.name = prefix + "end",
                 .type = ConfigType::kInt,
                 .meaning = "First step no longer captured" + of_what + ".",
                 .unit = "steps",
                 .min = 0},
                {.name = prefix + "steps",
                 .type = ConfigType::kIntList,
                 .default_toml = every_default.empty() ? "" : "[]",
                 .meaning = "Steps captured besides the interval" + of_what + ".",
                 .unit = "steps",
                 .min = 0}});
}

void AddTaken(std::vector<ConfigKey>* keys) {
  struct Taken {
    const char* collection;
    const char* default_toml;
    const char* what;
  };
  constexpr std::array<Taken, 8> kTaken{{
      {"gradients", "\"stats\"", "gradients after accumulation"},
      {"weights", "\"stats\"", "parameters that are no biases"},
      {"biases", "\"stats\"", "biases"},
      {"optimizer", "\"stats\"", "the optimizer's state"},
      {"activations", "\"stats\"", "outputs of leaf modules"},
      {"inputs", "\"off\"", "inputs of the model"},
      {"outputs", "\"off\"", "outputs of the model"},
      {"saved", "\"raw\"", "tensors given to save_tensor without a configured collection"},
  }};
  for (const Taken& taken : kTaken) {
    keys->push_back({.name = std::string("capture.") + taken.collection,
                     .type = ConfigType::kChoice,
                     .default_toml = taken.default_toml,
                     .meaning = std::string("What is kept of ") + taken.what +
                                ": nothing, statistics, statistics and a histogram, "
                                "statistics and the raw tensor.",
                     .choices = kTake});
  }
  keys->push_back(
      {.name = "capture.losses",
       .type = ConfigType::kChoice,
       .default_toml = "\"value\"",
       .meaning = "What is kept of losses: nothing, the value, statistics of the tensor.",
       .choices = "off|value|stats"});
}

void AddCapture(std::vector<ConfigKey>* keys) {
  AddSchedule(keys, "capture.", "", "\"auto\"");
  for (const char* mode : {"train", "eval", "predict", "global"}) {
    AddSchedule(keys, std::string("capture.") + mode + ".",
                std::string(" in mode ") + mode + " (unset: as `capture`)", "");
  }
  AddTaken(keys);
  keys->insert(
      keys->end(),
      {{.name = "capture.include",
        .type = ConfigType::kRegexList,
        .default_toml = "[]",
        .meaning = "Only tensors whose name one of these matches; empty = all."},
       {.name = "capture.exclude",
        .type = ConfigType::kRegexList,
        .default_toml = "[]",
        .meaning = "No tensor whose name one of these matches; wins over include."},
       {.name = "capture.reductions",
        .type = ConfigType::kTextList,
        .default_toml = "[]",
        .meaning = "Statistics to keep, by name; empty = all that cost nothing extra."},
       {.name = "capture.ring_mb",
        .type = ConfigType::kInt,
        .default_toml = "32",
        .meaning = "Shared memory between the training thread and the drain thread.",
        .unit = "MiB",
        .min = 1,
        .max = 65536},
       {.name = "capture.blob_ring_mb",
        .type = ConfigType::kInt,
        .default_toml = "256",
        .meaning = "The same for raw tensors; at most 2 % of the memory is taken.",
        .unit = "MiB",
        .min = 1,
        .max = 1048576},
       {.name = "capture.durability",
        .type = ConfigType::kChoice,
        .default_toml = "\"process\"",
        .meaning = "What a committed step survives: `process` a killed process, `interval` (synced "
                   "every few seconds) and `step` (synced at each) also a lost machine.",
        .choices = "process|interval|step"},
       {.name = "capture.on_full",
        .type = ConfigType::kChoice,
        .default_toml = "\"degrade\"",
        .meaning = "When the ring is full, for whole steps: keep statistics only, skip the step, "
                   "double the interval, or wait.",
        .choices = "degrade|skip|thin|block"},
       {.name = "capture.max_errors",
        .type = ConfigType::kInt,
        .default_toml = "8",
        .meaning = "Errors in the job after which capture switches itself off.",
        .min = 1,
        .max = 1000000}});
}

void AddCollections(std::vector<ConfigKey>* keys) {
  const std::string prefix = "capture.collections.<name>.";
  keys->insert(keys->end(),
               {{.name = prefix + "include",
                 .type = ConfigType::kRegexList,
                 .meaning = "Tensors of this collection, by name. Needed."},
                {.name = prefix + "exclude",
                 .type = ConfigType::kRegexList,
                 .meaning = "Tensors left out of this collection; wins over include."}});
  AddSchedule(keys, prefix, " of this collection (unset: as `capture`)", "");
  keys->insert(keys->end(), {{.name = prefix + "reductions",
                              .type = ConfigType::kTextList,
                              .meaning = "Statistics to keep, by name; unset: as `capture`."},
                             {.name = prefix + "histogram",
                              .type = ConfigType::kBool,
                              .meaning = "Keep a histogram too."},
                             {.name = prefix + "raw",
                              .type = ConfigType::kBool,
                              .meaning = "Keep the raw tensors too."}});
}

void AddRules(std::vector<ConfigKey>* keys) {
  keys->insert(keys->end(),
               {{.name = "rules.select",
                 .type = ConfigType::kTextList,
                 .default_toml = "[\"all\"]",
                 .meaning = "Rules to evaluate, by name; \"all\" = every built-in rule."},
                {.name = "rules.ignore",
                 .type = ConfigType::kTextList,
                 .default_toml = "[]",
                 .meaning = "Rules not to evaluate; wins over select."},
                {.name = "rules.custom",
                 .type = ConfigType::kTextList,
                 .default_toml = "[]",
                 .meaning = "Your own rules in Python: \"file.py:ClassName\", or \"file.py\" for "
                            "each class in it."},
                {.name = "rules.custom_deadline_s",
                 .type = ConfigType::kFloat,
                 .default_toml = "5",
                 .meaning = "Time one step may take a custom rule before it counts as hung.",
                 .unit = "s",
                 .min = 0.01,
                 .max = 3600},
                {.name = "rules.custom_memory_mb",
                 .type = ConfigType::kInt,
                 .default_toml = "1024",
                 .meaning = "Memory a custom rule's process may take.",
                 .unit = "MiB",
                 .min = 64,
                 .max = 1048576},
                {.name = "rules.<rule>.severity",
                 .type = ConfigType::kChoice,
                 .meaning = "Severity of this rule's findings; unset: the rule's own.",
                 .choices = kSeverities},
                {.name = "rules.<rule>.action",
                 .type = ConfigType::kTextList,
                 .meaning = "Actions on this rule's findings; unset: as `actions.*.on` say.",
                 .choices = "none|stop|command|webhook"},
                {.name = "rules.<rule>.<parameter>",
                 .type = ConfigType::kAny,
                 .meaning = "A parameter of the rule; `wheeltapper rules` lists them."}});
}

void AddActions(std::vector<ConfigKey>* keys) {
  keys->insert(
      keys->end(),
      {{.name = "actions.stop.on",
        .type = ConfigType::kTextList,
        .default_toml = "[]",
        .meaning = "Stop the job on these: rule names, or a severity (it and above)."},
       {.name = "actions.webhook.url",
        .meaning = "Findings are posted here as JSON. Unset: no webhook."},
       {.name = "actions.webhook.url_env",
        .meaning = "Name of the variable that holds the address, where the address is a secret."},
       {.name = "actions.webhook.on",
        .type = ConfigType::kChoice,
        .default_toml = "\"warning\"",
        .meaning = "Lowest severity that is posted.",
        .choices = kThresholds},
       {.name = "actions.webhook.secret_env",
        .meaning = "Name of the variable that holds the key for the HMAC-SHA256 signature."},
       {.name = "actions.webhook.allow_private",
        .type = ConfigType::kBool,
        .default_toml = "false",
        .meaning = "Permit addresses of this machine and of private networks."},
       {.name = "actions.webhook.timeout_s",
        .type = ConfigType::kFloat,
        .default_toml = "10",
        .meaning = "Time one delivery may take.",
        .unit = "s",
        .min = 0.1,
        .max = 300},
       {.name = "actions.command.argv",
        .type = ConfigType::kTextList,
        .default_toml = "[]",
        .meaning = "Command started with the finding as JSON on its standard input."},
       {.name = "actions.command.on",
        .type = ConfigType::kChoice,
        .default_toml = "\"warning\"",
        .meaning = "Lowest severity that starts the command.",
        .choices = kThresholds},
       {.name = "actions.command.timeout_s",
        .type = ConfigType::kFloat,
        .default_toml = "60",
        .meaning = "Time the command may take before it is killed.",
        .unit = "s",
        .min = 0.1,
        .max = 86400},
       {.name = "actions.cooldown_s",
        .type = ConfigType::kFloat,
        .default_toml = "300",
        .meaning = "Time between two messages about the same cause.",
        .unit = "s",
        .min = 0}});
}

}  // namespace

const std::vector<ConfigKey>& ConfigKeys() {
  static const auto* const kKeys = [] {
    // Leaked on purpose: read until the process is gone.
    auto* keys = new std::vector<ConfigKey>();  // NOLINT(cppcoreguidelines-owning-memory)
    AddGeneral(keys);
    AddCapture(keys);
    AddCollections(keys);
    AddRules(keys);
    AddActions(keys);
    return keys;
  }();
  return *kKeys;
}

const std::vector<ReservedVariable>& ReservedVariables() {
  static const auto* const kVariables =  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory)
      new std::vector<ReservedVariable>{
          {"WHEELTAPPER_LOG", "Level of the messages inside the job: debug, info, warning, error."},
          {"WHEELTAPPER_STRICT", "1 in this project's tests: errors in the job are raised."},
          {"WHEELTAPPER_RUN_DIR", "The run directory; `wheeltapper run` sets it for the job."},
          {"WHEELTAPPER_PACKAGE_DIR",
           "The folder of the Python package; `wheeltapper run` sets it for the job."},
          {"WHEELTAPPER_DISABLE", "1 switches Wheeltapper off in a job, whatever started it."},
      };
  return *kVariables;
}

}  // namespace wheeltapper
