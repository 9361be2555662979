// Rules as people name them on the command line.
#pragma once

#include <string>
#include <vector>

#include "wheeltapper/core/status.h"

namespace wheeltapper::cli {

// NotFound with a suggestion among the built-in rules and `others`: a misspelt name, the class of
// a rule in Python, or the beginning or another part of a name.
Status NoSuchRule(const std::string& name, const std::vector<std::string>& others);

}  // namespace wheeltapper::cli
