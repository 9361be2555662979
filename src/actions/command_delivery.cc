#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/output_tail.h"
#include "wheeltapper/core/process.h"

#include "command_output.h"
#include "delivery.h"

namespace wheeltapper::actions {
namespace {

constexpr int kTemporaryFailure = 75;  // EX_TEMPFAIL of sysexits.h
constexpr TimeNs kMillisecond = 1'000'000;

// posix_spawn's two option objects, freed together.
class SpawnAttributes {
 public:
  SpawnAttributes(int stdin_fd, int output_fd) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_adddup2(&actions_, stdin_fd, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions_, output_fd, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions_, output_fd, STDERR_FILENO);
    posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setpgroup(&attributes_, 0);
    // The watcher ignores SIGPIPE; a command that was started expects the default.
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes_, &pipe);
    posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
  }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  ~SpawnAttributes() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  posix_spawn_file_actions_t* actions() { return &actions_; }
  posix_spawnattr_t* attributes() { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

class CommandDelivery final : public Delivery {
 public:
  CommandDelivery(CommandOptions options, const Clock& clock)
      : options_(std::move(options)), clock_(clock) {}

  Delivered Deliver(const Message& message) override {
    std::string output;
    Status outcome = Run(message, &output);
    const std::string last = LastLineOf(output);
    if (!outcome.ok() && !last.empty()) {
      outcome = Status(outcome.code(), outcome.message() + "; it wrote: " + last);
    }
    return {.status = std::move(outcome), .output = std::move(output)};
  }

 private:
  Status Run(const Message& message, std::string* output) {
    // The body goes through an unnamed file: a command that never reads its input cannot block us.
    FileDescriptor input(memfd_create("wheeltapper-finding", MFD_CLOEXEC));
    if (!input.valid()) {
      return ErrnoError(errno, "running the command: memfd");
    }
    WT_RETURN_IF_ERROR(WriteAt(input, 0, AsBytes(message.body)));
    WT_ASSIGN_OR_RETURN(CommandOutput written, CommandOutput::Open());
    WT_ASSIGN_OR_RETURN(const pid_t pid, Start(input, written));
    written.CloseWritingEnd();
    const Status outcome = Await(pid, &written);
    *output = written.Text();
    return outcome;
  }

  Result<pid_t> Start(const FileDescriptor& input, const CommandOutput& written) {
    std::vector<std::string> texts = options_.argv;
    std::vector<char*> argv;
    argv.reserve(texts.size() + 1);
    for (std::string& text : texts) {
      argv.push_back(text.data());
    }
    argv.push_back(nullptr);
    SpawnAttributes spawn(input.get(), written.writing_end());
    pid_t pid = -1;
    const int error =
        posix_spawnp(&pid, argv.front(), spawn.actions(), spawn.attributes(), argv.data(), environ);
    if (error != 0) {
      return ErrnoError(error, "running the command \"" + options_.argv.front() + "\"");
    }
    return pid;
  }

  Status Await(pid_t pid, CommandOutput* written) {
    const FileDescriptor handle(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    const TimeNs deadline = clock_.MonotonicNs() + options_.timeout_ns;
    while (!HasExited(pid) && clock_.MonotonicNs() < deadline) {
      WaitForExit(handle, written->reading_end(), RemainingMs(deadline));
      written->Read();
    }
    // It may have ended since the last look; what counts is whether it had to be killed.
    const bool timed_out = !HasExited(pid);
    if (timed_out) {
      kill(-pid, SIGKILL);
    }
    int status = 0;
    pid_t ended = waitpid(pid, &status, 0);
    while (ended < 0 && errno == EINTR) {
      ended = waitpid(pid, &status, 0);
    }
    written->ReadRest();
    if (timed_out) {
      return DeadlineExceededError("running the command: killed after " +
                                   std::to_string(options_.timeout_ns / kMillisecond) + " ms");
    }
    if (ended < 0) {
      // A watcher whose parent ignored SIGCHLD has its children collected by the kernel.
      return FailedPreconditionError("running the command: it ended, but how is unknown");
    }
    return Outcome(status);
  }

  static Status Outcome(int status) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
      return {};
    }
    const std::string text = WIFEXITED(status) ? "exit code " + std::to_string(WEXITSTATUS(status))
                                               : "signal " + std::to_string(WTERMSIG(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == kTemporaryFailure
               ? UnavailableError("running the command: " + text)
               : FailedPreconditionError("running the command: " + text);
  }

  // Returns early, also when there is something to read. Without a pidfd (kernels before 5.3,
  // seccomp profiles that do not know it) the caller looks again every few milliseconds.
  static void WaitForExit(const FileDescriptor& handle, int reading_end, int timeout_ms) {
    constexpr int kLookAgainMs = 10;
    // poll passes over descriptors of −1.
    std::array<pollfd, 2> waiting{{{handle.get(), POLLIN, 0}, {reading_end, POLLIN, 0}}};
    (void)poll(waiting.data(), waiting.size(),
               handle.valid() ? timeout_ms : std::min(timeout_ms, kLookAgainMs));
  }

  [[nodiscard]] int RemainingMs(TimeNs deadline) const {
    return static_cast<int>(
        std::clamp<TimeNs>((deadline - clock_.MonotonicNs()) / kMillisecond + 1, 0, 3'600'000));
  }

  CommandOptions options_;
  const Clock& clock_;
};

}  // namespace

std::unique_ptr<Delivery> MakeCommandDelivery(const CommandOptions& options, const Clock& clock) {
  return std::make_unique<CommandDelivery>(options, clock);
}

}  // namespace wheeltapper::actions
