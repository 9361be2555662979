// What every verb needs: messages and the configuration.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "wheeltapper/core/config.h"
#include "wheeltapper/core/plural.h"
#include "wheeltapper/core/status.h"

#include "arguments.h"

namespace wheeltapper::cli {

// "wheeltapper: …" on stderr; one call, one line.
void Say(std::string_view message);
// As it is, on stderr: for what is no line.
void SayRaw(std::string_view text);
// "wheeltapper: error: …", each line of the message as one of its own.
void SayError(std::string_view message);
// Data on stdout. A closed pipe (`| head`) is no error.
void Print(std::string_view text);
// A value on stdout, indented.
void PrintJson(const nlohmann::json& value);
// Says the error and returns the exit code that fits it: 2 for what the user can mend, else 6.
int Fail(const Status& status);

// What the command line, the environment and the files say, with the parameters of all rules known.
ConfigSources SourcesOf(const Arguments& arguments);
// flag > environment > project > user > default.
Result<Config> LoadConfig(const Arguments& arguments);
// The same for verbs that only read runs: a mistake in a file or a variable is a warning, and the
// setting is left out.
Result<Config> LoadConfigToRead(const Arguments& arguments);

// True for a terminal that understands escape codes: TERM is set and not "dumb".
bool IsTerminal(int fd);
// True when colours may be used on stderr / stdout: such a terminal, and no NO_COLOR.
bool ColoursOn(int fd);

}  // namespace wheeltapper::cli
