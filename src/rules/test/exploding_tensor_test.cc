// The rule exploding_tensor: runs that break it and runs that do not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_fixture.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

TEST(ExplodingTensorTest, ReportsGrowthBeforeItBecomesNan) {
  RunBuilder run;
  for (int64_t step = 0; step < 12; ++step) {
    run.Step(step).Stats("gradient/fc.weight",
                         NormalStats(0, step < 8 ? 1.0 : std::pow(100, step - 6)));
  }
  const auto findings = FindingsOf(run, "exploding_tensor");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].tensor, "gradient/fc.weight");
  EXPECT_EQ(findings[0].step, 9);
  EXPECT_EQ(findings[0].evidence.size(), 1U);
}

TEST(ExplodingTensorTest, StaysSilentOnSpikesAndOnLargeButSteadyValues) {
  RunBuilder run;
  for (int64_t step = 0; step < 100; ++step) {
    run.Step(step).Stats("gradient/fc.weight", NormalStats(0, step % 10 == 9 ? 500 : 1));
    run.Stats("output/fc", NormalStats(0, 1e8));
  }
  EXPECT_TRUE(FindingsOf(run, "exploding_tensor").empty());
}

TEST(ExplodingTensorTest, ComparesTheRootsOfWhatHoldsSquares) {
  // The gradient grows 100 times, to 1e5, or 1e4 times, to 1e7; its square with it.
  for (const double growth : {1e2, 1e4}) {
    for (const char* state :
         {"exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum", "variance", "exp_avg_sq_row"}) {
      RunBuilder run;
      for (int64_t step = 0; step < 12; ++step) {
        const double gradient = step < 8 ? 1e3 : 1e3 * growth;
        run.Step(step).Stats(std::string("optimizer/fc.weight/") + state,
                             NormalStats(gradient * gradient, 0.1 * gradient * gradient));
      }
      const auto findings = FindingsOf(run, "exploding_tensor");
      ASSERT_EQ(findings.size(), growth > 1e3 ? 1U : 0U) << state << ": " << findings[0].message;
      if (!findings.empty()) {
        EXPECT_THAT(findings[0].message, HasSubstr("which holds squares, reaches 1.3e+14"));
        EXPECT_THAT(findings[0].message, HasSubstr("; the root of its rms is "));
        EXPECT_EQ(findings[0].evidence[0].label,
                  std::string("root of the rms of optimizer/fc.weight/") + state);
      }
    }
  }
}

TEST(ExplodingTensorTest, AMeanOfSquaresThatWarmsUpDoesNotExplode) {
  // Gradients grow 300 times, or 3000, when 150 steps have filled a mean that remembers 1000.
  for (const double growth : {300.0, 3000.0}) {
    RunBuilder run;
    run.Between(0).Meta(
        R"({"kind":"optimizer","type":"Adam","parameters":["fc.weight"],"new_at":0,"defaults":{"betas":[0.9,0.999]}})");
    double mean = 0;
    for (int64_t step = 0; step < 300; ++step) {
      const double gradient = step < 150 ? 1e4 : 1e4 * growth;
      mean = step == 150 ? gradient * gradient : 0.999 * mean + 0.001 * gradient * gradient;
      if (step < 10 || step % 50 == 0) {
        run.Step(step).Stats("optimizer/fc.weight/exp_avg_sq", NormalStats(mean, 0.1 * mean));
      }
    }
    EXPECT_EQ(FindingsOf(run, "exploding_tensor").size(), growth > 1e3 ? 1U : 0U) << growth;
  }
}

TEST(ExplodingTensorTest, WhatGrowsInManyStepsWhileTheLossFallsDoesNotExplode) {
  for (const double loss_growth : {0.98, 1.1}) {
    RunBuilder run;
    // Captured at ten steps, and then more and more rarely.
    for (const auto& [step, gradient] :
         {std::pair(80, 5e5), std::pair(160, 4e6), std::pair(320, 2e7), std::pair(640, 6e7)}) {
      for (int64_t early = 0; step == 80 && early < 10; ++early) {
        run.Step(early).Stats("gradient/fc.weight", NormalStats(0, 1e4)).Scalar("loss/ce", 1e11);
      }
      run.Step(step).Stats("gradient/fc.weight", NormalStats(0, gradient));
      run.Scalar("loss/ce", 1e11 * std::pow(loss_growth, step / 10));
    }
    EXPECT_EQ(FindingsOf(run, "exploding_tensor").size(), loss_growth > 1 ? 1U : 0U);
  }
}

TEST(ExplodingTensorTest, CountsNanAndInfinityAsSageMakerDoes) {
  tensor::TensorStats infinite = NormalStats(0, 1);
  infinite.posinf_count = 1;
  const std::map<std::string, std::string> compat = {{"nonfinite", "true"}, {"growth_factor", "0"}};
  RunBuilder run;
  run.Step(3).Stats("a", infinite, {"weights"}).Stats("b", NanStats(1), {"biases"});
  EXPECT_EQ(FindingsOf(run, "exploding_tensor", compat)[0].count, 2);
  auto only_nan = compat;
  only_nan["only_nan"] = "true";
  EXPECT_EQ(FindingsOf(run, "exploding_tensor", only_nan)[0].tensor, "b");
  auto chosen = compat;
  chosen["collection_names"] = "weights, losses";
  EXPECT_EQ(FindingsOf(run, "exploding_tensor", chosen)[0].tensors, std::vector<std::string>{"a"});
  chosen["tensor_regex"] = "^b$";
  EXPECT_EQ(FindingsOf(run, "exploding_tensor", chosen)[0].count, 2);
}

TEST(ExplodingTensorTest, StaysOpenWhileATensorStaysWhereItJumpedTo) {
  RunBuilder run;
  for (int64_t step = 0; step < 20; ++step) {
    run.Step(step).Stats("gradient/fc.weight", NormalStats(0, step < 10 ? 1e3 : 1e7));
    run.Scalar("loss/ce", 1);
  }
  EXPECT_EQ(EventsOf(run, "exploding_tensor"),
            std::vector<std::string>{"opened exploding_tensor-1"});
}

// Ten captured steps at which Adam's mean of squares is as it comes to be, and then one at which
// its gradients are 1200 times what they were.
RunBuilder RunOfAdam(const std::string& optimizer, int64_t first, int64_t every) {
  RunBuilder run;
  run.Between(0).Meta(optimizer);
  for (int64_t i = 0; i <= 10; ++i) {
    const double mean = i < 10 ? 1e8 : 1.44e14;
    run.Step(first + i * every)
        .Stats("optimizer/fc.weight/exp_avg_sq", NormalStats(mean, 0.1 * mean));
  }
  return run;
}

TEST(ExplodingTensorTest, CorrectsNoMeanThatWasWarmBeforeItsFirstCapture) {
  const std::string adam = R"({"kind":"optimizer","type":"Adam","parameters":["fc.weight"],)";
  const std::string betas = R"("defaults":{"betas":[0.9,0.999]}})";
  // A resumed one, and one that was new long before the first capture.
  RunBuilder resumed = RunOfAdam(adam + betas, 0, 10);
  EXPECT_EQ(FindingsOf(resumed, "exploding_tensor").size(), 1U);
  RunBuilder late = RunOfAdam(adam + R"("new_at":0,)" + betas, 5000, 10);
  EXPECT_EQ(FindingsOf(late, "exploding_tensor").size(), 1U);
}

TEST(ExplodingTensorTest, KnowsEachOptimizerByItsOwnBetas) {
  RunBuilder both;
  both.Between(0)
      .Meta(
          R"({"kind":"optimizer","type":"Adam","parameters":["fc.weight"],"new_at":0,"defaults":{"betas":[0.9,0.9]}})")
      .Meta(
          R"({"kind":"optimizer","type":"Adam","parameters":["head.weight"],"new_at":0,"defaults":{"betas":[0.9,0.9999]}})");
  for (int64_t i = 0; i <= 10; ++i) {
    const double mean = i < 10 ? 1e8 : 1.6e14;  // the root grows 1265 times
    both.Step(100 + i * 10).Stats("optimizer/fc.weight/exp_avg_sq", NormalStats(mean, 0.1 * mean));
  }
  EXPECT_EQ(FindingsOf(both, "exploding_tensor").size(), 1U);
}

}  // namespace
}  // namespace wheeltapper::rules
