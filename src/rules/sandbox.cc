// Everything that allocates happens before fork: between fork and exec only system calls are made,
// because another thread of the watcher may hold any lock at that moment.
#include "sandbox.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <utility>

#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace wheeltapper::rules {
namespace {

constexpr uid_t kNobody = 65534;
constexpr int kExecFailed = 127;
constexpr rlim_t kMaxFileBytes = rlim_t{64} << 20;
constexpr rlim_t kMaxOpenFiles = 256;

#if defined(__x86_64__)
constexpr uint32_t kAuditArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kAuditArch = AUDIT_ARCH_AARCH64;
#endif

using FilterCode = std::vector<sock_filter>;

sock_filter Statement(int code, uint32_t k) {
  return {.code = static_cast<uint16_t>(code), .jt = 0, .jf = 0, .k = k};
}
sock_filter Jump(int code, uint32_t k, uint8_t if_true, uint8_t if_false) {
  return {.code = static_cast<uint16_t>(code), .jt = if_true, .jf = if_false, .k = k};
}

// Newer than the headers of Debian 12; the numbers are the same on every architecture.
constexpr uint32_t kFchmodat2 = 452;
constexpr uint32_t kSetxattrat = 463;
constexpr uint32_t kRemovexattrat = 466;

// System calls that answer EPERM: sockets of any family, ways around the sandbox, changes of files
// that Landlock does not know, and whatever reaches into other processes.
constexpr auto kDeniedCalls = std::to_array<uint32_t>({
    SYS_socket,
    SYS_io_uring_setup,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_pidfd_open,
    SYS_pidfd_getfd,
    SYS_pidfd_send_signal,
    SYS_kill,
    SYS_tkill,
    SYS_rt_sigqueueinfo,
    SYS_setpriority,
    SYS_sched_setscheduler,
    SYS_unshare,
    SYS_setns,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_add_key,
    SYS_keyctl,
    SYS_request_key,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_sethostname,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_setuid,
    SYS_setgid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_shmget,
    SYS_shmat,
    SYS_msgget,
    SYS_semget,
    SYS_mq_open,
    // By path, which Landlock before ABI 3 (kernel 6.2) does not cover.
    SYS_truncate,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_utimensat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    SYS_fremovexattr,
    kFchmodat2,
    kSetxattrat,
    kRemovexattrat,
#if defined(__x86_64__)
    SYS_fork,
    SYS_vfork,
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
    SYS_utime,
    SYS_utimes,
    SYS_futimesat,
#endif
});

void DenyWith(FilterCode* code, uint32_t call, uint32_t error) {
  code->push_back(Jump(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
  code->push_back(Statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error));
}

// Loads the low half of the call's n-th argument (both architectures are little-endian).
sock_filter LoadArgument(uint32_t n) {
  return Statement(BPF_LD | BPF_W | BPF_ABS,
                   static_cast<uint32_t>(offsetof(seccomp_data, args)) + n * 8);
}
sock_filter LoadCall() {
  return Statement(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offsetof(seccomp_data, nr)));
}

struct Filter {
  FilterCode code;
  size_t own_pid_at = 0;  // statement whose k is the child's own pid, known only after fork
};

Filter BuildFilter() {
  Filter filter;
  FilterCode& code = filter.code;
  code.push_back(
      Statement(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offsetof(seccomp_data, arch))));
  code.push_back(Jump(BPF_JMP | BPF_JEQ | BPF_K, kAuditArch, 1, 0));
  code.push_back(Statement(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  code.push_back(LoadCall());
#if defined(__x86_64__)
  constexpr uint32_t kX32Bit = 0x40000000;  // the x32 calls are the same calls under other numbers
  code.push_back(Jump(BPF_JMP | BPF_JGE | BPF_K, kX32Bit, 0, 1));
  code.push_back(Statement(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
#endif
  for (const uint32_t call : kDeniedCalls) {
    DenyWith(&code, call, EPERM);
  }
  // The C library falls back to clone, whose flags a filter can read.
  DenyWith(&code, SYS_clone3, ENOSYS);
  // Threads, but no processes.
  code.push_back(Jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4));
  code.push_back(LoadArgument(0));
  code.push_back(Jump(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0));
  code.push_back(Statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  code.push_back(LoadCall());
  // Signals to its own threads (abort), limits of its own.
  code.push_back(Jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_tgkill, 0, 4));
  code.push_back(LoadArgument(0));
  filter.own_pid_at = code.size();
  code.push_back(Jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0));
  code.push_back(Statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  code.push_back(LoadCall());
  code.push_back(Jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_prlimit64, 0, 4));
  code.push_back(LoadArgument(0));
  code.push_back(Jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0));
  code.push_back(Statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  code.push_back(LoadCall());
  code.push_back(Statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  return filter;
}

// Every right that changes the file system, as far as this kernel's Landlock knows them.
uint64_t WriteRights(int abi) {
  uint64_t rights = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                    LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                    LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                    LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                    LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;
  constexpr uint64_t kRefer = uint64_t{1} << 13;     // ABI 2
  constexpr uint64_t kTruncate = uint64_t{1} << 14;  // ABI 3
  rights |= abi >= 2 ? kRefer : 0;
  rights |= abi >= 3 ? kTruncate : 0;
  return rights;
}

bool AllowBeneath(int ruleset, const std::string& path, uint64_t rights) {
  const Result<FileDescriptor> target = OpenFile(path, O_PATH);
  if (!target.ok()) {
    return false;
  }
  landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = target->get()};
  return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
}

// Writing allowed in the private folder and to /dev/null, reading everywhere.
FileDescriptor MakeRuleset(const std::string& private_dir) {
  const auto abi = static_cast<int>(
      syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION));
  if (abi < 1) {
    return {};
  }
  landlock_ruleset_attr attributes = {};
  attributes.handled_access_fs = WriteRights(abi);
  FileDescriptor ruleset(
      static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0)));
  if (!ruleset.valid() || !AllowBeneath(ruleset.get(), private_dir, WriteRights(abi)) ||
      !AllowBeneath(ruleset.get(), "/dev/null", LANDLOCK_ACCESS_FS_WRITE_FILE)) {
    return {};
  }
  return ruleset;
}

bool BecomeNobody() {
  return setgroups(0, nullptr) == 0 && setresgid(kNobody, kNobody, kNobody) == 0 &&
         setresuid(kNobody, kNobody, kNobody) == 0;
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

// The first path that user nobody cannot read, "" when it can read all.
std::string UnreadableForNobody(const std::vector<std::string>& paths) {
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
  if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) {
    return "(probe failed)";
  }
  const int code = WEXITSTATUS(status);
  if (code == kProbeAllReadable) {
    return "";
  }
  const auto path = static_cast<size_t>(code - kProbeFirstPath);
  return code >= kProbeFirstPath && path < paths.size() ? paths[path] : "(cannot change user)";
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
  Filter filter;
  sock_fprog program = {};
  int ruleset = -1;
  std::array<int, 3> standard_fds = {-1, -1, -1};
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

void Limit(decltype(RLIMIT_AS) resource, rlim_t value) {
  const rlimit limit = {.rlim_cur = value, .rlim_max = value};
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
  // After the change of user, which resets it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != prepared.parent || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    _exit(kExecFailed);
  }
  if (prepared.ruleset >= 0 && syscall(SYS_landlock_restrict_self, prepared.ruleset, 0) != 0) {
    _exit(kExecFailed);
  }
  prepared.filter.code[prepared.filter.own_pid_at].k = static_cast<uint32_t>(getpid());
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prepared.program, 0, 0) != 0) {
    _exit(kExecFailed);
  }
  execve(prepared.argv[0], prepared.argv.data(), prepared.environment.data());
  _exit(kExecFailed);
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
  if (geteuid() == 0) {
    const std::string unreadable = UnreadableForNobody(options.readable);
    prepared.drop_user =
        unreadable.empty() && chown(options.private_dir.c_str(), kNobody, kNobody) == 0;
    if (!prepared.drop_user) {
      process.note = "runs as root: user nobody cannot read " + unreadable;
    }
  }
  const FileDescriptor ruleset = MakeRuleset(options.private_dir);
  if (!ruleset.valid()) {
    process.note += (process.note.empty() ? "" : "; ") +
                    std::string("the file system is not read-only: this kernel has no Landlock");
  }
  WT_ASSIGN_OR_RETURN(Pipe input, MakeSocketPair());
  WT_ASSIGN_OR_RETURN(Pipe output, MakePipe());
  WT_ASSIGN_OR_RETURN(Pipe errors, MakePipe());
  WT_RETURN_IF_ERROR(MakeNonBlocking(input.write));
  WT_RETURN_IF_ERROR(MakeNonBlocking(output.read));
  WT_RETURN_IF_ERROR(MakeNonBlocking(errors.read));
  prepared.argv = RawPointers(options.argv);
  prepared.environment = RawPointers(options.environment);
  prepared.filter = BuildFilter();
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
