#include <gtest/gtest.h>

#include "wheeltapper/report/report.h"

#include "fake_trial.h"
#include "support/scratch_folder.h"

namespace wheeltapper::report {
namespace {

TrainingVerdict Judged(const std::string& run, Level level, int64_t steps = 10) {
  return {.run = run,
          .path = "runs/" + run,
          .state = "finished",
          .verdict = {.level = level, .sentence = "What is so of " + run + "."},
          .findings = 0,
          .steps = steps};
}

TEST(CommandVerdictTest, TheWorstTrainingSpeaksByItsName) {
  const Verdict verdict =
      MakeCommandVerdict({Judged("exp", Level::kHealthy), Judged("exp-2", Level::kError),
                          Judged("exp-3", Level::kCritical), Judged("exp-4", Level::kCritical)});
  EXPECT_EQ(verdict.level, Level::kCritical);
  EXPECT_EQ(verdict.sentence, "run exp-3, the worst of 4 trainings: What is so of exp-3.");
}

TEST(CommandVerdictTest, WhatIsNotKnownIsWorseThanSilenceAndAWarning) {
  const auto worst = [](Level a, Level b) {
    return MakeCommandVerdict({Judged("a", a), Judged("b", b)}).level;
  };
  EXPECT_EQ(worst(Level::kHealthy, Level::kNotChecked), Level::kNotChecked);
  EXPECT_EQ(worst(Level::kWarning, Level::kUnreadable), Level::kUnreadable);
  EXPECT_EQ(worst(Level::kUnreadable, Level::kError), Level::kError);
  EXPECT_EQ(worst(Level::kFailed, Level::kWarning), Level::kFailed);
  EXPECT_EQ(worst(Level::kInfo, Level::kInterrupted), Level::kInterrupted);
  EXPECT_EQ(worst(Level::kInfo, Level::kHealthy), Level::kInfo);
}

TEST(CommandVerdictTest, AllHealthyIsHealthy) {
  const Verdict verdict = MakeCommandVerdict(
      {Judged("exp", Level::kHealthy, 20), Judged("exp-2", Level::kHealthy, 22)});
  EXPECT_EQ(verdict.level, Level::kHealthy);
  EXPECT_EQ(verdict.sentence, "Healthy: no findings in 42 steps of 2 trainings.");
}

TrainingVerdict Begun(const std::string& run, Level level) {
  TrainingVerdict judged = Judged(run, level, 0);
  judged.state = "running";
  judged.only_begun = level == Level::kNoData || level == Level::kNotChecked;
  return judged;
}

TEST(CommandVerdictTest, ATrainingThatHasJustBegunIsNotTheWorst) {
  Verdict verdict =
      MakeCommandVerdict({Judged("exp", Level::kHealthy, 20), Begun("exp-2", Level::kNoData),
                          Begun("exp-3", Level::kNotChecked)});
  EXPECT_EQ(verdict.level, Level::kHealthy);
  EXPECT_EQ(verdict.sentence,
            "Healthy: no findings in 20 steps of 1 training; of 2 trainings more, which run, "
            "nothing is known yet.");
  verdict = MakeCommandVerdict({Judged("exp", Level::kInfo), Begun("exp-2", Level::kNoData)});
  EXPECT_EQ(verdict.sentence, "run exp, the worst of 2 trainings: What is so of exp.");
  EXPECT_EQ(
      MakeCommandVerdict({Judged("exp", Level::kHealthy), Begun("exp-2", Level::kError)}).level,
      Level::kError);
}

TEST(CommandVerdictTest, ARunThatRunsWithoutAStepHasOnlyBegun) {
  const ScratchFolder folder;
  FakeTrial trial;
  trial.folder = folder.path();
  trial.run_state = trial::RunState::kRunning;
  EXPECT_TRUE(JudgeTraining(trial).only_begun);
  trial.run_state = trial::RunState::kFinished;
  EXPECT_EQ(JudgeTraining(trial).verdict.level, Level::kNoData);
  EXPECT_FALSE(JudgeTraining(trial).only_begun);
}

TEST(CommandVerdictTest, WhereAllHaveJustBegunThatIsSaid) {
  const Verdict verdict =
      MakeCommandVerdict({Begun("exp", Level::kNoData), Begun("exp-2", Level::kNoData)});
  EXPECT_EQ(verdict.level, Level::kNoData);
  EXPECT_EQ(verdict.sentence, "run exp, the worst of 2 trainings: What is so of exp.");
}

TEST(CommandVerdictTest, ARunThatCannotBeOpenedIsUnreadableAndSaysWhy) {
  const ScratchFolder folder;
  const TrainingVerdict judged = JudgeTraining(folder.file("exp"));
  EXPECT_EQ(judged.run, "exp");
  EXPECT_EQ(judged.state, "unreadable");
  EXPECT_EQ(LevelName(judged.verdict.level), "unreadable");
  EXPECT_EQ(judged.verdict.level, Level::kUnreadable);
  EXPECT_NE(judged.verdict.sentence, "");
}

}  // namespace
}  // namespace wheeltapper::report
