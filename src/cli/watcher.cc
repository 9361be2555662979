#include "watcher.h"

#include <algorithm>
#include <exception>

#include <fmt/format.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/quantity_text.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/run_reader.h"
#include "wheeltapper/report/report.h"
#include "wheeltapper/rules/rule.h"

#include "context.h"
#include "finding_printer.h"
#include "render.h"

namespace wheeltapper::cli {
namespace {

constexpr TimeNs kDeliveryNs = 10'000'000'000;
// A rank that outlives the command by so much is no remnant that is about to go.
constexpr TimeNs kRecoveryNs = 5'000'000'000;
// A passing fault (a full table of files, a slow disk) is tried again at the next look.
constexpr int kMostFailures = 50;
constexpr TimeNs kRecordNs = 1'000'000'000;

// Whether readers would learn anything: a count alone is no news.
bool SayTheSame(const std::vector<rules::RuleStatus>& a, const std::vector<rules::RuleStatus>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const rules::RuleStatus& one, const rules::RuleStatus& other) {
                      return one.state == other.state && one.note() == other.note() &&
                             one.findings == other.findings &&
                             (one.batches > 0) == (other.batches > 0);
                    });
}

}  // namespace

Watcher::Watcher(const Options& options, const Clock& clock) : options_(options), clock_(clock) {}

// The router's thread ends before the job it may stop goes away; members die in reverse order.
Watcher::~Watcher() = default;

Result<std::unique_ptr<Watcher>> Watcher::Create(const Options& options, const Clock& clock) {
  std::unique_ptr<Watcher> watcher(
      new Watcher(options, clock));  // NOLINT(cppcoreguidelines-owning-memory): private
  WT_ASSIGN_OR_RETURN(const std::vector<rules::RuleSelection> selection,
                      rules::SelectRules(*options.config));
  WT_ASSIGN_OR_RETURN(watcher->engine_, rules::RuleEngine::Create(selection, clock));
  WT_ASSIGN_OR_RETURN(watcher->router_, actions::ActionRouter::Create(
                                            *options.config, options.run_dir, options.job, clock));
  // From the start: a run is told from one that no rule looks at also while it goes on, and when
  // this process is killed.
  WT_RETURN_IF_ERROR(rules::WriteRuleStates(options.run_dir, watcher->engine_->rule_states())
                         .WithContext("recording the rules"));
  watcher->printer_ = std::make_unique<FindingPrinter>(ColoursOn(STDERR_FILENO), options.quiet);
  watcher->log_ = rules::MakeFindingsLog(options.run_dir);
  // Durable first, then act, then tell.
  watcher->engine_->AddSink(watcher->log_.get());
  watcher->engine_->AddSink(watcher->router_.get());
  watcher->engine_->AddSink(watcher->printer_.get());
  return watcher;
}

Status Watcher::Try(const std::function<Status()>& body) {
  try {
    return body();
  } catch (const std::exception& error) {
    return InternalError(error.what());
  }
}

void Watcher::Evaluate(const std::function<Status()>& body) {
  if (broken_) {
    return;
  }
  const Status status = Try(body);
  failures_ = status.ok() ? 0 : failures_ + 1;
  if (!status.ok() && (!IsRetryable(status.code()) || failures_ >= kMostFailures)) {
    broken_ = true;
    SayError(fmt::format("evaluating rules: {}; the job goes on without them", status.message()));
  }
}

void Watcher::TellRules() {
  for (const rules::RuleStatus& status : engine_->rule_states()) {
    if (status.state == rules::RuleState::kErrored && told_.insert(status.name).second) {
      SayError(fmt::format("rule {} failed and is not evaluated any more: {}", status.name,
                           Printable(status.detail)));
    } else if (status.state == rules::RuleState::kActive && !status.sandbox_note.empty() &&
               told_.insert(status.name + " sandbox").second) {
      Say(fmt::format("warning: rule {} runs in a sandbox that is not whole: {}", status.name,
                      Printable(status.sandbox_note)));
    }
  }
}

Status Watcher::Observe() {
  if (!trial_) {
    WT_ASSIGN_OR_RETURN(trial_, trial::Trial::Open(options_.run_dir));
  }
  return engine_->Advance(*trial_);
}

void Watcher::NameRun() { printer_->NameRun(BaseName(options_.run_dir)); }

void Watcher::Advance() {
  Evaluate([this] { return Observe(); });
  TellRules();
  RecordRules();
}

void Watcher::RecordRules() {
  const TimeNs now = clock_.MonotonicNs();
  if (now - recorded_ns_ < kRecordNs) {
    return;
  }
  std::vector<rules::RuleStatus> states = RuleStates();
  if (SayTheSame(states, recorded_)) {
    return;
  }
  recorded_ns_ = now;
  const Status written = Try([&] { return rules::WriteRuleStates(options_.run_dir, states); });
  if (written.ok()) {
    recorded_ = std::move(states);
  } else if (told_.insert("rules.json").second) {  // tried again, and at the end
    SayError(fmt::format("recording the rules' states: {}", written.message()));
  }
}

std::vector<rules::RuleStatus> Watcher::RuleStates() const {
  std::vector<rules::RuleStatus> states = engine_->rule_states();
  if (broken_) {
    for (rules::RuleStatus& status : states) {
      status.state = rules::RuleState::kErrored;
      status.detail = "evaluation ended early";
    }
  }
  return states;
}

Status Watcher::BringInLastSteps() {
  WT_ASSIGN_OR_RETURN(const format::RecoveryReport report,
                      format::RecoverEndedRun(options_.run_dir, clock_, kRecoveryNs));
  if (report.ranks_alive > 0) {
    Say(fmt::format(
        "warning: {} still written by another process, so the last steps may be "
        "missing; `wheeltapper fsck --repair {}` brings them in when it has ended",
        report.ranks_alive == 1 ? "a rank is" : std::to_string(report.ranks_alive) + " ranks are",
        options_.run_dir));
  }
  return {};
}

void Watcher::Finish(const std::function<std::optional<End>()>& how) {
  const auto attempt = [](const char* doing, const std::function<Status()>& body) {
    if (const Status status = Try(body); !status.ok()) {
      SayError(fmt::format("{}: {}", doing, status.message()));
    }
  };
  attempt("bringing in the last steps", [this] { return BringInLastSteps(); });
  Evaluate([this]() -> Status {
    WT_RETURN_IF_ERROR(Observe());
    return engine_->Finish(*trial_);
  });
  TellRules();
  attempt("recording the rules' states",
          [this] { return rules::WriteRuleStates(options_.run_dir, RuleStates()); });
  // Before the deliveries, which may take their time: a watcher killed there leaves a whole run.
  attempt("marking the end of the run", [&]() -> Status {
    const std::optional<End> end = how();
    return end ? format::WriteEnd(options_.run_dir, {.state = end->state,
                                                     .exit_code = end->exit_code,
                                                     .reason = end->reason,
                                                     .ended_wall_ns = clock_.WallNs()})
               : Status();
  });
  attempt("delivering actions", [this] {
    Status left = router_->Drain(kDeliveryNs);
    if (left.code() != StatusCode::kDeadlineExceeded) {
      return left;
    }
    Say("warning: " + left.message());
    return Status();
  });
}

std::optional<rules::Severity> Watcher::WorstOpen() const {
  std::optional<rules::Severity> worst;
  for (const rules::Finding& finding : engine_->findings()) {
    if (finding.state == rules::FindingState::kOpen && (!worst || finding.severity > *worst)) {
      worst = finding.severity;
    }
  }
  return worst;
}

std::vector<rules::Finding> Watcher::findings() const { return engine_->findings(); }

std::string Watcher::Summary(int64_t elapsed_ns) const {
  const std::vector<rules::Finding>& findings = engine_->findings();
  const int64_t count = std::count_if(
      findings.begin(), findings.end(),
      [](const rules::Finding& finding) { return !finding.part_of; });  // told by another one
  std::string found = count == 0 ? "no findings" : Plural(count, "finding");
  const Result<std::vector<int64_t>> steps =
      trial_ ? trial_->Steps({}) : Result<std::vector<int64_t>>(NotFoundError("no run yet"));
  if (count == 0 && trial_ && !report::HasRecords(*trial_, steps.ok() ? steps->size() : 0)) {
    found = "nothing was recorded";
  }
  std::string text = DurationText(elapsed_ns) + ", " + found;
  if (trial_) {
    if (steps.ok()) {
      text += ", " + Plural(static_cast<int64_t>(steps->size()), "step");
    }
    if (Result<trial::Overhead> overhead = trial_->MeasuredOverhead();
        overhead.ok() && overhead->elapsed_ns > 0) {
      text += ", overhead " + PercentText(overhead->fraction);
    }
  }
  return text;
}

}  // namespace wheeltapper::cli
