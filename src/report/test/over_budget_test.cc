#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wheeltapper/core/config.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/report/report.h"

#include "fake_trial.h"
#include "support/scratch_folder.h"

namespace wheeltapper::report {
namespace {

using testing::HasSubstr;

constexpr TimeNs kStepNs = 4'000'000;

class OverBudgetTest : public testing::Test {
 protected:
  void SetUp() override {
    trial_.folder = scratch_.path();
    Configure({});
  }
  void Configure(const std::vector<ConfigFlag>& flags) const {
    ConfigSources sources;
    sources.flags = flags;
    ASSERT_TRUE(
        WriteFileAtomically(format::ConfigPath(trial_.folder), Config::Load(sources)->ToJson())
            .ok());
  }
  // Steps of 4 ms, of which watching takes so much.
  void AddSteps(int64_t count, bool captured, TimeNs blocked_ns) {
    for (int64_t i = 0; i < count; ++i) {
      const auto step = static_cast<int64_t>(trial_.times.size());
      trial_.AddStep(step);
      trial_.times.back().step_ns = kStepNs;
      trial_.times.back().blocked_ns = blocked_ns;
      if (captured) {
        trial_.AddStats("fc.weight", "weights", step, {});
      }
    }
  }
  [[nodiscard]] Budget Compare() {
    trial_.overhead = {};
    for (const trial::StepPoint& point : trial_.times) {
      trial_.overhead.blocked_ns += point.blocked_ns;
      trial_.overhead.elapsed_ns += point.step_ns;
    }
    trial_.overhead.fraction = static_cast<double>(trial_.overhead.blocked_ns) /
                               static_cast<double>(trial_.overhead.elapsed_ns);
    return CompareWithBudget(trial_, trial_.overhead).value();
  }

  ScratchFolder scratch_;
  FakeTrial trial_;
};

TEST_F(OverBudgetTest, WithinTheBudgetNothingIsSaid) {
  AddSteps(10, true, 100'000);
  AddSteps(90, false, 1'000);
  const Budget budget = Compare();
  EXPECT_DOUBLE_EQ(budget.fraction, 0.01);
  EXPECT_EQ(budget.exceeded_because, "");
}

TEST_F(OverBudgetTest, WhatLooksLikeTheBudgetIsNoExcess) {
  AddSteps(100, true, kStepNs / 100 + 10);
  EXPECT_EQ(Compare().exceeded_because, "");
}

TEST_F(OverBudgetTest, TheFirstCapturesOfAShortRunAreNamed) {
  AddSteps(10, true, 1'000'000);
  AddSteps(90, false, 4'000);
  EXPECT_EQ(Compare().exceeded_because,
            "in the second half of the run it was 0.10 %; the first steps are captured before it "
            "is known what they cost, and 100 steps do not make up for them");
}

TEST_F(OverBudgetTest, AnIntervalThatIsKeptIsNamed) {
  Configure({{"capture.every", "1", "--every"}});
  AddSteps(100, true, 1'000'000);
  EXPECT_THAT(Compare().exceeded_because, HasSubstr("capture.every = 1 is kept"));
  Configure({{"capture.every", "1", "--every"}, {"budget", "2%", "--budget"}});
  EXPECT_DOUBLE_EQ(Compare().fraction, 0.02);
  EXPECT_EQ(Compare().exceeded_because,
            "each of the 100 captured steps cost 1.0 ms, and an average step takes 4.0 ms");
}

TEST_F(OverBudgetTest, StepsThatAreDearWithoutATensorAreNamed) {
  AddSteps(10, true, 1'000'000);
  AddSteps(90, false, 100'000);
  EXPECT_EQ(
      Compare().exceeded_because,
      "even a step at which no tensor is captured costs 100 µs of 4.0 ms, in the median of 90");
}

TEST_F(OverBudgetTest, OneSlowStepWithoutATensorIsNotTakenForAllOfThem) {
  Configure({{"capture.every", "1", "--every"}});
  AddSteps(99, true, 1'000'000);
  AddSteps(1, false, 5'000'000);
  EXPECT_THAT(Compare().exceeded_because, HasSubstr("capture.every = 1 is kept"));
}

TEST_F(OverBudgetTest, SlowStepsAmongThoseWithoutATensorAreNamedWhereTheyCostTheMost) {
  AddSteps(10, true, 10'000);
  AddSteps(88, false, 1'000);
  AddSteps(2, false, 50'000'000);
  EXPECT_EQ(Compare().exceeded_because,
            "90 steps at which no tensor is captured cost 100 ms together, one of them 50.0 ms");
}

TEST_F(OverBudgetTest, WithoutAConfigurationThereIsNoBudget) {
  AddSteps(10, true, 1'000'000);
  ASSERT_TRUE(WriteFileAtomically(format::ConfigPath(trial_.folder), "{").ok());
  EXPECT_FALSE(CompareWithBudget(trial_, {.fraction = 1, .blocked_ns = 1, .elapsed_ns = 1}));
}

TEST_F(OverBudgetTest, ReportAndSummaryGiveTheReason) {
  AddSteps(10, true, 1'000'000);
  AddSteps(90, false, 4'000);
  (void)Compare();
  const Result<std::string> text = ReportJson(trial_);
  ASSERT_TRUE(text.ok());
  EXPECT_THAT(*text, HasSubstr("\"exceeded_because\": \"in the second half"));
  EXPECT_THAT(*text, HasSubstr("\"budget\": 0.01"));
  EXPECT_THAT(ReportHtml(trial_).value(),
              HasSubstr("Watching took 2.59 %, more than the budget of 1.00 %: in the second"));
}

}  // namespace
}  // namespace wheeltapper::report
