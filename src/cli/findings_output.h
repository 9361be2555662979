// Findings as the JSON array of the contract, the severity a user named, and how severe what other
// rules see is.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "wheeltapper/core/status.h"
#include "wheeltapper/rules/finding.h"

namespace wheeltapper::cli {

// The worst by rule.
std::map<std::string, rules::Severity> SeveritiesOf(const std::vector<rules::AlsoSeen>& also);
std::string FindingsJson(const std::vector<rules::Finding>& findings);
Result<rules::Severity> ParseSeverity(const std::string& text, rules::Severity fallback);

}  // namespace wheeltapper::cli
