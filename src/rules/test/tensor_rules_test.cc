// Rules about tensors, but nonfinite and dead_relu: for each a run that breaks it and runs that do
// not.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_fixture.h"
#include "small_network.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

TEST(BuiltinRulesTest, AllStaySilentOnHealthyTrainingThatConvergesToNothing) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    RunBuilder run = HealthySmallNetwork(seed, 700);
    const auto findings = FindingsOf(run);
    EXPECT_TRUE(findings.empty()) << seed << " " << findings[0].rule << ": " << findings[0].message;
  }
}

TEST(VanishingGradientTest, ReportsTheLayersThatReceiveNothing) {
  RunBuilder run;
  run.Between(0).Meta(kSmallNetwork);
  for (int64_t step = 0; step < 8; ++step) {
    run.Step(step).Stats("gradient/conv1.weight", NormalStats(0, 1e-9));
    run.Stats("gradient/conv2.weight", ZeroStats())
        .Stats("gradient/fc.weight", NormalStats(0, 0.1));
  }
  const auto findings = FindingsOf(run, "vanishing_gradient");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].tensor, "gradient/conv1.weight");
  EXPECT_EQ(findings[0].step, 0);
  EXPECT_EQ(findings[0].tensors.size(), 2U);
}

TEST(VanishingGradientTest, LeavesABiasToItsWeight) {
  // A bias in front of BatchNorm has a gradient of rounding errors.
  for (const double weight : {0.1, 1e-9}) {
    RunBuilder run;
    for (int64_t step = 0; step < 10; ++step) {
      run.Step(step).Stats("gradient/0.weight", NormalStats(0, weight));
      run.Stats("gradient/0.bias", NormalStats(0, 3.4e-8));
      run.Stats("gradient/rnn.weight_ih_l0", NormalStats(0, weight));
      run.Stats("gradient/rnn.bias_ih_l0", NormalStats(0, 3.4e-8));
      run.Stats("gradient/1.weight", NormalStats(0, 0.1)).Stats("gradient/1.bias", ZeroStats());
    }
    const auto findings = FindingsOf(run, "vanishing_gradient");
    EXPECT_EQ(findings.size(), weight < 1e-7 ? 1U : 0U);
    if (!findings.empty()) {
      EXPECT_THAT(findings[0].tensors, testing::UnorderedElementsAre(
                                           "gradient/0.weight", "gradient/0.bias",
                                           "gradient/rnn.weight_ih_l0", "gradient/rnn.bias_ih_l0"));
    }
  }
}

TEST(VanishingGradientTest, JudgesABiasWithoutAWeightButNotOneWhoseWeightWasNotCaptured) {
  for (const bool described : {false, true}) {
    RunBuilder run;
    run.Between(0).Meta(described ? kSmallNetwork : "{}");
    for (int64_t step = 0; step < 10; ++step) {
      run.Step(step).Stats("gradient/conv1.bias", NormalStats(0, 1e-9));
      run.Stats("gradient/fc.weight", NormalStats(0, 0.1));
    }
    EXPECT_EQ(FindingsOf(run, "vanishing_gradient").size(), described ? 0U : 1U);
  }
}

TEST(VanishingGradientTest, ReportsGradientsThatFadeWithDepth) {
  RunBuilder run;
  for (int64_t step = 0; step < 6; ++step) {
    run.Step(step);
    for (int layer = 0; layer < 10; ++layer) {
      run.Stats("gradient/layer" + std::to_string(layer) + ".weight",
                NormalStats(0, 1e-6 * std::pow(10, 0.7 * layer)));
    }
  }
  const auto findings = FindingsOf(run, "vanishing_gradient");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].tensor, "gradient/layer0.weight");
  EXPECT_THAT(findings[0].message, HasSubstr("powers of ten"));
}

TEST(VanishingGradientTest, LeavesConvergenceAndDeadLayersToOthers) {
  RunBuilder run;
  for (int64_t step = 0; step < 100; ++step) {
    const double level = std::exp2(-static_cast<double>(step));
    run.Step(step).Stats("gradient/a.weight", NormalStats(0, level));
    run.Stats("gradient/b.weight", NormalStats(0, level));
  }
  EXPECT_TRUE(FindingsOf(run, "vanishing_gradient").empty());
  EXPECT_FALSE(
      FindingsOf(run, "vanishing_gradient", {{"patience", "1"}, {"ignore_converged", "false"}})
          .empty());
  RunBuilder dead;
  for (int64_t step = 0; step < 20; ++step) {
    dead.Step(step).Stats("gradient/a.weight", ZeroStats());
    dead.Stats("gradient/b.weight", NormalStats(0, 1));
  }
  EXPECT_TRUE(FindingsOf(dead, "vanishing_gradient").empty());
}

TEST(VanishingGradientTest, ALayerThatVanishesAtMostStepsDoesNotOpenAndResolveInTurns) {
  RunBuilder run;
  for (int64_t step = 0; step < 60; ++step) {
    const double level = step > 6 && step % 6 == 0 ? 1.5e-7 : 1e-9;
    run.Step(step).Stats("gradient/a.weight", NormalStats(0, level));
    run.Stats("gradient/b.weight", NormalStats(0, 1));
  }
  EXPECT_THAT(EventsOf(run, "vanishing_gradient"),
              testing::ElementsAre("opened vanishing_gradient-1"));
}

RunBuilder WithGradients(const std::vector<double>& sizes) {
  RunBuilder run;
  for (int64_t step = 0; step < 8; ++step) {
    run.Step(step);
    for (size_t layer = 0; layer < sizes.size(); ++layer) {
      const double moving = 1 + 0.01 * static_cast<double>(step);
      run.Stats("gradient/" + std::to_string(layer) + ".weight",
                NormalStats(0, sizes[layer] * moving));
    }
  }
  return run;
}

TEST(VanishingGradientTest, SaysWhereItBeganAndWhetherTheGradientFadesOnItsWay) {
  RunBuilder fading = WithGradients({1e-9, 1e-8, 1e-4, 1e-2});
  RunBuilder tiny = WithGradients({4e-9, 3e-9, 1e-8, 1e-8});
  for (RunBuilder* run : {&fading, &tiny}) {
    const auto findings = FindingsOf(*run, "vanishing_gradient", {{"decay_decades", "0"}});
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].step, 0);
    EXPECT_THAT(*findings[0].cause,
                HasSubstr(run == &fading ? "fades on its way back" : "the model is as small"));
    EXPECT_THAT(*findings[0].try_,
                HasSubstr(run == &fading ? "residual" : "threshold of gradient clipping"));
  }
}

TEST(WeightUpdateRatioTest, ReportsUpdatesLargerThanTheWeights) {
  RunBuilder run;
  run.Step(0).Weight("fc.weight", NormalStats(0, 0.1)).Weight("fc.bias", ZeroStats());
  run.Step(1).Weight("fc.weight", NormalStats(0, 5)).Weight("fc.bias", NormalStats(0, 0.5));
  const auto findings = FindingsOf(run, "weight_update_ratio");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].tensors, std::vector<std::string>{"fc.weight"});
  EXPECT_EQ(findings[0].severity, Severity::kError);
}

// One update of this size at `step` of weights of norm 0.1 · 8, which it adds to at a right angle.
RunBuilder OneUpdate(const std::vector<int64_t>& captured, int64_t step, double update) {
  RunBuilder run;
  for (const int64_t at : captured) {
    const double size = at == step ? update : 0.001;
    run.Step(at).Scalar("learning_rate", at == step ? 2000 : 0.01);
    run.Weight("fc.weight", NormalStats(0, at < step ? 0.1 : std::hypot(0.1, update)));
    run.Stats("update/fc.weight", NormalStats(0, size));
  }
  return run;
}

TEST(WeightUpdateRatioTest, ComparesACapturedUpdateWithTheWeightsBeforeIt) {
  for (const auto& captured :
       {std::vector<int64_t>{0, 1, 2, 3, 4}, std::vector<int64_t>{0, 3, 9}}) {
    RunBuilder run = OneUpdate(captured, 3, 8.6);
    const auto findings = FindingsOf(run, "weight_update_ratio");
    ASSERT_EQ(findings.size(), 1U) << captured.size();
    EXPECT_EQ(findings[0].step, 3);
    EXPECT_THAT(findings[0].message, HasSubstr("fc.weight changed by 86 times its own norm"));
    EXPECT_THAT(*findings[0].cause, HasSubstr("2e+03"));
    RunBuilder fine = OneUpdate(captured, 3, 0.5);
    EXPECT_TRUE(FindingsOf(fine, "weight_update_ratio").empty());
  }
}

TEST(WeightUpdateRatioTest, LeavesOutTheFirstStepWhichOverwritesOnlyWhatWasDrawn) {
  RunBuilder run = OneUpdate({0, 1, 2}, 0, 8.6);
  EXPECT_TRUE(FindingsOf(run, "weight_update_ratio").empty());
}

TEST(WeightUpdateRatioTest, LeavesOutUpdatesOfWeightsThatWereZero) {
  RunBuilder run;
  run.Step(0).Weight("a", NormalStats(0, 0.5)).Stats("update/a", NormalStats(0, 0.5));
  run.Weight("b", ZeroStats()).Stats("update/b", ZeroStats());
  run.Step(1).Weight("b", NormalStats(0, 0.5)).Stats("update/b", NormalStats(0, 0.5));
  EXPECT_TRUE(FindingsOf(run, "weight_update_ratio").empty());
}

// One number on its way through zero, as the bias of one output.
TEST(WeightUpdateRatioTest, LeavesOutParametersOfAFewElements) {
  for (const int64_t elements : {1, 3, 4}) {
    RunBuilder run;
    for (int64_t step = 0; step < 3; ++step) {
      const double value = step == 1 ? 0.01 : 0.13;
      run.Step(step).Weight("bias", NormalStats(value, 0, elements));
      run.Stats("update/bias", NormalStats(step == 1 ? -0.12 : 0.12, 0, elements));
    }
    EXPECT_EQ(FindingsOf(run, "weight_update_ratio").empty(), elements < 4) << elements;
    EXPECT_EQ(FindingsOf(run, "weight_update_ratio", {{"least_elements", "1"}}).size(), 1U);
    EXPECT_EQ(StateOver(run, "weight_update_ratio").left_out.empty(), elements == 4) << elements;
  }
}

TEST(WeightUpdateRatioTest, ReportsTinyUpdatesOnlyWhileGradientsAreNot) {
  for (const double gradient : {1.0, 1e-9}) {
    RunBuilder run;
    for (int64_t step = 0; step < 15; ++step) {
      run.Step(step).Weight("fc.weight", NormalStats(0, 1));
      run.Stats("update/fc.weight", NormalStats(0, 1e-10));
      run.Stats("gradient/fc.weight", NormalStats(0, gradient));
    }
    EXPECT_EQ(FindingsOf(run, "weight_update_ratio").size(), gradient == 1.0 ? 1U : 0U);
  }
}

TEST(WeightUpdateRatioTest, LooksBackNumSteps) {
  RunBuilder run;
  for (int64_t step = 0; step < 5; ++step) {
    run.Step(step).Weight("fc.weight", NormalStats(0, std::pow(3, step)));
  }
  EXPECT_TRUE(FindingsOf(run, "weight_update_ratio").empty());
  EXPECT_EQ(FindingsOf(run, "weight_update_ratio", {{"num_steps", "3"}}).size(), 1U);
}

TEST(UnchangedTensorTest, FiresAtTheThirdEqualStepAndNotBefore) {
  tensor::TensorStats ones = NormalStats(1, 0);
  RunBuilder run;
  for (int64_t step = 0; step < 6; ++step) {
    run.Step(step).Stats("ones", step < 3 ? ones : NormalStats(static_cast<double>(step), 1));
  }
  const auto findings = FindingsOf(run, "unchanged_tensor", {{"tensor_regex", "ones"}});
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].step, 2);
  EXPECT_EQ(findings[0].last_step, 2);
}

TEST(UnchangedTensorTest, TreatsNanAsEqualOnlyWhenAsked) {
  RunBuilder run;
  for (int64_t step = 0; step < 4; ++step) {
    run.Step(step).Stats("x", NanStats(1));
  }
  EXPECT_TRUE(FindingsOf(run, "unchanged_tensor", {{"tensor_regex", "x"}}).empty());
  EXPECT_EQ(
      FindingsOf(run, "unchanged_tensor", {{"tensor_regex", "x"}, {"equal_nan", "true"}}).size(),
      1U);
}

TEST(UnchangedTensorTest, ReportsGradientsThatRepeatBitForBit) {
  RunBuilder run;
  for (int64_t step = 0; step < 4; ++step) {
    run.Step(step).Stats("gradient/w", NormalStats(0, 1));
    run.Stats("gradient/moving", NormalStats(0, 1 + 1e-9 * static_cast<double>(step)));
  }
  const auto findings = FindingsOf(run, "unchanged_tensor");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].tensors, std::vector<std::string>{"gradient/w"});
}

}  // namespace
}  // namespace wheeltapper::rules
