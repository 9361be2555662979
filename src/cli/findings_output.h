// Findings as the JSON array of the contract, the severity a user named, and how severe what other
// rules see is.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "wheeltapper/core/status.h"
#include "wheeltapper/rules/finding.h"

namespace wheeltapper::cli {

// Of one run.
struct RunFindings {
  std::string run;  // its path
  std::vector<rules::Finding> findings;
};

// The worst by rule.
std::map<std::string, rules::Severity> SeveritiesOf(const std::vector<rules::AlsoSeen>& also);
// All of them in one array; each says which run it is of.
std::string FindingsJson(const std::vector<RunFindings>& all);
Result<rules::Severity> ParseSeverity(const std::string& text, rules::Severity fallback);

}  // namespace wheeltapper::cli
