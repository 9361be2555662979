#include "sandbox_filter.h"

#include <array>
#include <cerrno>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace wheeltapper::rules {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kAuditArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kAuditArch = AUDIT_ARCH_AARCH64;
#endif

// Newer than the headers of Debian 12; the numbers are the same on every architecture.
constexpr uint32_t kFchmodat2 = 452;
constexpr uint32_t kSetxattrat = 463;
constexpr uint32_t kRemovexattrat = 466;
constexpr uint32_t kOpenTreeAttr = 467;
constexpr uint32_t kFileSetattr = 469;

// System calls that answer EPERM whatever their arguments are.
constexpr auto kDeniedCalls = std::to_array<uint32_t>({
    // Sockets. What socketpair makes is connected for good, and cannot be pointed elsewhere.
    SYS_socket,
    SYS_connect,
    SYS_bind,
    SYS_listen,
    SYS_accept,
    SYS_accept4,
    // Ways to make calls that no filter sees.
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_bpf,
    SYS_userfaultfd,
    SYS_perf_event_open,
    // Signals. Those to threads of its own go by tgkill, below.
    SYS_kill,
    SYS_tkill,
    SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo,
    SYS_pidfd_send_signal,
    // Other processes: memory, descriptors, processor time. Some take any process of the same user.
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_process_madvise,
    SYS_process_mrelease,
    SYS_pidfd_open,
    SYS_pidfd_getfd,
    SYS_kcmp,
    SYS_setpriority,
    SYS_ioprio_set,
    SYS_sched_setscheduler,
    SYS_sched_setparam,
    SYS_sched_setattr,
    SYS_migrate_pages,
    SYS_move_pages,
    // Memory and queues that processes of a user share, which outlive the process; memfd_create is
    // memory that no limit counts.
    SYS_memfd_create,
    SYS_shmget,
    SYS_shmat,
    SYS_shmctl,
    SYS_msgget,
    SYS_msgsnd,
    SYS_msgrcv,
    SYS_msgctl,
    SYS_semget,
    SYS_semop,
    SYS_semtimedop,
    SYS_semctl,
    SYS_mq_open,
    SYS_mq_unlink,
    SYS_add_key,
    SYS_keyctl,
    SYS_request_key,
    // Namespaces and mounts, by the old calls and the new.
    SYS_unshare,
    SYS_setns,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    kOpenTreeAttr,
    // The machine, should the process be root.
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setfsuid,
    SYS_setfsgid,
    SYS_setgroups,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_acct,
    SYS_syslog,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_vhangup,
    SYS_fanotify_init,
    SYS_open_by_handle_at,
    // Waits for every disk, and makes the job wait for it too.
    SYS_sync,
    SYS_syncfs,
    // Changes of files that Landlock does not know, truncate only before ABI 3 (kernel 6.2).
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
    kFileSetattr,
#if defined(__x86_64__)
    SYS_fork,
    SYS_vfork,
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
    SYS_utime,
    SYS_utimes,
    SYS_futimesat,
    SYS_iopl,
    SYS_ioperm,
#endif
#if defined(SYS_kexec_file_load)
    SYS_kexec_file_load,
#endif
#if defined(SYS_memfd_secret)
    SYS_memfd_secret,
#endif
});

// Duplicates, flags, locks and pipe sizes. Not among them: F_SETOWN and F_SETSIG, by which the
// kernel sends any signal to any process of the user; F_SETLEASE, which makes whoever opens the
// file for writing wait.
constexpr auto kFileCommands = std::to_array<uint32_t>({
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_GETFD,
    F_SETFD,
    F_GETFL,
    F_SETFL,
    F_GETLK,
    F_SETLK,
    F_SETLKW,
    F_OFD_GETLK,
    F_OFD_SETLK,
    F_OFD_SETLKW,
    F_GETPIPE_SZ,
    F_SETPIPE_SZ,
});

// Flags of descriptors, bytes to read, and whether this is a terminal. Not among them: what changes
// the attributes of a file that is open for reading (chattr, verity), types into a terminal
// (TIOCSTI), or drives a device.
constexpr auto kDeviceCommands =
    std::to_array<uint32_t>({FIOCLEX, FIONCLEX, FIONBIO, FIONREAD, TCGETS, TIOCGWINSZ, TIOCGPGRP});

constexpr uint32_t kNewNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

sock_filter Statement(int code, uint32_t k) {
  return {.code = static_cast<uint16_t>(code), .jt = 0, .jf = 0, .k = k};
}
sock_filter Jump(int code, uint32_t k, uint8_t if_true, uint8_t if_false) {
  return {.code = static_cast<uint16_t>(code), .jt = if_true, .jf = if_false, .k = k};
}
sock_filter Load(size_t offset) {
  return Statement(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset));
}
// The low half of the call's n-th argument (both architectures are little-endian). All arguments
// that are looked at here are 32 bits wide in the kernel, or have their flags there.
sock_filter LoadArgument(uint32_t n) { return Load(offsetof(seccomp_data, args) + n * 8); }
sock_filter Allow() { return Statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW); }
sock_filter Refuse(uint32_t error) { return Statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error); }

class FilterBuilder {
 public:
  void Begin() {
    Append({Load(offsetof(seccomp_data, arch)), Jump(BPF_JMP | BPF_JEQ | BPF_K, kAuditArch, 1, 0),
            Statement(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
            Load(offsetof(seccomp_data, nr))});
#if defined(__x86_64__)
    constexpr uint32_t kX32Bit = 0x40000000;  // the x32 calls are the same calls, other numbers
    Append({Jump(BPF_JMP | BPF_JGE | BPF_K, kX32Bit, 0, 1),
            Statement(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)});
#endif
  }

  void Deny(uint32_t call, uint32_t error) { Decide(call, {Refuse(error)}); }

  void AllowOnly(uint32_t call, uint32_t argument, std::span<const uint32_t> values) {
    std::vector<sock_filter> body = {LoadArgument(argument)};
    for (const uint32_t value : values) {
      body.push_back(Jump(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
      body.push_back(Allow());
    }
    body.push_back(Refuse(EPERM));
    Decide(call, body);
  }

  void AllowAllBut(uint32_t call, uint32_t argument, std::span<const uint32_t> values) {
    std::vector<sock_filter> body = {LoadArgument(argument)};
    for (const uint32_t value : values) {
      body.push_back(Jump(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
      body.push_back(Refuse(EPERM));
    }
    body.push_back(Allow());
    Decide(call, body);
  }

  // The first argument is the process itself: by its id, or by 0 where that means the caller.
  void AllowOnItself(uint32_t call, bool zero_is_itself) {
    filter_.own_pid_at.push_back(filter_.code.size() + 2);
    Decide(call, {LoadArgument(0), Jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
                  Jump(BPF_JMP | BPF_JEQ | BPF_K, 0, zero_is_itself ? uint8_t{0} : uint8_t{1}, 1),
                  Allow(), Refuse(EPERM)});
  }

  // Threads, but no processes and no namespaces.
  void AllowThreads() {
    Decide(SYS_clone,
           {LoadArgument(0), Jump(BPF_JMP | BPF_JSET | BPF_K, kNewNamespaces, 2, 0),
            Jump(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1), Allow(), Refuse(EPERM)});
  }

  // Only streams are tied to their other end: a datagram may be sent to any address.
  void AllowStreamPairs() {
    constexpr uint32_t kTypeMask = 0xf;
    Decide(SYS_socketpair,
           {LoadArgument(0), Jump(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 4), LoadArgument(1),
            Statement(BPF_ALU | BPF_AND | BPF_K, kTypeMask),
            Jump(BPF_JMP | BPF_JEQ | BPF_K, SOCK_STREAM, 0, 1), Allow(), Refuse(EPERM)});
  }

  // Truncating is a right of its own to the kernel: only where the file is opened for writing does
  // an older Landlock see it. Access mode 3 opens for neither, and truncates as well.
  void RefuseTruncatingToRead(uint32_t call, uint32_t flags_argument) {
    Decide(call, {LoadArgument(flags_argument), Jump(BPF_JMP | BPF_JSET | BPF_K, O_TRUNC, 0, 4),
                  Statement(BPF_ALU | BPF_AND | BPF_K, O_ACCMODE),
                  Jump(BPF_JMP | BPF_JEQ | BPF_K, O_WRONLY, 2, 0),
                  Jump(BPF_JMP | BPF_JEQ | BPF_K, O_RDWR, 1, 0), Refuse(EPERM), Allow()});
  }

  SandboxFilter Finish() {
    filter_.code.push_back(Allow());
    return std::move(filter_);
  }

 private:
  void Append(std::initializer_list<sock_filter> statements) {
    filter_.code.insert(filter_.code.end(), statements);
  }

  // Every way through `body` returns, so the call's number is still loaded for what comes after.
  void Decide(uint32_t call, std::span<const sock_filter> body) {
    filter_.code.push_back(
        Jump(BPF_JMP | BPF_JEQ | BPF_K, call, 0, static_cast<uint8_t>(body.size())));
    filter_.code.insert(filter_.code.end(), body.begin(), body.end());
  }
  void Decide(uint32_t call, std::initializer_list<sock_filter> body) {
    Decide(call, std::span<const sock_filter>(body.begin(), body.size()));
  }

  SandboxFilter filter_;
};

}  // namespace

SandboxFilter BuildSandboxFilter(int landlock_abi) {
  constexpr int kTruncateAbi = 3;
  FilterBuilder filter;
  filter.Begin();
  for (const uint32_t call : kDeniedCalls) {
    filter.Deny(call, EPERM);
  }
  // The C library falls back to clone, whose flags a filter can read.
  filter.Deny(SYS_clone3, ENOSYS);
  filter.AllowThreads();
  filter.AllowOnItself(SYS_tgkill, false);  // abort
  filter.AllowOnItself(SYS_prlimit64, true);
  filter.AllowOnItself(SYS_sched_setaffinity, true);
  filter.AllowStreamPairs();  // asyncio wakes itself with one
  filter.AllowOnly(SYS_fcntl, 1, kFileCommands);
  filter.AllowOnly(SYS_ioctl, 1, kDeviceCommands);
  // To outlive the watcher; to share a core's schedule with another process.
  filter.AllowAllBut(SYS_prctl, 0, std::to_array<uint32_t>({PR_SET_PDEATHSIG, PR_SCHED_CORE}));
  if (landlock_abi < kTruncateAbi) {
#if defined(__x86_64__)
    filter.RefuseTruncatingToRead(SYS_open, 1);
#endif
    filter.RefuseTruncatingToRead(SYS_openat, 2);
    filter.Deny(SYS_openat2,
                ENOSYS);  // its flags are in memory, where no filter sees them
  }
  return filter.Finish();
}

void InsertOwnPid(SandboxFilter& filter, pid_t pid) {
  for (const size_t at : filter.own_pid_at) {
    filter.code[at].k = static_cast<uint32_t>(pid);
  }
}

}  // namespace wheeltapper::rules
