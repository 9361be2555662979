// A finding: what a rule found — where, since when, how sure, likely cause, what to try. The JSON
// keys are a contract (docs/reference/cli.md): rule, severity, tensor, module, step, last_step,
// mode, rank, state, count, message, cause, try …
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::rules {

enum class Severity : uint8_t { kInfo = 0, kWarning = 1, kError = 2, kCritical = 3 };
std::string_view SeverityName(Severity severity);  // "info", "warning", "error", "critical"
std::optional<Severity> SeverityFromName(std::string_view name);

enum class FindingState : uint8_t { kOpen = 0, kResolved = 1 };

// A series that shows the finding, for the report's plot.
struct EvidencePoint {
  int64_t step;
  double value;  // may be NaN or infinite: shown, never dropped
};
struct Evidence {
  std::string label;  // "l2 of gradient/conv1.weight"
  std::vector<EvidencePoint> points;
  std::optional<double> threshold;
};

// What another rule sees of the cause of a finding: no finding of its own, but as good as one for
// the actions that are set for that rule or for that severity.
struct AlsoSeen {
  std::string rule;
  Severity severity = Severity::kWarning;  // never above the finding's
  std::string message;                     // the latest
  [[nodiscard]] std::string text() const { return rule + ": " + message; }
};

struct Finding {
  std::string id;    // "<rule>-<n>", stable within the run
  std::string rule;  // "nonfinite"
  Severity severity = Severity::kWarning;
  FindingState state = FindingState::kOpen;
  std::optional<std::string> tensor;  // the first tensor concerned
  std::optional<std::string> module;  // the module path it belongs to
  int64_t step = 0;                   // first step
  int64_t last_step = 0;              // last step seen
  std::optional<Mode> mode;
  std::optional<Rank> rank;
  int64_t count = 0;                 // violations so far, over all grouped tensors and steps
  std::vector<std::string> tensors;  // the first 20 of those grouped under this finding
  int64_t tensors_total = 0;         // of all of them
  std::string message;               // one sentence: what, where, since when, numbers with units
  std::optional<std::string> cause;
  std::optional<std::string> try_;  // NOLINT(readability-identifier-naming): JSON key "try"
  TimeNs wall_ns = 0;               // when it was opened
  std::vector<Evidence> evidence;
  std::map<std::string, std::string> parameters;  // of the rule, as in force
  std::vector<AlsoSeen> also;                     // by rule, then by its cause
  // The id of the finding that has taken this one over: it has the same cause, and goes on alone.
  std::optional<std::string> part_of;
};

std::string FindingToJson(const Finding& finding);       // one line
Result<Finding> FindingFromJson(std::string_view line);  // DataLoss on malformed text

// Receives what rules find. `actions` and the findings log implement it.
class FindingSink {
 public:
  FindingSink() = default;
  FindingSink(const FindingSink&) = delete;
  FindingSink& operator=(const FindingSink&) = delete;
  virtual ~FindingSink() = default;
  virtual void Opened(const Finding& finding) = 0;
  // Anything changed. A higher severity, of the finding or in `also`, and a rule new there are told
  // at once; the rest is rate-limited by the engine.
  virtual void Updated(const Finding& finding) = 0;
  virtual void Resolved(const Finding& finding) = 0;
};

// Reads findings.jsonl of a run: the latest version of each finding, in order of opening. A run
// without the file has none. Lines that are no findings are left out and told in `damaged`: "line 3
// is no finding: …".
Result<std::vector<Finding>> ReadFindings(const std::string& run_dir,
                                          std::vector<std::string>* damaged);

}  // namespace wheeltapper::rules
