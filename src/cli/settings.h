// The configuration of the verbs that use the rules, checked whole before anything is made on disk.
#pragma once

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/config.h"
#include "wheeltapper/core/status.h"

#include "arguments.h"

namespace wheeltapper::cli {

// The errors of both hold every mistake, one a line, with where it was made; what only follows from
// another mistake is left out.

// The configuration, where the rules that it selects and the user's files are sound too.
Result<Config> LoadConfigToCheck(const Arguments& arguments);
// And where its actions are.
Result<Config> LoadConfigToRun(const Arguments& arguments, const Clock& clock);

}  // namespace wheeltapper::cli
