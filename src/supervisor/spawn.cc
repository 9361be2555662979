#include "spawn.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"

namespace wheeltapper::supervisor {
namespace {

std::vector<std::string> MergedEnvironment(const std::map<std::string, std::string>& added) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (added.find(text.substr(0, text.find('='))) == added.end()) {
      merged.push_back(text);
    }
  }
  for (const auto& [name, value] : added) {
    merged.push_back(name + "=" + value);
  }
  return merged;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) {
    pointers.push_back(text.data());
  }
  pointers.push_back(nullptr);
  return pointers;
}

// Runs in the child, which has one thread after fork: only async-signal-safe calls.
[[noreturn]] void ExecChild(const SpawnOptions& options, char* const* argv, char* const* env,
                            int report_fd) {
  setpgid(0, 0);
  if (options.take_terminal) {
    // The parent does the same; whoever is first wins, so the job never reads the terminal as a
    // background group.
    sigset_t ttou;
    sigemptyset(&ttou);
    sigaddset(&ttou, SIGTTOU);
    sigprocmask(SIG_BLOCK, &ttou, nullptr);  // NOLINT(concurrency-mt-unsafe): one thread
    (void)tcsetpgrp(STDIN_FILENO, getpgrp());
  }
  // The only disposition that the watcher changed; what its caller ignores (nohup) stays ignored.
  (void)signal(SIGPIPE, options.sigpipe);
  // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread
  sigprocmask(SIG_SETMASK, &options.signal_mask, nullptr);
  execvpe(argv[0], argv, env);
  const int error_number = errno;
  (void)!write(report_fd, &error_number, sizeof(error_number));
  _exit(127);
}

}  // namespace

Result<pid_t> SpawnInOwnGroup(const SpawnOptions& options) {
  if (options.argv.empty()) {
    return InvalidArgumentError("starting the command: no command given");
  }
  std::array<int, 2> pipe_fds{};
  if (pipe2(pipe_fds.data(), O_CLOEXEC) != 0) {
    return ErrnoError(errno, "starting the command: pipe");
  }
  FileDescriptor read_end(pipe_fds[0]);
  FileDescriptor write_end(pipe_fds[1]);
  std::vector<std::string> argv_texts = options.argv;
  std::vector<std::string> env_texts = MergedEnvironment(options.environment);
  const std::vector<char*> argv = Pointers(argv_texts);
  const std::vector<char*> env = Pointers(env_texts);
  const pid_t pid = fork();
  if (pid < 0) {
    return ErrnoError(errno, "starting the command: fork");
  }
  if (pid == 0) {
    ExecChild(options, argv.data(), env.data(), write_end.get());
  }
  setpgid(pid, pid);  // also in the parent: no window in which a group signal would miss the child
  write_end.Close();
  int error_number = 0;
  ssize_t got = 0;
  do {
    got = read(read_end.get(), &error_number, sizeof(error_number));
  } while (got < 0 && errno == EINTR);
  if (got == sizeof(error_number)) {
    (void)waitpid(pid, nullptr, 0);
    return ErrnoError(error_number, "starting the command \"" + options.argv.front() + "\"");
  }
  return pid;
}

}  // namespace wheeltapper::supervisor
