// Rules in Python, each in a real child process. The package they import is a small stand-in for
// `wheeltapper` around the real rules.py and _rule_host.py, so that no extension has to be built.
#include "wheeltapper/rules/python_rules.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

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

#include "run_fixture.h"
#include "sandbox.h"
#include "support/scratch_folder.h"

namespace wheeltapper::rules {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

class CollectedContext final : public RuleContext {
 public:
  [[nodiscard]] const format::NameTable& names() const override { return names_; }
  void Observe(Observation observation) override { observations.push_back(std::move(observation)); }
  void Clear(const std::string& /*cause_key*/, const format::StepKey& key) override {
    cleared.push_back(key.step.value);
  }
  void Hold(const std::string& /*cause_key*/, const format::StepKey& /*key*/) override {}
  std::vector<Observation> observations;
  std::vector<int64_t> cleared;

 private:
  format::NameTable names_;
};

class PythonRuleTest : public testing::Test {
 protected:
  void SetUp() override {
    if (DefaultPythonInterpreter().empty()) {
      GTEST_SKIP() << "no python3 here";
    }
    const fs::path package = folder_ / "path" / "wheeltapper";
    fs::create_directories(package);
    fs::create_directories(folder_ / "run");
    std::ofstream(package / "__init__.py") << "from wheeltapper.rules import Rule\n"
                                              "class _Trial:\n"
                                              "    def __init__(self, path): self.path = path\n"
                                              "    def refresh(self): pass\n"
                                              "def open(path): return _Trial(path)\n";
    for (const char* file : {"rules.py", "_rule_host.py", "errors.py"}) {
      fs::copy_file(fs::path(WT_SOURCE_DIR) / "python" / "wheeltapper" / file, package / file);
    }
    chmod(folder_.c_str(), 0755);  // the sandbox may run as another user
  }

  // A class R whose invoke_at_step has this body (four spaces of indentation are added).
  std::string Rule(const std::string& body) const {
    std::ofstream file(folder_ / "rule.py");
    file << "import os, socket, sys, wheeltapper\n"
            "class R(wheeltapper.Rule):\n"
            "    def __init__(self, base_trial, limit=3):\n"
            "        super().__init__(base_trial)\n"
            "        self.limit = limit\n"
            "    def invoke_at_step(self, step):\n";
    std::istringstream lines(body);
    for (std::string line; std::getline(lines, line);) {
      file << "        " << line << "\n";
    }
    return (folder_ / "rule.py").string() + ":R";
  }

  Result<std::unique_ptr<PythonRule>> Start(const std::string& file,
                                            std::map<std::string, std::string> parameters = {}) {
    PythonRuleOptions options;
    options.file = file;
    options.run_dir = (folder_ / "run").string();
    options.parameters = std::move(parameters);
    options.deadline_ns = deadline_ns_;
    options.memory_mb = 512;
    options.python_path = (folder_ / "path").string();
    return PythonRule::Start(options, SystemClock());
  }

  // Runs the rule over `steps` steps and waits for its answers.
  Status RunOver(const std::string& file, int64_t steps,
                 const std::map<std::string, std::string>& parameters = {}) {
    auto rule = Start(file, parameters);
    if (!rule.ok()) {
      return rule.status();
    }
    RunBuilder run;
    for (int64_t step = 0; step < steps; ++step) {
      run.Step(step);
    }
    for (const format::StepBatch& batch : run.batches()) {
      WT_RETURN_IF_ERROR((*rule)->OnBatch(batch, context_));
    }
    return (*rule)->Drain(context_);
  }

  // The error of a rule whose one step has this body.
  std::string ErrorOf(const std::string& body) {
    const Status status = RunOver(Rule(body), 1);
    EXPECT_FALSE(status.ok()) << "no error";
    EXPECT_TRUE(context_.observations.empty());
    return status.message();
  }

  // One system call, written as Python; `arguments` "getpid, 0" may name the rule's own process.
  struct Attempt {
    std::string name;
    int64_t call;
    std::string arguments;
  };

  // The names of those that do not answer EPERM.
  std::string NotRefused(const std::vector<Attempt>& attempts) {
    std::string body =
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "libc.syscall.restype = ctypes.c_long\n"
        "me, other = os.getpid(), 1 << 22\n"  // no process has this id: more than pid_max
        "refused = []\n"
        "def attempt(name, *args):\n"
        "    ctypes.set_errno(0)\n"
        "    answer = libc.syscall(*[ctypes.c_long(arg) for arg in args])\n"
        "    if answer != -1 or ctypes.get_errno() != 1:\n"
        "        refused.append(f'{name}={answer},{ctypes.get_errno()}')\n";
    for (const Attempt& attempt : attempts) {
      body += "attempt('" + attempt.name + "', " + std::to_string(attempt.call) + ", " +
              attempt.arguments + ")\n";
    }
    context_.observations.clear();
    const Status status = RunOver(Rule(body + "return ' '.join(refused)\n"), 1);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return context_.observations.empty() ? "" : context_.observations[0].message;
  }

  ScratchFolder scratch_;
  const fs::path folder_ = scratch_.path();
  CollectedContext context_;
  TimeNs deadline_ns_ = 60'000'000'000;
};

TEST_F(PythonRuleTest, ReportsWhatItReturnsAndClearsTheRest) {
  const Status status = RunOver(Rule("if step == 2: return True\n"
                                     "if step == self.limit:\n"
                                     "    self.report('too much', tensor='fc.weight', cause='c',\n"
                                     "                fix='f', severity='critical')\n"
                                     "print('this must not break the protocol')\n"),
                                6, {{"limit", "4"}});
  ASSERT_TRUE(status.ok()) << status.ToString();
  ASSERT_EQ(context_.observations.size(), 2U);
  EXPECT_EQ(context_.observations[0].message, "R holds at step 2");
  EXPECT_EQ(context_.observations[0].key.step.value, 2);
  EXPECT_EQ(context_.observations[1].message, "too much");
  EXPECT_EQ(context_.observations[1].tensor, "fc.weight");
  EXPECT_EQ(context_.observations[1].cause, "c");
  EXPECT_EQ(context_.observations[1].try_, "f");
  EXPECT_EQ(context_.observations[1].severity, Severity::kCritical);
  EXPECT_EQ(context_.cleared, (std::vector<int64_t>{3, 5}));
}

TEST_F(PythonRuleTest, AStepThatLacksSomethingIsPassedOverAndResolvesNothing) {
  const Status status = RunOver(Rule("from wheeltapper.errors import NotFoundError\n"
                                     "if step in (0, 2, 3): raise NotFoundError('not recorded')\n"
                                     "return step == 1\n"),
                                5);
  ASSERT_TRUE(status.ok()) << status.ToString();
  ASSERT_EQ(context_.observations.size(), 1U);
  EXPECT_EQ(context_.observations[0].key.step.value, 1);
  EXPECT_EQ(context_.cleared, (std::vector<int64_t>{4}));
}

TEST_F(PythonRuleTest, ARuleThatPassedEveryStepOverSaysWhy) {
  auto rule = Start(Rule("from wheeltapper.errors import NotFoundError\n"
                         "if step < 2: raise NotFoundError('no such name')\n"),
                    {});
  ASSERT_TRUE(rule.ok()) << rule.status().ToString();
  EXPECT_EQ((*rule)->passed_over(), "");
  const auto look = [&](int64_t step) {
    RunBuilder run;
    run.Step(step);
    EXPECT_TRUE((*rule)->OnBatch(run.batches().front(), context_).ok());
    EXPECT_TRUE((*rule)->Drain(context_).ok());
  };
  look(1);
  EXPECT_EQ((*rule)->passed_over(), "no such name");
  look(2);
  EXPECT_EQ((*rule)->passed_over(), "");
}

TEST_F(PythonRuleTest, AnExceptionIsAnErrorWithItsPlace) {
  EXPECT_THAT(ErrorOf("raise ValueError('broken on purpose')"),
              HasSubstr("ValueError: broken on purpose (rule.py:7)"));
}

TEST_F(PythonRuleTest, ACrashIsAnErrorWithItsSignal) {
  EXPECT_THAT(ErrorOf("import ctypes; ctypes.string_at(0)"), HasSubstr("killed by signal 11"));
}

TEST_F(PythonRuleTest, OfALastLineWholeCharactersAreTold) {
  EXPECT_THAT(ErrorOf("import os; os.write(2, b'no \\xff way\\r\\n \\n'); os._exit(5)"),
              EndsWith("exited with status 5: no \uFFFD way"));
  EXPECT_THAT(ErrorOf("import os; os.write(2, ('é' * 150).encode()); os._exit(5)"),
              EndsWith("éé…"));
}

TEST_F(PythonRuleTest, AnExitIsAnErrorWithItsStatus) {
  EXPECT_THAT(ErrorOf("print('last words'); os._exit(5)"), HasSubstr("exited with status 5"));
}

TEST_F(PythonRuleTest, AHangIsKilledAtItsDeadlineAndAskingNeverWaits) {
  deadline_ns_ = 100'000'000;
  auto rule = Start(Rule("while True: pass"));
  ASSERT_TRUE(rule.ok()) << rule.status().ToString();
  RunBuilder run;
  for (int64_t step = 0; step < 100; ++step) {
    run.Step(step);
  }
  // Takes all batches without an answer to any of them.
  for (const format::StepBatch& batch : run.batches()) {
    ASSERT_TRUE((*rule)->OnBatch(batch, context_).ok());
  }
  const Status status = (*rule)->Drain(context_);
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(status.message(), HasSubstr("took more than 0.1 s for step 0"));
}

TEST_F(PythonRuleTest, MemoryIsLimited) {
  EXPECT_THAT(ErrorOf("x = bytearray(4 << 30)"), HasSubstr("MemoryError"));
}

TEST_F(PythonRuleTest, HasNoNetworkOfAnyFamily) {
  for (const char* family : {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET"}) {
    EXPECT_THAT(ErrorOf(std::string("socket.socket(socket.") + family + ")"),
                HasSubstr("PermissionError"))
        << family;
  }
}

TEST_F(PythonRuleTest, CannotWriteInTheRunOrElsewhereButInItsOwnFolder) {
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

TEST_F(PythonRuleTest, CannotStartProcessesOrSignalOthers) {
  EXPECT_THAT(ErrorOf("os.fork()"), HasSubstr("PermissionError"));
  EXPECT_THAT(ErrorOf("import subprocess; subprocess.run(['true'])"), HasSubstr("Error"));
  EXPECT_THAT(ErrorOf("os.kill(os.getppid(), 15)"), HasSubstr("PermissionError"));
}

// Arguments to which the kernel itself would not answer EPERM, whoever asks.
TEST_F(PythonRuleTest, NoCallThatReachesOtherProcessesIsLeftOpen) {
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

TEST_F(PythonRuleTest, NoOtherWayAroundTheSandboxIsLeftOpen) {
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

TEST_F(PythonRuleTest, NoDescriptorSendsSignalsOrChangesAFileThatIsOnlyRead) {
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

TEST_F(PythonRuleTest, HasNoSocketThatSendsToAPath) {
  for (const char* type : {"SOCK_DGRAM", "SOCK_SEQPACKET", "SOCK_RAW"}) {
    EXPECT_THAT(ErrorOf(std::string("socket.socketpair(socket.AF_UNIX, socket.") + type + ")"),
                HasSubstr("PermissionError"))
        << type;
  }
}

TEST_F(PythonRuleTest, MayUseWhatNumericalCodeAndAsyncioNeed) {
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

TEST_F(PythonRuleTest, SeesNothingOfTheWatchersMemoryOrEnvironment) {
  for (const char* file : {"environ", "mem", "maps", "fd/0"}) {
    EXPECT_THAT(ErrorOf(std::string("open(f'/proc/{os.getppid()}/") + file + "', 'rb')"),
                HasSubstr("PermissionError"))
        << file;
  }
}

TEST_F(PythonRuleTest, StartsWhenTheWatchersStandardInputIsClosed) {
  const std::string file = Rule("return 'here'");
  const int kept = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
  close(STDIN_FILENO);
  const Status status = RunOver(file, 1);
  if (kept >= 0) {
    dup2(kept, STDIN_FILENO);
    close(kept);
  }
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(context_.observations.size(), 1U);
}

TEST_F(PythonRuleTest, SaysWhichFolderCouldNotBeGivenToNobody) {
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

TEST_F(PythonRuleTest, ARootThatCannotBecomeNobodyKeepsOnlyTheRightToRead) {
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

TEST_F(PythonRuleTest, MayStartThreadsAndReadTheRun) {
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

TEST_F(PythonRuleTest, SeesNothingOfTheEnvironmentThatItDoesNotNeed) {
  setenv("WT_TEST_SECRET", "hunter2", 1);
  const Status status = RunOver(Rule("return os.environ.get('WT_TEST_SECRET', '')"), 1);
  unsetenv("WT_TEST_SECRET");
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(context_.observations.empty());
}

TEST_F(PythonRuleTest, RunsAsNobodyWhenTheWatcherIsRootAndSaysSoOtherwise) {
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

TEST_F(PythonRuleTest, AnAnswerThatIsNoAnswerIsAnError) {
  EXPECT_THAT(ErrorOf("os.write(3, b'x\\n') if False else None\n"
                      "import gc, io\n"
                      "channel = [f for f in gc.get_objects() if isinstance(f, io.TextIOWrapper)\n"
                      "           and f.fileno() > 2 and f.writable()][0]\n"
                      "channel.write('nonsense\\n'); channel.flush()\n"),
              HasSubstr("is no JSON object"));
}

TEST_F(PythonRuleTest, AFileThatDoesNotLoadOrHasNoSuchClassIsAnError) {
  std::ofstream(folder_ / "bad.py") << "def\n";
  EXPECT_THAT(RunOver((folder_ / "bad.py").string(), 1).message(), HasSubstr("SyntaxError"));
  std::ofstream(folder_ / "empty.py") << "x = 1\n";
  EXPECT_THAT(RunOver((folder_ / "empty.py").string() + ":R", 1).message(),
              HasSubstr("no class \"R\" made from wheeltapper.Rule"));
  EXPECT_EQ(RunOver((folder_ / "missing.py").string(), 1).code(), StatusCode::kNotFound);
}

TEST_F(PythonRuleTest, TheRulesOfAFileAreListedAndEachRunsByItself) {
  const std::string file = (folder_ / "two.py").string();
  std::ofstream(file) << "import wheeltapper\n"
                         "class Base(wheeltapper.Rule): pass\n"
                         "class A(Base):\n"
                         "    def invoke_at_step(self, step): return step == 0\n"
                         "class B(Base):\n"
                         "    def invoke_at_step(self, step): return step == 1\n";
  PythonRuleOptions options;
  options.file = file;
  options.python_path = (folder_ / "path").string();
  const auto listed = ListPythonRules(options, SystemClock());
  ASSERT_TRUE(listed.ok()) << listed.status().ToString();
  EXPECT_THAT(*listed, testing::ElementsAre("A", "B"));
  ASSERT_TRUE(RunOver(file + ":B", 2).ok());
  ASSERT_EQ(context_.observations.size(), 1U);
  EXPECT_EQ(context_.observations[0].key.step.value, 1);
  EXPECT_THAT(RunOver(file, 2).message(), HasSubstr("name one of them: A, B"));
  std::ofstream(file) << "import no_such_module\n";
  EXPECT_THAT(ListPythonRules(options, SystemClock()).status().message(),
              HasSubstr("no_such_module"));
}

TEST_F(PythonRuleTest, QueuedStepsAreEvaluatedAfterTheRunIsOver) {
  setenv("PYTHONPATH", (folder_ / "path").c_str(), 1);
  RuleSelection selection = Select("r");
  selection.python_file = Rule("return step == 3");
  selection.python_deadline_s = 30;
  selection.python_memory_mb = 512;
  auto engine = RuleEngine::Create({selection}, SystemClock());
  ASSERT_TRUE(engine.ok());
  RunBuilder run;
  for (int64_t step = 0; step < 5; ++step) {
    run.Step(step);
  }
  MemoryTrial trial(run, (folder_ / "run").string());
  trial.ShowAll();
  trial.End();
  const TimeNs give_up = SystemClock().MonotonicNs() + 60'000'000'000;
  while ((*engine)->findings().empty() && SystemClock().MonotonicNs() < give_up) {
    ASSERT_TRUE((*engine)->Advance(trial).ok());
    ASSERT_EQ((*engine)->rule_states()[0].state, RuleState::kActive)
        << (*engine)->rule_states()[0].detail;
  }
  unsetenv("PYTHONPATH");
  EXPECT_EQ((*engine)->findings().size(), 1U);
}

TEST_F(PythonRuleTest, AStepWaitsForAllRanksThatWereSeen) {
  auto rule = Start(Rule("return str(step)"));
  ASSERT_TRUE(rule.ok());
  RunBuilder run;
  run.Step(0, Mode::kTrain, 0).Step(0, Mode::kTrain, 1).Step(1, Mode::kTrain, 1);
  run.Step(1, Mode::kTrain, 0);
  for (const format::StepBatch& batch : run.batches()) {
    ASSERT_TRUE((*rule)->OnBatch(batch, context_).ok());
  }
  ASSERT_TRUE((*rule)->Drain(context_).ok());
  ASSERT_EQ(context_.observations.size(), 2U);
  EXPECT_EQ(context_.observations[1].message, "1");
}

}  // namespace
}  // namespace wheeltapper::rules
