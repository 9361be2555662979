// The observing half of `run`: follows the run directory, evaluates rules, acts, reports. Nothing
// in here may hurt the job: an error switches observation off and is said once.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/config.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/rules/engine.h"

namespace wheeltapper::cli {

class FindingPrinter;

// Single-threaded.
class Watcher {
 public:
  struct Options {
    std::string run_dir;
    const Config* config = nullptr;
    actions::JobControl* job = nullptr;
    bool quiet = false;
  };
  // Errors of the configuration (rules, actions), before the job starts.
  static Result<std::unique_ptr<Watcher>> Create(const Options& options, const Clock& clock);
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;
  ~Watcher();

  // Looks at what is new. Never fails: an error ends observation and is printed once.
  void Advance();
  // How a run ended, as END says it.
  struct End {
    std::string state;
    int exit_code = 0;
    std::string reason;
  };
  // The job is over: brings in what it left, evaluates the rest, delivers actions, marks the end.
  // `how` is asked once the last steps are in; none: a process goes on, and there is no end yet.
  void Finish(const std::function<std::optional<End>()>& how);
  // The command has several runs: what is said of this one's findings names it from here on.
  void NameRun();
  // Worst severity of the findings open now; none when there are none.
  [[nodiscard]] std::optional<rules::Severity> WorstOpen() const;
  [[nodiscard]] std::vector<rules::Finding> findings() const;
  // One line about the run: steps, findings, overhead.
  [[nodiscard]] std::string Summary(int64_t elapsed_ns) const;

 private:
  explicit Watcher(const Options& options, const Clock& clock);
  Status Observe();
  // The body's error, or that of an exception in it.
  static Status Try(const std::function<Status()>& body);
  // Runs a part of the evaluation; an error that does not pass ends evaluation, and only that.
  void Evaluate(const std::function<Status()>& body);
  // Rules that failed, and those whose sandbox is not whole, once each.
  void TellRules();
  [[nodiscard]] std::vector<rules::RuleStatus> RuleStates() const;
  // Brings rules.json up to date when a rule's state has changed since, at most once a second: also
  // of a run that goes on, or whose watcher is killed, it says what is so.
  void RecordRules();
  Status BringInLastSteps();

  Options options_;
  const Clock& clock_;
  std::unique_ptr<FindingPrinter> printer_;
  std::unique_ptr<rules::FindingSink> log_;
  std::unique_ptr<actions::ActionRouter> router_;
  std::unique_ptr<rules::RuleEngine> engine_;
  std::unique_ptr<trial::Trial> trial_;
  bool broken_ = false;
  int failures_ = 0;                         // in a row
  std::set<std::string> told_;               // what was said of rules
  std::vector<rules::RuleStatus> recorded_;  // in rules.json
  TimeNs recorded_ns_ = 0;
};

}  // namespace wheeltapper::cli
