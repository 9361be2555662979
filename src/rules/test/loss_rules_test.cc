// The rule about training losses: runs that break it and runs that do not.
#include <algorithm>
#include <random>
#include <tuple>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "losses.h"
#include "run_fixture.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

TEST(LossNotDecreasingTest, StaysSilentOnHealthyCurvesAndAtTheirNoiseFloor) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    for (const double floor : {1e-7, 1e-3, 0.3, 1.9}) {
      for (const double noise : {0.0, 0.05, 0.3}) {
        RunBuilder run = LossEvery(1, NoisyLosses(seed, floor, noise, 600));
        const auto findings = FindingsOf(run, "loss_not_decreasing");
        EXPECT_TRUE(findings.empty()) << "seed " << seed << " floor " << floor << " noise " << noise
                                      << ": " << findings[0].message;
      }
    }
  }
}

TEST(LossNotDecreasingTest, ReportsDivergenceWithTheLayerThatGrewMost) {
  RunBuilder run;
  const std::vector<double> losses = {2.3, 2.4, 31, 950, 4e4, 2e6};
  for (size_t i = 0; i < losses.size(); ++i) {
    run.Step(static_cast<int64_t>(i)).Scalar("loss/ce", losses[i]).Scalar("lr", 10);
    run.Weight("conv1.weight", NormalStats(0, 0.1 * std::pow(2, i)));
    run.Weight("fc.weight", NormalStats(0, 0.1 * std::pow(10, i)));
    run.Weight("fc.bias", NormalStats(0, i == 0 ? 0 : 0.001));
  }
  const auto findings = FindingsOf(run, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].tensor, "fc.weight");
  EXPECT_EQ(findings[0].module, "fc");
  EXPECT_LE(findings[0].step, 4);
  EXPECT_EQ(findings[0].cause, "the learning rate (10) is too high");
  EXPECT_THAT(*findings[0].try_, HasSubstr("lower the learning rate to 1"));
  EXPECT_THAT(findings[0].message, HasSubstr("fc.weight grew most"));
  EXPECT_FALSE(findings[0].evidence.empty());
}

TEST(LossNotDecreasingTest, ReportsALossThatFallsBackToItsStart) {
  std::vector<double> values = NoisyLosses(1, 0.05, 0.05, 300);
  for (int i = 0; i < 60; ++i) {
    values.push_back(2.3);
  }
  RunBuilder run = LossEvery(1, values);
  const auto findings = FindingsOf(run, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_NEAR(static_cast<double>(findings[0].step), 300, 15);
}

TEST(LossNotDecreasingTest, AModelThatIsDrawnAnewForTheNextFoldHasNotDiverged) {
  for (const bool optimizer_is_new : {true, false}) {
    RunBuilder run;
    for (int64_t step = 0; step < 600; ++step) {
      if (step % 200 == 0 && (optimizer_is_new || step == 0)) {
        run.Between(step).Meta(fmt::format(
            R"({{"kind":"optimizer","parameters":["fc.weight"],"new_at":{0},"first_at":{0}}})",
            step));
      }
      const int64_t since = std::max<int64_t>(0, step % 200 - 60);
      run.Step(step).Scalar("loss/backward", 2.3 * std::exp2(-static_cast<double>(since) / 20));
    }
    EXPECT_EQ(FindingsOf(run, "loss_not_decreasing").size(), optimizer_is_new ? 0U : 1U);
  }
}

TEST(LossNotDecreasingTest, ANewOptimizerThatThrowsTheModelOffIsFound) {
  RunBuilder run;
  for (int64_t step = 0; step < 300; ++step) {
    if (step % 200 == 0) {
      run.Between(step).Meta(
          fmt::format(R"({{"kind":"optimizer","parameters":["fc.weight"],"first_at":{}}})", step));
    }
    run.Step(step).Scalar("loss/backward",
                          step < 200 ? 2.3 * std::exp2(-static_cast<double>(step) / 40) : 100);
  }
  EXPECT_EQ(FindingsOf(run, "loss_not_decreasing").size(), 1U);
}

TEST(LossNotDecreasingTest, ALossThatFallsAtOnceIsNotSaidToRise) {
  std::vector<double> values(80, 2.3);
  values.resize(160, 1.0);
  RunBuilder run = LossEvery(1, values);
  EXPECT_TRUE(FindingsOf(run, "loss_not_decreasing").empty());
}

TEST(LossNotDecreasingTest, NumbersThatDifferDoNotReadTheSame) {
  for (const auto& [later, says] : {std::pair(2.3019,
                                              "2.303 over the first 10 values from step 0, "
                                              "at best 2.302 since"),
                                    std::pair(2.3026,
                                              "2.3 over the first 10 values from step 0, "
                                              "and never lower since")}) {
    std::vector<double> values(10, 2.3026);
    values.resize(200, later);
    RunBuilder run = LossEvery(1, values);
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_THAT(findings[0].message, HasSubstr(says));
  }
}

TEST(LossNotDecreasingTest, JudgesTheLastValuesOfARunToo) {
  // Too noisy to tell at step 99; the values after it, fewer than num_steps, are not.
  std::vector<double> values = NoisyLosses(1, 2.3, 0.0, 108);
  for (size_t i = 85; i < 93; ++i) {
    values[i] += i % 2 == 0 ? 1.0 : 2.0;
  }
  for (const size_t count : {100U, 108U}) {
    RunBuilder run = LossEvery(1, {values.begin(), values.begin() + static_cast<int64_t>(count)});
    EXPECT_EQ(FindingsOf(run, "loss_not_decreasing").size(), count == 108U ? 1U : 0U) << count;
  }
}

// A start, noise around a level, and the share of it.
std::vector<double> Noisy(unsigned seed, std::vector<double> start, double level, double noise,
                          size_t count) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1);
  while (start.size() < count) {
    start.push_back(level * (1 + noise * normal(random)));
  }
  return start;
}

TEST(LossNotDecreasingTest, ReportsALossThatIsHardlyEverBelowItsFirstValue) {
  // Thrown off by steps that are far too long, and noisy ever after.
  const std::vector<double> start = {2.30, 4.98, 2.57, 2.58, 2.37, 17.6, 2.77, 4.13, 27.5, 5.18};
  for (unsigned seed = 0; seed < 20; ++seed) {
    RunBuilder run = LossEvery(1, Noisy(seed, start, 2.7, 0.08, 180));
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    ASSERT_EQ(findings.size(), 1U) << seed;
    EXPECT_THAT(findings[0].message, HasSubstr("2.3 at step 0, then up to 27.5"));
    EXPECT_THAT(*findings[0].cause, HasSubstr("the learning rate is far too high"));
    RunBuilder learns = LossEvery(1, Noisy(seed, start, 1.8, 0.08, 180));
    EXPECT_TRUE(FindingsOf(learns, "loss_not_decreasing").empty()) << seed;
  }
}

TEST(LossNotDecreasingTest, ReportsANoisyLossWhoseHalvesAreLevelInAThirdOfCasesAtLeast) {
  // Noise puts one or the other start above the second half too.
  size_t found = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    RunBuilder run = LossEvery(1, Noisy(seed, {}, 60, 0.15, 400));
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    found += findings.size();
    if (!findings.empty()) {
      EXPECT_THAT(findings[0].message, HasSubstr("over its first"));
    }
  }
  EXPECT_GE(found, 20U);
}

TEST(LossNotDecreasingTest, StaysSilentOnANoisyLossThatFallsByAThirdAtOnce) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    std::vector<double> start = Noisy(seed + 1000, {}, 90, 0.15, 10);
    RunBuilder run = LossEvery(1, Noisy(seed, start, 60, 0.15, 400));
    EXPECT_TRUE(FindingsOf(run, "loss_not_decreasing").empty()) << seed;
  }
}

TEST(LossNotDecreasingTest, ReportsALossThatFellAndIsAboveItsStartForGood) {
  std::vector<double> values = NoisyLosses(1, 1.35, 0.03, 80);
  for (unsigned seed = 0; seed < 20; ++seed) {
    RunBuilder run = LossEvery(1, Noisy(seed, values, 2.5, 0.05, 200));
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    ASSERT_EQ(findings.size(), 1U) << seed;
    EXPECT_EQ(findings[0].severity, Severity::kError);
  }
}

TEST(LossNotDecreasingTest, StaysSilentOnALossThatReturnsWheneverItsTargetsMove) {
  // As of Q-learning: every hundred steps the target network is replaced.
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    std::exponential_distribution<double> spread(1);
    std::vector<double> values;
    for (int step = 0; step < 1400; ++step) {
      const double start = step < 100 ? 0.02 : 0.05;
      values.push_back(start * std::exp(-step % 100 / 8.0) * spread(random) +
                       (step % 7 == 0 ? 0.15 * spread(random) : 1e-4 * spread(random)));
    }
    RunBuilder run = LossEvery(1, values);
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    EXPECT_TRUE(findings.empty()) << seed << ": " << findings[0].message;
  }
}

TEST(LossNotDecreasingTest, ReportsALossThatNeverFalls) {
  RunBuilder run = LossEvery(1, NoisyLosses(3, 2.3, 0.01, 300));
  const auto findings = FindingsOf(run, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].step, 0);
  EXPECT_EQ(findings[0].severity, Severity::kWarning);
  EXPECT_THAT(findings[0].message, HasSubstr("has not decreased"));
}

TEST(LossNotDecreasingTest, LeavesARisingValidationLossToOverfit) {
  RunBuilder run;
  for (int64_t step = 0; step < 300; ++step) {
    const auto x = static_cast<double>(step);
    run.Step(step).Scalar("loss/ce", 2.3 * std::exp2(-x / 40)).Scalar("val_loss", 0.7 + 0.01 * x);
  }
  EXPECT_TRUE(FindingsOf(run, "loss_not_decreasing").empty());
}

using testing::ElementsAre;

TEST(LossNotDecreasingTest, AFlatLossIsOneFindingThatStaysOpen) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    // The noise comes and goes; the level stays.
    std::mt19937 random(seed);
    std::normal_distribution<double> normal(0, 1);
    constexpr int kSteps = 600;
    std::vector<double> values;
    values.reserve(kSteps);
    for (int i = 0; i < kSteps; ++i) {
      values.push_back(2.29 + (i / 40 % 2 == 0 ? 0.02 : 0.002) * normal(random) - 0.003 * (i > 60));
    }
    RunBuilder run = LossEvery(1, values);
    EXPECT_THAT(EventsOf(run, "loss_not_decreasing"), ElementsAre("opened loss_not_decreasing-1"))
        << "seed " << seed;
  }
}

TEST(LossNotDecreasingTest, AFlatLossResolvesWhenItDecreasesAtLast) {
  std::vector<double> values = NoisyLosses(3, 2.3, 0.01, 300);
  const std::vector<double> learns = NoisyLosses(4, 0.3, 0.01, 200);
  values.insert(values.end(), learns.begin(), learns.end());
  RunBuilder run = LossEvery(1, values);
  EXPECT_THAT(EventsOf(run, "loss_not_decreasing"),
              ElementsAre("opened loss_not_decreasing-1", "resolved loss_not_decreasing-1"));
}

TEST(LossNotDecreasingTest, ALossThatHealthilyDecreasesDoesNotResolveAnotherOne) {
  RunBuilder run;
  for (int64_t step = 0; step < 400; ++step) {
    run.Step(step).Scalar("loss/stuck", 2.3);
    run.Between(step).Scalar("loss/learns", 2.3 * std::exp2(-static_cast<double>(step) / 40));
  }
  EXPECT_THAT(EventsOf(run, "loss_not_decreasing"), ElementsAre("opened loss_not_decreasing-1"));
}

TEST(LossNotDecreasingTest, ADivergedLossStaysOpenWhileItStaysHighOrBecomesNan) {
  std::vector<double> values = {2.3, 2.2, 2.4, 1e4, 3e5, 1e7};
  values.resize(80, 1e7);
  values.resize(90, std::nan(""));
  values.resize(120, 1e7);
  RunBuilder run = LossEvery(1, values);
  EXPECT_THAT(EventsOf(run, "loss_not_decreasing"), ElementsAre("opened loss_not_decreasing-1"));
  EXPECT_EQ(FindingsOf(run, "loss_not_decreasing")[0].last_step, 119);
}

TEST(LossNotDecreasingTest, ADivergedLossResolvesOnceItIsBackForLong) {
  std::vector<double> values = NoisyLosses(5, 1.0, 0.02, 60);
  for (int i = 0; i < 30; ++i) {
    values.push_back(500);
  }
  const size_t back = values.size();
  values.resize(back + 10, 1.2);
  RunBuilder brief = LossEvery(1, values);
  EXPECT_THAT(EventsOf(brief, "loss_not_decreasing"), ElementsAre("opened loss_not_decreasing-1"));
  values.resize(back + 60, 1.2);
  RunBuilder lasting = LossEvery(1, values);
  EXPECT_THAT(EventsOf(lasting, "loss_not_decreasing"),
              ElementsAre("opened loss_not_decreasing-1", "resolved loss_not_decreasing-1"));
}

TEST(LossNotDecreasingTest, ARiseIsNeverBetweenAStepAndItself) {
  // A single low value lies within the rise.
  RunBuilder run = LossEvery(1, {2.3, 2.3, 1e6, 900, 1e7, 1e7, 1e7});
  const auto findings = FindingsOf(run, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].step, 2);
  EXPECT_THAT(findings[0].message, HasSubstr("between steps 2 and 4"));
}

// A loss that falls until the learning rate is too high for it.
RunBuilder RisingRate(const std::function<double(int)>& rate, int steps) {
  RunBuilder run;
  for (int step = 0; step < steps; ++step) {
    const double loss = step < 40 ? 2.3 * std::exp2(-step / 20.0) : std::exp2(step - 40);
    run.Step(step).Scalar("learning_rate", rate(step)).Scalar("loss/ce", loss);
  }
  return run;
}

TEST(LossNotDecreasingTest, BlamesALearningRateThatGrows) {
  RunBuilder run = RisingRate([](int step) { return 0.01 * std::pow(1.15, step); }, 54);
  const auto findings = FindingsOf(run, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].cause, testing::MatchesRegex("the learning rate grew from 0.01 to .* "
                                                        "between steps 0 and .* and is too high"));
  EXPECT_THAT(*findings[0].try_, HasSubstr("no further than 2.33, where the loss was lowest"));
}

TEST(LossNotDecreasingTest, ALearningRateThatWasRaisedRoseFromTheEndOfItsPlateauAndNotForLong) {
  // Raised at step 46, when the loss has begun to rise, or long before that.
  for (const auto& [raised, blamed] : {std::pair(46, true), std::pair(20, false)}) {
    const int at = raised;
    RunBuilder run = RisingRate([at](int step) { return step < at ? 0.1 : 1.0; }, 54);
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].cause, blamed ? "the learning rate grew from 0.1 to 1 between steps 45 "
                                          "and 46 and is too high"
                                        : "the learning rate (1) is too high");
  }
}

TEST(LossNotDecreasingTest, AWarmUpThatIsOverDoesNotTakeTheBlame) {
  RunBuilder run = RisingRate([](int step) { return 0.1 * std::min(step, 10); }, 54);
  const auto findings = FindingsOf(run, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].cause, "the learning rate (1) is too high");
}

// A loss that falls, and one that rises a thousandfold from the third step on.
double Falls(int step) { return 2.3 * std::exp2(-step / 40.0); }
double RisesFromZero(int step) { return 6e-6 * std::pow(1.5, std::min(step, 30)); }

RunBuilder TwoLosses(const std::string& first, const std::function<double(int)>& first_at,
                     const std::string& second, const std::function<double(int)>& second_at) {
  RunBuilder run;
  for (int step = 0; step < 300; ++step) {
    run.Step(step).Scalar(second, second_at(step)).Scalar(first, first_at(step));
  }
  return run;
}

TEST(LossNotDecreasingTest, ATermThatRisesWhileTheLossFallsIsNoFailure) {
  // What is minimised is what backward() starts from, or what is logged as the loss; where neither
  // is known, any of the others may make up for one that rises.
  for (const char* falls :
       {"loss/backward", "loss/backward.Model", "loss", "train/total_loss", "recon_loss"}) {
    for (const char* rises : {"kl_loss", "train/reg_loss"}) {
      RunBuilder run = TwoLosses(falls, Falls, rises, RisesFromZero);
      const auto findings = FindingsOf(run, "loss_not_decreasing");
      EXPECT_TRUE(findings.empty()) << falls << ": " << findings[0].message;
    }
  }
}

TEST(LossNotDecreasingTest, ATermThatStaysWhereItIsIsNoFailureEither) {
  RunBuilder run = TwoLosses("loss/backward", Falls, "loss/BCELoss", [](int) { return 0.7; });
  EXPECT_TRUE(FindingsOf(run, "loss_not_decreasing").empty());
}

TEST(LossNotDecreasingTest, WhatIsLoggedAloneIsWhatIsMinimised) {
  RunBuilder run;
  for (int step = 0; step < 100; ++step) {
    run.Step(step).Scalar("kl_loss", RisesFromZero(step));
  }
  EXPECT_EQ(FindingsOf(run, "loss_not_decreasing").size(), 1U);
}

TEST(LossNotDecreasingTest, TermsAreReportedWhereTheLossIsNotWell) {
  const auto explodes = [](int step) { return step < 60 ? 2.3 : 2.3 * std::exp2(step - 60); };
  RunBuilder rises = TwoLosses("loss/backward", explodes, "ce_loss", explodes);
  auto findings = FindingsOf(rises, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].tensors, (std::vector<std::string>{"ce_loss", "loss/backward"}));
  const auto stays = [](int) { return 2.3; };
  RunBuilder flat = TwoLosses("loss/backward", stays, "ce_loss", stays);
  findings = FindingsOf(flat, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].tensors, (std::vector<std::string>{"ce_loss", "loss/backward"}));
}

TEST(LossNotDecreasingTest, ATermThatTheUserNamesIsMeantToFall) {
  RunBuilder run = TwoLosses("loss/backward", Falls, "kl_loss", RisesFromZero);
  EXPECT_EQ(FindingsOf(run, "loss_not_decreasing", {{"tensor_regex", "kl"}}).size(), 1U);
}

TEST(LossNotDecreasingTest, SaysThatALossIsMaximised) {
  const auto rises = [](int step) { return 2.3 * std::pow(1.1, step); };
  RunBuilder run = TwoLosses(
      "loss/backward", [&](int step) { return -rises(step); }, "loss/CrossEntropyLoss", rises);
  const auto findings = FindingsOf(run, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].tensor, "loss/CrossEntropyLoss");
  EXPECT_THAT(*findings[0].cause, HasSubstr("starts from the negative of this loss"));
  EXPECT_THAT(*findings[0].try_, HasSubstr("without a minus sign"));
}

TEST(LossNotDecreasingTest, BlamesWeightDecayThatTakesTheWeightsAway) {
  for (const double decay : {0.0, 1.0}) {
    RunBuilder run;
    run.Between(0).Meta(
        R"({"kind":"optimizer","parameters":["fc.weight"],"groups":[{"weight_decay":)" +
        std::to_string(decay) + "}]}");
    for (int step = 0; step < 120; ++step) {
      run.Step(step)
          .Scalar("loss/ce", 2.3)
          .Weight("fc.weight", NormalStats(0, std::pow(0.9, step)));
    }
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].cause->starts_with("weight decay (1) takes away"), decay > 0)
        << *findings[0].cause;
  }
}

TEST(LossNotDecreasingTest, BlamesTheLearningRateOfTheStepThatThrewTheLossOff) {
  RunBuilder run;
  for (int step = 0; step < 60; ++step) {
    const double loss = step < 9 ? 2.0 - 0.1 * step : 5e7;
    const double rate = step < 8 ? 0.01 : step == 8 ? 2000 : 1e-5;
    run.Step(step).Scalar("learning_rate", rate).Scalar("loss/ce", loss);
  }
  const auto findings = FindingsOf(run, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].cause, "the learning rate (2e+03 at step 8) is too high");
  EXPECT_THAT(*findings[0].try_, HasSubstr("go back to a learning rate of 0.01, where the loss"));
}

TEST(LossNotDecreasingTest, AdvisesTheLearningRateThatWasGoodBeforeItWasRaised) {
  for (const auto& [raised, advice] :
       {std::pair(39, "go back to a learning rate of 0.05, where the loss was lowest"),
        std::pair(46,
                  "let the learning rate grow no further than 0.05, where the loss was lowest")}) {
    const int at = raised;
    RunBuilder run = RisingRate([at](int step) { return step < at ? 0.05 : 50.0; }, 60);
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_THAT(*findings[0].try_, HasSubstr(advice));
  }
}

TEST(LossNotDecreasingTest, ComparesAsSageMakerDoesWithCompat) {
  const std::map<std::string, std::string> compat = {{"compat", "true"}};
  RunBuilder first = LossEvery(4, {.3, .33, .31, .30, .28});
  auto findings = FindingsOf(first, "loss_not_decreasing", compat);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].step, 12);
  EXPECT_EQ(findings[0].count, 1);

  RunBuilder second = LossEvery(4, {.3, .33, .31, .30, .28, .2, .42});
  findings =
      FindingsOf(second, "loss_not_decreasing", {{"compat", "true"}, {"diff_percent", "20"}});
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].last_step, 24);
}

TEST(LossNotDecreasingTest, ChecksEveryNumStepsWithCompat) {
  // Saved every 3 steps and never falling: checks at 12, 24, 36, each against 12 steps before.
  RunBuilder run = LossEvery(3, std::vector<double>(14, 1.0));
  const auto findings = FindingsOf(run, "loss_not_decreasing", {{"compat", "true"}});
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].count, 3);
  EXPECT_EQ(findings[0].step, 12);
  EXPECT_EQ(findings[0].last_step, 36);
}

TEST(LossNotDecreasingTest, PrefersEvaluationLossesWithCompat) {
  RunBuilder run;
  for (int64_t step = 0; step < 40; ++step) {
    run.Step(step, step % 2 == 0 ? Mode::kEval : Mode::kTrain)
        .Scalar("loss/ce", step % 2 == 0 ? 1.0 / static_cast<double>(step + 1) : 1.0);
  }
  EXPECT_TRUE(FindingsOf(run, "loss_not_decreasing", {{"compat", "true"}}).empty());
  EXPECT_FALSE(
      FindingsOf(run, "loss_not_decreasing", {{"compat", "true"}, {"mode", "train"}}).empty());
}

}  // namespace
}  // namespace wheeltapper::rules
