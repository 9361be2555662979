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

// "1.3 s", "2 min 5 s", "3 h 12 min"
std::string RenderDuration(int64_t ns);
// "0.42 %"
std::string RenderPercent(double fraction);

}  // namespace wheeltapper::cli
