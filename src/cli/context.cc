#include "context.h"

#include <algorithm>
#include <utility>

#include <unistd.h>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/env.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/json.h"
#include "wheeltapper/core/suggest.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/rules/catalogue.h"

namespace wheeltapper::cli {
namespace {

void WriteTo(int fd, std::string_view text) {
  const FileDescriptor borrowed(dup(fd));
  if (borrowed.valid()) {
    WriteAll(borrowed, AsBytes(text))
        .IgnoreError("a reader that went away (`| head`) is no error of ours");
  }
}

void WriteLine(std::string_view prefix, std::string_view message) {
  std::string line(prefix);
  line += message;
  line += '\n';
  WriteTo(STDERR_FILENO, line);
}

bool IsRun(const std::string& path) { return PathExists(format::RunInfoPath(path)); }

// Whoever reads the lines one by one must see of each what it is.
void WriteLines(std::string_view prefix, std::string_view message) {
  while (message.find('\n') != std::string_view::npos) {
    WriteLine(prefix, message.substr(0, message.find('\n')));
    message.remove_prefix(message.find('\n') + 1);
  }
  WriteLine(prefix, message);
}

Status NoSuchRun(const std::string& run, const std::string& folder,
                 const std::vector<std::string>& runs) {
  if (PathExists(run)) {
    return NotFoundError("\"" + run + "\" is no run directory (it has no run.json)");
  }
  std::vector<std::string> names;
  std::transform(runs.begin(), runs.end(), std::back_inserter(names), BaseName);
  return NotFoundError("there is no run \"" + run + "\", neither as a path nor in \"" + folder +
                       "\"" + DidYouMean(run, names) + "; `wheeltapper ls` lists the runs");
}

}  // namespace

void Say(std::string_view message) { WriteLine("wheeltapper: ", message); }
void SayError(std::string_view message) { WriteLines("wheeltapper: error: ", message); }
void SayRaw(std::string_view text) { WriteTo(STDERR_FILENO, text); }
void Print(std::string_view text) { WriteTo(STDOUT_FILENO, text); }

void PrintJson(const nlohmann::json& value) { Print(JsonIndented(value) + "\n"); }

int Fail(const Status& status) {
  SayError(status.message());
  switch (status.code()) {
    case StatusCode::kInternal:
    case StatusCode::kUnimplemented:
      return kExitInternal;
    default:
      return kExitUsage;
  }
}

ConfigSources SourcesOf(const Arguments& arguments) {
  ConfigSources sources = ConfigSources::Current();
  sources.flags = arguments.flags;
  sources.file = arguments.config_file;
  sources.rule_keys = rules::RuleConfigKeys();
  return sources;
}

Result<Config> LoadConfig(const Arguments& arguments) { return Config::Load(SourcesOf(arguments)); }

Result<Config> LoadConfigToRead(const Arguments& arguments) {
  std::string mistakes;
  Result<Config> config = Config::LoadTolerantly(SourcesOf(arguments), &mistakes);
  if (config.ok() && !mistakes.empty() && !arguments.quiet) {
    WriteLines("wheeltapper: warning: left out of the configuration: ", mistakes);
  }
  return config;
}

Result<std::vector<std::string>> ListRuns(const std::string& folder) {
  Result<std::vector<std::string>> names = ListDirectory(folder);
  if (!names.ok()) {
    return names.status();
  }
  std::vector<std::pair<TimeNs, std::string>> found;
  for (const std::string& name : *names) {
    const std::string path = JoinPath(folder, name);
    if (!IsRun(path)) {
      continue;
    }
    const Result<format::RunInfo> info = format::ReadRunInfo(path);
    found.emplace_back(info.ok() ? info->started_wall_ns : 0,
                       path);  // unreadable ones are listed too, first
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> paths;
  paths.reserve(found.size());
  for (auto& [started, path] : found) {
    paths.push_back(std::move(path));
  }
  return paths;
}

Result<std::string> ResolveRun(const std::string& run, const Config& config) {
  const std::string folder = config.GetText("storage.path");
  if (!run.empty() && IsRun(run)) {
    return run;
  }
  if (!run.empty() && run.find('/') == std::string::npos && IsRun(JoinPath(folder, run))) {
    return JoinPath(folder, run);
  }
  Result<std::vector<std::string>> runs = ListRuns(folder);
  const std::vector<std::string> known = runs.ok() ? *runs : std::vector<std::string>();
  if (!run.empty()) {
    return NoSuchRun(run, folder, known);
  }
  if (known.empty()) {
    return NotFoundError("there are no runs in \"" + folder +
                         "\"; start one: wheeltapper run -- python train.py");
  }
  return known.back();
}

Result<std::string> ChosenRun(const Arguments& arguments) {
  WT_ASSIGN_OR_RETURN(const Config config, LoadConfigToRead(arguments));
  return ResolveRun(arguments.runs.empty() ? "" : arguments.runs.front(), config);
}

Result<std::unique_ptr<trial::Trial>> OpenChosenRun(const Arguments& arguments) {
  WT_ASSIGN_OR_RETURN(const std::string run, ChosenRun(arguments));
  return trial::Trial::Open(run);
}

bool IsTerminal(int fd) {
  const std::optional<std::string> term = GetEnv("TERM");
  return isatty(fd) == 1 && term && *term != "dumb";
}

bool ColoursOn(int fd) {
  const std::optional<std::string> no_color = GetEnv("NO_COLOR");
  return IsTerminal(fd) && (!no_color || no_color->empty());
}

}  // namespace wheeltapper::cli
