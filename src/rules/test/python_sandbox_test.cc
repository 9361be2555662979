// What a rule in Python cannot do, and what it may.
#include <cstdlib>
#include <fstream>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "python_rule_fixture.h"
#include "sandbox.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;
using testing::Not;

using PythonSandboxTest = PythonRuleTest;

TEST_F(PythonSandboxTest, HasNoNetworkOfAnyFamily) {
  for (const char* family : {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET"}) {
    EXPECT_THAT(ErrorOf(std::string("socket.socket(socket.") + family + ")"),
                HasSubstr("PermissionError"))
        << family;
  }
}

TEST_F(PythonSandboxTest, CannotWriteInTheRunOrElsewhereButInItsOwnFolder) {
  const std::string run = (folder_ / "run").string();
  EXPECT_THAT(ErrorOf("open('" + run + "/x', 'w')"), HasSubstr("PermissionError"));
  EXPECT_THAT(ErrorOf("open('/tmp/x-of-a-rule', 'w')"), HasSubstr("PermissionError"));
  EXPECT_THAT(ErrorOf("os.remove(__file__)"), HasSubstr("PermissionError"));
  EXPECT_THAT(ErrorOf("os.chmod(__file__, 0o777)"), HasSubstr("PermissionError"));
  EXPECT_THAT(ErrorOf("os.mkdir('" + run + "/d')"), HasSubstr("PermissionError"));
  std::ofstream(folder_ / "run" / "data") << "hello";
  EXPECT_THAT(ErrorOf("os.truncate('" + run + "/data', 0)"), HasSubstr("PermissionError"));
  EXPECT_EQ(std::filesystem::file_size(folder_ / "run" / "data"), 5U);
  const Status status = RunOver(Rule("open(os.environ['TMPDIR'] + '/x', 'w').write('fine')"), 1);
  EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST_F(PythonSandboxTest, CannotStartProcessesOrSignalOthers) {
  EXPECT_THAT(ErrorOf("os.fork()"), HasSubstr("PermissionError"));
  EXPECT_THAT(ErrorOf("import subprocess; subprocess.run(['true'])"), HasSubstr("Error"));
  EXPECT_THAT(ErrorOf("os.kill(os.getppid(), 15)"), HasSubstr("PermissionError"));
}

// Arguments to which the kernel itself would not answer EPERM, whoever asks.
TEST_F(PythonSandboxTest, NoCallThatReachesOtherProcessesIsLeftOpen) {
  EXPECT_EQ(NotRefused({{"kill", SYS_kill, "other, 0"},
                        {"tkill", SYS_tkill, "other, 0"},
                        {"tgkill", SYS_tgkill, "other, other, 0"},
                        {"rt_sigqueueinfo", SYS_rt_sigqueueinfo, "me, 0, 0"},
                        {"rt_tgsigqueueinfo", SYS_rt_tgsigqueueinfo, "me, me, 0, 0"},
                        {"pidfd_send_signal", SYS_pidfd_send_signal, "-1, 0, 0, 0"},
                        {"ptrace", SYS_ptrace, "16, other, 0, 0"},
                        {"process_vm_writev", SYS_process_vm_writev, "other, 0, 0, 0, 0, 0"},
                        {"process_madvise", SYS_process_madvise, "-1, 0, 0, 0, 0"},
                        {"process_mrelease", SYS_process_mrelease, "-1, 0"},
                        {"kcmp", SYS_kcmp, "other, other, 0, 0, 0"},
                        {"setpriority", SYS_setpriority, "0, other, 0"},
                        {"ioprio_set", SYS_ioprio_set, "1, other, 0"},
                        {"sched_setscheduler", SYS_sched_setscheduler, "other, 0, 0"},
                        {"sched_setparam", SYS_sched_setparam, "other, 0"},
                        {"sched_setattr", SYS_sched_setattr, "other, 0, 0"},
                        {"sched_setaffinity", SYS_sched_setaffinity, "other, 0, 0"},
                        {"prlimit64", SYS_prlimit64, "other, 0, 0, 0"},
                        {"migrate_pages", SYS_migrate_pages, "other, 0, 0, 0"},
                        {"move_pages", SYS_move_pages, "other, 0, 0, 0, 0, 0"},
                        {"shmctl", SYS_shmctl, "-1, 0, 0"},
                        {"semctl", SYS_semctl, "-1, 0, 0, 0"},
                        {"msgctl", SYS_msgctl, "-1, 0, 0"},
                        {"mq_unlink", SYS_mq_unlink, "0"}}),
            "");
}

TEST_F(PythonSandboxTest, NoOtherWayAroundTheSandboxIsLeftOpen) {
  const std::string no_parent_signal = std::to_string(PR_SET_PDEATHSIG) + ", 0, 0, 0, 0";
  EXPECT_EQ(NotRefused({{"io_uring_setup", SYS_io_uring_setup, "0, 0"},
                        {"io_uring_enter", SYS_io_uring_enter, "-1, 0, 0, 0, 0, 0"},
                        {"bpf", SYS_bpf, "-1, 0, 0"},
                        {"userfaultfd", SYS_userfaultfd, "-1"},
                        {"perf_event_open", SYS_perf_event_open, "0, 0, 0, 0, 0"},
                        {"memfd_create", SYS_memfd_create, "0, 0"},
                        {"keyctl", SYS_keyctl, "-1, 0, 0, 0, 0"},
                        {"unshare", SYS_unshare, "0"},
                        {"setns", SYS_setns, "-1, 0"},
                        {"mount", SYS_mount, "0, 0, 0, 0, 0"},
                        {"open_tree", SYS_open_tree, "-1, 0, 0"},
                        {"fsopen", SYS_fsopen, "0, 0"},
                        {"mount_setattr", SYS_mount_setattr, "-1, 0, 0, 0, 0"},
                        {"open_by_handle_at", SYS_open_by_handle_at, "-1, 0, 0"},
                        {"fanotify_init", SYS_fanotify_init, "-1, 0"},
                        {"syncfs", SYS_syncfs, "-1"},
                        {"clone", SYS_clone, "0x80000000, 0, 0, 0, 0"},
                        {"clone new network", SYS_clone, "0x40010000, 0, 0, 0, 0"},
                        {"prctl parent signal", SYS_prctl, no_parent_signal}}),
            "");
}

TEST_F(PythonSandboxTest, NoDescriptorSendsSignalsOrChangesAFileThatIsOnlyRead) {
  const auto file_command = [](const char* name, int command) {
    return Attempt{name, SYS_fcntl, "0, " + std::to_string(command) + ", 0"};
  };
  const auto device_command = [](const char* name, uint64_t command) {
    return Attempt{name, SYS_ioctl, "0, " + std::to_string(command) + ", 0"};
  };
  EXPECT_EQ(
      NotRefused({file_command("F_SETOWN", F_SETOWN), file_command("F_SETSIG", F_SETSIG),
                  file_command("F_SETOWN_EX", F_SETOWN_EX), file_command("F_SETLEASE", F_SETLEASE),
                  file_command("F_NOTIFY", F_NOTIFY), device_command("FIOSETOWN", 0x8901),
                  device_command("FIOASYNC", FIOASYNC), device_command("SIOCSPGRP", 0x8902),
                  device_command("FS_IOC_SETFLAGS", FS_IOC_SETFLAGS),
                  device_command("TIOCSTI", TIOCSTI)}),
      "");
}

TEST_F(PythonSandboxTest, HasNoSocketThatSendsToAPath) {
  for (const char* type : {"SOCK_DGRAM", "SOCK_SEQPACKET", "SOCK_RAW"}) {
    EXPECT_THAT(ErrorOf(std::string("socket.socketpair(socket.AF_UNIX, socket.") + type + ")"),
                HasSubstr("PermissionError"))
        << type;
  }
}

TEST_F(PythonSandboxTest, MayUseWhatNumericalCodeAndAsyncioNeed) {
  const Status status = RunOver(
      Rule("import asyncio, ctypes, fcntl, resource, tempfile, threading\n"
           "async def nothing(): await asyncio.sleep(0)\n"
           "asyncio.run(nothing())\n"
           "os.sched_setaffinity(0, os.sched_getaffinity(0))\n"
           "os.sched_setaffinity(os.getpid(), os.sched_getaffinity(0))\n"
           "resource.setrlimit(resource.RLIMIT_STACK, resource.getrlimit(resource.RLIMIT_STACK))\n"
           "os.isatty(0), os.set_blocking(0, True)\n"
           "with tempfile.TemporaryFile() as file:\n"
           "    fcntl.lockf(file, fcntl.LOCK_EX); file.write(b'x' * 100); file.truncate(1)\n"
           "with open(os.environ['TMPDIR'] + '/x', 'w+') as file: file.write('x')\n"
           "called = []\n"
           "ctypes.CFUNCTYPE(None)(lambda: called.append(1))()\n"
           "try: import numpy\n"
           "except ModuleNotFoundError: numpy = None\n"
           "if numpy: numpy.ones((64, 64)) @ numpy.ones((64, 64))\n"),
      1);
  EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST_F(PythonSandboxTest, SeesNothingOfTheWatchersMemoryOrEnvironment) {
  for (const char* file : {"environ", "mem", "maps", "fd/0"}) {
    EXPECT_THAT(ErrorOf(std::string("open(f'/proc/{os.getppid()}/") + file + "', 'rb')"),
                HasSubstr("PermissionError"))
        << file;
  }
}

TEST_F(PythonSandboxTest, SaysWhichFolderCouldNotBeGivenToNobody) {
  if (geteuid() != 0) {
    GTEST_SKIP() << "not root";
  }
  SandboxOptions options;
  options.argv = {DefaultPythonInterpreter(), "-c", "pass"};
  options.private_dir = (folder_ / "missing").string();
  const Result<SandboxedProcess> process = StartSandboxed(options);
  ASSERT_TRUE(process.ok()) << process.status().ToString();
  EXPECT_EQ(waitpid(process->pid, nullptr, 0), process->pid);
  EXPECT_THAT(process->note, HasSubstr("runs as root: its folder " + options.private_dir));
  EXPECT_THAT(process->note, Not(HasSubstr("nobody cannot read")));
}

TEST_F(PythonSandboxTest, ARootThatCannotBecomeNobodyKeepsOnlyTheRightToRead) {
  if (geteuid() != 0) {
    GTEST_SKIP() << "not root";
  }
  const std::string file = Rule(
      "return [line.split()[1] for line in open('/proc/self/status')\n"
      "        if line.startswith('CapPrm')][0]");
  chmod((folder_ / "run").c_str(), 0700);
  const Status status = RunOver(file, 1);
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(context_.observations.at(0).message, "0000000000000004");
}

TEST_F(PythonSandboxTest, MayStartThreadsAndReadTheRun) {
  std::ofstream(folder_ / "run" / "data") << "hello";
  const Status status = RunOver(Rule("import threading\n"
                                     "found = []\n"
                                     "read = lambda: found.append(\n"
                                     "    open(self.base_trial.path + '/data').read())\n"
                                     "thread = threading.Thread(target=read)\n"
                                     "thread.start(); thread.join()\n"
                                     "return found[0]\n"),
                                1);
  ASSERT_TRUE(status.ok()) << status.ToString();
  ASSERT_EQ(context_.observations.size(), 1U);
  EXPECT_EQ(context_.observations[0].message, "hello");
}

TEST_F(PythonSandboxTest, SeesNothingOfTheEnvironmentThatItDoesNotNeed) {
  setenv("WT_TEST_SECRET", "hunter2", 1);
  const Status status = RunOver(Rule("return os.environ.get('WT_TEST_SECRET', '')"), 1);
  unsetenv("WT_TEST_SECRET");
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(context_.observations.empty());
}

TEST_F(PythonSandboxTest, RunsAsNobodyWhenTheWatcherIsRootAndSaysSoOtherwise) {
  if (geteuid() != 0) {
    GTEST_SKIP() << "not root";
  }
  const std::string file = Rule("return str(os.getuid())");
  ASSERT_TRUE(RunOver(file, 1).ok());
  EXPECT_EQ(context_.observations.at(0).message, "65534");
  chmod((folder_ / "run").c_str(), 0700);
  const auto rule = Start(file);
  ASSERT_TRUE(rule.ok());
  EXPECT_THAT((*rule)->sandbox_note(), HasSubstr("runs as root: user nobody cannot read"));
}

}  // namespace
}  // namespace wheeltapper::rules
