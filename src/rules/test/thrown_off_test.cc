// Losses that the first updates throw far up: whether the model learns after all.
#include <algorithm>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "losses.h"
#include "run_fixture.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

// From 1.085 to tens of thousands in the first steps, and slowly back.
std::vector<double> ThrownOff(double floor) {
  std::vector<double> values = {1.085, 19394, 41414, 30151};
  while (values.size() < 300) {
    values.push_back(floor + (values.back() - floor) * 0.9);
  }
  return values;
}

TEST(LossNotDecreasingTest, ReportsALossThatIsThrownOffAtOnceAndComesBackNoLower) {
  RunBuilder run = LossEvery(1, ThrownOff(1.11));
  const auto findings = FindingsOf(run, "loss_not_decreasing");
  ASSERT_FALSE(findings.empty());
  EXPECT_THAT(findings.back().message, HasSubstr("1.08 at step 0, then up to 4.14e+04"));
  EXPECT_THAT(findings.back().cause.value_or(""), HasSubstr("learning rate"));
  EXPECT_EQ(findings.back().state, FindingState::kOpen);
}

TEST(LossNotDecreasingTest, ALossThatIsThrownOffAndLearnsAfterAllIsNotCalledFlat) {
  RunBuilder run = LossEvery(1, ThrownOff(0.1));
  for (const Finding& finding : FindingsOf(run, "loss_not_decreasing")) {
    EXPECT_THAT(finding.message, testing::Not(HasSubstr("has not decreased")));
  }
}

// What a classifier of three classes does whose first updates bring it to chance: from 1.13 up, and
// within some steps to `level`, which is a little below the start.
std::vector<double> BroughtToChance(unsigned seed, size_t count, double peak, double level,
                                    double fall_per_step = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1);
  std::vector<double> values = {1.131, 1.09, 1.21};
  for (double above = peak; above > 0.02; above /= 2) {
    values.push_back(level + above);
  }
  const size_t settled = values.size();
  while (values.size() < count) {
    const double fallen = fall_per_step * static_cast<double>(values.size() - settled);
    values.push_back(level - fallen + 0.06 * normal(random));
  }
  return values;
}

bool IsCalledFlat(const std::vector<Finding>& findings) {
  return std::any_of(findings.begin(), findings.end(), [](const Finding& finding) {
    return finding.severity == Severity::kWarning && finding.state == FindingState::kOpen;
  });
}

TEST(ThrownOffTest, ReportsALossThatStaysALittleBelowItsStartAfterAJump) {
  int reported = 0;
  for (unsigned seed = 0; seed < 100; ++seed) {
    RunBuilder run = LossEvery(1, BroughtToChance(seed, 450, 5, 1.02));
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    if (IsCalledFlat(findings)) {
      ++reported;
      EXPECT_THAT(findings.back().message,
                  HasSubstr("does not decrease: 1.13 at step 0, then up to 6.02, "));
      EXPECT_THAT(findings.back().cause.value_or(""),
                  HasSubstr("threw the model off: the learning rate"));
    }
  }
  EXPECT_GE(reported, 90);
}

// Some that learn a little before they are thrown off for good, or rise while they are noisy.
TEST(ThrownOffTest, ReportsANoisyLossThatRisesToItsStartAgain) {
  int reported = 0;
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::vector<double> values = BroughtToChance(seed, 100, 70, 0.9);
    std::mt19937 random(seed);
    std::normal_distribution<double> normal(0, 1);
    while (values.size() < 250) {
      const bool is_early = values.size() < 150;
      values.push_back(std::abs((is_early ? 0.8 : 1.05) + (is_early ? 0.2 : 0.1) * normal(random)));
    }
    RunBuilder run = LossEvery(1, values);
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    reported += std::any_of(findings.begin(), findings.end(), [](const Finding& finding) {
      return finding.state == FindingState::kOpen;  // flat, or risen from its best
    });
  }
  EXPECT_GE(reported, 45);
}

TEST(ThrownOffTest, StaysSilentWhereTheLossFallsFromThere) {
  int reported = 0;
  for (unsigned seed = 0; seed < 100; ++seed) {
    RunBuilder run = LossEvery(1, BroughtToChance(seed, 450, 5, 1.15, 0.001));
    reported += IsCalledFlat(FindingsOf(run, "loss_not_decreasing")) ? 1 : 0;
  }
  EXPECT_LE(reported, 2);
}

TEST(ThrownOffTest, StaysSilentWhereNothingJumpedOrTheLossJumpsAgainAndAgain) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::vector<double> level = BroughtToChance(seed, 450, 0.5, 0.95);
    RunBuilder fine_tuned = LossEvery(1, level);
    EXPECT_FALSE(IsCalledFlat(FindingsOf(fine_tuned, "loss_not_decreasing"))) << seed;
    for (size_t i = 20; i < level.size(); i += 30) {
      level[i] = 7;
    }
    RunBuilder spiky = LossEvery(1, level);
    EXPECT_FALSE(IsCalledFlat(FindingsOf(spiky, "loss_not_decreasing"))) << seed;
  }
}

// A bad batch of a fine-tune that has learned what there is to learn.
TEST(ThrownOffTest, StaysSilentOnSingleSpikesBeforeAPlateau) {
  for (const double noise : {0.05, 0.2}) {
    for (const size_t at : {size_t{5}, size_t{60}}) {
      for (unsigned seed = 0; seed < 30; ++seed) {
        std::mt19937 random(seed);
        std::normal_distribution<double> normal(0, noise);
        std::vector<double> values;
        for (int i = 0; i < 400; ++i) {
          values.push_back(2.1 + 0.5 * std::exp2(-i / 15.0) + normal(random));
        }
        values[at] = 9;
        RunBuilder run = LossEvery(1, values);
        EXPECT_FALSE(IsCalledFlat(FindingsOf(run, "loss_not_decreasing"))) << noise << " " << at;
      }
    }
  }
}

// Noise of 3 % could hide that.
TEST(ThrownOffTest, SaysNothingOfHardlyWhereNoiseMayHideASlowFall) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal(0, 0.03);
    std::vector<double> values;
    for (int i = 0; i < 2000; ++i) {
      values.push_back(1.6 * (1 - 0.2 * i / 2000) * (1 + normal(random)));
    }
    RunBuilder run = LossEvery(1, values);
    for (const Finding& finding : FindingsOf(run, "loss_not_decreasing")) {
      EXPECT_THAT(finding.message, testing::Not(HasSubstr("hardly"))) << seed;
      EXPECT_EQ(finding.state, FindingState::kResolved);
    }
  }
}

// Another loss of the same optimizer begins high and falls.
TEST(ThrownOffTest, StaysSilentOnALossThatComesDownFromAJump) {
  std::vector<double> values;
  for (int i = 0; i < 300; ++i) {
    values.push_back(0.3 * std::exp2(-i / 30.0) + 0.01);
  }
  for (int i = 0; i < 200; ++i) {
    values.push_back(1.5 * std::exp2(-i / 12.0) + 0.02);
  }
  RunBuilder run = LossEvery(1, values);
  for (const Finding& finding : FindingsOf(run, "loss_not_decreasing")) {
    EXPECT_EQ(finding.step, 300) << finding.message;  // the jump, if anything
  }
}

TEST(ThrownOffTest, StaysSilentWhileTheLearningRateWarmsUp) {
  RunBuilder run;
  for (int step = 0; step < 400; ++step) {
    const double rate = 0.2 * std::pow(std::min(1.0, step / 300.0), 3);
    const double loss = step < 200 ? 2.3 : 2.3 * std::exp2(-(step - 200) / 40.0);
    run.Step(step).Scalar("loss/ce", loss).Scalar("learning_rate", rate);
  }
  EXPECT_TRUE(FindingsOf(run, "loss_not_decreasing").empty());
}

// A batch of one example: the newest half may lie higher by chance alone.
TEST(ThrownOffTest, SaysNothingOfHardlyWhereNoiseIsLarge) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal(0, 0.6);
    std::vector<double> values;
    for (int i = 0; i < 700; ++i) {
      values.push_back(std::abs(2.28 - 0.0004 * i + normal(random)));
    }
    RunBuilder run = LossEvery(1, values);
    for (const Finding& finding : FindingsOf(run, "loss_not_decreasing")) {
      EXPECT_THAT(finding.message, testing::Not(HasSubstr("hardly"))) << seed;
    }
  }
}

// As in Q-learning, whose first targets are near zero.
TEST(ThrownOffTest, StaysSilentOnALossThatFindsItsLevelFarAboveASmallFirstValue) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::vector<double> values = BroughtToChance(seed, 450, 5, 1.02);
    std::fill(values.begin(), values.begin() + 30, 0.02);
    RunBuilder run = LossEvery(1, values);
    EXPECT_FALSE(IsCalledFlat(FindingsOf(run, "loss_not_decreasing"))) << seed;
  }
}

// Of a classifier that comes to know how frequent the classes are, and nothing else.
TEST(ThrownOffTest, ReportsALossThatHardlyFellAndIsLevelButNotOneThatGoesOnFalling) {
  int reported = 0;
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal(0, 1);
    std::vector<double> level;
    std::vector<double> falling;
    for (int i = 0; i < 400; ++i) {
      const double noise = 0.002 * normal(random);
      level.push_back(1.609 + 0.02 * std::exp2(-i / 20.0) + noise);
      falling.push_back(1.63 - 0.00008 * i + noise);
    }
    RunBuilder stuck = LossEvery(1, level);
    const auto findings = FindingsOf(stuck, "loss_not_decreasing");
    reported += IsCalledFlat(findings) ? 1 : 0;
    EXPECT_LE(EventsOf(stuck, "loss_not_decreasing").size(), 1U) << seed;  // opens, and stays open
    if (!findings.empty()) {
      EXPECT_THAT(findings.back().message, HasSubstr("has hardly decreased: 1.6"));
    }
    RunBuilder slow = LossEvery(1, falling);
    EXPECT_FALSE(IsCalledFlat(FindingsOf(slow, "loss_not_decreasing"))) << seed;
  }
  EXPECT_GE(reported, 45);
}

TEST(ThrownOffTest, ResolvesWhenTheLossFallsAfterAll) {
  std::vector<double> values = BroughtToChance(3, 450, 5, 1.02);
  for (int i = 0; i < 400; ++i) {
    values.push_back(std::max(0.1, 1.02 - 0.01 * i));
  }
  RunBuilder run = LossEvery(1, values);
  for (const Finding& finding : FindingsOf(run, "loss_not_decreasing")) {
    EXPECT_EQ(finding.state, FindingState::kResolved) << finding.message;
  }
}

}  // namespace
}  // namespace wheeltapper::rules
