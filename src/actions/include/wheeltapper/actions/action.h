// Actions: what is done about a finding. Each is fired at most once per open incident (one incident
// per cause) and cooldown; a resolve message follows when the finding resolves. Every attempt is
// recorded in actions.jsonl.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/config.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/rules/finding.h"

namespace wheeltapper::actions {

// How an action reaches the job; the supervisor implements it. Thread-safe.
class JobControl {
 public:
  JobControl() = default;
  JobControl(const JobControl&) = delete;
  JobControl& operator=(const JobControl&) = delete;
  virtual ~JobControl() = default;
  // Asks the job to stop: SIGTERM to its process group, SIGKILL after the grace period. Returns at
  // once. The first reason given wins and is recorded in END.
  virtual void RequestStop(const std::string& reason) = 0;
};

struct ActionRecord {
  TimeNs wall_ns = 0;
  std::string action = {};  // "stop", "command", "webhook"
  std::string finding_id = {};
  std::string event = {};    // "opened", "resolved"
  std::string outcome = {};  // "done", "retrying", "failed", "suppressed"
  std::string detail = {};
  int attempts = 0;
  std::string output = {};  // of a command that failed: the end of what it wrote
};
std::string ActionRecordToJson(const ActionRecord& record);
// Reads actions.jsonl; a run without the file has none.
Result<std::vector<ActionRecord>> ReadActions(const std::string& run_dir);

// Messages that have not been delivered, as they lie in the run's spool: of the sending thread's
// while the run is watched, kept for the next run afterwards. Changes nothing there.
struct WaitingMessages {
  std::string action;
  int64_t count = 0;
  std::string why;  // what the last try that is on record said; "" when there is none
};
Result<std::vector<WaitingMessages>> ReadWaiting(const std::string& run_dir);

// Routes findings to the configured actions (which findings: rule names, a minimum severity). Slow
// ones (webhook, command) run on one thread "wt-actions-send" with a queue spooled under
// RUN/actions/. The same thread delivers what ended runs under storage.path left there, at most a
// week old and each by one router at a time; their runs' actions.jsonl records it.
class ActionRouter : public rules::FindingSink {
 public:
  // InvalidArgument for a bad configuration (unknown rule, bad URL, missing secret), before
  // anything runs. Unavailable when another router delivers this run's messages.
  static Result<std::unique_ptr<ActionRouter>> Create(const Config& config,
                                                      const std::string& run_dir, JobControl* job,
                                                      const Clock& clock);
  // The same InvalidArgument, but with every mistake, one a line; nothing is made and no thread
  // started.
  static Status Check(const Config& config, const Clock& clock);
  // Waits for the run's messages, and for one try of those of ended runs, up to the deadline.
  // DeadlineExceeded when some are not delivered; the message says how many, where they are kept
  // and who sends them.
  virtual Status Drain(TimeNs deadline_ns) = 0;
};

}  // namespace wheeltapper::actions
