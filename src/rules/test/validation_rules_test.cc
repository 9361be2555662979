// Rules about validation losses, and about time: for each a run that breaks it and runs that do
// not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "losses.h"
#include "run_fixture.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

// Training and validation losses of a run with an evaluation every 10 steps.
RunBuilder Evaluations(const std::function<double(int)>& training,
                       const std::function<double(int)>& validation, int count) {
  RunBuilder run;
  int64_t step = 0;
  for (int evaluation = 0; evaluation < count; ++evaluation) {
    for (int i = 0; i < 10; ++i) {
      run.Step(step++).Scalar("loss/ce", training(evaluation));
    }
    for (int i = 0; i < 3; ++i) {
      run.Step(step, Mode::kEval).Scalar("loss/ce", validation(evaluation));
    }
  }
  run.Step(step).Scalar("loss/ce", training(count));
  return run;
}

TEST(OverfitTest, ReportsValidationThatRisesWhileTrainingFalls) {
  RunBuilder run =
      Evaluations([](int i) { return std::exp2(-i / 4.0); },
                  [](int i) { return i < 8 ? 1.0 - 0.1 * i : 0.3 + 0.05 * (i - 8); }, 20);
  const auto findings = FindingsOf(run, "overfit");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].try_, HasSubstr("keep the checkpoint of step"));
  EXPECT_EQ(findings[0].evidence.size(), 2U);
}

TEST(OverfitTest, ResolvesAtANewBestEvaluationAlsoWhenThatIsTheLast) {
  const auto state_after = [](int evaluations) {
    RunBuilder run =
        Evaluations([](int i) { return std::exp2(-i / 4.0); },
                    [](int i) {
                      return i < 8 ? 1.0 - 0.1 * i : i < 19 ? 0.3 + 0.05 * (i - 8) : 0.1;
                    },
                    evaluations);
    return FindingsOf(run, "overfit").at(0).state;
  };
  EXPECT_EQ(state_after(19), FindingState::kOpen);
  EXPECT_EQ(state_after(20), FindingState::kResolved);
}

TEST(OverfitTest, StaysSilentOnAConvergedRunWhoseTrainingLossIsNearZero) {
  RunBuilder run =
      Evaluations([](int i) { return 2.3 * std::exp2(-i); },
                  [](int i) { return 0.08 + 2.2 * std::exp2(-i) + 0.003 * (i % 2); }, 30);
  EXPECT_TRUE(FindingsOf(run, "overfit").empty());
  EXPECT_TRUE(FindingsOf(run, "overtraining").size() <= 1);
}

TEST(OverfitTest, JudgesTheGapAloneWithCompat) {
  RunBuilder run = Evaluations([](int) { return 1.0; }, [](int) { return 1.05; }, 5);
  EXPECT_TRUE(FindingsOf(run, "overfit", {{"compat", "true"}}).empty());
  RunBuilder gap = Evaluations([](int) { return 1.0; }, [](int) { return 1.2; }, 5);
  EXPECT_EQ(FindingsOf(gap, "overfit", {{"compat", "true"}}).size(), 1U);
  EXPECT_TRUE(FindingsOf(gap, "overfit").empty());
}

// The first steps, and the evaluations after them, of a run that ends with an evaluation.
RunBuilder EndsWithEvaluation(const std::function<double(int)>& training,
                              const std::function<double(int)>& validation, int count) {
  RunBuilder run;
  for (int i = 0; i < count; ++i) {
    run.Step(i).Scalar("train_loss", training(i));
    run.Between(i).Scalar("val_loss", validation(i));
  }
  return run;
}

TEST(OverfitTest, JudgesTheLastEvaluationOfARun) {
  // Three evaluations in a row must show it; the third is the last thing the run does.
  const auto training = [](int i) { return std::exp2(-i / 4.0); };
  const auto validation = [](int i) { return i < 8 ? 1.0 - 0.1 * i : 2.0; };
  for (const int count : {10, 11}) {
    RunBuilder run = EndsWithEvaluation(training, validation, count);
    const auto findings = FindingsOf(run, "overfit");
    ASSERT_EQ(findings.size(), count == 11 ? 1U : 0U);
    if (count == 11) {
      EXPECT_EQ(findings[0].last_step, 10);
      EXPECT_EQ(findings[0].wall_ns, run.batches().back().wall_ns);
      EXPECT_EQ(findings[0].evidence[0].points.size(), 11U);
    }
  }
}

TEST(OverfitTest, AnEvaluationThatGoesOnIsNotJudgedBeforeTheRunHasEnded) {
  RunBuilder run = EndsWithEvaluation([](int i) { return std::exp2(-i / 4.0); },
                                      [](int i) { return i < 8 ? 1.0 - 0.1 * i : 2.0; }, 11);
  const ManualClock clock;
  const auto engine = RuleEngine::Create({Select("overfit")}, clock);
  ASSERT_TRUE(engine.ok());
  MemoryTrial trial(run);
  trial.ShowAll();
  ASSERT_TRUE((*engine)->Advance(trial).ok());
  EXPECT_TRUE((*engine)->findings().empty());
  ASSERT_TRUE((*engine)->Finish(trial).ok());
  EXPECT_EQ((*engine)->findings().size(), 1U);
}

TEST(OvertrainingTest, JudgesTheLastEvaluationOfARun) {
  const auto training = [](int) { return 1.0; };
  const auto validation = [](int i) { return i < 8 ? 1.0 - 0.1 * i : 0.3; };
  for (const int count : {17, 18}) {  // the best is the eighth, and ten evaluations must follow it
    RunBuilder run = EndsWithEvaluation(training, validation, count);
    EXPECT_EQ(FindingsOf(run, "overtraining").size(), count == 18 ? 1U : 0U) << count;
  }
}

TEST(OverfitTest, UnderstandsValuesLoggedAsValLoss) {
  RunBuilder run;
  for (int64_t i = 0; i < 20; ++i) {
    run.Step(i).Scalar("train_loss", std::exp2(-static_cast<double>(i) / 4));
    run.Between(i).Scalar(
        "val_loss", i < 5 ? 1.0 - 0.1 * static_cast<double>(i) : 0.2 * static_cast<double>(i));
  }
  const auto findings = FindingsOf(run, "overfit");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].tensor, "val_loss");
}

TEST(OvertrainingTest, ReportsARunThatGoesOnLongAfterItsBestEvaluation) {
  RunBuilder run =
      Evaluations([](int) { return 1.0; }, [](int i) { return i < 8 ? 1.0 - 0.1 * i : 0.3; }, 40);
  const auto findings = FindingsOf(run, "overtraining");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].severity, Severity::kInfo);
}

TEST(OvertrainingTest, TellsAValidationLossThatNeverImprovedFromOneThatHasConverged) {
  const auto cause_of = [](const std::function<double(int)>& training,
                           const std::function<double(int)>& validation) {
    RunBuilder run = Evaluations(training, validation, 25);
    const auto findings = FindingsOf(run, "overtraining");
    return findings.size() == 1 ? *findings[0].cause + "; " + *findings[0].try_ : "";
  };
  const auto level = [](int i) { return 2.312 - 1e-4 * i; };
  const auto falls = [](int i) { return 2.3 * std::exp2(-i / 4.0); };
  const auto nothing = cause_of(level, level);
  EXPECT_THAT(nothing, HasSubstr("does not learn"));
  EXPECT_THAT(nothing, HasSubstr("check that the learning rate is not far off"));
  EXPECT_THAT(nothing, testing::Not(HasSubstr("stop at step")));
  EXPECT_THAT(cause_of(falls, level), HasSubstr("learns only its training data"));
  EXPECT_THAT(cause_of(level, [](int i) { return i < 5 ? 2.3 - 0.1 * i : 1.9; }),
              HasSubstr("has learned what it can"));
  // It learned before the first evaluation, and nothing since.
  RunBuilder run;
  for (int step = 0; step < 400; ++step) {
    run.Step(step).Scalar("train_loss", step < 15 ? 2.3 : 0.3);
    if (step >= 100 && step % 20 == 0) {
      run.Between(step).Scalar("val_loss", 0.4);
    }
  }
  const auto findings = FindingsOf(run, "overtraining");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].cause, HasSubstr("has learned what it can"));
}

TEST(OvertrainingTest, AModelThatDoesNotLearnIsOneFinding) {
  const auto level = [](int) { return 2.3; };
  RunBuilder run = Evaluations(level, level, 25);
  std::vector<std::string> open;
  for (const Finding& finding : FindingsOf(run)) {
    if (finding.state == FindingState::kOpen) {
      open.push_back(finding.rule);
    }
  }
  EXPECT_EQ(open, std::vector<std::string>{"loss_not_decreasing"});
}

TEST(OvertrainingTest, StaysSilentWhileValidationImprovesAndOnATrainingPlateau) {
  RunBuilder run =
      Evaluations([](int) { return 1.0; }, [](int i) { return std::exp2(-i / 5.0); }, 40);
  EXPECT_TRUE(FindingsOf(run, "overtraining").empty());
  RunBuilder plateau = LossEvery(1, NoisyLosses(1, 0.3, 0.1, 500));
  EXPECT_TRUE(FindingsOf(plateau, "overtraining").empty());
  EXPECT_FALSE(FindingsOf(plateau, "overtraining", {{"compat", "true"}}).empty());
}

// Three trainings in one process, of a fresh model each, or one of a single model. What backward()
// starts from cannot be read. The last evaluation of each is recorded when the next begins.
RunBuilder ThreeTrainings(bool fresh, const std::function<double(int)>& training,
                          const std::function<double(int)>& validation, int steps) {
  RunBuilder run;
  run.Between(0).Meta(R"({"kind":"optimizer","parameters":["fc.weight"]})");
  for (int step = 0; step < 3 * steps; ++step) {
    if (step % steps == 0 && step > 0 && fresh) {
      run.Between(step).Meta(R"({"kind":"optimizer","parameters":["Net)" +
                             std::to_string(step / steps) + R"(.fc.weight"]})");
    }
    if (step % 10 == 0 && step > 0) {
      run.Step(step - 1, Mode::kEval).Scalar("loss", validation((step - 1) % steps));
    }
    run.Step(step).Scalar("loss", training(step % steps));
  }
  return run;
}

TEST(OvertrainingTest, AFreshModelBeginsAnew) {
  const auto falls = [](int step) { return 2.3 * std::exp2(-step / 150.0); };
  for (const bool fresh : {false, true}) {
    RunBuilder run = ThreeTrainings(fresh, falls, falls, 300);
    EXPECT_EQ(FindingsOf(run, "overtraining").size(), fresh ? 0U : 1U);
    EXPECT_EQ(FindingsOf(run, "loss_not_decreasing").size(), fresh ? 0U : 1U);
  }
}

TEST(OverfitTest, AFreshModelBeginsAnew) {
  // The second model is worse than the first ever was, and neither overfits.
  const auto training = [](int i) {
    return i < 10 ? 0.5 * std::exp2(-i) : 1e-3 * std::exp2(10 - i);
  };
  const auto validation = [](int i) { return i < 10 ? 0.6 * std::exp2(-i / 4.0) : 1.0; };
  for (const bool fresh : {false, true}) {
    RunBuilder run;
    run.Between(0).Meta(R"({"kind":"optimizer","parameters":["fc.weight"]})");
    for (int i = 0; i < 20; ++i) {
      if (i == 10 && fresh) {
        run.Between(i).Meta(R"({"kind":"optimizer","parameters":["Net2.fc.weight"]})");
      }
      run.Step(i).Scalar("train_loss", training(i));
      run.Between(i).Scalar("val_loss", validation(i));
    }
    EXPECT_EQ(FindingsOf(run, "overfit").size(), fresh ? 0U : 1U);
  }
}

double Falls(int step) { return 2.3 * std::exp2(-step / 60.0); }

// After sixty steps.
double Rises(int step) { return 1.0 + std::abs(step - 60) / 100.0; }

// Of 300 steps each, the second of a fresh model; `record` adds what a step shows.
RunBuilder TwoTrainings(const std::function<void(int, RunBuilder*)>& record) {
  RunBuilder run;
  run.Between(0).Meta(R"({"kind":"optimizer","parameters":["fc.weight"]})");
  for (int step = 0; step < 600; ++step) {
    if (step == 300) {
      run.Between(step).Meta(R"({"kind":"optimizer","parameters":["Net2.fc.weight"]})");
    }
    record(step, &run);
  }
  return run;
}

TEST(ValidationRulesTest, WhatOneTrainingShowedNoLaterOneTakesBack) {
  RunBuilder run = TwoTrainings([](int step, RunBuilder* at) {
    if (step % 10 == 0 && step > 0) {
      const int since = (step - 1) % 300;
      at->Step(step - 1, Mode::kEval).Scalar("loss", step <= 300 ? Rises(since) : Falls(since));
    }
    at->Step(step).Scalar("loss", Falls(step % 300));
  });
  for (const char* rule : {"overfit", "overtraining"}) {
    const auto findings = FindingsOf(run, rule);
    ASSERT_EQ(findings.size(), 1U) << rule;
    EXPECT_EQ(findings[0].state, FindingState::kOpen) << rule;
    EXPECT_LT(findings[0].last_step, 300) << rule;
  }
}

// As scripts log them whose loss is a function: backward() names the loss after the model.
TEST(ValidationRulesTest, ALaterTrainingIsJudgedByTheLossOfItsOwnModel) {
  RunBuilder run = TwoTrainings([](int step, RunBuilder* at) {
    at->Step(step).Scalar(step < 300 ? "loss/backward" : "loss/backward.Net2", Falls(step % 300));
    if (step % 10 == 9) {
      at->Between(step).Scalar("val_loss", step < 300 ? Falls(step) : Rises(step - 300));
    }
  });
  for (const char* rule : {"overfit", "overtraining"}) {
    const auto findings = FindingsOf(run, rule);
    ASSERT_EQ(findings.size(), 1U) << rule;
    EXPECT_GE(findings[0].step, 300) << rule;
  }
}

TEST(StalledTrainingTest, ReportsALongPauseLiveAndInReplayAlike) {
  constexpr TimeNs kSecond = 1'000'000'000;
  const ManualClock start;
  RunBuilder run;
  run.Step(0).At(start.WallNs()).Scalar("loss", 1);
  run.Step(1).At(start.WallNs() + 3600 * kSecond).Scalar("loss", 1);
  const auto replayed = FindingsOf(run, "stalled_training");
  ASSERT_EQ(replayed.size(), 1U);
  EXPECT_THAT(replayed[0].message, HasSubstr("more than 1.8e+03 s after step 0"));

  ManualClock clock(start.WallNs());
  const auto engine = RuleEngine::Create({Select("stalled_training")}, clock);
  ASSERT_TRUE(engine.ok());
  MemoryTrial trial(run);
  trial.Show(1);
  ASSERT_TRUE((*engine)->Advance(trial).ok());
  clock.Advance(1799 * kSecond);
  ASSERT_TRUE((*engine)->Advance(trial).ok());
  EXPECT_TRUE((*engine)->findings().empty());
  clock.Advance(10 * kSecond);
  ASSERT_TRUE((*engine)->Advance(trial).ok());
  ASSERT_EQ((*engine)->findings().size(), 1U);
  clock.Advance(1791 * kSecond);
  trial.ShowAll();
  ASSERT_TRUE((*engine)->Finish(trial).ok());
  ASSERT_EQ((*engine)->findings().size(), 1U);
  EXPECT_EQ((*engine)->findings()[0].message, replayed[0].message);
  EXPECT_EQ((*engine)->findings()[0].count, replayed[0].count);
}

TEST(StalledTrainingTest, StaysSilentWhenStepsGoOnAndOnAFinishedRun) {
  RunBuilder run = LossEvery(1, std::vector<double>(100, 1.0));
  EXPECT_TRUE(FindingsOf(run, "stalled_training").empty());
}

TEST(StalledTrainingTest, ARunThatEndedLongAgoHasNotStalled) {
  RunBuilder run = LossEvery(1, std::vector<double>(100, 1.0));
  constexpr TimeNs kDay = 86'400'000'000'000;
  const ManualClock clock(run.batches().back().wall_ns + kDay);
  for (const bool ended : {false, true}) {
    const auto engine = RuleEngine::Create({Select("stalled_training")}, clock);
    ASSERT_TRUE(engine.ok());
    MemoryTrial trial(run);
    trial.ShowAll();
    if (ended) {
      trial.End();
    }
    ASSERT_TRUE((*engine)->Advance(trial).ok());
    ASSERT_TRUE((*engine)->Finish(trial).ok());
    EXPECT_EQ((*engine)->findings().size(), ended ? 0U : 1U);
  }
}

}  // namespace
}  // namespace wheeltapper::rules
