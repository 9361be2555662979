// `wheeltapper run`: prepare the run directory, start the command, watch, finish.
#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <csignal>
#include <filesystem>
#include <optional>
#include <set>
#include <sstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/host.h"
#include "wheeltapper/core/random.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/run_reader.h"
#include "wheeltapper/supervisor/job.h"

#include "context.h"
#include "dead_runs.h"
#include "host.h"
#include "job_environment.h"
#include "render.h"
#include "run_name.h"
#include "settings.h"
#include "verbs.h"
#include "watched_runs.h"

namespace wheeltapper::cli {
namespace {

constexpr TimeNs kTickNs = 100'000'000;
constexpr TimeNs kSecondNs = 1'000'000'000;
// A Python process that has not attached by now will not.
constexpr TimeNs kAttachWaitNs = 5 * kSecondNs;
constexpr uint64_t kMaxNoteBytes = 1 << 20;
constexpr size_t kMostNotesTold = 5;

// The job's control, known to the actions before the job exists.
class LateJob final : public actions::JobControl {
 public:
  void Set(supervisor::Job* job) { job_.store(job); }
  void RequestStop(const std::string& reason) override {
    if (supervisor::Job* job = job_.load(); job != nullptr) {
      job->RequestStop(reason);
    }
  }

 private:
  std::atomic<supervisor::Job*> job_ = nullptr;
};

// A .gitignore in ./wheeltapper-runs at first use: runs are no source code.
Status PrepareStorage(const std::string& folder) {
  WT_RETURN_IF_ERROR(MakeDirectories(folder));
  const std::string ignore = JoinPath(folder, ".gitignore");
  if (!PathExists(ignore)) {
    WT_RETURN_IF_ERROR(WriteFileAtomically(ignore, "*\n"));
  }
  return {};
}

format::RunInfo DescribeRun(const Arguments& arguments, const std::string& name,
                            const Clock& clock) {
  format::RunInfo info;
  info.format_version = format::kFormatVersion;
  info.min_reader = format::kMinReaderVersion;
  info.name = name;
  info.run_id = RandomBits();
  info.started_wall_ns = clock.WallNs();
  info.argv = arguments.command;
  info.cwd = CurrentFolder();
  info.host = HostName();
  info.wheeltapper_version = WT_VERSION;
  info.environment = DescribeHost(info.cwd);
  return info;
}

std::string Absolute(const std::string& path) {
  return path.front() == '/' ? path : JoinPath(CurrentFolder(), path);
}

// The folder that the run's own folder lies in, without links, as the job's segments name it.
std::string StorageOf(const std::string& run_dir) {
  std::error_code error;
  return std::filesystem::canonical(run_dir, error).parent_path().string();
}

// The run's folder, with run.json and config.json in it.
Result<std::string> PrepareRun(const Arguments& arguments, const Config& config,
                               const Clock& clock) {
  std::string run_dir = arguments.run_dir;
  std::string name = config.GetText("run.name");
  if (name.find('/') != std::string::npos || name == "." || name == "..") {
    return InvalidArgumentError("this is no name for a run: \"" + name +
                                "\"; use --run-dir for a path");
  }
  if (run_dir.empty()) {
    const std::string folder = config.GetText("storage.path");
    WT_RETURN_IF_ERROR(PrepareStorage(folder).WithContext("preparing the folder for runs"));
    while (name.empty() ||
           (config.GetText("run.name").empty() && PathExists(JoinPath(folder, name)))) {
      name = MakeRunName(RandomBits());
    }
    run_dir = JoinPath(folder, name);
  }
  if (name.empty()) {
    name = BaseName(run_dir);
  }
  run_dir = Absolute(run_dir);
  const Status created = format::CreateRunDirectory(run_dir, DescribeRun(arguments, name, clock));
  if (created.code() == StatusCode::kAlreadyExists) {
    return AlreadyExistsError("there is a run already in \"" + run_dir +
                              "\"; choose another --name or --run-dir");
  }
  WT_RETURN_IF_ERROR(created.WithContext("making the run directory"));
  // The job needs nothing of the actions, and their addresses may be secrets.
  WT_RETURN_IF_ERROR(
      WriteFileAtomically(format::ConfigPath(run_dir), config.Without("actions").ToJson()));
  return run_dir;
}

// Says so when a Python command never reports in: the shim cannot reach it.
class AttachCheck {
 public:
  AttachCheck(std::string run_dir, int64_t pid, const Clock& clock)
      : run_dir_(std::move(run_dir)), pid_(pid), started_ns_(clock.MonotonicNs()), clock_(clock) {
    LookAtCommand();  // a short one is gone by the first tick
  }

  void Advance() {
    if (done_) {
      return;
    }
    LookAtCommand();
    if (Attached()) {
      done_ = true;
    } else if (python_ && clock_.MonotonicNs() - started_ns_ > kAttachWaitNs) {
      Tell();
    }
  }
  void Finish() {
    if (!done_ && python_ && !Attached()) {
      Tell();
    }
    TellProblems();
  }

 private:
  void LookAtCommand() {
    std::array<char, PATH_MAX> exe{};
    const std::string link = "/proc/" + std::to_string(pid_) + "/exe";
    const ssize_t length = readlink(link.c_str(), exe.data(), exe.size() - 1);
    if (length > 0) {
      python_ =
          python_ ||
          BaseName(std::string_view(exe.data(), static_cast<size_t>(length))).rfind("python", 0) ==
              0;
    }
  }
  // The shim leaves logs/attach-<pid>.txt as its first act.
  [[nodiscard]] bool Attached() const {
    const Result<std::vector<std::string>> names = ListDirectory(JoinPath(run_dir_, "logs"));
    return names.ok() && std::any_of(names->begin(), names->end(), [](const std::string& name) {
             return name.rfind("attach-", 0) == 0;
           });
  }
  // What went wrong in the process is noted there too: every line but "attached: …".
  void TellProblems() const {
    const std::string folder = JoinPath(run_dir_, "logs");
    const Result<std::vector<std::string>> names = ListDirectory(folder);
    std::set<std::string> told;  // ranks and workers often have the same trouble
    for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
      const Result<std::string> text = ReadWholeFile(JoinPath(folder, name), kMaxNoteBytes);
      std::istringstream lines(name.rfind("attach-", 0) == 0 ? text.value_or("") : "");
      for (std::string line; told.size() < kMostNotesTold && std::getline(lines, line);) {
        if (line.rfind("attached:", 0) != 0 && told.insert(line).second) {
          Say("in a Python process: " + Printable(line));
        }
      }
    }
  }
  void Tell() {
    done_ = true;
    Say("the Python command has not attached: it was started with -I, -S or -E, or its environment "
        "was cleared or its "
        "PYTHONPATH replaced, so nothing of its training is recorded. Leave these out, keep "
        "PYTHONPATH and "
        "WHEELTAPPER_* in the environment, or call wheeltapper.attach(model, optimizer) in the "
        "script");
  }

  std::string run_dir_;
  int64_t pid_;
  TimeNs started_ns_;
  const Clock& clock_;
  bool python_ = false;
  bool done_ = false;
};

std::string StateOf(const supervisor::JobExit& exit) {
  if (exit.stop_requested) {
    return "stopped";
  }
  if (exit.interrupted_by != 0) {
    return "interrupted";
  }
  if (exit.signal != 0) {
    return "killed";
  }
  return exit.exit_code == 0 ? "finished" : "failed";
}

int ExitCodeOf(const supervisor::JobExit& exit, const Config& config,
               std::optional<rules::Severity> worst) {
  if (exit.stop_requested) {
    return kExitStoppedByRule;
  }
  const std::optional<rules::Severity> level =
      rules::SeverityFromName(config.GetText("run.fail_on"));
  if (level && worst && *worst >= *level) {
    return kExitFailOn;
  }
  return exit.exit_code;
}

// Why the job ended before its time, where that is known; "" else.
std::string ReasonOf(const supervisor::JobExit& exit) {
  if (exit.stop_requested) {
    return exit.stop_reason;
  }
  switch (exit.interrupted_by) {
    case 0:
      return "";
    case SIGINT:
      return "interrupted by the user (SIGINT)";
    case SIGQUIT:
      return "interrupted by the user (SIGQUIT)";
    case SIGHUP:
      return "interrupted by a signal (SIGHUP)";
    case SIGTERM:
      return "interrupted by a signal (SIGTERM)";
    default:
      return fmt::format("interrupted by signal {}", exit.interrupted_by);
  }
}

std::string HowItEnded(const supervisor::JobExit& exit) {
  if (std::string reason = ReasonOf(exit); !reason.empty()) {
    return reason;
  }
  if (exit.signal != 0) {
    return fmt::format("died of signal {}", exit.signal);
  }
  return exit.exit_code == 0 ? "finished" : fmt::format("failed with exit code {}", exit.exit_code);
}

WatchedRuns::Ending EndingOf(const supervisor::JobExit& exit) {
  return {.state = StateOf(exit),
          .exit_code = exit.exit_code,
          .reason = ReasonOf(exit),
          .words = HowItEnded(exit)};
}

int Watch(const Arguments& arguments, const Config& config, const std::string& run_dir,
          const std::string& package_folder) {
  const Clock& clock = SystemClock();
  LateJob late_job;
  const Result<std::unique_ptr<WatchedRuns>> runs =
      WatchedRuns::Create({.run_dir = run_dir,
                           .config = &config,
                           .job = &late_job,
                           .quiet = arguments.quiet,
                           .no_report = arguments.no_report},
                          clock);
  if (!runs.ok()) {
    return Fail(runs.status());
  }
  supervisor::JobOptions options;
  options.argv = arguments.command;
  options.environment = JobEnvironment(run_dir, package_folder);
  options.grace_ns = static_cast<TimeNs>(config.GetFloat("run.grace_s") * 1e9);
  Result<std::unique_ptr<supervisor::Job>> job = supervisor::Job::Start(options, clock);
  if (!job.ok()) {
    (*runs)->FinishUnstarted(job.status());
    return Fail(job.status());
  }
  late_job.Set(job->get());
  AttachCheck attach(run_dir, (*job)->pid(), clock);
  DeadRuns dead_runs(StorageOf(run_dir), arguments.quiet);
  dead_runs.Start();
  for (bool over = false; !over;) {
    over = (*job)->Poll(kTickNs);
    (*runs)->Advance();
    attach.Advance();
  }
  dead_runs.Stop();
  attach.Finish();
  const supervisor::JobExit exit = (*job)->exit();
  (*runs)->Finish(EndingOf(exit));
  late_job.Set(nullptr);
  return ExitCodeOf(exit, config, (*runs)->WorstOpen());
}

}  // namespace

int RunVerb(const Arguments& arguments) {
  const Result<Config> config = LoadConfigToRun(arguments, SystemClock());
  if (!config.ok()) {
    return Fail(config.status());
  }
  const Result<std::string> package_folder = FindPackageFolder();
  if (!package_folder.ok()) {
    return Fail(package_folder.status());
  }
  const Result<std::string> run_dir = PrepareRun(arguments, *config, SystemClock());
  if (!run_dir.ok()) {
    return Fail(run_dir.status());
  }
  if (!arguments.quiet) {
    Say(fmt::format("run {}, recorded in {}", BaseName(*run_dir), *run_dir));
  }
  return Watch(arguments, *config, *run_dir, *package_folder);
}

}  // namespace wheeltapper::cli
