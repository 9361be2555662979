// Findings as they are opened, become more severe and are resolved, on stderr; and what other rules
// come to see of them.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "wheeltapper/rules/finding.h"

namespace wheeltapper::cli {

// Single-threaded.
class FindingPrinter final : public rules::FindingSink {
 public:
  // `quiet`: only those that open or become more severe.
  FindingPrinter(bool colours, bool quiet) : colours_(colours), quiet_(quiet) {}
  // Begins each message with the run's name.
  void NameRun(const std::string& name) { run_ = name; }
  void Opened(const rules::Finding& finding) override;
  void Updated(const rules::Finding& finding) override;
  void Resolved(const rules::Finding& finding) override;

 private:
  struct Shown {
    rules::Severity severity = rules::Severity::kInfo;
    std::optional<std::string> tensor;
    int64_t step = 0;
    std::map<std::string, rules::Severity> also;  // by rule
  };

  void Tell(const std::string& text) const;
  void TellWhole(const std::string& before, const rules::Finding& finding);

  const bool colours_;
  const bool quiet_;
  std::string run_;                     // "" when there is but one
  std::map<std::string, Shown> shown_;  // by the finding's id
};

}  // namespace wheeltapper::cli
