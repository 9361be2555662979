// The job's life, in one thread:
//
//   Start     block the signals of interest, open a signalfd for them, fork the command into its
//             own process group, hand it the terminal if that is our stdin and stdout.
//   Poll      wait on the signalfd and on an eventfd (RequestStop). SIGCHLD: reap, or stop together
//             with the command. Others: forward. A requested stop: SIGTERM to the group, after the
//             grace period SIGKILL, until the group is empty.
//   the end   take the terminal back, restore the signal mask.
//
// Job control. Without a watcher the command would be in the watcher's own process group W, which
// is what the shell knows; it is in a group J of its own so that a stop ends it and nothing else.
// What the terminal does to W is passed on to J, and a stop of J becomes a stop of W, by the same
// signal with its default action: the kernel then ignores it where nobody could continue us (an
// orphaned W), as it would have for the command alone. When J wants the terminal and W is in the
// foreground, J gets it; that is also how a command gets it whose stdin or stdout is a file or a
// pipe: on demand, for in `run … | less` it is less that needs it.
#include "wheeltapper/supervisor/job.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/log.h"
#include "wheeltapper/core/mutex.h"

#include "spawn.h"
#include "terminal.h"

namespace wheeltapper::supervisor {
namespace {

constexpr std::array kForwarded = {SIGINT,  SIGTERM,  SIGHUP,  SIGQUIT, SIGUSR1,
                                   SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT};
// How often a dying process group is looked at.
constexpr TimeNs kGroupCheckNs = 50'000'000;
// A process in uninterruptible sleep outlives SIGKILL; the watcher does not wait for it for ever.
constexpr TimeNs kAfterKillNs = 5'000'000'000;

bool EndsTheUser(int number) {
  return number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT;
}

// The job tried to use the terminal from the background.
bool WantsTerminal(int number) { return number == SIGTTIN || number == SIGTTOU; }

// The terminal sends these to every process of its foreground group.
bool FromTerminal(const signalfd_siginfo& info) {
  const auto number = static_cast<int>(info.ssi_signo);
  return info.ssi_code == SI_KERNEL &&
         (number == SIGINT || number == SIGQUIT || number == SIGWINCH);
}

bool IsIgnored(int number) {
  struct sigaction now{};
  return sigaction(number, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

class RunningJob final : public Job {
 public:
  RunningJob(JobOptions options, const Clock& clock)
      : options_(std::move(options)), clock_(clock) {}
  RunningJob(const RunningJob&) = delete;
  RunningJob& operator=(const RunningJob&) = delete;
  ~RunningJob() override {
    Release();
    (void)signal(SIGPIPE, sigpipe_before_);
  }

  Status Begin();
  bool Poll(TimeNs timeout_ns) override;
  void RequestStop(const std::string& reason) override;
  [[nodiscard]] const JobExit& exit() const override { return exit_; }
  [[nodiscard]] int64_t pid() const override { return pid_; }

 private:
  void Release();
  Status WaitForEvents(TimeNs timeout_ns);
  void HandleSignals();
  void HandleChild();
  void Forward(const signalfd_siginfo& info);
  void HandleStop(int number);
  bool StopTogether(int number);
  void Continue();
  void OfferTerminal();
  void AdvanceStop();
  [[nodiscard]] bool GroupAlive() const { return kill(-pid_, 0) == 0 || errno == EPERM; }
  [[nodiscard]] bool over() const { return reaped_ && !stopping_; }

  // Constant after Begin.
  JobOptions options_;
  const Clock& clock_;
  pid_t pid_ = -1;
  FileDescriptor signals_;
  FileDescriptor stop_event_;
  sigset_t mask_before_{};
  // Ignored as long as the job is watched: a reader of our messages that goes away must not end
  // that.
  void (*sigpipe_before_)(int) = signal(SIGPIPE, SIG_IGN);
  bool masked_ = false;

  // The polling thread's.
  Terminal terminal_;
  JobExit exit_;
  int stopped_by_ = 0;           // the signal that stopped the command, or 0: it is running
  bool uses_terminal_ = false;   // gets it whenever we have it
  bool passed_on_stop_ = false;  // a SIGTSTP that was sent to us
  bool reaped_ = false;
  bool stopping_ = false;
  bool killed_ = false;
  bool cannot_wait_ = false;
  TimeNs kill_at_ns_ = 0;

  // Shared with RequestStop.
  Mutex mutex_;
  bool stop_requested_ WT_GUARDED_BY(mutex_) = false;
  std::string stop_reason_ WT_GUARDED_BY(mutex_);
};

Status RunningJob::Begin() {
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int number : kForwarded) {
    if (!IsIgnored(number)) {  // by nohup, for example: then it is no business of ours either
      sigaddset(&wanted, number);
    }
  }
  sigaddset(&wanted, SIGCHLD);
  pthread_sigmask(SIG_BLOCK, &wanted, &mask_before_);
  masked_ = true;
  signals_ = FileDescriptor(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  stop_event_ = FileDescriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!signals_.valid() || !stop_event_.valid()) {
    return ErrnoError(errno, "starting the command: signalfd");
  }
  // With its output in a pipe, another program of ours can be the one at the terminal.
  uses_terminal_ = terminal_.on_stdin() && isatty(STDOUT_FILENO) == 1;
  SpawnOptions spawn{.argv = options_.argv,
                     .environment = options_.environment,
                     .signal_mask = mask_before_,
                     .sigpipe = sigpipe_before_,
                     .take_terminal = uses_terminal_ && terminal_.stdin_in_foreground()};
  WT_ASSIGN_OR_RETURN(pid_, SpawnInOwnGroup(spawn));
  if (uses_terminal_) {
    terminal_.GiveTo(pid_);
  }
  return {};
}

void RunningJob::Release() {
  terminal_.TakeBackFrom(pid_);
  if (masked_) {
    pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
    masked_ = false;
  }
}

bool RunningJob::Poll(TimeNs timeout_ns) {
  if (over()) {
    return true;
  }
  if (stopping_ || cannot_wait_) {
    timeout_ns = std::min(timeout_ns, kGroupCheckNs);
  }
  if (const Status waited = WaitForEvents(timeout_ns); !waited.ok()) {
    if (!std::exchange(cannot_wait_, true)) {
      Log(LogLevel::kWarning, waited.message() + ": it is looked at now and then instead");
    }
    timespec pause{};
    pause.tv_nsec = std::min(timeout_ns, kGroupCheckNs);
    (void)nanosleep(&pause, nullptr);
  }
  HandleSignals();
  HandleChild();  // also without SIGCHLD: signals coalesce
  AdvanceStop();
  if (over()) {
    Release();  // from here on a signal is meant for the watcher
    return true;
  }
  return false;
}

Status RunningJob::WaitForEvents(TimeNs timeout_ns) {
  std::array<pollfd, 2> fds = {pollfd{signals_.get(), POLLIN, 0},
                               pollfd{stop_event_.get(), POLLIN, 0}};
  const auto timeout_ms =
      static_cast<int>(std::clamp<TimeNs>(timeout_ns / 1'000'000, 0, 3'600'000));
  if (poll(fds.data(), fds.size(), timeout_ms) < 0 && errno != EINTR) {
    return ErrnoError(errno, "waiting for the command");
  }
  uint64_t count = 0;
  (void)!read(stop_event_.get(), &count, sizeof(count));
  return {};
}

void RunningJob::HandleSignals() {
  signalfd_siginfo info{};
  while (read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo != SIGCHLD && !reaped_) {
      Forward(info);
    }
  }
}

void RunningJob::Forward(const signalfd_siginfo& info) {
  const auto number = static_cast<int>(info.ssi_signo);
  if (number == SIGCONT) {
    Continue();
    return;
  }
  if (number == SIGTSTP) {
    passed_on_stop_ = true;
    kill(-pid_, SIGTSTP);
    return;
  }
  // What is sent to the watcher is sent to the command alone, as if there were no watcher.
  kill(FromTerminal(info) ? -pid_ : pid_, number);
  if (EndsTheUser(number)) {
    exit_.interrupted_by = number;
    kill(-pid_, SIGCONT);  // a stopped process would not see it
  }
}

void RunningJob::HandleChild() {
  while (!reaped_) {
    int status = 0;
    const pid_t got = waitpid(pid_, &status, WNOHANG | WUNTRACED | WCONTINUED);
    if (got != pid_) {
      break;
    }
    if (WIFCONTINUED(status)) {
      stopped_by_ = 0;
      continue;
    }
    if (WIFSTOPPED(status)) {
      HandleStop(WSTOPSIG(status));
      continue;
    }
    reaped_ = true;
    exit_.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    exit_.exit_code = exit_.signal != 0 ? 128 + exit_.signal : WEXITSTATUS(status);
    if (exit_.interrupted_by == 0 && exit_.signal == SIGINT) {
      exit_.interrupted_by = SIGINT;
    }
  }
  if (!reaped_ && WantsTerminal(stopped_by_)) {
    OfferTerminal();  // the shell may have given it to us without a signal
  }
}

// The shell watches the watcher, so what stops the job as a whole stops us as well. Left alone: a
// SIGSTOP or SIGTSTP that somebody sent to the command, who will also continue it.
void RunningJob::HandleStop(int number) {
  stopped_by_ = number;
  if (WantsTerminal(number)) {
    uses_terminal_ = true;
    OfferTerminal();
    const bool in_background = stopped_by_ != 0 && terminal_.valid();
    if (in_background && !stopping_ && !StopTogether(number)) {
      Log(LogLevel::kWarning,
          "the command stands still: it wants the terminal, which it cannot have in the "
          "background; SIGTERM ends it, another stdin avoids it");
    }
    return;
  }
  const bool whole_job = passed_on_stop_ || terminal_.BelongsTo(pid_);
  if (number != SIGTSTP || !whole_job) {
    return;
  }
  passed_on_stop_ = false;
  if (stopping_ || !StopTogether(SIGTSTP)) {
    Continue();
  }
}

// Stops the watcher's whole process group, as the terminal or the kernel would have done had the
// command been in it: a script around us, `tee` behind us. Returns after SIGCONT, which is left in
// the signalfd: only then is the job continued, in the foreground or the background. False when we
// were not stopped.
bool RunningJob::StopTogether(int number) {
  terminal_.TakeBackFrom(pid_);
  sigset_t let_through;
  sigset_t before;
  sigset_t pending;
  sigemptyset(&let_through);
  sigaddset(&let_through, number);
  pthread_sigmask(SIG_UNBLOCK, &let_through, &before);
  (void)kill(0, number);
  // … here the shell continues us.
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  sigemptyset(&pending);
  (void)sigpending(&pending);
  return sigismember(&pending, SIGCONT) == 1;
}

void RunningJob::Continue() {
  if (uses_terminal_) {
    terminal_.GiveTo(pid_);
  }
  kill(-pid_, SIGCONT);
}

// For a command that stopped for want of the terminal: continues it if the terminal is ours to give
// or its own by now.
void RunningJob::OfferTerminal() {
  terminal_.GiveTo(pid_);
  if (terminal_.BelongsTo(pid_)) {
    stopped_by_ = 0;
    kill(-pid_, SIGCONT);
  }
}

void RunningJob::RequestStop(const std::string& reason) {
  {
    MutexLock lock(mutex_);
    if (stop_requested_) {
      return;
    }
    stop_requested_ = true;
    stop_reason_ = reason;
  }
  const uint64_t one = 1;
  (void)!write(stop_event_.get(), &one, sizeof(one));
}

void RunningJob::AdvanceStop() {
  if (!stopping_ && !reaped_) {
    MutexLock lock(mutex_);
    if (!stop_requested_) {
      return;
    }
    stopping_ = true;
    exit_.stop_requested = true;
    exit_.stop_reason = stop_reason_;
    kill_at_ns_ = clock_.MonotonicNs() + options_.grace_ns;
    // Orphans of the group come to us from now on, so that none stays a zombie where nobody else
    // reaps.
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    kill(-pid_, SIGTERM);
    kill(-pid_, SIGCONT);  // a stopped process would not see the SIGTERM
  }
  if (!stopping_) {
    return;
  }
  if (!killed_ && clock_.MonotonicNs() >= kill_at_ns_) {
    kill(-pid_, SIGKILL);
    killed_ = true;
  }
  while (reaped_ && waitpid(-pid_, nullptr, WNOHANG) > 0) {
  }
  // Over when the command is reaped and nothing of its group is left.
  const bool given_up = killed_ && clock_.MonotonicNs() >= kill_at_ns_ + kAfterKillNs;
  if (reaped_ && (!GroupAlive() || given_up)) {
    stopping_ = false;
  }
}

}  // namespace

Result<std::unique_ptr<Job>> Job::Start(const JobOptions& options, const Clock& clock) {
  auto job = std::make_unique<RunningJob>(options, clock);
  WT_RETURN_IF_ERROR(job->Begin());
  return std::unique_ptr<Job>(std::move(job));
}

}  // namespace wheeltapper::supervisor
