// Findings and summaries as people read them in a terminal.
#pragma once

#include <string>

#include "wheeltapper/rules/finding.h"

namespace wheeltapper::cli {

// Some lines, the first "error[exploding_tensor]: message"; then where, cause, try, explain. Names
// from the job are made printable: control characters never reach the terminal.
std::string RenderFinding(const rules::Finding& finding, bool colours);

// Control characters and invalid UTF-8 lead bytes replaced.
std::string Printable(const std::string& text);

}  // namespace wheeltapper::cli
