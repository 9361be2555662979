#include "wheeltapper/rules/finding.h"

#include <array>
#include <utility>

namespace wheeltapper::rules {
namespace {

constexpr std::array<std::pair<Severity, std::string_view>, 4> kSeverityNames = {{
    {Severity::kInfo, "info"},
    {Severity::kWarning, "warning"},
    {Severity::kError, "error"},
    {Severity::kCritical, "critical"},
}};

}  // namespace

std::string_view SeverityName(Severity severity) {
  for (const auto& [value, name] : kSeverityNames) {
    if (value == severity) {
      return name;
    }
  }
  return "warning";
}

std::optional<Severity> SeverityFromName(std::string_view name) {
  for (const auto& [value, text] : kSeverityNames) {
    if (text == name) {
      return value;
    }
  }
  return std::nullopt;
}

}  // namespace wheeltapper::rules
