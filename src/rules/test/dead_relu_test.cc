// dead_relu: layers that are dead, nearly so, and not.

#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_fixture.h"
#include "small_network.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

TEST(DeadReluTest, NamesTheLayerItsFirstStepAndTheBiasThatDidIt) {
  RunBuilder run;
  run.Between(0).Meta(kSmallNetwork);
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
    run.Between(0).Meta(kSmallNetwork);
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
  run.Between(0).Meta(kSmallNetwork);
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
  run.Between(0).Meta(kSmallNetwork);
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
    run.Between(0).Meta(kSmallNetwork);
    for (int64_t step = 0; step < 5; ++step) {
      run.Step(step).Weight("conv2.bias", NormalStats(bias, 0.001));
      run.Stats("output/conv2", NormalStats(-6, 0.5)).Stats("output/relu2", ZeroStats(8192));
    }
    const auto findings = FindingsOf(run, "dead_relu");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].cause->find("conv2.bias averages") != std::string::npos, bias == -5.0);
  }
}

TEST(DeadReluTest, BlamesUpdatesThatDroveTheWeightsAway) {
  for (const auto& [growth, from] :
       {std::pair(2.5, 0.1), std::pair(20.0, 0.1), std::pair(20.0, 1e-3)}) {
    RunBuilder run;
    run.Between(0).Meta(kSmallNetwork);
    for (int64_t step = 0; step < 5; ++step) {
      run.Step(step).Weight("conv2.weight", NormalStats(0, step == 0 ? from : from * growth));
      run.Stats("output/relu2", ZeroStats(8192));
    }
    const auto findings = FindingsOf(run, "dead_relu");
    ASSERT_EQ(findings.size(), 1U);
    const bool blamed = findings[0].cause->find(
                            "updates drove conv2.weight away (its rms grew from "
                            "0.1 to 2)") != std::string::npos;
    EXPECT_EQ(blamed, growth * from == 2) << *findings[0].cause;
  }
}

TEST(DeadReluTest, FindsADeadLayerByItsGradientsWhenOutputsAreNotCaptured) {
  RunBuilder run;
  run.Between(0).Meta(kSmallNetwork);
  for (int64_t step = 0; step < 12; ++step) {
    run.Step(step);
    for (const std::string& name : kSmallNetworkParameters) {
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
  run.Between(0).Meta(kSmallNetwork);
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
    EXPECT_THAT(*findings[0].try_, HasSubstr(captured ? "a ReLU or tanh called as a function"
                                                      : "capture activations"));
  }
}

tensor::TensorStats StatsOf(const std::vector<float>& values) {
  const auto size = static_cast<int64_t>(values.size());
  return tensor::ComputeStats(
      {.data = values.data(), .dtype = tensor::DType::kF32, .ndim = 1, .shape = &size}, {});
}

// A layer without a gradient before an activation of `type`, whose outputs are `outputs`.
RunBuilder BeforeActivation(const char* type, const tensor::TensorStats& outputs) {
  RunBuilder run;
  run.Between(0).Meta(
      fmt::format(R"({{"kind":"model","modules":[)"
                  R"({{"path":"","type":"Sequential","parameters":[]}},)"
                  R"({{"path":"0","type":"Linear","parameters":["0.weight"]}},)"
                  R"({{"path":"1","type":"torch.nn.modules.activation.{}","parameters":[]}},)"
                  R"({{"path":"2","type":"Linear","parameters":["2.weight"]}}],)"
                  R"("parameters":[{{"name":"0.weight","numel":64,"requires_grad":true}},)"
                  R"({{"name":"2.weight","numel":64,"requires_grad":true}}]}})",
                  type));
  for (int64_t step = 0; step < 12; ++step) {
    run.Step(step).Stats("gradient/0.weight", ZeroStats());
    run.Stats("gradient/2.weight", NormalStats(0, 1));
    run.Stats("output/1", outputs, {"activations"});
  }
  return run;
}

TEST(DeadReluTest, WarnsWhereTheSaturatedActivationIsNotTheNextModule) {
  RunBuilder run;
  run.Between(0).Meta(
      R"({"kind":"model","modules":[{"path":"a","type":"Linear","parameters":["a.weight"]},)"
      R"({"path":"drop","type":"Dropout","parameters":[]},)"
      R"({"path":"act","type":"Tanh","parameters":[]}],"parameters":[]})");
  for (int64_t step = 0; step < 12; ++step) {
    run.Step(step).Stats("gradient/a.weight", ZeroStats());
    run.Stats("gradient/b.weight", NormalStats(0, 1));
    run.Stats("output/act", StatsOf({-1, 1}), {"activations"});
  }
  const auto findings = FindingsOf(run, "dead_relu");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].cause, HasSubstr("act (Tanh) is saturated"));
  EXPECT_EQ(findings[0].severity, Severity::kWarning);
}

TEST(DeadReluTest, NamesASaturatedActivation) {
  const struct {
    const char* type;
    std::vector<float> outputs;
    const char* ends;  // nullptr: not saturated
  } cases[] = {
      {"Tanh", {-1, 1, 1, -1}, "1 (Tanh) is saturated: every one of its outputs is -1 or 1"},
      {"Tanh", {-1, 1, 1, 0.5}, nullptr},
      {"Hardtanh", {-1, 1, 1, 1}, "1 (Hardtanh) is saturated"},
      {"Hardtanh", {1.1F, 1.5F, 1.9F, 1.2F}, nullptr},
      {"Hardsigmoid", {0, 0, 1, 1}, "1 (Hardsigmoid) is saturated"},
      {"Sigmoid", {0, 1, 1, 1}, "1 (Sigmoid) is saturated: every one of its outputs is 0 or 1"},
      {"Sigmoid", {0, 1, 1, 0.99F}, nullptr},
      {"Sigmoid", {1, 1, 1, 1}, "1 (Sigmoid) is saturated"},
      {"ReLU", {1, 1, 1, 1}, nullptr},
  };
  for (const auto& it : cases) {
    RunBuilder run = BeforeActivation(it.type, StatsOf(it.outputs));
    const auto findings = FindingsOf(run, "dead_relu");
    ASSERT_EQ(findings.size(), 1U) << it.type;
    EXPECT_EQ(findings[0].module, "0");
    if (it.ends != nullptr) {
      EXPECT_THAT(*findings[0].cause, HasSubstr(it.ends));
      EXPECT_THAT(*findings[0].try_, HasSubstr("normalise before 1"));
      EXPECT_EQ(findings[0].severity, Severity::kError);
    } else {
      EXPECT_THAT(*findings[0].cause, HasSubstr("a dead ReLU, a saturated tanh or sigmoid, or"));
      EXPECT_EQ(findings[0].severity, Severity::kWarning);
    }
  }
}

}  // namespace
}  // namespace wheeltapper::rules
