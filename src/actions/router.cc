// Opened / Updated / Resolved arrive on the watcher's thread. "stop" is carried out there and then.
// Everything that can be slow is spooled to disk first and delivered by one thread, oldest first,
// with exponential pauses between tries. That thread also takes on what ended runs could not
// deliver; the run's own messages go first.
#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include <sys/stat.h>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/core/env.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/json_lines.h"
#include "wheeltapper/core/log.h"
#include "wheeltapper/core/mutex.h"
#include "wheeltapper/core/plural.h"
#include "wheeltapper/core/thread.h"
#include "wheeltapper/format/run_directory.h"

#include "delivery.h"
#include "leftovers.h"
#include "routing.h"
#include "spool.h"

namespace wheeltapper::actions {
namespace {

constexpr TimeNs kFirstPauseNs = 500'000'000;  // doubled after each try, up to a minute
constexpr int kMostDoublings = 7;
constexpr TimeNs kIdleNs = 1'000'000'000;

struct Pending {
  std::shared_ptr<Spool> spool;
  std::string run_dir;
  bool own = true;      // of the run that is watched, not of an ended one
  uint64_t number = 0;  // in the spool; 0 = the disk had no room for it
  Message message;
  int attempts = 0;
  TimeNs due_ns = 0;
};

// What is left at the end of a run.
struct Tally {
  void Add(const Pending& pending) {
    if (!pending.own) {
      ++others;
      return;
    }
    ++own;
    lost += pending.number == 0 ? 1 : 0;
    if (actions.find(pending.message.action) == std::string::npos) {
      actions += (actions.empty() ? "" : ", ") + pending.message.action;
    }
  }
  std::string actions = {};
  int own = 0;
  int lost = 0;  // of these, could not be spooled
  int others = 0;
};

class Router final : public ActionRouter {
 public:
  Router(Routing routing, const Config& config, std::string run_dir, JobControl* job,
         const Clock& clock)
      : routing_(std::move(routing)),
        run_dir_(std::move(run_dir)),
        job_(job),
        clock_(clock),
        storage_(config.GetText("storage.path")),
        cooldown_(static_cast<TimeNs>(config.GetFloat("actions.cooldown_s") * 1e9)),
        spool_(std::make_shared<Spool>(JoinPath(run_dir_, kSpoolFolder))) {}
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;
  ~Router() override;

  Status SetUp(const Config& config);
  Status SetUpDeliveries(const Config& config);
  void Opened(const rules::Finding& finding) override { Act(finding); }
  void Updated(const rules::Finding& finding) override { Act(finding); }
  void Resolved(const rules::Finding& finding) override;
  Status Drain(TimeNs deadline_ns) override;

 private:
  Status SetUpWebhook(const Config& config);
  // Takes the actions that an open finding leads to and that were not taken yet.
  void Act(const rules::Finding& finding);
  void Stop(const Routing::Wanted& wanted, const rules::Finding& finding);
  void Send(const std::string& action, const std::string& event, const rules::Finding& finding);
  void Note(const ActionRecord& record) { Note(run_dir_, record); }
  void Note(const std::string& run_dir, const ActionRecord& record);
  void TakeOnLeftovers();
  void SendLoop();
  // The first message of the run itself, or of ended runs, whose time has come; the end of the
  // queue when none has.
  std::deque<Pending>::iterator FirstDue(bool own, TimeNs now) WT_REQUIRES(mutex_);
  // Takes the first message that is due, the run's own before those of ended runs; false when none
  // is.
  bool TakeDue(Pending* pending) WT_REQUIRES(mutex_);
  void Settle(Pending pending, Delivered delivered);
  // Records the outcome of a try, and says it to the person at the terminal.
  void Tell(const Pending& pending, Delivered delivered, bool again);
  // True while there is something that the end of the run waits for: the run's own messages, and
  // one try of those of ended runs.
  [[nodiscard]] bool Waiting() const WT_REQUIRES(mutex_);
  [[nodiscard]] std::string Undelivered() const WT_REQUIRES(mutex_);
  // Where later runs look for what this one leaves.
  [[nodiscard]] bool InStorage() const;

  // Constant after SetUp.
  Routing routing_;
  std::string run_dir_;
  std::string run_name_;
  JobControl* job_;
  const Clock& clock_;
  std::string storage_;
  std::map<std::string, std::unique_ptr<Delivery>> deliveries_;

  // The sending thread's: actions whose failure was said.
  std::set<std::string> told_failures_;

  // The watcher thread's.
  Cooldown cooldown_;

  Mutex mutex_;
  CondVar changed_;
  const std::shared_ptr<Spool> spool_;  // what it points at is guarded by mutex_
  std::deque<Pending> queue_ WT_GUARDED_BY(mutex_);
  std::optional<Pending> in_flight_ WT_GUARDED_BY(mutex_);
  bool looking_ WT_GUARDED_BY(mutex_) = true;  // for what ended runs left
  bool stopping_ WT_GUARDED_BY(mutex_) = false;

  Mutex log_mutex_;  // actions.jsonl; never taken together with mutex_
  Thread sender_;
};

Router::~Router() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  sender_.Join();
}

// The value of a variable that a key names, "" where the key is unset.
Result<std::string> NamedVariable(const Config& config, const char* key, const char* what_to_do) {
  const std::string variable = config.GetText(key);
  if (variable.empty()) {
    return std::string();
  }
  const std::optional<std::string> value = GetEnv(variable);
  if (!value || value->empty()) {
    return BadConfigValue(config, key, "the variable " + variable + " is not set; " + what_to_do);
  }
  return *value;
}

Status Router::SetUpWebhook(const Config& config) {
  Problems problems;
  WebhookOptions options;
  const Result<std::string> url =
      NamedVariable(config, "actions.webhook.url_env", "set it to the address of the webhook");
  problems.Add(url.status());
  const Result<std::string> secret =
      NamedVariable(config, "actions.webhook.secret_env",
                    "set it, or leave the key out to send unsigned messages");
  problems.Add(secret.status());
  const bool by_variable = !url.value_or("").empty();
  options.url = by_variable ? *url : config.GetText("actions.webhook.url");
  options.secret = secret.value_or("");
  options.allow_private = config.GetBool("actions.webhook.allow_private");
  options.timeout_ns = static_cast<TimeNs>(config.GetFloat("actions.webhook.timeout_s") * 1e9);
  if (url.ok()) {
    Result<std::unique_ptr<Delivery>> webhook = MakeWebhookDelivery(options, clock_);
    if (webhook.ok()) {
      deliveries_["webhook"] = *std::move(webhook);
    } else {
      problems.Add(BadConfigValue(config,
                                  by_variable ? "actions.webhook.url_env" : "actions.webhook.url",
                                  webhook.status()));
    }
  }
  return problems.status();
}

Status Router::SetUpDeliveries(const Config& config) {
  if (const std::vector<std::string> argv = config.GetTexts("actions.command.argv");
      !argv.empty()) {
    deliveries_["command"] = MakeCommandDelivery(
        {.argv = argv,
         .timeout_ns = static_cast<TimeNs>(config.GetFloat("actions.command.timeout_s") * 1e9)},
        clock_);
  }
  return HasWebhook(config) ? SetUpWebhook(config) : Status();
}

Status Router::SetUp(const Config& config) {
  WT_RETURN_IF_ERROR(SetUpDeliveries(config));
  const Result<format::RunInfo> info = format::ReadRunInfo(run_dir_);
  run_name_ = info.ok() ? info->name : BaseName(run_dir_);
  std::vector<std::string> damaged;
  if (!deliveries_.empty()) {
    MutexLock lock(mutex_);
    if (Status locked = spool_->Lock(); locked.code() == StatusCode::kUnavailable) {
      return locked;
    }
    WT_ASSIGN_OR_RETURN(auto left, spool_->Load(&damaged));
    for (auto& [number, message] : left) {
      queue_.push_back(
          {.spool = spool_, .run_dir = run_dir_, .number = number, .message = std::move(message)});
    }
  }
  for (const std::string& path : damaged) {
    Note({.action = "spool",
          .outcome = "failed",
          .detail = "unreadable message kept as " + path + ".damaged"});
  }
  return sender_.Start("wt-actions-send", [this] { SendLoop(); });
}

void Router::Note(const std::string& run_dir, const ActionRecord& record) {
  ActionRecord stamped = record;
  stamped.wall_ns = clock_.WallNs();
  MutexLock lock(log_mutex_);
  AppendJsonLine(format::ActionsPath(run_dir), ActionRecordToJson(stamped))
      .IgnoreError("a full disk must not keep an action from being carried out");
}

void Router::Stop(const Routing::Wanted& wanted, const rules::Finding& finding) {
  if (job_ == nullptr) {
    return;
  }
  // A rule that another one's finding tells has none of its own to be looked up.
  const std::string reason =
      "stopped by rule " + wanted.rule +
      (wanted.rule == finding.rule
           ? ""
           : " (" + wanted.message + "), told in the finding of " + finding.rule);
  job_->RequestStop(reason);
  Note({.action = "stop",
        .finding_id = finding.id,
        .event = "opened",
        .outcome = "done",
        .detail = reason,
        .attempts = 1});
}

void Router::Act(const rules::Finding& finding) {
  for (const Routing::Wanted& wanted : routing_.ActionsFor(finding)) {
    const Cooldown::Answer answer = cooldown_.Ask(wanted, finding, clock_.MonotonicNs());
    if (answer == Cooldown::Answer::kSuppressed) {
      Note({.action = wanted.action,
            .finding_id = finding.id,
            .event = "opened",
            .outcome = "suppressed",
            .detail = "told within the cooldown already"});
    } else if (answer == Cooldown::Answer::kSettled) {
      continue;
    } else if (wanted.action != "stop") {
      Send(wanted.action, "opened", finding);
    } else if (answer == Cooldown::Answer::kTell) {
      Stop(wanted, finding);
    }
  }
}

void Router::Resolved(const rules::Finding& finding) {
  for (const std::string& action : cooldown_.Resolve(finding)) {
    if (action != "stop") {
      Send(action, "resolved", finding);
    }
  }
}

void Router::Send(const std::string& action, const std::string& event,
                  const rules::Finding& finding) {
  Message message = MakeMessage(action, event, run_name_, finding);
  Status spooled;
  {
    MutexLock lock(mutex_);
    Result<uint64_t> number = spool_->Add(message);
    spooled = number.status();
    // Without room on disk it is still sent, only not kept over a crash.
    queue_.push_back({.spool = spool_,
                      .run_dir = run_dir_,
                      .number = number.value_or(0),
                      .message = std::move(message)});
  }
  changed_.NotifyAll();
  if (!spooled.ok()) {
    Note({.action = action,
          .finding_id = finding.id,
          .event = event,
          .outcome = "retrying",
          .detail = "not spooled: " + spooled.message()});
  }
}

void Router::TakeOnLeftovers() {
  std::set<std::string> configured;
  for (const auto& [action, delivery] : deliveries_) {
    configured.insert(action);
  }
  Leftovers left = FindLeftovers(storage_, configured, clock_);
  for (const auto& [run_dir, record] : left.records) {
    Note(run_dir, record);
  }
  for (const std::string& warning : left.warnings) {
    Log(LogLevel::kWarning, warning);
  }
  MutexLock lock(mutex_);
  for (Leftover& each : left.messages) {
    queue_.push_back({.spool = std::move(each.spool),
                      .run_dir = std::move(each.run_dir),
                      .own = false,
                      .number = each.number,
                      .message = std::move(each.message)});
  }
  looking_ = false;
}

std::deque<Pending>::iterator Router::FirstDue(bool own, TimeNs now) {
  return std::find_if(queue_.begin(), queue_.end(),
                      [&](const Pending& each) { return each.own == own && each.due_ns <= now; });
}

bool Router::TakeDue(Pending* pending) {
  const TimeNs now = clock_.MonotonicNs();
  auto due = FirstDue(/*own=*/true, now);
  if (due == queue_.end()) {
    due = FirstDue(/*own=*/false, now);
  }
  if (due == queue_.end()) {
    return false;
  }
  *pending = std::move(*due);
  queue_.erase(due);
  in_flight_ = *pending;
  return true;
}

void Router::SendLoop() {
  TakeOnLeftovers();
  changed_.NotifyAll();
  while (!deliveries_.empty()) {
    Pending pending;
    {
      MutexLock lock(mutex_);
      while (!stopping_ && !TakeDue(&pending)) {
        changed_.WaitFor(mutex_, queue_.empty() ? kIdleNs : kFirstPauseNs / 10);
      }
      if (stopping_) {
        return;
      }
    }
    const auto delivery = deliveries_.find(pending.message.action);
    if (delivery == deliveries_.end()) {
      Settle(std::move(pending),
             {.status = FailedPreconditionError("the action is no longer configured")});
    } else {
      Delivered delivered = delivery->second->Deliver(pending.message);
      Settle(std::move(pending), std::move(delivered));
    }
    changed_.NotifyAll();
  }
}

void Router::Tell(const Pending& pending, Delivered delivered, bool again) {
  const Status& outcome = delivered.status;
  // An hour of an unreachable receiver is some sixty tries: the log tells the first few and then
  // each doubling.
  const bool telling = pending.attempts <= 4 || (pending.attempts & (pending.attempts - 1)) == 0;
  if (!again || telling) {
    Note(pending.run_dir, {.action = pending.message.action,
                           .finding_id = pending.message.finding_id,
                           .event = pending.message.event,
                           .outcome = outcome.ok() ? "done" : (again ? "retrying" : "failed"),
                           .detail = outcome.message(),
                           .attempts = pending.attempts,
                           .output = outcome.ok() ? "" : std::move(delivered.output)});
  }
  if (!outcome.ok() && told_failures_.insert(pending.message.action).second) {
    Log(LogLevel::kWarning, "action " + pending.message.action +
                                (again ? " failed and is tried again: " : " failed: ") +
                                outcome.message() + "; actions.jsonl of the run tells the rest");
  }
}

void Router::Settle(Pending pending, Delivered delivered) {
  ++pending.attempts;
  const bool again = !delivered.status.ok() && IsRetryable(delivered.status.code());
  Tell(pending, std::move(delivered), again);
  MutexLock lock(mutex_);
  in_flight_.reset();
  if (again) {
    const int doublings = std::min(pending.attempts - 1, kMostDoublings);
    pending.due_ns = clock_.MonotonicNs() + (kFirstPauseNs << doublings);
    queue_.push_back(std::move(pending));
  } else {
    pending.spool->Remove(pending.number)
        .IgnoreError("delivered once more by the next run at worst");
  }
}

bool Router::Waiting() const {
  return looking_ || (in_flight_ && (in_flight_->own || in_flight_->attempts == 0)) ||
         std::any_of(queue_.begin(), queue_.end(),
                     [](const Pending& each) { return each.own || each.attempts == 0; });
}

bool Router::InStorage() const {
  struct stat parent{};
  struct stat storage{};
  return stat(JoinPath(run_dir_, "..").c_str(), &parent) == 0 &&
         stat(storage_.c_str(), &storage) == 0 && parent.st_dev == storage.st_dev &&
         parent.st_ino == storage.st_ino;
}

std::string Router::Undelivered() const {
  Tally tally;
  std::for_each(queue_.begin(), queue_.end(), [&tally](const Pending& each) { tally.Add(each); });
  if (in_flight_) {
    tally.Add(*in_flight_);
  }
  std::string text;
  if (tally.own > 0) {
    text = Plural(tally.own, "message") + " not delivered (" + tally.actions + "): kept in " +
           spool_->folder() + ", ";
    text += InStorage() ? "and sent by the next `wheeltapper run` with storage.path \"" + storage_ +
                              "\", for " + std::to_string(kLongestKeptDays) + " days"
                        : "but not sent by any later run, since that is not in storage.path \"" +
                              storage_ + "\"";
  }
  if (tally.lost > 0) {
    text += "; " + std::to_string(tally.lost) + " could not be written there: lost";
  }
  if (tally.others > 0) {
    text += (text.empty() ? "" : "; ") + Plural(tally.others, "message") +
            " of earlier runs not delivered either: kept for the next run";
  }
  return text;
}

Status Router::Drain(TimeNs deadline_ns) {
  const TimeNs give_up = clock_.MonotonicNs() + deadline_ns;
  MutexLock lock(mutex_);
  for (TimeNs left = deadline_ns; Waiting() && left > 0; left = give_up - clock_.MonotonicNs()) {
    changed_.WaitFor(mutex_, std::min<TimeNs>(left, kFirstPauseNs / 10));
  }
  std::string undelivered = Undelivered();
  return undelivered.empty() ? Status() : DeadlineExceededError(std::move(undelivered));
}

}  // namespace

Status ActionRouter::Check(const Config& config, const Clock& clock) {
  Problems problems;
  const Result<Routing> routing = Routing::FromConfig(config);
  problems.Add(routing.status());
  problems.Add(
      Router(routing.value_or(Routing()), config, "", nullptr, clock).SetUpDeliveries(config));
  return problems.status();
}

Result<std::unique_ptr<ActionRouter>> ActionRouter::Create(const Config& config,
                                                           const std::string& run_dir,
                                                           JobControl* job, const Clock& clock) {
  WT_ASSIGN_OR_RETURN(Routing routing, Routing::FromConfig(config));
  auto router = std::make_unique<Router>(std::move(routing), config, run_dir, job, clock);
  WT_RETURN_IF_ERROR(router->SetUp(config));
  return std::unique_ptr<ActionRouter>(std::move(router));
}

}  // namespace wheeltapper::actions
