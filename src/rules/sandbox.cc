// Everything that allocates happens before fork: between fork and exec only system calls are made,
// because another thread of the watcher may hold any lock at that moment.
#include "sandbox.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox_filter.h"
#include "sandbox_landlock.h"

namespace wheeltapper::rules {
namespace {

constexpr uid_t kNobody = 65534;
constexpr int kExecFailed = 127;
constexpr rlim_t kMaxFileBytes = rlim_t{64} << 20;
constexpr rlim_t kMaxOpenFiles = 256;

bool BecomeNobody() {
  return setgroups(0, nullptr) == 0 && setresgid(kNobody, kNobody, kNobody) == 0 &&
         setresuid(kNobody, kNobody, kNobody) == 0;
}

// Runs in the child: system calls only. A root that cannot become nobody keeps one right of root,
// to read what the modes of files forbid, which is why it stays root. Takes effect at exec. A root
// that may not even do this (a container without CAP_SETPCAP) keeps what its container left it.
void DropCapabilities() {
  constexpr int kMostCapabilities = 64;
  for (int capability = 0; capability < kMostCapabilities; ++capability) {
    if (capability != CAP_DAC_READ_SEARCH) {
      prctl(PR_CAPBSET_DROP, capability, 0, 0,
            0);  // EINVAL past the kernel's last one
    }
  }
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> kept = {};
  kept[0].effective = kept[0].permitted = uint32_t{1} << CAP_DAC_READ_SEARCH;
  syscall(SYS_capset, &header, kept.data());
}

// Whether this process can read the file, or list and enter the folder.
bool IsReadable(const char* path) {
  struct stat info = {};
  return access(path, R_OK) == 0 && stat(path, &info) == 0 &&
         (!S_ISDIR(info.st_mode) || access(path, X_OK) == 0);
}

// Exit codes of the probe: which path it was that could not be read, as far as a code can say.
constexpr int kProbeAllReadable = 0;
constexpr int kProbeNotNobody = 1;
constexpr int kProbeFirstPath = 2;
constexpr size_t kProbeLastPath = 100;

// Runs in the child: system calls only. Never returns.
[[noreturn]] void ProbeAsNobody(const std::vector<const char*>& paths) {
  if (!BecomeNobody()) {
    _exit(kProbeNotNobody);
  }
  for (size_t i = 0; i < paths.size(); ++i) {
    if (!IsReadable(paths[i])) {
      _exit(static_cast<int>(std::min(i, kProbeLastPath)) + kProbeFirstPath);
    }
  }
  _exit(kProbeAllReadable);
}

// Why the process cannot be run as user nobody, "" when it can.
std::string WhyNotNobody(const std::vector<std::string>& paths) {
  std::vector<const char*> raw;
  raw.reserve(paths.size());
  for (const std::string& path : paths) {
    raw.push_back(path.c_str());
  }
  const pid_t pid = fork();
  if (pid == 0) {
    ProbeAsNobody(raw);
  }
  int status = 0;
  pid_t ended = -1;
  do {
    ended = pid < 0 ? -1 : waitpid(pid, &status, 0);
  } while (ended < 0 && pid > 0 && errno == EINTR);
  if (ended != pid || pid < 0 || !WIFEXITED(status)) {
    return "what user nobody can read could not be found out";
  }
  const int code = WEXITSTATUS(status);
  if (code == kProbeAllReadable) {
    return "";
  }
  if (code == kProbeNotNobody) {
    return "it cannot change to user nobody";
  }
  const auto path = static_cast<size_t>(code - kProbeFirstPath);
  return "user nobody cannot read " + (path < paths.size() ? paths[path] : "one of its paths");
}

// Gives the private folder to user nobody; "" when the process can be run as that, else why not.
std::string PrepareForNobody(const SandboxOptions& options) {
  std::string reason = WhyNotNobody(options.readable);
  if (reason.empty() && chown(options.private_dir.c_str(), kNobody, kNobody) != 0) {
    reason = "its folder " + options.private_dir + " cannot be given to user nobody (" +
             std::generic_category().message(errno) + ")";
  }
  return reason;
}

struct Pipe {
  FileDescriptor read;
  FileDescriptor write;
};

// Moves both ends out of the way of 0, 1 and 2, which a watcher may have closed and the child sets
// up one by one.
Result<Pipe> MakeEnds(const std::array<int, 2>& ends) {
  const FileDescriptor read(ends[0]);
  const FileDescriptor write(ends[1]);
  Pipe pipe{.read = FileDescriptor(fcntl(read.get(), F_DUPFD_CLOEXEC, 3)),
            .write = FileDescriptor(fcntl(write.get(), F_DUPFD_CLOEXEC, 3))};
  if (!pipe.read.valid() || !pipe.write.valid()) {
    return ErrnoError(errno, "making a pipe");
  }
  return pipe;
}

Result<Pipe> MakePipe() {
  std::array<int, 2> ends = {-1, -1};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return ErrnoError(errno, "making a pipe");
  }
  return MakeEnds(ends);
}

// For the direction to the child: unlike a pipe, a socket can be written to without SIGPIPE when
// the child is gone.
Result<Pipe> MakeSocketPair() {
  std::array<int, 2> ends = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return ErrnoError(errno, "making a socket pair");
  }
  return MakeEnds(ends);
}

// All that the child needs, ready to use.
struct Preparation {
  std::vector<char*> argv;
  std::vector<char*> environment;
  SandboxFilter filter;
  sock_fprog program = {};
  int ruleset = -1;
  std::array<int, 3> standard_fds = {-1, -1, -1};
  bool is_root = false;
  bool drop_user = false;
  rlim_t memory_bytes = 0;
  pid_t parent = 0;
};

std::vector<char*> RawPointers(const std::vector<std::string>& texts) {
  std::vector<char*> raw;
  raw.reserve(texts.size() + 1);
  for (const std::string& text : texts) {
    // execve takes char* for historical reasons and does not write to it.
    raw.push_back(
        const_cast<char*>(text.c_str()));  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  }
  raw.push_back(nullptr);
  return raw;
}

// At most the limit that is in force: an ordinary user cannot raise one.
void Limit(decltype(RLIMIT_AS) resource, rlim_t value) {
  rlimit limit = {};
  if (getrlimit(resource, &limit) != 0) {
    _exit(kExecFailed);
  }
  limit.rlim_max = std::min(limit.rlim_max, value);
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(resource, &limit) != 0) {
    _exit(kExecFailed);
  }
}

// Runs in the child: system calls only. Never returns.
[[noreturn]] void RunChild(Preparation& prepared) {
  setsid();
  for (int fd = 0; fd < 3; ++fd) {
    if (dup2(prepared.standard_fds[static_cast<size_t>(fd)], fd) != fd) {
      _exit(kExecFailed);
    }
  }
  // Whatever the watcher itself inherited.
  syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC);
  // Signal dispositions and masks of the watcher are not the rule's.
  sigset_t none;
  sigemptyset(&none);
  // After fork the child has one thread.
  sigprocmask(SIG_SETMASK, &none, nullptr);  // NOLINT(concurrency-mt-unsafe)
  signal(SIGPIPE, SIG_DFL);
  Limit(RLIMIT_CORE, 0);
  Limit(RLIMIT_AS, prepared.memory_bytes);
  Limit(RLIMIT_FSIZE, kMaxFileBytes);
  Limit(RLIMIT_NOFILE, kMaxOpenFiles);
  if (prepared.drop_user && !BecomeNobody()) {
    _exit(kExecFailed);
  }
  if (prepared.is_root && !prepared.drop_user) {
    DropCapabilities();
  }
  // After the change of user, which resets it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != prepared.parent || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    _exit(kExecFailed);
  }
  if (prepared.ruleset >= 0 && syscall(SYS_landlock_restrict_self, prepared.ruleset, 0) != 0) {
    _exit(kExecFailed);
  }
  InsertOwnPid(prepared.filter, getpid());
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prepared.program, 0, 0) != 0) {
    _exit(kExecFailed);
  }
  execve(prepared.argv[0], prepared.argv.data(), prepared.environment.data());
  _exit(kExecFailed);
}

std::string WithoutLandlock(int abi) {
  return abi < 1 ? "the file system is not read-only, nor is /proc of this "
                   "user's other processes: "
                   "this kernel has no Landlock"
                 : "the file system is not read-only: Landlock refused the "
                   "rules for it";
}

Status MakeNonBlocking(const FileDescriptor& file) {
  const int flags = fcntl(file.get(), F_GETFL);
  if (flags < 0 || fcntl(file.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return ErrnoError(errno, "making a pipe non-blocking");
  }
  return {};
}

}  // namespace

Result<SandboxedProcess> StartSandboxed(const SandboxOptions& options) {
  SandboxedProcess process;
  Preparation prepared;
  prepared.is_root = geteuid() == 0;
  if (prepared.is_root) {
    const std::string reason = PrepareForNobody(options);
    prepared.drop_user = reason.empty();
    process.note = reason.empty() ? "" : "runs as root: " + reason;
  }
  const int abi = std::min(KernelLandlockAbi(), options.most_landlock_abi);
  const FileDescriptor ruleset = MakeRuleset(options.private_dir, abi);
  if (!ruleset.valid()) {
    process.note += (process.note.empty() ? "" : "; ") + WithoutLandlock(abi);
  }
  WT_ASSIGN_OR_RETURN(Pipe input, MakeSocketPair());
  WT_ASSIGN_OR_RETURN(Pipe output, MakePipe());
  WT_ASSIGN_OR_RETURN(Pipe errors, MakePipe());
  WT_RETURN_IF_ERROR(MakeNonBlocking(input.write));
  WT_RETURN_IF_ERROR(MakeNonBlocking(output.read));
  WT_RETURN_IF_ERROR(MakeNonBlocking(errors.read));
  prepared.argv = RawPointers(options.argv);
  prepared.environment = RawPointers(options.environment);
  // Without a ruleset there is nothing that the filter could leave to Landlock.
  prepared.filter = BuildSandboxFilter(ruleset.valid() ? abi : 0);
  prepared.program = {.len = static_cast<uint16_t>(prepared.filter.code.size()),
                      .filter = prepared.filter.code.data()};
  prepared.ruleset = ruleset.get();
  prepared.standard_fds = {input.read.get(), output.write.get(), errors.write.get()};
  prepared.memory_bytes = static_cast<rlim_t>(options.memory_mb) << 20;
  prepared.parent = getpid();
  process.pid = fork();
  if (process.pid < 0) {
    return ErrnoError(errno, "starting a process for a rule");
  }
  if (process.pid == 0) {
    RunChild(prepared);
  }
  process.to_child = std::move(input.write);
  process.from_child = std::move(output.read);
  process.errors = std::move(errors.read);
  return process;
}

}  // namespace wheeltapper::rules
