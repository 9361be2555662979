// Rules in Python, each in a real child process. The package they import is a small stand-in for
// `wheeltapper` around the real rules.py and _rule_host.py, so that no extension has to be built.
#include "wheeltapper/rules/python_rules.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run_fixture.h"
#include "support/scratch_folder.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class CollectedContext final : public RuleContext {
 public:
  [[nodiscard]] const format::NameTable& names() const override { return names_; }
  void Observe(Observation observation) override { observations.push_back(std::move(observation)); }
  void Clear(const std::string& /*cause_key*/, const format::StepKey& key) override {
    cleared.push_back(key.step.value);
  }
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

TEST_F(PythonRuleTest, EveryRuleOfAFileRunsWhenNoClassIsNamed) {
  std::ofstream(folder_ / "two.py") << "import wheeltapper\n"
                                       "class A(wheeltapper.Rule):\n"
                                       "    def invoke_at_step(self, step): return step == 0\n"
                                       "class B(wheeltapper.Rule):\n"
                                       "    def invoke_at_step(self, step): return step == 1\n";
  const Status status = RunOver((folder_ / "two.py").string(), 2);
  ASSERT_TRUE(status.ok()) << status.ToString();
  ASSERT_EQ(context_.observations.size(), 2U);
  EXPECT_EQ(context_.observations[0].cause_key, "A");
  EXPECT_EQ(context_.observations[1].cause_key, "B");
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
