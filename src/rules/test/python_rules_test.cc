// What a rule in Python reports, and how one that fails is told.
#include <cstdlib>
#include <fstream>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "python_rule_fixture.h"

namespace wheeltapper::rules {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

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
