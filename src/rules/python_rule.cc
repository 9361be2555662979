#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/env.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/json.h"
#include "wheeltapper/core/output_tail.h"
#include "wheeltapper/core/process.h"
#include "wheeltapper/rules/python_rules.h"

#include "sandbox.h"

namespace wheeltapper::rules {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxAnswerBytes = size_t{1} << 20;
constexpr size_t kMaxErrorTail = 4096;
constexpr size_t kMaxObservations = 1000;  // of one step
// A step that not every rank has finished is evaluated once so many newer ones are there.
constexpr size_t kMostUnfinishedSteps = 16;
constexpr TimeNs kLeastDrainNs = 60'000'000'000;
constexpr int kDrainDeadlines = 12;
constexpr int kPollMs = 50;

// A folder that only this process and the rule use; removed with everything in it.
class PrivateFolder {
 public:
  static Result<PrivateFolder> Make() {
    std::string path = JoinPath(GetEnv("TMPDIR").value_or("/tmp"), "wheeltapper-rule-XXXXXX");
    if (mkdtemp(path.data()) == nullptr) {
      return ErrnoError(errno, "making a folder for a rule: \"" + path + "\"");
    }
    return PrivateFolder(std::move(path));
  }
  PrivateFolder(PrivateFolder&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  PrivateFolder& operator=(PrivateFolder&&) = delete;
  PrivateFolder(const PrivateFolder&) = delete;
  PrivateFolder& operator=(const PrivateFolder&) = delete;
  ~PrivateFolder() {
    if (!path_.empty()) {
      std::error_code ignored;  // a folder left in /tmp is no reason to fail
      std::filesystem::remove_all(path_, ignored);
    }
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  explicit PrivateFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

std::string AbsolutePath(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.lexically_normal().string();
}

// Nothing of the watcher's environment but what Python needs to start: no credentials.
std::vector<std::string> CleanEnvironment(const PythonRuleOptions& options,
                                          const std::string& private_dir) {
  std::vector<std::string> environment = {
      "HOME=" + private_dir,       "TMPDIR=" + private_dir, "LANG=C.UTF-8",
      "PYTHONDONTWRITEBYTECODE=1", "OMP_NUM_THREADS=1",     "OPENBLAS_NUM_THREADS=1",
      "MKL_NUM_THREADS=1",         "WHEELTAPPER_DISABLE=1",
  };
  for (const char* name : {"PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TZ"}) {
    if (const auto value = GetEnv(name)) {
      environment.push_back(std::string(name) + "=" + *value);
    }
  }
  std::string python_path = options.python_path;
  if (const auto inherited = GetEnv("PYTHONPATH"); inherited && !inherited->empty()) {
    python_path += (python_path.empty() ? "" : ":") + *inherited;
  }
  if (!python_path.empty()) {
    environment.push_back("PYTHONPATH=" + python_path);
  }
  return environment;
}

std::optional<std::string> TextOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? std::optional(found->get<std::string>())
                                                     : std::nullopt;
}

class SandboxedRule final : public PythonRule {
 public:
  SandboxedRule(const PythonRuleOptions& options, PrivateFolder folder, SandboxedProcess process,
                const Clock& clock)
      : name_(options.file),
        deadline_ns_(options.deadline_ns),
        folder_(std::move(folder)),
        process_(std::move(process)),
        clock_(clock),
        asked_ns_(clock.MonotonicNs()) {}
  SandboxedRule(const SandboxedRule&) = delete;
  SandboxedRule& operator=(const SandboxedRule&) = delete;
  ~SandboxedRule() override { Kill(); }

  Status Greet(const PythonRuleOptions& options) {
    const RuleFile file = SplitRuleFile(options.file);
    Json greeting = {{"file", AbsolutePath(file.path)},
                     {"class", file.class_name},
                     {"run", options.run_dir.empty() ? "" : AbsolutePath(options.run_dir)},
                     {"parameters", options.parameters}};
    return Send(greeting);
  }

  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    ranks_.insert(batch.key.rank);
    // Each step once: a rank that turns up late does not bring an evaluated step back.
    if (batch.is_step && (!last_queued_ || batch.key.step > *last_queued_)) {
      auto& step = unfinished_.try_emplace(batch.key.step.value).first->second;
      step.key = step.ranks.empty() ? batch.key : step.key;
      step.ranks.insert(batch.key.rank);
      QueueFinished(false);
    }
    return Pump(context);
  }

  Status OnIdle(TimeNs /*now_ns*/, bool /*ended*/, RuleContext& context) override {
    return Pump(context);
  }

  Status Drain(RuleContext& context) override {
    QueueFinished(true);
    const TimeNs give_up =
        clock_.MonotonicNs() + std::max(kLeastDrainNs, kDrainDeadlines * deadline_ns_);
    WT_RETURN_IF_ERROR(Pump(context));
    while (!ready_ || in_flight_ || !queue_.empty()) {
      if (clock_.MonotonicNs() > give_up) {
        return DeadlineExceededError(fmt::format("{}: slower than the run: {} steps not evaluated",
                                                 name_, queue_.size() + 1));
      }
      std::array<pollfd, 2> wait = {
          {{.fd = process_.from_child.get(), .events = POLLIN, .revents = 0},
           {.fd = process_.errors.get(), .events = POLLIN, .revents = 0}}};
      // Interrupted or timed out: the loop looks again.
      (void)poll(wait.data(), errors_open_ ? 2 : 1, kPollMs);
      WT_RETURN_IF_ERROR(Pump(context));
    }
    return {};
  }

  [[nodiscard]] const std::string& sandbox_note() const override { return process_.note; }
  [[nodiscard]] const std::string& passed_over() const override { return passed_over_; }
  // Of a process without a run.
  [[nodiscard]] const std::vector<std::string>& listed() const { return listed_; }

 private:
  struct UnfinishedStep {
    format::StepKey key;
    std::set<Rank> ranks;
  };

  // Steps that every rank has finished go to the queue in order.
  void QueueFinished(bool all) {
    while (!unfinished_.empty()) {
      const auto first = unfinished_.begin();
      const bool finished = first->second.ranks.size() >= ranks_.size() || all ||
                            unfinished_.size() > kMostUnfinishedSteps;
      if (!finished) {
        return;
      }
      queue_.push_back(first->second.key);
      last_queued_ = first->second.key.step;
      unfinished_.erase(first);
    }
  }

  Status Send(const Json& message) {
    const std::string line = JsonLine(message) + "\n";
    const ssize_t written = send(process_.to_child.get(), line.data(), line.size(), MSG_NOSIGNAL);
    // One message is on its way at a time, so the socket's buffer never fills.
    if (written != static_cast<ssize_t>(line.size())) {
      return Ended("closed its input");
    }
    return {};
  }

  // Reads what there is, hands on the next step, and looks at the clock. Never waits.
  Status Pump(RuleContext& context) {
    ReadErrors();
    bool ended = false;
    WT_RETURN_IF_ERROR(ReadAnswers(&ended));
    size_t newline = answers_.find('\n');
    while (newline != std::string::npos) {
      const std::string line = answers_.substr(0, newline);
      answers_.erase(0, newline + 1);
      WT_RETURN_IF_ERROR(Handle(line, context));
      newline = answers_.find('\n');
    }
    if (ended) {
      return Ended("ended");
    }
    const TimeNs deadline = ready_ ? deadline_ns_ : kPythonStartDeadlineNs;
    if ((in_flight_ || !ready_) && clock_.MonotonicNs() - asked_ns_ > deadline) {
      const std::string what =
          ready_ ? fmt::format("took more than {} s for step {}",
                               static_cast<double>(deadline) / 1e9, in_flight_->step.value)
                 : "did not start within 60 s";
      Kill();
      return DeadlineExceededError(name_ + ": " + what + "; stopped");
    }
    if (ready_ && !in_flight_ && !queue_.empty()) {
      in_flight_ = queue_.front();
      queue_.pop_front();
      asked_ns_ = clock_.MonotonicNs();
      return Send(Json{{"step", in_flight_->step.value}});
    }
    return {};
  }

  Status ReadAnswers(bool* ended) {
    std::array<char, 65536> buffer{};
    while (true) {
      const ssize_t count = read(process_.from_child.get(), buffer.data(), buffer.size());
      if (count > 0) {
        answers_.append(buffer.data(), static_cast<size_t>(count));
        if (answers_.size() > kMaxAnswerBytes) {
          Kill();
          return ResourceExhaustedError(name_ + ": answered with more than 1 MiB; stopped");
        }
        continue;
      }
      *ended = count == 0;
      return {};
    }
  }

  void ReadErrors() {
    std::array<char, 4096> buffer{};
    while (errors_open_) {
      const ssize_t count = read(process_.errors.get(), buffer.data(), buffer.size());
      if (count > 0) {
        error_tail_.Append({buffer.data(), static_cast<size_t>(count)});
        continue;
      }
      errors_open_ = count != 0;
      return;
    }
  }

  Status Handle(const std::string& line, RuleContext& context) {
    const Json answer = ParseJson(line);
    if (!answer.is_object()) {
      return Broken("is no JSON object");
    }
    if (const auto error = TextOf(answer, "error")) {
      Kill();
      return InternalError(name_ + ": " + *error);
    }
    if (!ready_) {
      ready_ = answer.contains("ready");
      for (const Json& rule : answer.value("rules", Json::array())) {
        listed_.push_back(rule.is_string() ? rule.get<std::string>() : "");
      }
      return ready_ ? Status() : Broken("came before \"ready\"");
    }
    const auto done = answer.find("done");
    const auto observations = answer.find("observations");
    if (!in_flight_ || done == answer.end() || !done->is_number_integer() ||
        done->get<int64_t>() != in_flight_->step.value || observations == answer.end() ||
        !observations->is_array()) {
      return Broken("does not fit the step that was asked");
    }
    for (const Json& observation : *observations) {
      if (!observation.is_object()) {
        return Broken("holds an observation that is no object");
      }
    }
    const std::optional<std::string> passed_over = TextOf(answer, "passed_over");
    Report(*observations, context);
    if (observations->empty() && !passed_over && reported_) {
      context.Clear("", *in_flight_);
    }
    reported_ = reported_ || !observations->empty();
    looked_ = looked_ || !passed_over;
    passed_over_ = looked_ ? "" : *passed_over;
    in_flight_.reset();
    return {};
  }

  void Report(const Json& observations, RuleContext& context) const {
    size_t count = 0;
    for (const Json& observation : observations) {
      if (++count > kMaxObservations) {
        break;
      }
      Observation reported{
          .cause_key = "",
          .tensor = TextOf(observation, "tensor"),
          .module = TextOf(observation, "module"),
          .key = *in_flight_,
          .message = TextOf(observation, "message").value_or("the rule's condition is met"),
          .cause = TextOf(observation, "cause"),
          .try_ = TextOf(observation, "fix"),
          .evidence = {},
          .severity = SeverityFromName(TextOf(observation, "severity").value_or(""))};
      context.Observe(std::move(reported));
    }
  }

  Status Broken(const std::string& how) {
    Kill();
    return InternalError(name_ + ": its answer " + how + "; stopped");
  }

  // The child is gone or deaf: says how it ended and the last it said.
  Status Ended(const std::string& what) {
    int status = 0;
    WaitForExit();
    const bool gone = process_.pid > 0 && waitpid(process_.pid, &status, WNOHANG) == process_.pid;
    std::string how = what;
    if (gone) {
      process_.pid = -1;
      how = WIFSIGNALED(status) ? fmt::format("was killed by signal {}", WTERMSIG(status))
                                : fmt::format("exited with status {}", WEXITSTATUS(status));
    }
    Kill();
    ReadErrors();
    const std::string last = LastLineOf(error_tail_.Text());
    return InternalError(
        fmt::format("{}: its process {}{}{}", name_, how, last.empty() ? "" : ": ", last));
  }

  // Its pipes close a moment before it can be waited for: gives it that moment. Asks again and
  // again, because not every kernel and container has a pidfd to wait on.
  void WaitForExit() const {
    constexpr int kTries = 100;
    constexpr int kTryMs = 5;
    for (int i = 0; process_.pid > 0 && !HasExited(process_.pid) && i < kTries; ++i) {
      (void)poll(nullptr, 0, kTryMs);
    }
  }

  void Kill() {
    if (process_.pid <= 0) {
      return;
    }
    // Its own session, and so its own group; it may not have come as far as that.
    (void)kill(-process_.pid, SIGKILL);
    (void)kill(process_.pid, SIGKILL);
    while (waitpid(process_.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    process_.pid = -1;
  }

  const std::string name_;
  const TimeNs deadline_ns_;
  PrivateFolder folder_;
  SandboxedProcess process_;
  const Clock& clock_;
  TimeNs asked_ns_;
  bool ready_ = false;
  bool errors_open_ = true;
  std::string answers_;
  OutputTail error_tail_{kMaxErrorTail};
  bool reported_ = false;
  bool looked_ = false;  // a step was not passed over
  std::string passed_over_;
  std::set<Rank> ranks_;
  std::map<int64_t, UnfinishedStep> unfinished_;
  std::deque<format::StepKey> queue_;
  std::optional<Step> last_queued_;
  std::optional<format::StepKey> in_flight_;
  std::vector<std::string> listed_;
};

// For who asks no step: nothing is said to it.
class NoContext final : public RuleContext {
 public:
  [[nodiscard]] const format::NameTable& names() const override { return names_; }
  void Observe(Observation /*observation*/) override {}
  void Clear(const std::string& /*cause_key*/, const format::StepKey& /*key*/) override {}
  void Hold(const std::string& /*cause_key*/, const format::StepKey& /*key*/) override {}

 private:
  format::NameTable names_;
};

Result<std::unique_ptr<SandboxedRule>> StartRule(const PythonRuleOptions& options,
                                                 const Clock& clock) {
  const RuleFile file = SplitRuleFile(options.file);
  if (!PathExists(file.path)) {
    return NotFoundError("no such file of a rule: \"" + file.path + "\"");
  }
  const std::string interpreter =
      options.interpreter.empty() ? DefaultPythonInterpreter() : options.interpreter;
  if (interpreter.empty() || access(interpreter.c_str(), X_OK) != 0) {
    return NotFoundError("no Python interpreter for the rule " + options.file + ": \"" +
                         (interpreter.empty() ? "python3" : interpreter) + "\"");
  }
  WT_ASSIGN_OR_RETURN(PrivateFolder folder, PrivateFolder::Make());
  SandboxOptions sandbox;
  sandbox.argv = {interpreter, "-m", "wheeltapper._rule_host"};
  sandbox.environment = CleanEnvironment(options, folder.path());
  sandbox.private_dir = folder.path();
  sandbox.readable = {AbsolutePath(file.path), interpreter};
  for (const std::string& path : {options.run_dir, options.python_path}) {
    if (!path.empty()) {
      sandbox.readable.push_back(AbsolutePath(path));
    }
  }
  sandbox.memory_mb = options.memory_mb;
  WT_ASSIGN_OR_RETURN(SandboxedProcess process, StartSandboxed(sandbox));
  auto rule =
      std::make_unique<SandboxedRule>(options, std::move(folder), std::move(process), clock);
  WT_RETURN_IF_ERROR(rule->Greet(options));
  return rule;
}

}  // namespace

RuleFile SplitRuleFile(const std::string& text) {
  const size_t colon = text.rfind(".py:");
  return colon == std::string::npos
             ? RuleFile{.path = text, .class_name = ""}
             : RuleFile{.path = text.substr(0, colon + 3), .class_name = text.substr(colon + 4)};
}

Result<std::unique_ptr<PythonRule>> PythonRule::Start(const PythonRuleOptions& options,
                                                      const Clock& clock) {
  WT_ASSIGN_OR_RETURN(std::unique_ptr<SandboxedRule> rule, StartRule(options, clock));
  return std::unique_ptr<PythonRule>(std::move(rule));
}

Result<std::vector<std::string>> ListPythonRules(PythonRuleOptions options, const Clock& clock) {
  options.run_dir.clear();
  WT_ASSIGN_OR_RETURN(const std::unique_ptr<SandboxedRule> file, StartRule(options, clock));
  NoContext nobody;
  WT_RETURN_IF_ERROR(file->Drain(nobody));
  return file->listed();
}

}  // namespace wheeltapper::rules
