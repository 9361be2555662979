// The completeness scenarios of the original debugger, as far as they make sense without its
// window and its tokens.
#include "step_index.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace wheeltapper::trial {
namespace {

using testing::Test;
constexpr auto kAvailable = StepState::kAvailable;
constexpr auto kUnavailable = StepState::kUnavailable;
constexpr auto kNotYet = StepState::kNotYetAvailable;

class CompletenessTest : public Test {
 protected:
  void Write(int32_t rank, const std::vector<int64_t>& steps) {
    for (const int64_t step : steps) {
      index_.Add({Rank{rank}, Step{step}, Mode::kTrain, step}, true);
    }
    live_.insert(Rank{rank});
  }
  void WriteMode(Mode mode, int64_t first, int64_t last, int64_t stride, int64_t mode_base) {
    for (int64_t step = first; step <= last; step += stride) {
      index_.Add({Rank{0}, Step{step}, mode, step - mode_base}, true);
    }
    live_.insert(Rank{0});
  }
  [[nodiscard]] int64_t UpTo() const {
    return ended_ ? kEverything : index_.CompleteUpTo({live_.begin(), live_.end()});
  }
  [[nodiscard]] StepState Of(int64_t step, std::optional<Mode> mode = std::nullopt) const {
    return index_.StateOf(step, mode, UpTo());
  }
  [[nodiscard]] std::vector<int64_t> Complete() const {
    return index_.Steps(std::nullopt, std::nullopt, UpTo());
  }

  StepIndex index_;
  std::set<Rank> live_;
  bool ended_ = false;
};

const std::vector<int64_t> kZeroToSix{0, 1, 2, 3, 4, 5, 6};

TEST_F(CompletenessTest, OneRankWithAllStepsKnowsWhatIsStillToCome) {
  Write(0, kZeroToSix);
  EXPECT_EQ(Complete(), kZeroToSix);
  EXPECT_EQ(UpTo(), 6);
  EXPECT_EQ(Of(3), kAvailable);
  EXPECT_EQ(Of(8), kNotYet);
  ended_ = true;
  EXPECT_EQ(Complete(), kZeroToSix);
  EXPECT_EQ(Of(3), kAvailable);
  EXPECT_EQ(Of(8), kUnavailable);
}

TEST_F(CompletenessTest, AStepThatWasSkippedIsUnavailableAsSoonAsALaterOneIsComplete) {
  Write(0, {0, 1, 2, 3, 5, 6});
  EXPECT_EQ(Complete(), (std::vector<int64_t>{0, 1, 2, 3, 5, 6}));
  EXPECT_EQ(Of(3), kAvailable);
  EXPECT_EQ(Of(4), kUnavailable);
  EXPECT_EQ(Of(8), kNotYet);
  EXPECT_TRUE(index_.HasLater(4, std::nullopt));
  ended_ = true;
  EXPECT_EQ(Of(4), kUnavailable);
  EXPECT_EQ(Of(8), kUnavailable);
  EXPECT_FALSE(index_.HasLater(8, std::nullopt));
}

TEST_F(CompletenessTest, ModesCountTheirOwnSteps) {
  WriteMode(Mode::kTrain, 0, 30, 10, 0);
  WriteMode(Mode::kEval, 40, 70, 10, 40);
  EXPECT_EQ(Of(30), kAvailable);
  EXPECT_EQ(Of(23, Mode::kTrain), kUnavailable);
  EXPECT_EQ(Of(40, Mode::kTrain), kNotYet) << "training may go on after the evaluation";
  EXPECT_EQ(Of(80, Mode::kTrain), kNotYet);
  EXPECT_EQ(Of(30, Mode::kEval), kAvailable);
  EXPECT_EQ(Of(23, Mode::kEval), kUnavailable);
  EXPECT_EQ(Of(80, Mode::kEval), kNotYet);
  EXPECT_EQ(Of(80), kNotYet);
  EXPECT_EQ(index_.Steps(Mode::kEval, std::nullopt, UpTo()), (std::vector<int64_t>{0, 10, 20, 30}));
  EXPECT_EQ(index_.Modes(), (std::vector<Mode>{Mode::kTrain, Mode::kEval}));
  ended_ = true;
  for (const int64_t step : {23, 40, 80}) {
    EXPECT_EQ(Of(step, Mode::kTrain), kUnavailable) << step;
  }
  EXPECT_EQ(Of(30, Mode::kEval), kAvailable);
  EXPECT_EQ(Of(80), kUnavailable);
}

TEST_F(CompletenessTest, ThreeRanksWithAllStepsAreComplete) {
  for (const int32_t rank : {0, 1, 2}) {
    Write(rank, kZeroToSix);
  }
  EXPECT_EQ(Complete(), kZeroToSix);
  EXPECT_EQ(Of(4), kAvailable);
  EXPECT_EQ(Of(8), kNotYet);
  ended_ = true;
  EXPECT_EQ(Of(8), kUnavailable);
}

TEST_F(CompletenessTest, ALiveRankThatLagsHoldsBackTheOthers) {
  Write(0, kZeroToSix);
  Write(1, {0, 1, 2});
  Write(2, kZeroToSix);
  EXPECT_EQ(Complete(), (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(index_.Steps(std::nullopt, std::nullopt, kEverything), kZeroToSix);
  EXPECT_EQ(UpTo(), 2);
  EXPECT_EQ(Of(2), kAvailable);
  for (const int64_t step : {4, 6, 8}) {
    EXPECT_EQ(Of(step), kNotYet) << step;
  }
  ended_ = true;
  EXPECT_EQ(Complete(), kZeroToSix);
  for (const int64_t step : {3, 4, 6}) {
    EXPECT_EQ(Of(step), kAvailable) << step;
  }
  EXPECT_EQ(Of(8), kUnavailable);
}

TEST_F(CompletenessTest, ADeadRankHoldsNothingBack) {
  Write(0, kZeroToSix);
  Write(1, {0, 1, 2});
  live_.erase(Rank{1});
  EXPECT_EQ(Complete(), kZeroToSix);
  EXPECT_EQ(Of(6), kAvailable);
  EXPECT_EQ(Of(8), kNotYet);
}

TEST_F(CompletenessTest, WithNobodyAliveTheFurthestRankCounts) {
  Write(0, kZeroToSix);
  Write(1, {0, 1, 2});
  live_.clear();
  EXPECT_EQ(UpTo(), 6);
}

TEST_F(CompletenessTest, ARankThatComesBackLaterCompletesWhatItMissed) {
  Write(0, kZeroToSix);
  Write(1, {0, 1, 2, 6});
  Write(2, kZeroToSix);
  EXPECT_EQ(Complete(), kZeroToSix);
  EXPECT_EQ(UpTo(), 6);
  for (const int64_t step : {2, 4, 6}) {
    EXPECT_EQ(Of(step), kAvailable) << step;
  }
  EXPECT_EQ(Of(8), kNotYet);
  ended_ = true;
  EXPECT_EQ(Of(8), kUnavailable);
}

TEST_F(CompletenessTest, AStepThatNobodyWroteIsUnavailableOnceALaterOneIsComplete) {
  Write(0, {0, 1, 2, 4, 5, 6});
  Write(1, {0, 1, 2, 6});
  Write(2, {0, 1, 2, 4, 5, 6});
  EXPECT_EQ(Complete(), (std::vector<int64_t>{0, 1, 2, 4, 5, 6}));
  EXPECT_EQ(Of(2), kAvailable);
  EXPECT_EQ(Of(3), kUnavailable);
  EXPECT_EQ(Of(4), kAvailable);
  EXPECT_EQ(Of(8), kNotYet);
}

TEST_F(CompletenessTest, AStepThatNobodyWroteIsNotJudgedWhileALiveRankLags) {
  Write(0, {0, 1, 2, 4, 5, 6});
  Write(1, {0, 1, 2});
  Write(2, {0, 1, 2, 4, 5, 6});
  EXPECT_EQ(Complete(), (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(Of(2), kAvailable);
  for (const int64_t step : {3, 4, 6, 8}) {
    EXPECT_EQ(Of(step), kNotYet) << step;
  }
  ended_ = true;
  EXPECT_EQ(Complete(), (std::vector<int64_t>{0, 1, 2, 4, 5, 6}));
  EXPECT_EQ(Of(2), kAvailable);
  EXPECT_EQ(Of(3), kUnavailable);
  EXPECT_EQ(Of(4), kAvailable);
  EXPECT_EQ(Of(6), kAvailable);
  EXPECT_EQ(Of(8), kUnavailable);
}

TEST_F(CompletenessTest, ALiveRankThatHasWrittenNothingHoldsBackEverything) {
  Write(0, kZeroToSix);
  live_.insert(Rank{1});
  EXPECT_TRUE(Complete().empty());
  EXPECT_EQ(UpTo(), -1);
  EXPECT_EQ(Of(0), kNotYet);
}

TEST_F(CompletenessTest, WhatIsLoggedInAStepInProgressMakesNoStep) {
  Write(0, {0, 1});
  index_.Add({Rank{0}, Step{2}, Mode::kTrain, 2}, false);
  EXPECT_EQ(Of(2), kNotYet);
  EXPECT_EQ(index_.Steps(std::nullopt, std::nullopt, kEverything), (std::vector<int64_t>{0, 1}));
}

TEST_F(CompletenessTest, ARankThatOnlyLogsCountsByWhatItLogged) {
  index_.Add({Rank{0}, Step{5}, Mode::kGlobal, 5}, false);
  live_.insert(Rank{0});
  EXPECT_EQ(Of(5), kAvailable);
  EXPECT_EQ(Complete(), std::vector<int64_t>{5});
  Write(0, {6});
  EXPECT_EQ(Complete(), std::vector<int64_t>{6}) << "now it finishes steps";
  EXPECT_EQ(index_.Modes(), std::vector<Mode>{Mode::kTrain});
}

TEST_F(CompletenessTest, StepsOfOneRankAreItsOwn) {
  Write(0, kZeroToSix);
  Write(1, {0, 2});
  EXPECT_EQ(index_.Steps(std::nullopt, Rank{1}, kEverything), (std::vector<int64_t>{0, 2}));
  EXPECT_TRUE(index_.Steps(std::nullopt, Rank{7}, kEverything).empty());
}

TEST_F(CompletenessTest, AddingStepsAgainOrOutOfOrderChangesNothing) {
  Write(0, {6, 0, 3, 3, 0, 1, 2, 5, 4});
  EXPECT_EQ(Complete(), kZeroToSix);
  index_.Add({Rank{0}, Step{-1}, Mode::kTrain, -1}, false);
  EXPECT_EQ(Complete(), kZeroToSix);
}

}  // namespace
}  // namespace wheeltapper::trial
