// What can be said about the files of the user's rules without running them.
#pragma once

#include <vector>

#include "wheeltapper/core/status.h"
#include "wheeltapper/rules/engine.h"

namespace wheeltapper::cli {

// NotFound for a file that is not there, or that has no line `class NAME` for the class asked for.
// The rule host decides about everything else, in its sandbox.
Status CheckRuleFiles(const std::vector<rules::RuleSelection>& selection);

}  // namespace wheeltapper::cli
