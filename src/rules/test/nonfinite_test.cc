// nonfinite: runs that hold NaN or infinity, and what is blamed for it.
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_fixture.h"
#include "small_network.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

TEST(NonfiniteTest, NamesTheFirstTensorInCausalOrder) {
  RunBuilder run;
  run.Between(0).Meta(kSmallNetwork);
  run.Step(1).Stats("gradient/fc.weight", NormalStats(0, 1));
  // What the script logged arrives before the step's tensors.
  run.Between(2).Scalar("loss/ce", std::nan(""));
  run.Step(2).Stats("conv1.weight", NormalStats(0, 1), {"weights"});
  for (const std::string& name : kSmallNetworkParameters) {
    run.Stats("gradient/" + name, NanStats(1));
  }
  run.Stats("output/conv1", NormalStats(0, 1)).Stats("output/relu2", NanStats(5));
  run.Stats("output/conv2", NanStats(3, 8192)).Stats("input/conv1", NormalStats(0, 1));
  const auto findings = FindingsOf(run, "nonfinite");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].tensor, "output/conv2");
  EXPECT_EQ(findings[0].module, "conv2");
  EXPECT_EQ(findings[0].step, 2);
  EXPECT_EQ(findings[0].severity, Severity::kCritical);
  EXPECT_THAT(findings[0].message, HasSubstr("output/conv2 holds 3 NaN of 8,192 values at step 2"));
  EXPECT_THAT(*findings[0].cause, HasSubstr("conv2 (Conv2d) is the first module"));
  EXPECT_EQ(findings[0].count, 9);
  EXPECT_EQ(findings[0].tensors[2], "loss/ce");
  EXPECT_EQ(findings[0].tensors[3], "gradient/fc.bias");  // deepest first
}

TEST(NonfiniteTest, BlamesTheLearningRateWhenWeightsGrewBefore) {
  RunBuilder run;
  for (int64_t step = 0; step < 4; ++step) {
    run.Step(step).Scalar("loss/ce", std::pow(100, step)).Scalar("lr", 5);
    run.Weight("fc.weight", NormalStats(0, 0.1 * std::pow(1000, step)));
  }
  run.Step(4).Scalar("loss/ce", std::numeric_limits<double>::infinity());
  const auto findings = FindingsOf(run, "nonfinite");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].cause, HasSubstr("the learning rate (5) is too high"));
  EXPECT_THAT(*findings[0].try_, HasSubstr("0.5"));
  EXPECT_EQ(findings[0].step, 4);
}

TEST(NonfiniteTest, BlamesTheDataWhenTheInputIsBad) {
  RunBuilder run;
  run.Step(7).Stats("input/conv1", NanStats(2)).Stats("output/conv1", NanStats(64));
  const auto findings = FindingsOf(run, "nonfinite");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].tensor, "input/conv1");
  EXPECT_THAT(*findings[0].cause, HasSubstr("input batch"));
}

TEST(NonfiniteTest, BlamesNoBackwardPassWhereGradientsOfManyRanksAreSummed) {
  RunBuilder run;
  run.Between(0).Meta(R"({"kind":"hyperparameters","world_size":2})");
  run.Step(0).Stats("output/conv1", NormalStats(0, 1)).Stats("gradient/conv1.weight", NanStats(1));
  const auto findings = FindingsOf(run, "nonfinite");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].cause, HasSubstr("it came from another rank's batch, or"));
}

TEST(NonfiniteTest, SaysThatTheValueCameUpInEvaluation) {
  RunBuilder run;
  run.Step(0).Stats("output/conv1", NormalStats(0, 1));
  run.Step(0, Mode::kEval).Scalar("loss/MSELoss", std::nan(""));
  const auto findings = FindingsOf(run, "nonfinite");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].cause, HasSubstr("it came up in evaluation"));
}

TEST(NonfiniteTest, ReportsWhatWasLoggedLastWhenNoStepFollows) {
  RunBuilder run;
  run.Step(0).Scalar("loss/ce", 1);
  run.Between(1).Scalar("loss/ce", std::nan(""));
  EXPECT_EQ(FindingsOf(run, "nonfinite").size(), 1U);
}

TEST(NonfiniteTest, SaysThatTensorsWereNotCapturedAtTheStepOfTheLoss) {
  RunBuilder run;
  run.Between(0).Meta(kSmallNetwork);
  for (int64_t step = 0; step < 120; ++step) {
    run.Step(step).Scalar("loss/ce", step < 115 ? 2.3 : std::nan(""));
    if (step % 40 == 0) {
      run.Weight("fc.weight", NormalStats(0, 0.1)).Stats("output/fc", NormalStats(0, 1));
    }
  }
  const auto findings = FindingsOf(run, "nonfinite");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].cause, "tensors were not captured at step 115, so the first is not known");
  EXPECT_THAT(*findings[0].try_,
              HasSubstr("wheeltapper run --every 1 --set capture.start=114 -- COMMAND"));
}

TEST(NonfiniteTest, BlamesTheLossOnlyWhenOutputsWereCapturedThere) {
  for (const bool outputs : {false, true}) {
    RunBuilder run;
    run.Step(3).Scalar("loss/ce", std::nan("")).Weight("fc.weight", NormalStats(0, 0.1));
    if (outputs) {
      run.Stats("output/fc", NormalStats(0, 1));
    }
    EXPECT_THAT(*FindingsOf(run, "nonfinite")[0].cause,
                HasSubstr(outputs ? "the loss itself" : "activations were not captured at step 3"));
  }
}

TEST(NonfiniteTest, BlamesTheDataWhenALinearLayerWithFiniteWeightsIsTheFirst) {
  for (const bool spoiled : {false, true}) {
    RunBuilder run;
    run.Between(0).Meta(kSmallNetwork);
    for (int64_t step = 0; step < 10; ++step) {
      const bool bad = step == 9;
      run.Step(step).Scalar("loss/ce", bad ? std::nan("") : 2.3);
      if (step % 8 != 0 && !bad) {
        continue;
      }
      // Weights are captured after the update.
      run.Weight("conv1.weight", bad && spoiled ? NanStats(64) : NormalStats(0, 0.1));
      run.Stats("output/conv1", bad ? NanStats(8) : NormalStats(0, 1));
      run.Stats("output/conv2", bad ? NanStats(64) : NormalStats(0, 1));
    }
    const auto findings = FindingsOf(run, "nonfinite");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].module, "conv1");
    EXPECT_THAT(*findings[0].cause,
                HasSubstr(spoiled ? "its weights were finite at step 8: look for NaN or infinity "
                                    "in the input data"
                                  : "its weights are finite: look for NaN or infinity in the "
                                    "input data"));
  }
}

TEST(NonfiniteTest, DoesNotBlameTheDataWhenTheInputIsKnownToBeFinite) {
  RunBuilder run;
  run.Between(0).Meta(kSmallNetwork);
  run.Step(0).Weight("conv1.weight", NormalStats(0, 0.1));
  run.Stats("input/conv1", NormalStats(0, 1)).Stats("output/conv1", NanStats(8));
  EXPECT_THAT(*FindingsOf(run, "nonfinite")[0].cause, HasSubstr("overflow"));
}

TEST(NonfiniteTest, DoesNotBlameTheDataWhenTheUpdateBeforeWasNotCaptured) {
  RunBuilder run;
  run.Between(0).Meta(kSmallNetwork);
  for (int64_t step = 0; step < 9; ++step) {
    const bool bad = step == 8;
    // The backward pass of step 7 made NaN: its loss is finite, the weights after it are not.
    run.Step(step).Scalar("loss/ce", bad ? std::nan("") : 2.3);
    if (step == 4 || bad) {
      run.Weight("conv1.weight", bad ? NanStats(64) : NormalStats(0, 0.1));
      run.Stats("output/conv1", bad ? NanStats(64) : NormalStats(0, 1));
    }
  }
  const Finding finding = FindingsOf(run, "nonfinite").at(0);
  EXPECT_THAT(*finding.cause, HasSubstr("or the update of step 7 made the weights so"));
  EXPECT_THAT(*finding.try_, HasSubstr("--every 1 --set capture.start=7"));
}

TEST(NonfiniteTest, BlamesWeightsThatHaveGrownHugeForAnOverflow) {
  RunBuilder run;
  run.Between(0).Meta(
      R"({"kind":"model","modules":[{"path":"rnn","type":"RNN","parameters":["rnn.weight_hh_l0"]}]})");
  run.Step(0).Scalar("lr", 10).Weight("rnn.weight_hh_l0", NormalStats(0, 2e9));
  run.Step(1).Stats("output/rnn:0", NanStats(7)).Weight("rnn.weight_hh_l0", NanStats(64));
  const Finding finding = FindingsOf(run, "nonfinite").at(0);
  EXPECT_THAT(*finding.cause, HasSubstr("weights have grown to 6e+09, and the product overflowed"));
  EXPECT_THAT(*finding.try_, HasSubstr("learning rate"));
}

TEST(NonfiniteTest, GoesOnWhereNothingIsCapturedAndResolvesWhereItIs) {
  RunBuilder run;
  for (int64_t step = 0; step < 60; ++step) {
    run.Step(step).Scalar("loss/ce", 1);
    if (step % 10 == 0) {
      run.Stats("output/mask", NanStats(3));
    }
  }
  EXPECT_EQ(FindingsOf(run, "nonfinite").at(0).state, FindingState::kOpen);
  for (int64_t step = 60; step < 65; ++step) {
    run.Step(step).Scalar("loss/ce", 1).Stats("output/mask", NormalStats(0, 1));
  }
  const auto findings = FindingsOf(run, "nonfinite");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].state, FindingState::kResolved);
  EXPECT_EQ(findings[0].last_step, 50);
}

TEST(NonfiniteTest, ForgetsANameThatIsNotSeenAgain) {
  for (const char* kind : {"scalar", "tensor", "evaluation", "rare scalar"}) {
    const std::string name = kind;
    RunBuilder run;
    for (int64_t step = 0; step < 600; ++step) {
      run.Step(step).Scalar("loss/ce", 1).Stats("output/fc", NormalStats(0, 1));
      if (name == "scalar" && step == 50) {
        run.Scalar("metric", std::nan(""));
      } else if (name == "tensor" && step == 50) {
        run.Stats("output/mask", NanStats(3));
      } else if (name == "evaluation" && step == 50) {
        run.Between(step, Mode::kEval).Scalar("val_loss", std::nan(""));
      } else if (name == "rare scalar" && step % 150 == 1) {
        run.Scalar("val_loss", step > 200 ? std::nan("") : 1);
      }
    }
    const auto findings = FindingsOf(run, "nonfinite");
    ASSERT_EQ(findings.size(), 1U) << name;
    const bool is_over = name == "scalar" || name == "tensor";
    EXPECT_EQ(findings[0].state, is_over ? FindingState::kResolved : FindingState::kOpen) << name;
  }
}

TEST(NonfiniteTest, NamesTheRankThatWasFirstWhicheverIsReadFirst) {
  for (const bool culprit_first : {false, true}) {
    RunBuilder run;
    run.Between(0).Meta(R"({"kind":"hyperparameters","world_size":2})");
    for (const bool culprit : {culprit_first, !culprit_first}) {
      const int32_t rank = culprit ? 1 : 0;
      run.Step(6, Mode::kTrain, rank).Meta(R"({"kind":"hyperparameters","world_size":2})");
      run.Stats("output/conv1", NormalStats(0, 1));
      run.Step(7, Mode::kTrain, rank).Stats("gradient/conv1.weight", NanStats(64));
      run.Stats("output/conv1", culprit ? NanStats(8) : NormalStats(0, 1));
    }
    const auto findings = FindingsOf(run, "nonfinite");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].tensor, "output/conv1");
    EXPECT_THAT(findings[0].message, HasSubstr("at step 7 on rank 1"));
    EXPECT_THAT(*findings[0].cause, testing::Not(HasSubstr("another rank")));
  }
}

}  // namespace
}  // namespace wheeltapper::rules
