// Steps that change nothing: runs that have them, and runs that do not.
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_fixture.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

// The one finding there is to be.
Finding NoOpIn(RunBuilder& run) {
  const std::vector<Finding> findings = FindingsOf(run, "optimizer_no_op");
  EXPECT_EQ(findings.size(), 1U);
  return findings.empty() ? Finding() : findings.front();
}

bool IsSilent(RunBuilder& run) { return FindingsOf(run, "optimizer_no_op").empty(); }

void AddOptimizer(RunBuilder* run, const std::string& parameter) {
  run->Between(0).Meta(R"({"kind":"optimizer","parameters":[")" + parameter + R"("]})");
}

// At the step that was begun, a parameter whose training goes on; how far it has come.
double Train(RunBuilder* run, const std::string& parameter, int64_t step) {
  const double moving = 1 + 0.01 * static_cast<double>(step);
  run->Weight(parameter, NormalStats(0, moving));
  run->Stats("gradient/" + parameter, NormalStats(0, moving));
  return moving;
}

TEST(OptimizerNoOpTest, ReportsParametersThatAreInNoOptimizer) {
  RunBuilder run;
  AddOptimizer(&run, "fc.weight");
  for (int64_t step = 0; step < 8; ++step) {
    run.Step(step).Weight("fc.weight", NormalStats(0, 1 + 0.01 * static_cast<double>(step)));
    run.Weight("conv1.weight", NormalStats(0, 1));
    run.Stats("gradient/fc.weight", NormalStats(0, 1));
    run.Stats("gradient/conv1.weight", NormalStats(0, 1 + 0.1 * static_cast<double>(step)));
  }
  const Finding finding = NoOpIn(run);
  EXPECT_EQ(finding.tensor, "conv1.weight");
  EXPECT_EQ(finding.cause, "it belongs to no optimizer");
  EXPECT_EQ(finding.step, 1);  // the first at which it had not moved
  EXPECT_EQ(finding.last_step, 7);
}

TEST(OptimizerNoOpTest, ReportsALearningRateOfZeroAndUpdatesOfZero) {
  RunBuilder run;
  for (int64_t step = 0; step < 8; ++step) {
    run.Step(step).Scalar("lr", 0).Stats("update/w", ZeroStats());
    run.Stats("gradient/w", NormalStats(0, 1));
  }
  const Finding finding = NoOpIn(run);
  EXPECT_EQ(finding.cause, "the learning rate is 0");
}

TEST(OptimizerNoOpTest, StaysSilentForFrozenParametersAndZeroGradients) {
  RunBuilder run;
  run.Between(0).Meta(
      R"({"kind":"model","modules":[],"parameters":[{"name":"a","requires_grad":false}]})");
  for (int64_t step = 0; step < 20; ++step) {
    run.Step(step).Weight("a", NormalStats(0, 1)).Weight("b", NormalStats(0, 1));
    run.Stats("gradient/a", NormalStats(0, 1)).Stats("gradient/b", ZeroStats());
  }
  EXPECT_TRUE(IsSilent(run));
}

// Weights at rest that have a gradient of this size, which changes from step to step.
RunBuilder AtRest(const std::string& optimizer, double gradient, double weight,
                  tensor::DType dtype = tensor::DType::kF32) {
  RunBuilder run;
  run.Between(0).Meta(R"({"kind":"optimizer","type":")" + optimizer +
                      R"(","parameters":["fc.weight","fc.bias"]})");
  for (int64_t step = 0; step < 12; ++step) {
    const double moving = 1 + 0.01 * static_cast<double>(step);
    run.Step(step).Scalar("learning_rate", 0.01).Weight("fc.weight", NormalStats(0, weight), dtype);
    run.Weight("fc.bias", NormalStats(0, moving)).Stats("gradient/fc.bias", NormalStats(0, moving));
    run.Stats("gradient/fc.weight", NormalStats(0, gradient * moving));
  }
  return run;
}

TEST(OptimizerNoOpTest, LeavesGradientsTooSmallToMoveTheWeightsToVanishingGradient) {
  RunBuilder run = AtRest("SGD", 1e-28, 1);
  EXPECT_TRUE(IsSilent(run));
  const auto findings = FindingsOf(run);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].rule, "vanishing_gradient");
  EXPECT_EQ(findings[0].tensor, "gradient/fc.weight");
  RunBuilder adam = AtRest("Adam", 1e-28, 1);  // 0.01 · 1e-28 / 1e-8
  EXPECT_TRUE(IsSilent(adam));
  RunBuilder small = AtRest("SGD", 1e-28, 1e-28);  // beside weights as small it would show
  EXPECT_EQ(FindingsOf(small, "optimizer_no_op").size(), 1U);
}

TEST(OptimizerNoOpTest, TellsUpdatesThatTheDtypeCannotAddFromAStepThatDoesNotReachTheWeights) {
  struct Case {
    const char* optimizer;
    double gradient;
    tensor::DType dtype;
    const char* cause;
  };
  constexpr const char* kUnreached = "the optimizer's step does not reach it";
  for (const Case& one : {
           Case{"SGD", 1e-6, tensor::DType::kF32, "smaller than float32 can add"},
           Case{"SGD", 1e-6, tensor::DType::kF32, "the learning rate (0.01) is too small"},
           Case{"SGD", 1e-6, tensor::DType::kF64, kUnreached},
           Case{"SGD", 1e-3, tensor::DType::kF32, kUnreached},
           Case{"SGD", 1e-1, tensor::DType::kBF16, "smaller than bfloat16 can add"},
           Case{"SGD", 10, tensor::DType::kBF16, kUnreached},
           // A step of Adam is about the learning rate, whatever the gradient.
           Case{"AdamW", 1e-6, tensor::DType::kF32, kUnreached},
           Case{"AdamW", 1e-6, tensor::DType::kF16, kUnreached},
       }) {
    RunBuilder run = AtRest(one.optimizer, one.gradient, 1, one.dtype);
    const auto findings = FindingsOf(run, "optimizer_no_op");
    ASSERT_EQ(findings.size(), 1U) << one.optimizer << " " << one.gradient;
    EXPECT_THAT(*findings[0].cause, HasSubstr(one.cause)) << one.optimizer << " " << one.gradient;
  }
}

TEST(OptimizerNoOpTest, AParameterThatMovesNowAndThenDoesNotOpenAndResolveInTurns) {
  RunBuilder run;
  double weight = 1;
  for (int64_t step = 0; step < 80; ++step) {
    weight += step > 8 && step % 8 == 0 ? 0.1 : 0;
    run.Step(step).Weight("fc.weight", NormalStats(0, weight));
    run.Stats("gradient/fc.weight", NormalStats(0, 1 + 0.01 * static_cast<double>(step)));
  }
  EXPECT_EQ(EventsOf(run, "optimizer_no_op"), std::vector<std::string>{"opened optimizer_no_op-1"});
}

constexpr const char* kWithoutGradient = "wheeltapper/steps_without_gradient";

// As the attach records a script that forgets backward(): losses and weights, and no gradient.
RunBuilder WithoutBackward(int64_t steps, const std::function<double(int64_t)>& weight) {
  RunBuilder run;
  AddOptimizer(&run, "fc.weight");
  for (int64_t step = 0; step < steps; ++step) {
    run.Step(step).Scalar("loss/ce", 2.3).Scalar(kWithoutGradient, static_cast<double>(step + 1));
    run.Weight("fc.weight", NormalStats(0, weight(step)));
    run.Stats("update/fc.weight",
              weight(step) == weight(step - 1) ? ZeroStats() : NormalStats(0, 1));
  }
  return run;
}

TEST(OptimizerNoOpTest, ReportsStepsWithoutAnyGradient) {
  RunBuilder run = WithoutBackward(8, [](int64_t) { return 1.0; });
  const Finding finding = NoOpIn(run);
  EXPECT_EQ(finding.severity, Severity::kError);
  EXPECT_EQ(finding.tensor, "fc.weight");
  EXPECT_EQ(finding.step, 0);
  EXPECT_THAT(finding.message,
              HasSubstr("changes nothing: none of its parameters (fc.weight) has had"));
  EXPECT_THAT(finding.cause.value_or(""), HasSubstr("backward() is not called"));
}

// Sealed rows are sorted by name, those of a live run are not: the finding is the same.
TEST(OptimizerNoOpTest, NamesTheModelsFirstParameterWhateverTheOrderOfRows) {
  for (const bool sorted : {false, true}) {
    RunBuilder run;
    run.Between(0).Meta(
        R"({"kind":"model","modules":[],"parameters":[{"name":"fc.weight"},{"name":"fc.bias"}]})");
    for (int64_t step = 0; step < 8; ++step) {
      run.Step(step).Scalar(kWithoutGradient, static_cast<double>(step + 1));
      run.Weight(sorted ? "fc.bias" : "fc.weight", NormalStats(0, 1));
      run.Weight(sorted ? "fc.weight" : "fc.bias", NormalStats(0, 1));
    }
    const auto findings = FindingsOf(run, "optimizer_no_op");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].tensor, "fc.weight") << sorted;
  }
}

TEST(OptimizerNoOpTest, BlamesZeroGradWhereBackwardWasCalled) {
  RunBuilder run;
  for (int64_t step = 0; step < 8; ++step) {
    run.Step(step).Scalar("loss/backward", 2.3);
    run.Scalar(kWithoutGradient, static_cast<double>(step + 1)).Weight("w", NormalStats(0, 1));
  }
  const Finding finding = NoOpIn(run);
  EXPECT_THAT(finding.cause.value_or(""),
              HasSubstr("zero_grad() is called between backward() and step()"));
}

TEST(OptimizerNoOpTest, SaysThatTheParametersWithoutAGradientAreOfNoModel) {
  RunBuilder run;
  run.Between(0).Meta(R"({"kind":"model","modules":[{"path":"fc","parameters":["fc.weight"]}],)"
                      R"("parameters":[{"name":"fc.weight"}]})");
  AddOptimizer(&run, "parameter.0.0");
  for (int64_t step = 0; step < 8; ++step) {
    run.Step(step).Scalar("loss/backward", 2.3).Weight("parameter.0.0", NormalStats(0, 1));
    run.Scalar(kWithoutGradient, static_cast<double>(step + 1));
  }
  const Finding finding = NoOpIn(run);
  EXPECT_THAT(finding.cause.value_or(""), HasSubstr("the model was made anew"));
}

TEST(OptimizerNoOpTest, ReportsGradientsThatAreAllZeroFromTheFirstStepOn) {
  for (const bool learns : {false, true}) {
    RunBuilder run;
    for (int64_t step = 0; step < 20; ++step) {
      run.Step(step).Weight("a", NormalStats(0, 1)).Weight("b", NormalStats(0, 1));
      run.Stats("gradient/a", ZeroStats());
      run.Stats("gradient/b", learns && step == 3 ? NormalStats(0, 1) : ZeroStats());
    }
    const auto findings = FindingsOf(run, "optimizer_no_op");
    ASSERT_EQ(findings.size(), learns ? 0U : 1U);
    if (!learns) {
      EXPECT_EQ(findings[0].severity, Severity::kWarning);
      EXPECT_THAT(findings[0].message, HasSubstr("has had a gradient other than zero"));
      EXPECT_THAT(*findings[0].cause, HasSubstr("an output that is saturated"));
    }
  }
}

TEST(OptimizerNoOpTest, StaysSilentWhereWeightsMoveWithoutGradientsOfTheirOwn) {
  RunBuilder run =
      WithoutBackward(30, [](int64_t step) { return 1.0 + 0.1 * static_cast<double>(step); });
  EXPECT_TRUE(IsSilent(run));
}

TEST(OptimizerNoOpTest, StaysSilentWhereNothingSaysThatGradientsAreMissing) {
  // Gradients not captured by configuration: weights alone, at rest or not.
  RunBuilder run;
  for (int64_t step = 0; step < 30; ++step) {
    run.Step(step).Weight("fc.weight", NormalStats(0, 1)).Scalar("loss/backward", 2.3);
  }
  EXPECT_TRUE(IsSilent(run));
}

// Two heads with an optimizer each; the task of the second is not drawn before `first_step`.
RunBuilder TwoHeads(int64_t steps, int64_t first_step, int64_t deleted) {
  RunBuilder run;
  AddOptimizer(&run, "a.weight");
  AddOptimizer(&run, "b.weight");
  for (int64_t step = 0; step < steps; ++step) {
    run.Step(step);
    const double moving = Train(&run, "a.weight", step);
    if (step >= deleted) {
      continue;
    }
    run.Weight("b.weight", NormalStats(0, step < first_step ? 1 : moving));
    if (step < first_step) {
      run.Scalar("wheeltapper/steps_without_gradient.b", static_cast<double>(step + 1));
    } else if (step == first_step) {
      run.Scalar("wheeltapper/steps_without_gradient.b", 0);
    }
  }
  return run;
}

TEST(OptimizerNoOpTest, StaysSilentOnATaskThatIsDrawnLate) {
  RunBuilder run = TwoHeads(200, 60, 200);
  EXPECT_TRUE(IsSilent(run));
}

TEST(OptimizerNoOpTest, WarnsOfAnOptimizerWithoutAGradientBesideOneThatTrains) {
  RunBuilder run = TwoHeads(150, 150, 150);
  const Finding finding = NoOpIn(run);
  EXPECT_EQ(finding.severity, Severity::kWarning);
  EXPECT_EQ(finding.tensor, "b.weight");
  EXPECT_THAT(finding.message, HasSubstr("optimizer.step() of b changes nothing"));
}

TEST(OptimizerNoOpTest, StepsWithoutAGradientResolveOnceTheOptimizerIsGone) {
  RunBuilder run = TwoHeads(200, 200, 130);
  EXPECT_EQ(EventsOf(run, "optimizer_no_op"),
            (std::vector<std::string>{"opened optimizer_no_op-1", "resolved optimizer_no_op-1"}));
}

TEST(OptimizerNoOpTest, WarnsAtTheEndOfAShortRunOfAnOptimizerWithoutAGradient) {
  RunBuilder run = TwoHeads(80, 80, 80);
  const Finding finding = NoOpIn(run);
  EXPECT_EQ(finding.severity, Severity::kWarning);
  EXPECT_EQ(finding.tensor, "b.weight");
  EXPECT_EQ(finding.step, 0);
  RunBuilder came = TwoHeads(80, 79, 80);
  EXPECT_TRUE(IsSilent(came));
  RunBuilder gone = TwoHeads(80, 80, 30);
  EXPECT_TRUE(IsSilent(gone));
}

TEST(OptimizerNoOpTest, WarnsOnceOfATaskWithoutAGradientThatIsDrawnRarely) {
  RunBuilder run;
  AddOptimizer(&run, "body.weight");
  int64_t turns = 0;
  for (int64_t step = 0; step < 400; ++step) {
    run.Step(step);
    Train(&run, "body.weight", step);
    if (step % 30 == 7) {
      run.Weight("head.weight", NormalStats(0, 1));
      run.Scalar("wheeltapper/steps_without_gradient.head", static_cast<double>(++turns));
    }
  }
  EXPECT_EQ(EventsOf(run, "optimizer_no_op"), std::vector<std::string>{"opened optimizer_no_op-1"});
  const Finding finding = NoOpIn(run);
  EXPECT_EQ(finding.severity, Severity::kWarning);
  EXPECT_EQ(finding.step, 7);
}

TEST(OptimizerNoOpTest, StepsWithoutAGradientResolveOnceOneHasCome) {
  RunBuilder run = WithoutBackward(8, [](int64_t) { return 1.0; });
  for (int64_t step = 8; step < 14; ++step) {
    run.Step(step).Weight("fc.weight", NormalStats(0, 1 + 0.1 * static_cast<double>(step)));
    run.Stats("gradient/fc.weight", NormalStats(0, 1));
    if (step == 8) {
      run.Scalar(kWithoutGradient, 0);
    }
  }
  EXPECT_EQ(EventsOf(run, "optimizer_no_op"),
            (std::vector<std::string>{"opened optimizer_no_op-1", "resolved optimizer_no_op-1"}));
}

// A head whose optimizer is there and steps from `first_step` on; captured at ten steps, then every
// tenth.
RunBuilder LateHead(int64_t steps, int64_t first_step) {
  RunBuilder run;
  AddOptimizer(&run, "body.weight");
  run.Between(1).Meta(R"({"kind":"idle_optimizer","type":"Adam","parameters":["head.weight"]})");
  for (int64_t step = 1; step < steps; ++step) {
    run.Step(step);
    if (step >= 10 && step % 10 != 0) {
      continue;
    }
    const double moving = Train(&run, "body.weight", step);
    run.Weight("head.weight", NormalStats(0, step < first_step ? 1 : moving));
    run.Stats("gradient/head.weight", NormalStats(0, moving));
  }
  return run;
}

// A reader of sealed files comes to the names in alphabetical order.
TEST(OptimizerNoOpTest, NamesWaitingParametersInTheOrderOfTheModelWhateverTheirNumbers) {
  RunBuilder run;
  run.Between(0).Meta(
      R"({"kind":"model","modules":[{"path":"head","type":"Linear","parameters":["head.weight","head.bias"]}],)"
      R"("parameters":[{"name":"head.weight","numel":64,"requires_grad":true},)"
      R"({"name":"head.bias","numel":64,"requires_grad":true}]})");
  AddOptimizer(&run, "body.weight");
  run.Between(1).Meta(
      R"({"kind":"idle_optimizer","type":"Adam","parameters":["head.weight","head.bias"]})");
  for (int64_t step = 1; step < 30; ++step) {
    run.Step(step);
    const double moving = Train(&run, "body.weight", step);
    for (const std::string name : {"head.bias", "head.weight"}) {
      run.Stats("gradient/" + name, NormalStats(0, moving)).Weight(name, NormalStats(0, 1));
    }
  }
  const auto findings = FindingsOf(run, "optimizer_no_op");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].tensors, (std::vector<std::string>{"head.weight", "head.bias"}));
}

TEST(OptimizerNoOpTest, ReportsAnOptimizerThatIsNeverStepped) {
  for (const int64_t steps : {30, 300}) {
    RunBuilder run = LateHead(steps, steps);
    const auto findings = FindingsOf(run, "optimizer_no_op");
    ASSERT_EQ(findings.size(), 1U) << steps;
    EXPECT_EQ(findings[0].tensors, std::vector<std::string>{"head.weight"});
    EXPECT_EQ(findings[0].cause, "its optimizer (Adam) is never stepped");
  }
}

// Backward passes without a step, counted at these numbers.
RunBuilder Unstepped(const std::vector<double>& counts) {
  RunBuilder run;
  run.Step(0).Stats("output/fc", NormalStats(0, 1), {"activations"});
  for (const double count : counts) {
    run.Between(0).Scalar("wheeltapper/backwards_without_step", count);
  }
  return run;
}

TEST(OptimizerNoOpTest, ReportsThatNoOptimizerEverStepped) {
  struct Case {
    double count;
    Severity severity;
  };
  for (const Case& one : {Case{176, Severity::kError}, Case{8, Severity::kWarning}}) {
    RunBuilder run = Unstepped({one.count});
    const Finding finding = NoOpIn(run);
    EXPECT_EQ(finding.severity, one.severity);
    EXPECT_EQ(finding.step, 0);
    EXPECT_THAT(finding.message, HasSubstr("the optimizer never stepped"));
    EXPECT_THAT(finding.cause.value_or(""), HasSubstr("step() is not called"));
  }
}

TEST(OptimizerNoOpTest, StaysSilentOnManyPassesThatAddUpForOneStep) {
  RunBuilder run = Unstepped({128, 256});
  AddOptimizer(&run, "fc.weight");
  EXPECT_TRUE(IsSilent(run));
  RunBuilder endless = Unstepped({128, 256, 512, 1024});
  EXPECT_EQ(EventsOf(endless, "optimizer_no_op").front(), "opened optimizer_no_op-1");
}

TEST(OptimizerNoOpTest, StaysSilentOnASecondOptimizerThatStartsLate) {
  RunBuilder run = LateHead(300, 60);
  EXPECT_TRUE(IsSilent(run));
}

TEST(OptimizerNoOpTest, StaysSilentWhereTheRunEndsBeforeTheStepsOfALateOptimizerAreCaptured) {
  RunBuilder run = LateHead(46, 46);
  run.Between(45).Meta(R"({"kind":"optimizer","parameters":["head.weight"]})");
  EXPECT_TRUE(IsSilent(run));
}

TEST(OptimizerNoOpTest, ASecondOptimizerThatHasNotSteppedIsNoErrorWhileAnotherOneTrains) {
  for (const int64_t steps : {30, 300}) {
    RunBuilder run = LateHead(steps, steps);
    const auto findings = FindingsOf(run, "optimizer_no_op");
    ASSERT_EQ(findings.size(), 1U) << steps;
    EXPECT_EQ(findings[0].severity, Severity::kWarning) << steps;
  }
}

}  // namespace
}  // namespace wheeltapper::rules
