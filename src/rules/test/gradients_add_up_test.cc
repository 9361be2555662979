// Gradients that nothing clears between steps: runs that have them, and runs that do not.
#include <cmath>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_fixture.h"
#include "small_network.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

std::string Kept(const std::string& read) {
  return R"({"kind":"kept_gradient","parameter":"fc.bias","step":3)" + read + "}";
}

// A network that learns though its gradients add up, which is told at step 3.
RunBuilder LearningRun(const std::string& read = R"(,"read":true)") {
  RunBuilder run = HealthySmallNetwork(1, 4);
  run.Meta(Kept(read));
  for (int64_t step = 4; step < 40; ++step) {
    run.Step(step).Scalar("loss/ce", 2.3 * std::exp2(-static_cast<double>(step) / 20));
  }
  return run;
}

// The rules of what is open in the end.
std::vector<std::string> OpenIn(const std::vector<Finding>& findings) {
  std::vector<std::string> rules;
  for (const Finding& finding : findings) {
    if (finding.state == FindingState::kOpen) {
      rules.push_back(finding.rule);
    }
  }
  return rules;
}

TEST(GradientsAddUpTest, WarnsOfATrainingThatDoesNotDiverge) {
  RunBuilder run = LearningRun();
  const std::vector<Finding> findings = FindingsOf(run);
  ASSERT_EQ(findings.size(), 1U);
  const Finding& finding = findings[0];
  EXPECT_EQ(finding.rule, "gradients_add_up");
  EXPECT_EQ(finding.severity, Severity::kWarning);
  EXPECT_EQ(finding.state, FindingState::kOpen);
  EXPECT_EQ(finding.tensor, "gradient/fc.bias");
  EXPECT_EQ(finding.module, "fc");
  EXPECT_EQ(finding.step, 3);
  EXPECT_EQ(finding.last_step, 39);
  EXPECT_THAT(finding.message, HasSubstr("fc.bias still had that of the step before"));
  EXPECT_THAT(finding.message, HasSubstr("at step 3"));
  EXPECT_THAT(*finding.cause, HasSubstr("zero_grad() is not called"));
  EXPECT_THAT(*finding.try_, HasSubstr("call step() only after the last backward()"));
}

TEST(GradientsAddUpTest, OnlyInformsWhereTheValuesWereNotRead) {
  RunBuilder run = LearningRun(R"(,"read":false)");
  const std::vector<Finding> findings = FindingsOf(run);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].severity, Severity::kInfo);
  EXPECT_THAT(findings[0].message, HasSubstr("seem to add up"));
  EXPECT_THAT(*findings[0].cause, HasSubstr("through .data"));
}

TEST(GradientsAddUpTest, TellsWhatComesAfterTheLastStep) {
  RunBuilder run = HealthySmallNetwork(1, 4);
  run.Between(4).Meta(Kept(""));
  EXPECT_THAT(OpenIn(FindingsOf(run)), testing::ElementsAre("gradients_add_up"));
}

TEST(GradientsAddUpTest, SaysNothingWhereGradientsAreCleared) {
  RunBuilder run = HealthySmallNetwork(1, 60);
  EXPECT_TRUE(FindingsOf(run).empty());
}

TEST(GradientsAddUpTest, SaysThatItHasNothingToJudgeWhereNoOptimizerWasSeen) {
  for (const bool is_seen : {true, false}) {
    RunBuilder run;
    if (is_seen) {
      run.Between(0).Meta(R"({"kind":"optimizer","parameters":["fc.bias"]})");
    }
    run.Step(0).Scalar("loss/ce", 2.3);
    const RuleStatus status = StateOver(run, "gradients_add_up");
    EXPECT_EQ(status.state, is_seen ? RuleState::kActive : RuleState::kWaiting);
    EXPECT_EQ(status.detail.find("no optimizer was seen") != std::string::npos, !is_seen);
  }
}

TEST(GradientsAddUpTest, IsOneFindingWithALossThatStaysFlat) {
  for (const bool is_read : {true, false}) {
    RunBuilder run;
    for (int64_t step = 0; step < 150; ++step) {
      run.Step(step).Scalar("loss/ce", 2.3);
      if (step == 3) {
        run.Meta(Kept(is_read ? R"(,"read":true)" : R"(,"read":false)"));
      }
    }
    const std::vector<Finding> findings = FindingsOf(run);
    // Nothing that is more severe is hidden.
    EXPECT_THAT(OpenIn(findings),
                testing::ElementsAre(is_read ? "gradients_add_up" : "loss_not_decreasing"));
    ASSERT_FALSE(findings.empty());
    ASSERT_EQ(findings.back().also.size(), 1U);
    EXPECT_EQ(findings.back().also[0].rule, is_read ? "loss_not_decreasing" : "gradients_add_up");
  }
}

TEST(GradientsAddUpTest, GoesOnInWhatItLeadsTo) {
  for (const bool ends_in_nan : {false, true}) {
    RunBuilder run;
    for (int64_t step = 0; step < 60; ++step) {
      const double growth = std::pow(10, std::max<int64_t>(0, step - 10));
      const bool is_nan = ends_in_nan && step > 40;
      run.Step(step).Scalar("loss/ce", is_nan ? std::nan("") : 2 * growth);
      run.Weight("fc.weight", is_nan ? NanStats(3) : NormalStats(0, 0.1 * growth));
      run.Stats("update/fc.weight", is_nan ? NanStats(3) : NormalStats(0, growth * growth));
      if (step == 3) {
        run.Meta(Kept(""));
      }
    }
    const std::vector<Finding> findings = FindingsOf(run);
    ASSERT_EQ(OpenIn(findings).size(), 1U) << ends_in_nan;
    const Finding& first = findings.front();
    EXPECT_EQ(first.rule, "gradients_add_up");
    EXPECT_TRUE(first.part_of);
    EXPECT_EQ(OpenIn(findings)[0] == "nonfinite", ends_in_nan);
    for (const Finding& finding : findings) {
      if (finding.state == FindingState::kOpen) {
        EXPECT_THAT(*finding.cause, HasSubstr("gradients add up"));
        EXPECT_THAT(*finding.try_, HasSubstr("zero_grad()"));
      }
    }
  }
}

TEST(GradientsAddUpTest, IsOneFindingWithALossThatDivergesAndALayerThatDies) {
  for (const int64_t dies_at : {20, 50}) {
    RunBuilder run;
    run.Between(0).Meta(kSmallNetwork);
    for (int64_t step = 0; step < 80; ++step) {
      run.Step(step).Scalar("loss/ce", 2 * std::exp2(std::max<int64_t>(0, step - 30)));
      run.Stats("output/relu1", step < dies_at ? NormalStats(0, 1) : ZeroStats(), {"activations"});
      if (step == 3) {
        run.Meta(Kept(""));
      }
    }
    const std::vector<Finding> findings = FindingsOf(run);
    EXPECT_THAT(OpenIn(findings),
                testing::ElementsAre(dies_at == 20 ? "dead_relu" : "loss_not_decreasing"));
    EXPECT_EQ(findings.back().also.size(), 2U);
  }
}

TEST(GradientsAddUpTest, IsOneFindingWithALayerThatDies) {
  RunBuilder run;
  run.Between(0).Meta(kSmallNetwork);
  for (int64_t step = 0; step < 40; ++step) {
    run.Step(step).Stats("output/relu1", step < 8 ? NormalStats(0, 1) : ZeroStats(),
                         {"activations"});
    if (step == 3) {
      run.Meta(Kept(""));
    }
  }
  const std::vector<Finding> findings = FindingsOf(run);
  EXPECT_THAT(OpenIn(findings), testing::ElementsAre("dead_relu"));
  EXPECT_THAT(*findings.back().cause, HasSubstr("gradients add up"));
}

}  // namespace
}  // namespace wheeltapper::rules
