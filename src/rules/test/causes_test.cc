// What is named as the cause of large and non-finite values: gradients that nothing clears,
// float16, or the learning rate.
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_fixture.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr const char* kKept =
    R"({"kind":"kept_gradient","parameter":"fc.bias","step":3,"read":true})";
constexpr const char* kModel =
    R"({"kind":"model","modules":[)"
    R"({"path":"fc","type":"torch.nn.modules.linear.Linear","parameters":["fc.weight"]},)"
    R"({"path":"relu","type":"torch.nn.modules.activation.ReLU","parameters":[]}],)"
    R"("parameters":[{"name":"fc.weight","numel":64,"requires_grad":true}]})";

// Weights, updates and outputs that grow a hundredfold each step from step 4 on.
RunBuilder GrowingRun() {
  RunBuilder run;
  run.Between(0).Meta(kModel);
  for (int64_t step = 0; step < 12; ++step) {
    const double growth = std::pow(100, std::max<int64_t>(0, step - 6));
    run.Step(step).Scalar("learning_rate", 0.01).Scalar("loss/ce", growth);
    run.Weight("fc.weight", NormalStats(0, 0.1 * growth));
    run.Stats("update/fc.weight", NormalStats(0, 1e-3 * growth * growth));
    run.Stats("output/fc", NormalStats(0, growth), {"activations"});
    if (step == 3) {
      run.Meta(kKept);
    }
  }
  run.Step(12).Scalar("loss/ce", kInfinity);
  return run;
}

TEST(CausesTest, BlamesGradientsThatAddUpForWhatGrows) {
  for (const char* rule : {"nonfinite", "exploding_tensor", "weight_update_ratio"}) {
    RunBuilder run = GrowingRun();
    const auto findings = FindingsOf(run, rule);
    ASSERT_EQ(findings.size(), 1U) << rule;
    EXPECT_THAT(*findings[0].cause, HasSubstr("gradients add up from step to step (fc.bias"))
        << rule;
    EXPECT_THAT(*findings[0].cause, Not(HasSubstr("learning rate"))) << rule;
    EXPECT_THAT(*findings[0].try_, HasSubstr("zero_grad()")) << rule;
  }
}

TEST(CausesTest, SaysOfADeadLayerThatGradientsAddUp) {
  RunBuilder run;
  run.Between(0).Meta(kModel).Meta(kKept);
  for (int64_t step = 0; step < 40; ++step) {
    run.Step(step).Stats("output/relu", ZeroStats(), {"activations"});
  }
  const auto findings = FindingsOf(run, "dead_relu");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].cause, HasSubstr("; gradients add up from step to step (fc.bias"));
  EXPECT_THAT(*findings[0].try_, HasSubstr("zero_grad()"));
}

TEST(CausesTest, BlamesGradientsThatAddUpForTheLoss) {
  for (const bool diverges : {false, true}) {
    RunBuilder run;
    for (int step = 0; step < 120; ++step) {
      run.Step(step).Scalar("loss/ce", diverges ? 2.3 * std::exp2(step / 10.0) : 2.3);
      if (step == 1) {
        run.Meta(R"({"kind":"kept_gradient","parameter":"fc.weight","step":1})");
      }
    }
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_THAT(*findings[0].cause, HasSubstr("gradients add up from step to step (fc.weight"));
    EXPECT_THAT(*findings[0].try_, HasSubstr("zero_grad()"));
  }
}

TEST(CausesTest, SaysOfGradientsThatItCouldNotReadThatTheySeemToAddUp) {
  RunBuilder run;
  for (int step = 0; step < 120; ++step) {
    run.Step(step).Scalar("loss/ce", 2.3);
    if (step == 1) {
      run.Meta(R"({"kind":"kept_gradient","parameter":"fc.weight","step":1,"read":false})");
    }
  }
  const auto findings = FindingsOf(run, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].cause, HasSubstr("gradients seem to add up from step to step"));
  EXPECT_THAT(*findings[0].try_, HasSubstr("through .data"));
}

TEST(CausesTest, DoubtsTheLearningRateWhereALossRisesAndNoWeightDoes) {
  for (const bool grows : {false, true}) {
    RunBuilder run;
    for (int step = 0; step < 60; ++step) {
      const double level = step < 30 ? 1 : std::exp2(step - 30);
      run.Step(step).Scalar("loss/ce", 1e-3 * level).Scalar("learning_rate", 0.01);
      run.Weight("fc.weight", NormalStats(0, grows ? level : 1));
    }
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_THAT(*findings[0].cause, HasSubstr("the learning rate (0.01) is too high"));
    EXPECT_EQ(findings[0].cause->find("or what the loss is computed from") == std::string::npos,
              grows);
  }
}

TEST(CausesTest, BlamesTheSignOfALossThatIsMaximisedForItsOverflow) {
  for (const double sign : {-1.0, 1.0}) {
    RunBuilder run;
    for (int step = 0; step < 30; ++step) {
      const double loss = 2 * std::exp2(2 * step);
      run.Step(step).Scalar("loss/CrossEntropyLoss", loss).Scalar("loss/backward", sign * loss);
    }
    run.Step(30)
        .Scalar("loss/CrossEntropyLoss", kInfinity)
        .Scalar("loss/backward", sign * kInfinity);
    const auto findings = FindingsOf(run, "nonfinite");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_THAT(*findings[0].cause,
                HasSubstr(sign < 0 ? "from the negative of loss/CrossEntropyLoss"
                                   : "the learning rate is too high"));
  }
}

TEST(CausesTest, SaysOfAFlatLossThatTheLearningRateIsZero) {
  RunBuilder run;
  for (int step = 0; step < 150; ++step) {
    run.Step(step).Scalar("loss/ce", 2.3).Scalar("learning_rate", step < 20 ? 0.1 : 0);
  }
  const auto findings = FindingsOf(run, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].cause,
              HasSubstr("the learning rate fell from 0.1 to 0, and moves nothing since step 20"));
  EXPECT_THAT(*findings[0].try_, HasSubstr("schedule"));
}

TEST(CausesTest, DoesNotBlameARateThatBecameZeroAfterTheLossHadLongBeenFlat) {
  RunBuilder run;
  for (int step = 0; step < 150; ++step) {
    run.Step(step).Scalar("loss/ce", 2.3).Scalar("learning_rate", step < 90 ? 0.1 : 0);
  }
  const auto findings = FindingsOf(run, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].cause, Not(HasSubstr("moves nothing")));
}

TEST(CausesTest, SaysOfADeadLayerThatItsWeightsAreZero) {
  for (const bool from_start : {true, false}) {
    RunBuilder run;
    run.Between(0).Meta(kModel);
    for (int64_t step = 0; step < 40; ++step) {
      const bool is_dead = from_start || step > 20;
      run.Step(step).Weight("fc.weight", is_dead ? ZeroStats() : NormalStats(0, 1));
      run.Stats("output/relu", is_dead ? ZeroStats() : NormalStats(0, 1), {"activations"});
    }
    const auto findings = FindingsOf(run, "dead_relu");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_THAT(*findings[0].cause, HasSubstr("every element of fc.weight is zero"));
    EXPECT_THAT(*findings[0].try_, HasSubstr(from_start ? "at random" : "sets fc.weight to zero"));
  }
}

TEST(CausesTest, GradientsThatFadeOverTheDepthAreOneFindingWithTheLayersTheyLeave) {
  RunBuilder run;
  for (int64_t step = 0; step < 20; ++step) {
    run.Step(step);
    for (int layer = 0; layer < 8; ++layer) {
      run.Stats("gradient/" + std::to_string(layer) + ".weight",
                NormalStats(0, std::pow(10, 1.4 * (layer - 8))));
    }
  }
  const auto findings = FindingsOf(run, "vanishing_gradient");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(findings[0].message, HasSubstr("Gradients fade by"));
  ASSERT_EQ(findings[0].also.size(), 1U);
}

TEST(CausesTest, SaysThatAnotherModelHasNoOptimizer) {
  for (const bool other_is_trained : {false, true}) {
    RunBuilder run;
    run.Between(0).Meta(
        R"({"kind":"model","modules":[],"parameters":[{"name":"a.weight","numel":64,"requires_grad":true}]})");
    run.Meta(
        R"({"kind":"model","modules":[],"parameters":[{"name":"b.weight","numel":64,"requires_grad":true}]})");
    run.Meta(std::string(R"({"kind":"optimizer","type":"SGD","parameters":["b.weight")") +
             (other_is_trained ? R"(,"a.weight")" : "") + "]}");
    for (int64_t step = 0; step < 8; ++step) {
      run.Step(step).Scalar("loss/backward", 1).Weight("b.weight", NormalStats(0, 1));
      run.Scalar("wheeltapper/steps_without_gradient", static_cast<double>(step + 1));
    }
    const auto findings = FindingsOf(run, "optimizer_no_op");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].cause->find("that of a.weight, has no optimizer") == std::string::npos,
              other_is_trained)
        << *findings[0].cause;
  }
}

// The return that an agent learns to earn grows, and with it the loss of what predicts it.
TEST(CausesTest, ARiseWithoutDrivenWeightsIsAWarning) {
  for (const bool driven : {false, true}) {
    RunBuilder run;
    for (int step = 0; step < 200; ++step) {
      const bool rises = step > 100;
      run.Step(step).Scalar("learning_rate", 0.01);
      run.Scalar("loss/backward", rises ? 300 : 30 + 30 * std::exp2(-step / 20.0));
      const double slow = 1 + step / 100.0;  // as weights grow that learn
      run.Weight("fc.weight", NormalStats(0, rises && driven ? 40 : slow));
    }
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].severity, driven ? Severity::kError : Severity::kWarning);
    EXPECT_EQ(findings[0].try_->find("reinforcement learning") == std::string::npos, driven);
  }
}

TEST(CausesTest, AWarningBecomesAnErrorWhenTheNextCaptureShowsDrivenWeights) {
  RunBuilder run;
  for (int step = 0; step < 260; ++step) {
    run.Step(step).Scalar("learning_rate", 0.01);
    run.Scalar("loss/backward", step > 110 ? 300 : 30 + 30 * std::exp2(-step / 20.0));
    if (step % 50 == 0) {
      run.Weight("fc.weight", NormalStats(0, step > 110 ? 40 : 1));
    }
  }
  const auto findings = FindingsOf(run, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].severity, Severity::kError);
}

TEST(CausesTest, WhatWeightsGrowByTheNextCaptureIsJudgedByItsPace) {
  // The loss rises at step 44; the weights are captured at 40 and at 80.
  for (const auto& [later, severity] :
       {std::pair(1.8, Severity::kWarning), std::pair(4.0, Severity::kError)}) {
    RunBuilder run;
    for (int64_t step = 0; step <= 120; ++step) {
      run.Step(step).Scalar("loss/ce", step < 44 ? 2.3 : 80);
      if (step % 40 == 0) {
        run.Weight("fc.weight", NormalStats(0, step < 80 ? 1 : later));
      }
    }
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].severity, severity) << later;
  }
}

TEST(CausesTest, SaysOfALossWithoutALowestValueThatItsSignIsWrong) {
  for (const double sign : {-1.0, 1.0}) {
    RunBuilder run;
    for (int step = 0; step < 40; ++step) {
      run.Step(step).Scalar("loss/backward", sign * 2.3 * std::exp2(step));
    }
    run.Step(40).Scalar("loss/backward", sign * kInfinity);
    const auto findings = FindingsOf(run, "nonfinite");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].cause->find("falls without an end") == std::string::npos, sign > 0);
    EXPECT_EQ(findings[0].cause->find("loss/backward grew") == std::string::npos, sign < 0)
        << "said once";
  }
}

TEST(CausesTest, OneValueFarBelowZeroIsNoLossWithoutALowestValue) {
  RunBuilder run;
  for (int step = 0; step < 40; ++step) {
    run.Step(step).Scalar("loss/backward", step == 20 ? -1e9 : 2.3);
  }
  run.Step(40).Scalar("loss/backward", 1e20);
  run.Step(41).Scalar("loss/backward", kInfinity);
  const auto findings = FindingsOf(run, "nonfinite");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].cause->find("without an end"), std::string::npos);
}

TEST(CausesTest, ALossWithoutALowestValueIsKnownWhenItHasBlownUpAsWell) {
  for (const double depth : {1e9, 50.0}) {
    RunBuilder run;
    for (int step = 0; step < 40; ++step) {
      run.Step(step).Scalar("loss/backward", step < 39 ? -depth * step / 38 : 1e20);
      run.Weight("fc.weight", NormalStats(0, step < 39 ? 1 : 1e9));
    }
    run.Step(40).Scalar("loss/backward", kInfinity);
    const auto findings = FindingsOf(run, "nonfinite");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].cause->find("falls without an end, from -0 at step 0 to -1e+09 at step "
                                      "38") != std::string::npos,
              depth == 1e9)
        << *findings[0].cause;
  }
}

TEST(CausesTest, NamesTheUpdateThatThrewOffTheWeightsOfALayerThatOverflows) {
  for (const double update : {100.0, 1.0}) {
    RunBuilder run;
    run.Between(0).Meta(kModel);
    run.Step(0)
        .Weight("fc.weight", NormalStats(0, 100))
        .Stats("update/fc.weight", NormalStats(0, update));
    run.Step(1).Stats("output/fc", NanStats(5), {"activations"});
    const auto findings = FindingsOf(run, "nonfinite");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].cause->find("the update of step 0 had thrown its weights off") ==
                  std::string::npos,
              update < 100)
        << *findings[0].cause;
  }
}

TEST(CausesTest, DoesNotAdviseToCaptureTheFirstStepThatWasCaptured) {
  RunBuilder run;
  run.Between(0).Meta(kModel);
  run.Step(0).Stats("output/fc", NanStats(64), {"activations"});
  const auto findings = FindingsOf(run, "nonfinite");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].try_, HasSubstr("check the batch of step 0"));
  EXPECT_THAT(*findings[0].try_, Not(HasSubstr("capture.start")));
}

TEST(CausesTest, SaysNothingOfDeadUnitsInOutputsThatHoldNan) {
  RunBuilder run;
  run.Between(0).Meta(kModel);
  for (int64_t step = 0; step < 40; ++step) {
    tensor::TensorStats stats = ZeroStats();
    stats.nan_count = 60;
    stats.zero_count = 4;
    run.Step(step).Stats("output/relu", stats, {"activations"});
  }
  EXPECT_TRUE(FindingsOf(run, "dead_relu").empty());
}

TEST(CausesTest, SaysOfAFlatLossThatTheWeightsHardlyMove) {
  for (const double moves : {1e-5, 0.1}) {
    RunBuilder run;
    for (int step = 0; step < 150; ++step) {
      run.Step(step).Scalar("loss/ce", 2.3).Scalar("learning_rate", 1e-6);
      run.Weight("fc.weight", NormalStats(0, 1 + moves * step / 150));
    }
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].cause->find("(1e-06) is too low") == std::string::npos, moves > 1e-3);
  }
}

// One step with an infinite value in a tensor of dtype float16, of the optimizer of that type.
std::vector<Finding> OverflowOf(const std::string& tensor, const std::string& optimizer,
                                tensor::DType dtype = tensor::DType::kF16, double eps = 0) {
  RunBuilder run;
  run.Between(0).Meta(kModel).Meta(R"({"kind":"optimizer","type":")" + optimizer +
                                   R"(","parameters":["fc.weight"],"defaults":{"eps":)" +
                                   std::to_string(eps) + "}}");
  tensor::TensorStats infinite = NormalStats(0, 1);
  infinite.posinf_count = 60;
  run.Step(0).Stats("gradient/fc.weight", NormalStats(0, 1)).Scalar("learning_rate", 0.001);
  run.Stats("output/fc", tensor == "output/fc" ? infinite : NormalStats(0, 1)).Dtype(dtype);
  run.Stats("fc.weight", tensor == "fc.weight" ? infinite : NormalStats(0, 1)).Dtype(dtype);
  run.Scalar("loss/ce", tensor == "loss/ce" ? kInfinity : 1.0);
  return FindingsOf(run, "nonfinite");
}

TEST(CausesTest, BlamesFloat16ForUpdatesOutOfItsRange) {
  auto findings = OverflowOf("fc.weight", "AdamW");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].cause, HasSubstr("float16, which ends at 65,504"));
  EXPECT_THAT(*findings[0].cause, HasSubstr("the eps of 0 by which AdamW"));
  EXPECT_THAT(*findings[0].try_, HasSubstr("bfloat16"));
  findings = OverflowOf("fc.weight", "AdamW", tensor::DType::kF16, 1e-3);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].cause, Not(HasSubstr("eps")));
  findings = OverflowOf("fc.weight", "SGD");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].cause, HasSubstr("float16, which ends at 65,504"));
  EXPECT_THAT(*findings[0].cause, Not(HasSubstr("eps")));
  findings = OverflowOf("fc.weight", "AdamW", tensor::DType::kF32);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].cause, Not(HasSubstr("float16")));
  EXPECT_THAT(*findings[0].try_, HasSubstr("learning rate"));
}

TEST(CausesTest, SaysThatOutputsAndLossesOfFloat16MayOverflow) {
  for (const char* tensor : {"output/fc", "loss/ce"}) {
    const auto half = OverflowOf(tensor, "SGD");
    ASSERT_EQ(half.size(), 1U);
    EXPECT_THAT(*half[0].cause, HasSubstr("float16")) << tensor;
    const auto single = OverflowOf(tensor, "SGD", tensor::DType::kF32);
    ASSERT_EQ(single.size(), 1U);
    EXPECT_THAT(*single[0].cause, Not(HasSubstr("float16"))) << tensor;
  }
}

}  // namespace
}  // namespace wheeltapper::rules
