// One cause that several rules see: one finding, with what the others say of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_fixture.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

// A learning rate of zero: gradients, weights at rest, and the loss where it was.
RunBuilder ZeroRate(int64_t steps) {
  RunBuilder run;
  for (int64_t step = 0; step < steps; ++step) {
    run.Step(step).Scalar("learning_rate", 0).Scalar("loss/ce", 2.3);
    run.Weight("fc.weight", NormalStats(0, 1)).Stats("gradient/fc.weight", NormalStats(0, 1));
  }
  return run;
}

TEST(ExplainedFindingTest, ACauseThatSeveralRulesSeeIsOneFinding) {
  RunBuilder run = ZeroRate(200);
  const auto findings = FindingsOf(run);
  // The gradient's repetition shows before anybody can know why.
  ASSERT_EQ(findings.size(), 2U);
  EXPECT_EQ(findings[0].rule, "unchanged_tensor");
  EXPECT_EQ(findings[0].state, FindingState::kResolved);
  EXPECT_EQ(findings[0].part_of, "optimizer_no_op-1");
  EXPECT_EQ(findings[1].cause, "the learning rate is 0");
  ASSERT_EQ(findings[1].also.size(), 2U);
  EXPECT_THAT(findings[1].also[0].text(),
              HasSubstr("loss_not_decreasing: loss/ce has not decreased"));
  EXPECT_THAT(findings[1].also[1].text(),
              HasSubstr("unchanged_tensor: gradient/fc.weight is the same"));
}

TEST(ExplainedFindingTest, WhatAFindingSaysOfOtherRulesFollowsThem) {
  RunBuilder run = ZeroRate(200);
  EXPECT_THAT(FindingsOf(run).back().also[0].message, HasSubstr("up to step 199"));
  for (int64_t step = 200; step < 300; ++step) {  // the loss falls, by what is not captured
    run.Step(step).Scalar("learning_rate", 0).Scalar("loss/ce", 1);
    run.Weight("fc.weight", NormalStats(0, 1)).Stats("gradient/fc.weight", NormalStats(0, 1));
  }
  const auto findings = FindingsOf(run);
  ASSERT_EQ(findings.size(), 2U) << findings.back().rule << ": " << findings.back().message;
  EXPECT_EQ(findings[1].state, FindingState::kOpen);
  ASSERT_EQ(findings[1].also.size(), 1U);
  EXPECT_EQ(findings[1].also[0].rule, "unchanged_tensor");
}

TEST(ExplainedFindingTest, ARuleThatSeesTheCauseOfAnOpenFindingIsToldAtOnce) {
  RunBuilder run;
  for (int64_t step = 0; step < 16; ++step) {
    run.Step(step).Scalar("loss/ce", step < 12 ? 2.3 : 1e6);
    run.Stats("gradient/fc.weight", NormalStats(0, step < 8 ? 1.0 : std::pow(100, step - 6)));
  }
  const ManualClock clock;
  const auto engine =
      RuleEngine::Create({Select("exploding_tensor"), Select("loss_not_decreasing")}, clock);
  ASSERT_TRUE(engine.ok());
  RecordingSink sink;
  (*engine)->AddSink(&sink);
  MemoryTrial trial(run);
  trial.ShowAll();
  ASSERT_TRUE((*engine)->Advance(trial).ok());
  EXPECT_THAT(sink.events,
              testing::ElementsAre("opened exploding_tensor-1", "updated exploding_tensor-1"));
  ASSERT_EQ((*engine)->findings()[0].also.size(), 1U);
  EXPECT_EQ((*engine)->findings()[0].also[0].rule, "loss_not_decreasing");
  EXPECT_EQ((*engine)->findings()[0].also[0].severity, Severity::kError);
}

TEST(ExplainedFindingTest, AFindingAboutOneTensorExplainsNothingElsewhere) {
  RunBuilder run;
  run.Between(0).Meta(R"({"kind":"optimizer","parameters":["body.weight","neck.weight"]})");
  for (int64_t step = 0; step < 200; ++step) {
    const double moving = 1 + 0.01 * static_cast<double>(step);
    run.Step(step).Scalar("loss/ce", 2.3);  // labels that do not fit
    run.Weight("body.weight", NormalStats(0, moving)).Weight("head.bias", NormalStats(0, 1));
    run.Weight("neck.weight", NormalStats(0, moving));
    run.Stats("gradient/body.weight", NormalStats(0, moving));
    run.Stats("gradient/head.bias", NormalStats(0, moving));
    run.Stats("gradient/neck.weight", NormalStats(0, 1e-9 * moving));
  }
  std::vector<std::string> rules;
  for (const Finding& finding : FindingsOf(run)) {
    EXPECT_EQ(finding.state, FindingState::kOpen) << finding.rule;
    EXPECT_TRUE(finding.also.empty()) << finding.rule;
    rules.push_back(finding.rule);
  }
  EXPECT_THAT(rules, testing::UnorderedElementsAre("optimizer_no_op", "vanishing_gradient",
                                                   "loss_not_decreasing"));
}

TEST(ExplainedFindingTest, AFlatLossIsItsOwnFindingWhereOnlyAPartOfTheModelIsCaptured) {
  RunBuilder run;  // the head was left out of the optimizer, and nobody sees the body
  run.Between(0).Meta(R"({"kind":"optimizer","parameters":["body.weight"]})");
  run.Between(0).Meta(
      R"({"kind":"model","modules":[],"parameters":[{"name":"body.weight"},{"name":"head.bias"}]})");
  for (int64_t step = 0; step < 200; ++step) {
    run.Step(step).Scalar("loss/ce", 2.3).Weight("head.bias", NormalStats(0, 1));
    run.Stats("gradient/head.bias", NormalStats(0, 1 + 0.01 * static_cast<double>(step)));
  }
  std::vector<std::string> rules;
  for (const Finding& finding : FindingsOf(run)) {
    rules.push_back(finding.rule);
  }
  EXPECT_THAT(rules, testing::UnorderedElementsAre("optimizer_no_op", "loss_not_decreasing"));
}

TEST(ExplainedFindingTest, AFlatLossIsItsOwnFindingWhereNobodyKnowsWhetherTheRestMoves) {
  RunBuilder run;  // no weights, and a bias that was left out of the optimizer
  run.Between(0).Meta(R"({"kind":"optimizer","parameters":["body.weight"]})");
  for (int64_t step = 0; step < 200; ++step) {
    const double moving = 1 + 0.01 * static_cast<double>(step);
    run.Step(step).Scalar("loss/ce", 2.3);
    run.Stats("gradient/body.weight", NormalStats(0, moving));
    run.Stats("gradient/head.bias", NormalStats(0, moving));
  }
  std::vector<std::string> rules;
  for (const Finding& finding : FindingsOf(run)) {
    rules.push_back(finding.rule);
  }
  EXPECT_THAT(rules, testing::UnorderedElementsAre("optimizer_no_op", "loss_not_decreasing"));
}

TEST(ExplainedFindingTest, NothingIsAddedToAFindingLessSevere) {
  RunBuilder run = ZeroRate(200);
  RuleSelection flat = Select("loss_not_decreasing");
  flat.severity = Severity::kCritical;
  const ManualClock clock;
  const auto engine = RuleEngine::Create({flat, Select("optimizer_no_op")}, clock);
  ASSERT_TRUE(engine.ok());
  MemoryTrial trial(run);
  trial.ShowAll();
  ASSERT_TRUE((*engine)->Finish(trial).ok());
  ASSERT_EQ((*engine)->findings().size(), 2U);
  EXPECT_EQ((*engine)->findings()[1].rule, "loss_not_decreasing");
  EXPECT_EQ((*engine)->findings()[1].state, FindingState::kOpen);
}

TEST(ExplainedFindingTest, WhatAFindingExplainedOpensByItselfOnceThatHasResolved) {
  RunBuilder run = ZeroRate(150);
  for (int64_t step = 150; step < 200; ++step) {  // the weights move at last, to no avail
    run.Step(step).Scalar("learning_rate", 1).Scalar("loss/ce", 2.3);
    run.Weight("fc.weight", NormalStats(0, 1 + 0.01 * static_cast<double>(step)));
    run.Stats("gradient/fc.weight", NormalStats(0, static_cast<double>(step)));
  }
  const auto findings = FindingsOf(run);
  ASSERT_EQ(findings.size(), 3U);
  EXPECT_EQ(findings[1].rule, "optimizer_no_op");
  EXPECT_EQ(findings[1].state, FindingState::kResolved);
  EXPECT_EQ(findings[2].rule, "loss_not_decreasing");
  EXPECT_EQ(findings[2].state, FindingState::kOpen);
}

}  // namespace
}  // namespace wheeltapper::rules
