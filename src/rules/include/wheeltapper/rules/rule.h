// A rule looks at a trial's steps in order and says what is wrong. C++ for the built-ins
// (src/rules/builtin/, one file each with its metadata table), Python for users (run in a child
// process, see python_rules.h).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "wheeltapper/core/status.h"
#include "wheeltapper/format/rows.h"
#include "wheeltapper/rules/finding.h"

namespace wheeltapper::rules {

enum class ParameterType : uint8_t { kNumber, kInteger, kBool, kText, kRegex };

struct ParameterSpec {
  const char* name;
  ParameterType type;
  const char* default_value;  // as text; "" = none
  const char* meaning;        // one line, with unit and range
  const char* source;         // "SageMaker Debugger", a paper, or "Wheeltapper"
};

// What a rule needs to say anything; the engine tells the user when it is missing instead of
// staying silent.
struct RuleNeeds {
  std::vector<const char*> collections;  // any of these with statistics
  bool scalars = false;                  // any scalar (loss)
};

// How far the finding of another rule must reach to explain what a rule observes.
enum class Reach : uint8_t {
  kAnywhere,    // wherever it was seen
  kSamePlace,   // a tensor or a module in common, or the whole model
  kWholeModel,  // Observation::whole_model
};

// Another rule whose open finding has the same cause as what this rule observes under `cause_key`:
// that is then added to the finding and opens none of its own, unless it is the more severe.
// Declared by one rule only, the other one is the cause: its finding also takes in an open one of
// this rule when it comes later. Declared by both, the more severe one keeps the other, and of
// equals whichever comes first.
struct Explanation {
  const char* cause_key = "";   // of this rule
  const char* rule = "";        // the one that explains it
  const char* rule_cause = "";  // its cause key, or kAnyCause
  Reach reach = Reach::kAnywhere;
  // What is explained is what a moment did: it can go on when that is over, and keeps that finding
  // open.
  bool outlasts = false;
};
inline constexpr const char* kAnyCause = "*";
// In the key of a cause, what follows it tells apart findings of one cause, as "flat" and "flat@2";
// an explanation is of all of them.
inline constexpr char kCauseOccurrence = '@';

// The single metadata table that generates docs, `wheeltapper rules`, `explain` and the UI
// catalogue.
struct RuleInfo {
  const char* name;          // "exploding_tensor"
  const char* title;         // "Exploding tensor"
  const char* summary;       // one sentence
  const char* smdebug_name;  // "ExplodingTensor", or "" when it is ours
  Severity severity;         // of its findings unless configured otherwise
  bool on_by_default;
  int64_t warm_up_steps;
  std::span<const ParameterSpec> parameters;
  RuleNeeds needs;
  const char* what_it_means;  // explain: paragraphs
  const char* false_alarms;   // when it may be wrong
  const char* how_to_fix;
  std::span<const Explanation> explained_by =
      {};  // NOLINT(readability-redundant-member-init): may be left out
};

// Typed access to a rule's parameters, already validated.
class Parameters {
 public:
  static Result<Parameters> Make(const RuleInfo& info,
                                 const std::map<std::string, std::string>& given);
  [[nodiscard]] double Number(const char* name) const;
  [[nodiscard]] int64_t Integer(const char* name) const;
  [[nodiscard]] bool Bool(const char* name) const;
  [[nodiscard]] const std::string& Text(const char* name) const;
  [[nodiscard]] bool empty(const char* name) const;
  [[nodiscard]] const std::map<std::string, std::string>& all() const { return values_; }

 private:
  std::map<std::string, std::string> values_;
};

// One thing a rule noticed at one step. The engine groups observations into findings by (rule,
// cause): one finding per cause, not one alert per tensor; hysteresis, multiplicity and resolving
// are the engine's job.
struct Observation {
  std::string
      cause_key;  // observations with the same key are one finding; "" = one for the whole rule
  std::optional<std::string> tensor;
  std::optional<std::string> module;
  format::StepKey key;
  std::string message;  // one sentence without the full stop: the engine may add a count
  std::optional<std::string> cause;
  std::optional<std::string> try_;  // NOLINT(readability-identifier-naming): JSON key "try"
  std::vector<Evidence> evidence;
  std::optional<Severity> severity;  // overrides the rule's
  // First step that shows it, when that was before `key`.
  std::optional<Step> since = {};  // NOLINT(readability-redundant-member-init): may be left out
  // Of what several ranks show first at the same step, the one nearest to the cause has the least;
  // the finding's texts are its.
  int64_t causal_order = 0;
  // At this step nothing of the model can learn for this reason, or next to nothing.
  bool whole_model = false;
  // Evaluated steps in a row that it took to be reported: the finding resolves after as many that
  // are clear, or after those that every finding needs where these are more.
  int64_t patience = 0;
  // The message says for how long it has been so: that of the latest step is said, not that of the
  // first.
  bool lasts = false;
};

// What a rule sees besides the batch: names, and a way to report.
class RuleContext {
 public:
  virtual ~RuleContext() = default;
  [[nodiscard]] virtual const format::NameTable& names() const = 0;
  // Something is wrong at this step.
  virtual void Observe(Observation observation) = 0;
  // The condition of `cause_key` no longer holds as of this step (hysteresis counts these).
  virtual void Clear(const std::string& cause_key, const format::StepKey& key) = 0;
  // The same, and it cannot be chance: nothing is counted, a finding that is open resolves.
  virtual void ClearForCertain(const std::string& cause_key, const format::StepKey& key) {
    Clear(cause_key, key);
  }
  // It is neither met, or not for long enough, nor clearly gone: opens nothing, and a finding that
  // is open stays so, however many steps were clear before.
  virtual void Hold(const std::string& cause_key, const format::StepKey& key) = 0;
};

// One instance per run. Single-threaded: the engine calls it from one thread. A Status ≠ OK marks
// the rule as errored (shown, never a finding) and it is not called again.
class Rule {
 public:
  Rule() = default;
  Rule(const Rule&) = delete;
  Rule& operator=(const Rule&) = delete;
  virtual ~Rule() = default;
  // Every committed batch, in commit order per rank.
  virtual Status OnBatch(const format::StepBatch& batch, RuleContext& context) = 0;
  // Called at least once a second of a live run, and once at the end of any run; for rules about
  // silence. `now_ns` is wall time; `ended` says whether the run is over.
  virtual Status OnIdle(TimeNs /*now_ns*/, bool /*ended*/, RuleContext& /*context*/) { return {}; }
  // Why the rule, although what it needs was captured, has found nothing to judge so far, and what
  // to do about it; "" once it has judged. Silence is then not taken for health.
  [[nodiscard]] virtual std::string NothingJudged() const { return ""; }
  // What a rule that judges leaves out in this run, why, and what to do about it; "" for nothing.
  [[nodiscard]] virtual std::string LeftOut() const { return ""; }
};

struct RuleType {
  const RuleInfo* info;
  std::unique_ptr<Rule> (*make)(const Parameters& parameters);
};

// All built-in rules, by name.
std::span<const RuleType> BuiltinRules();
const RuleType* FindRule(std::string_view name);

}  // namespace wheeltapper::rules
