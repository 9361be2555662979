// Findings as the JSON array of the contract, and the severity a user named.
#pragma once

#include <string>
#include <vector>

#include "wheeltapper/core/status.h"
#include "wheeltapper/rules/finding.h"

namespace wheeltapper::cli {

std::string FindingsJson(const std::vector<rules::Finding>& findings);
Result<rules::Severity> ParseSeverity(const std::string& text, rules::Severity fallback);

}  // namespace wheeltapper::cli
