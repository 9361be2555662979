#include "context.h"

#include <unistd.h>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/env.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/json.h"
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

// Whoever reads the lines one by one must see of each what it is.
void WriteLines(std::string_view prefix, std::string_view message) {
  while (message.find('\n') != std::string_view::npos) {
    WriteLine(prefix, message.substr(0, message.find('\n')));
    message.remove_prefix(message.find('\n') + 1);
  }
  WriteLine(prefix, message);
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

bool IsTerminal(int fd) {
  const std::optional<std::string> term = GetEnv("TERM");
  return isatty(fd) == 1 && term && *term != "dumb";
}

bool ColoursOn(int fd) {
  const std::optional<std::string> no_color = GetEnv("NO_COLOR");
  return IsTerminal(fd) && (!no_color || no_color->empty());
}

}  // namespace wheeltapper::cli
