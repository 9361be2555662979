// What can be said about the files of the user's rules without running them.
#pragma once

#include <string>

#include "wheeltapper/core/status.h"

namespace wheeltapper::cli {

// Of RuleSelection::python_file; "" is no file and OK. NotFound for a file that is not there, or
// that has no line `class NAME` for the class asked for. The rule host decides about everything
// else, in its sandbox.
Status CheckRuleFile(const std::string& python_file);

}  // namespace wheeltapper::cli
