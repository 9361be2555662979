// Runs rules over a trial, live or finished, and turns observations into findings.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/config.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/rules/finding.h"
#include "wheeltapper/rules/rule.h"
#include "wheeltapper/trial/trial.h"

namespace wheeltapper::rules {

struct RuleSelection {
  std::string name;
  std::map<std::string, std::string> parameters;
  std::optional<Severity> severity;
  std::string python_file;          // not empty: a user's rule, "FILE.py:CLASS"
  double python_deadline_s = 5;     // time one step may take it
  int64_t python_memory_mb = 1024;  // address space of its process
};

// A copy in which each FILE.py of `rules.custom` stands as FILE.py:CLASS, once for each rule in it.
// The file is run in the sandbox for that. One that cannot be loaded stays as it is: the rule is
// the file then, and starting it will say why.
Config NameRulesOfFiles(const Config& config);

// Which rules run, from `rules.select` ("all", "default" or names), `rules.ignore`, `rules.custom`
// and `[rules.<name>]`, in the order of BuiltinRules(), then the user's. InvalidArgument with every
// mistake, one a line: an unknown rule or parameter (with a suggestion), a value of another type.
// Of a configuration whose files were named (NameRulesOfFiles).
Result<std::vector<RuleSelection>> SelectRules(const Config& config);
// What is right of it; the mistakes are added to `problems`.
std::vector<RuleSelection> SelectRules(const Config& config, Problems* problems);

// kWaiting: it has not judged anything, because what it needs has not been seen.
enum class RuleState : uint8_t { kWaiting, kActive, kErrored };
const char* RuleStateName(RuleState state);  // "waiting", "active", "errored"
struct RuleStatus {
  std::string name;
  RuleState state = RuleState::kWaiting;
  // Waiting: what is missing and what to do about it. Errored: the error.
  std::string detail;
  std::string left_out;  // active: what a built-in rule leaves out in this run; "" for nothing
  std::string
      sandbox_note;     // active: what of a user's rule's sandbox is not in force; "" for nothing
  int64_t batches = 0;  // that it was given; 0: it has not looked yet, and its state says nothing
  int64_t findings = 0;
  // The one of the three that its state has something to say in.
  [[nodiscard]] const std::string& note() const;
};

// rules.json of a run: what became of each rule, so that a verdict knows which of them looked.
// Written atomically; a run without the file has no states. Of a run that goes on it is as old as
// the watcher's last look at a change, about a second.
Status WriteRuleStates(const std::string& run_dir, const std::vector<RuleStatus>& states);
Result<std::vector<RuleStatus>> ReadRuleStates(const std::string& run_dir);

// The user's rule of one `--rule FILE.py:CLASS` or one entry of `rules.custom`.
Result<RuleSelection> SelectPythonRule(const Config& config, const std::string& python_file);

// Single-threaded. Findings go to every sink in order; the sinks outlive the engine.
//
// The same batches give the same findings whether they arrive live in small portions or all at once
// from a finished run: nothing in a finding depends on the clock. Each rank has its own instance of
// each rule; a finding merges the ranks, whichever is read first. With several ranks the order of
// reading may decide the number in an id, whether a finding that another one explains was open for
// a while before (Finding::part_of), which of two that explain each other (Explanation, declared by
// both) goes on while the other is in its `also`, whether a finding was resolved for a while before
// it opened again, and, where a cause reaches the whole model on one rank only, whether what it
// explained there before the other rank was read stays in its `also`.
class RuleEngine {
 public:
  static Result<std::unique_ptr<RuleEngine>> Create(const std::vector<RuleSelection>& rules,
                                                    const Clock& clock);
  virtual ~RuleEngine() = default;
  virtual void AddSink(FindingSink* sink) = 0;
  // Called after each batch, with what it belongs to: a display of progress.
  virtual void OnBatch(std::function<void(const format::StepKey&)> listener) = 0;
  // Evaluates everything that is new in the trial. Cheap when there is nothing.
  virtual Status Advance(trial::Trial& trial) = 0;
  // After the run's end: last evaluation, OnIdle(ended), flushes updates.
  virtual Status Finish(trial::Trial& trial) = 0;
  [[nodiscard]] virtual std::vector<RuleStatus> rule_states() const = 0;
  [[nodiscard]] virtual const std::vector<Finding>& findings() const = 0;
  // Places of the run that could not be read: what no rule has seen.
  [[nodiscard]] virtual int64_t damaged_places() const = 0;
};

// Appends findings to findings.jsonl, durably, one JSON line per change.
std::unique_ptr<FindingSink> MakeFindingsLog(const std::string& run_dir);

}  // namespace wheeltapper::rules
