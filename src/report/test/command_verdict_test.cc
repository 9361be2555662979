#include <gtest/gtest.h>

#include "wheeltapper/report/report.h"

#include "support/scratch_folder.h"

namespace wheeltapper::report {
namespace {

TrainingVerdict Judged(const std::string& run, const std::string& level, int64_t steps = 10) {
  return {.run = run,
          .path = "runs/" + run,
          .state = "finished",
          .verdict = {.level = level, .sentence = "What is so of " + run + "."},
          .findings = 0,
          .steps = steps};
}

TEST(CommandVerdictTest, TheWorstTrainingSpeaksByItsName) {
  const Verdict verdict =
      MakeCommandVerdict({Judged("exp", "healthy"), Judged("exp-2", "error"),
                          Judged("exp-3", "critical"), Judged("exp-4", "critical")});
  EXPECT_EQ(verdict.level, "critical");
  EXPECT_EQ(verdict.sentence, "run exp-3, the worst of 4 trainings: What is so of exp-3.");
}

TEST(CommandVerdictTest, WhatIsNotKnownIsWorseThanSilenceAndAWarning) {
  const auto worst = [](const std::string& a, const std::string& b) {
    return MakeCommandVerdict({Judged("a", a), Judged("b", b)}).level;
  };
  EXPECT_EQ(worst("healthy", "not checked"), "not checked");
  EXPECT_EQ(worst("warning", "unreadable"), "unreadable");
  EXPECT_EQ(worst("unreadable", "error"), "error");
  EXPECT_EQ(worst("failed", "warning"), "failed");
  EXPECT_EQ(worst("info", "interrupted"), "interrupted");
  EXPECT_EQ(worst("info", "healthy"), "info");
}

TEST(CommandVerdictTest, AllHealthyIsHealthy) {
  const Verdict verdict =
      MakeCommandVerdict({Judged("exp", "healthy", 20), Judged("exp-2", "healthy", 22)});
  EXPECT_EQ(verdict.level, "healthy");
  EXPECT_EQ(verdict.sentence, "Healthy: no findings in 42 steps of 2 trainings.");
}

TEST(CommandVerdictTest, ARunThatCannotBeOpenedIsUnreadableAndSaysWhy) {
  const ScratchFolder folder;
  const TrainingVerdict judged = JudgeTraining(folder.file("exp"));
  EXPECT_EQ(judged.run, "exp");
  EXPECT_EQ(judged.state, "unreadable");
  EXPECT_EQ(judged.verdict.level, "unreadable");
  EXPECT_NE(judged.verdict.sentence, "");
}

}  // namespace
}  // namespace wheeltapper::report
