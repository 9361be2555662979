// Rules about tensors: for each a run that breaks it and runs that do not.
#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_fixture.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

constexpr const char* kModel = R"({"kind":"model","modules":[
  {"path":"conv1","type":"Conv2d","parameters":["conv1.weight","conv1.bias"]},
  {"path":"relu1","type":"torch.nn.modules.activation.ReLU","parameters":[]},
  {"path":"conv2","type":"Conv2d","parameters":["conv2.weight","conv2.bias"]},
  {"path":"relu2","type":"ReLU","parameters":[]},
  {"path":"fc","type":"Linear","parameters":["fc.weight","fc.bias"]}],
 "parameters":[{"name":"conv1.weight","numel":64,"requires_grad":true},
  {"name":"conv1.bias","numel":8,"requires_grad":true},
  {"name":"conv2.weight","numel":64,"requires_grad":true},
  {"name":"conv2.bias","numel":8,"requires_grad":true},
  {"name":"fc.weight","numel":64,"requires_grad":true},
  {"name":"fc.bias","numel":8,"requires_grad":true}]})";

const std::vector<std::string> kParameterNames = {"conv1.weight", "conv1.bias", "conv2.weight",
                                                  "conv2.bias",   "fc.weight",  "fc.bias"};

// What a small network looks like while it learns: everything moves a little, gradients shrink.
RunBuilder HealthyRun(unsigned seed, int64_t steps) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1);
  RunBuilder run;
  run.Between(0).Meta(kModel).Meta(
      R"({"kind":"optimizer","parameters":["conv1.weight","conv1.bias","conv2.weight",)"
      R"("conv2.bias","fc.weight","fc.bias"]})");
  for (int64_t step = 0; step < steps; ++step) {
    const double shrink = std::exp2(-static_cast<double>(step) / 20);
    run.Step(step).Scalar("loss/ce", 2.3 * shrink).Scalar("lr", 0.1);
    for (const std::string& name : kParameterNames) {
      const bool starts_at_zero = name.ends_with("bias") && step == 0;
      run.Weight(name, starts_at_zero
                           ? ZeroStats()
                           : NormalStats(0.01 * normal(random), 0.1 + 1e-4 * normal(random)));
      run.Stats("gradient/" + name, NormalStats(0, shrink * std::exp(0.5 * normal(random))));
    }
    for (const char* name : {"relu1", "relu2"}) {
      tensor::TensorStats stats = NormalStats(1, 0.5 + 0.01 * normal(random), 8192);
      stats.negative_count = 0;
      stats.zero_count = 4000;
      run.Stats(std::string("output/") + name, stats, {"activations"});
    }
  }
  return run;
}

TEST(BuiltinRulesTest, AllStaySilentOnHealthyTrainingThatConvergesToNothing) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    RunBuilder run = HealthyRun(seed, 700);
    const auto findings = FindingsOf(run);
    EXPECT_TRUE(findings.empty()) << seed << " " << findings[0].rule << ": " << findings[0].message;
  }
}

TEST(NonfiniteTest, NamesTheFirstTensorInCausalOrder) {
  RunBuilder run;
  run.Between(0).Meta(kModel);
  run.Step(1).Stats("gradient/fc.weight", NormalStats(0, 1));
  // What the script logged arrives before the step's tensors.
  run.Between(2).Scalar("loss/ce", std::nan(""));
  run.Step(2).Stats("conv1.weight", NormalStats(0, 1), {"weights"});
  for (const std::string& name : kParameterNames) {
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
  run.Between(0).Meta(kModel);
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
    run.Between(0).Meta(kModel);
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
  run.Between(0).Meta(kModel);
  run.Step(0).Weight("conv1.weight", NormalStats(0, 0.1));
  run.Stats("input/conv1", NormalStats(0, 1)).Stats("output/conv1", NanStats(8));
  EXPECT_THAT(*FindingsOf(run, "nonfinite")[0].cause, HasSubstr("overflow"));
}

TEST(NonfiniteTest, DoesNotBlameTheDataWhenTheUpdateBeforeWasNotCaptured) {
  RunBuilder run;
  run.Between(0).Meta(kModel);
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

TEST(VanishingGradientTest, ReportsTheLayersThatReceiveNothing) {
  RunBuilder run;
  run.Between(0).Meta(kModel);
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
    run.Between(0).Meta(described ? kModel : "{}");
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

TEST(DeadReluTest, NamesTheLayerItsFirstStepAndTheBiasThatDidIt) {
  RunBuilder run;
  run.Between(0).Meta(kModel);
  for (int64_t step = 0; step < 5; ++step) {
    run.Step(step).Weight("conv2.bias", NormalStats(-100, 0.1));
    run.Stats("output/relu1", NormalStats(1, 0.5)).Stats("output/relu2", ZeroStats(8192));
    run.Stats("gradient/conv2.weight", ZeroStats()).Stats("gradient/fc.bias", NormalStats(0, 1));
  }
  const auto findings = FindingsOf(run, "dead_relu");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].tensor, "output/relu2");
  EXPECT_EQ(findings[0].module, "relu2");
  EXPECT_EQ(findings[0].step, 0);
  EXPECT_EQ(findings[0].last_step, 4);
  EXPECT_THAT(findings[0].message, HasSubstr("relu2 (after conv2) is dead: 0 of 8,192 outputs"));
  EXPECT_THAT(*findings[0].cause, HasSubstr("conv2.bias averages -100 from the start"));
  EXPECT_EQ(findings[0].try_, "start conv2.bias at 0");
}

TEST(DeadReluTest, ReportsOnlyWhatTheBoundProves) {
  // 0.4 % active: more than half of the units are below 1 %. 0.6 %: nothing is proven.
  for (const auto& [active, expected] : {std::pair(32, 1U), std::pair(50, 0U)}) {
    RunBuilder run;
    run.Between(0).Meta(kModel);
    for (int64_t step = 0; step < 5; ++step) {
      tensor::TensorStats stats = ZeroStats(8192);
      stats.zero_count = 8192 - active;
      run.Step(step).Stats("output/relu1", stats);
    }
    EXPECT_EQ(FindingsOf(run, "dead_relu").size(), expected) << active;
  }
}

// A ReLU of 8,192 outputs, of which so many are active at each step.
RunBuilder ActiveOutputs(const std::vector<int64_t>& active) {
  RunBuilder run;
  run.Between(0).Meta(kModel);
  for (size_t step = 0; step < active.size(); ++step) {
    tensor::TensorStats stats = ZeroStats(8192);
    stats.zero_count = 8192 - active[step];
    run.Step(static_cast<int64_t>(step)).Stats("output/relu1", stats);
  }
  return run;
}

TEST(DeadReluTest, GivesTheShareThatWasMeasured) {
  RunBuilder run = ActiveOutputs({32, 8, 16});
  auto findings = FindingsOf(run, "dead_relu");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(findings[0].message,
              HasSubstr("at least 60 % of the units of relu1 (after conv1) are dead, active for "
                        "less than 1 % of samples: 16 of 8,192 outputs (0.195 %) are active at "
                        "step 2, at most 0.391 % at 3 captured steps since step 0"));
  EXPECT_THAT(*findings[0].cause, testing::Not(HasSubstr("every sample")));
  RunBuilder longer = ActiveOutputs({32, 8, 16, 4});
  EXPECT_THAT(FindingsOf(longer, "dead_relu")[0].message,
              HasSubstr("4 of 8,192 outputs (0.0488 %) are active at step 3, at most 0.391 % at 4 "
                        "captured steps since step 0"))
      << "what lasts is said as of the latest step";
  RunBuilder none = ActiveOutputs({0, 0, 0});
  findings = FindingsOf(none, "dead_relu");
  EXPECT_THAT(findings[0].message, HasSubstr("relu1 (after conv1) is dead: 0 of 8,192 outputs are "
                                             "active at step 2, and so at 3 captured steps since"));
  EXPECT_THAT(*findings[0].cause, HasSubstr("for every sample"));
}

TEST(DeadReluTest, ALayerNearItsThresholdDoesNotOpenAndResolveInTurns) {
  // 0.5 % decide. Dead at first; then below it for three steps of five, and above it by little.
  std::vector<int64_t> active(5, 8);
  for (int round = 0; round < 20; ++round) {
    for (const int64_t count : {45, 50, 38, 39, 38}) {
      active.push_back(count);
    }
  }
  RunBuilder near = ActiveOutputs(active);
  EXPECT_THAT(EventsOf(near, "dead_relu"), testing::ElementsAre("opened dead_relu-1"));
  // Dead at two of three steps: no three in a row, and no recovery either.
  std::vector<int64_t> mostly(5, 8);
  for (int round = 0; round < 20; ++round) {
    mostly.insert(mostly.end(), {400, 8, 8});
  }
  RunBuilder dead = ActiveOutputs(mostly);
  EXPECT_THAT(EventsOf(dead, "dead_relu"), testing::ElementsAre("opened dead_relu-1"));
  std::vector<int64_t> well(5, 8);
  well.resize(20, 400);
  RunBuilder recovered = ActiveOutputs(well);
  EXPECT_THAT(EventsOf(recovered, "dead_relu"),
              testing::ElementsAre("opened dead_relu-1", "resolved dead_relu-1"));
}

TEST(DeadReluTest, ABorderlineLayerDoesNotKeepTheFindingOfAnotherOneOpen) {
  RunBuilder run;
  run.Between(0).Meta(kModel);
  for (int64_t step = 0; step < 20; ++step) {
    tensor::TensorStats borderline = ZeroStats(8192);
    borderline.zero_count = 8192 - 50;
    run.Step(step).Stats("output/relu1", step < 5 ? ZeroStats(8192) : NormalStats(1, 0.5));
    run.Stats("output/relu2", borderline);
  }
  EXPECT_THAT(EventsOf(run, "dead_relu"),
              testing::ElementsAre("opened dead_relu-1", "resolved dead_relu-1"));
}

TEST(DeadReluTest, BlamesABiasOnlyWhereItMakesTheLayersOutputNegative) {
  for (const double bias : {-0.01, -5.0}) {
    RunBuilder run;
    run.Between(0).Meta(kModel);
    for (int64_t step = 0; step < 5; ++step) {
      run.Step(step).Weight("conv2.bias", NormalStats(bias, 0.001));
      run.Stats("output/conv2", NormalStats(-6, 0.5)).Stats("output/relu2", ZeroStats(8192));
    }
    const auto findings = FindingsOf(run, "dead_relu");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].cause->find("conv2.bias averages") != std::string::npos, bias == -5.0);
  }
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

TEST(DeadReluTest, FindsADeadLayerByItsGradientsWhenOutputsAreNotCaptured) {
  RunBuilder run;
  run.Between(0).Meta(kModel);
  for (int64_t step = 0; step < 12; ++step) {
    run.Step(step);
    for (const std::string& name : kParameterNames) {
      run.Stats("gradient/" + name, name.starts_with("fc") ? NormalStats(0, 1) : ZeroStats());
    }
  }
  const auto findings = FindingsOf(run, "dead_relu");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].module, "conv2");  // conv1 only suffers from it
}

RunBuilder DeadFirstLayer(const std::vector<int64_t>& steps, bool with_outputs) {
  RunBuilder run;
  for (const int64_t step : steps) {
    run.Step(step).Stats("gradient/0.weight", ZeroStats()).Stats("gradient/0.bias", ZeroStats());
    run.Stats("gradient/1.weight", NormalStats(0, 1));
    if (with_outputs) {
      run.Stats("output/0", NormalStats(-1, 0.1), {"activations"});
    }
  }
  return run;
}

TEST(DeadReluTest, DecidesByFewCapturedStepsThatSpanMuchOfTheTraining) {
  RunBuilder undecided = DeadFirstLayer({0, 1, 2, 3, 4, 8}, false);
  EXPECT_TRUE(FindingsOf(undecided, "dead_relu").empty());
  RunBuilder decided = DeadFirstLayer({0, 1, 2, 3, 4, 8, 80}, false);
  auto findings = FindingsOf(decided, "dead_relu");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(findings[0].message, HasSubstr("for 7 captured steps up to step 80"));
  RunBuilder thinned = DeadFirstLayer({0, 1, 2, 3, 4, 8, 80, 160, 320}, false);
  findings = FindingsOf(thinned, "dead_relu");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(findings[0].message, HasSubstr("for 9 captured steps up to step 320"));
  EXPECT_EQ(findings[0].severity, Severity::kWarning);
  RunBuilder brief = DeadFirstLayer({0, 1, 2, 3, 4, 8, 16, 32}, false);
  EXPECT_TRUE(FindingsOf(brief, "dead_relu").empty());
  RunBuilder few = DeadFirstLayer({0, 100, 200, 300}, false);
  EXPECT_TRUE(FindingsOf(few, "dead_relu").empty());
}

// A ReLU that is dead from `dead_from` on, and the layer before it, in a run of few captured steps.
RunBuilder DeadLate(int64_t dead_from, bool outputs, bool rests = true) {
  RunBuilder run;
  run.Between(0).Meta(kModel);
  for (const int64_t step : {0, 1, 2, 3, 4, 8, 80, 160}) {
    const bool dead = step >= dead_from;
    const double moving = 1 + 0.01 * static_cast<double>(rests ? std::min(step, dead_from) : step);
    run.Step(step).Weight("conv1.weight", NormalStats(0, moving));
    run.Stats("gradient/conv1.weight", dead ? ZeroStats() : NormalStats(0, 1));
    run.Stats("gradient/fc.weight", NormalStats(0, 1 + 0.01 * static_cast<double>(step)));
    if (outputs) {
      run.Stats("output/relu1", dead ? ZeroStats(8192) : NormalStats(1, 0.5, 8192));
    }
  }
  return run;
}

TEST(DeadReluTest, TheEndOfAShortRunReportsWhatItsLastCapturedStepsAllShow) {
  for (const bool outputs : {false, true}) {
    RunBuilder run = DeadLate(50, outputs);
    const auto findings = FindingsOf(run, "dead_relu");
    ASSERT_EQ(findings.size(), 1U) << outputs;
    EXPECT_EQ(findings[0].severity, outputs ? Severity::kError : Severity::kWarning);
    EXPECT_EQ(findings[0].tensor, outputs ? "output/relu1" : "gradient/conv1.weight");
    EXPECT_EQ(findings[0].step, 80);
    RunBuilder once = DeadLate(160, outputs);
    EXPECT_TRUE(FindingsOf(once, "dead_relu").empty());
  }
}

TEST(DeadReluTest, TheEndOfAShortRunSaysNothingOfZeroGradientsWhileTheWeightsMove) {
  RunBuilder run = DeadLate(50, false, false);  // a layer that is dropped at random trains between
  EXPECT_TRUE(FindingsOf(run, "dead_relu").empty());
}

TEST(DeadReluTest, AdvisesToCaptureActivationsOnlyWhereTheyAreNotCaptured) {
  for (const bool captured : {false, true}) {
    RunBuilder run = DeadFirstLayer({0, 100, 200, 300, 400}, captured);
    const auto findings = FindingsOf(run, "dead_relu");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_THAT(*findings[0].try_,
                HasSubstr(captured ? "a ReLU called as a function" : "capture activations"));
  }
}

// Four layers with mean |g| of about these sizes, for eight captured steps.
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
