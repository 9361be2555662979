// Losses that are given what does not fit them, and those of which nothing is known.
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "losses.h"
#include "model_description.h"
#include "run_fixture.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

constexpr const char* kSoftmaxTwice =
    R"({"kind":"loss_input","loss":"cross_entropy","input":"softmax","classes":10,"step":0})";
constexpr const char* kRawOutputs =
    R"({"kind":"loss_input","loss":"nll_loss","input":"layer","step":0})";

// The losses with `meta` told at the first step.
RunBuilder RunOf(const std::vector<double>& losses, const std::string& meta) {
  RunBuilder run;
  run.Between(0).Meta(meta);
  for (size_t i = 0; i < losses.size(); ++i) {
    run.Step(static_cast<int64_t>(i)).Scalar("loss/backward", losses[i]);
  }
  return run;
}

TEST(LossInputTest, NamesTheLossWhatItIsGivenAndWhatThatDoes) {
  const struct {
    std::string meta;
    Severity severity;
    const char* message;
    const char* cause;
    const char* try_;  // NOLINT(readability-identifier-naming): as in Finding
  } cases[] = {
      {kSoftmaxTwice, Severity::kWarning,
       "cross_entropy, which takes a softmax itself, is given the output of a softmax",
       "keep it above 1.46,", "without the softmax"},
      {R"({"kind":"loss_input","loss":"binary_cross_entropy_with_logits","input":"sigmoid"})",
       Severity::kWarning, "which takes a sigmoid itself, is given the output of a sigmoid",
       "from getting near zero", "without the sigmoid"},
      {kRawOutputs, Severity::kError,
       "nll_loss expects log-probabilities, and is given the output of a layer as it is",
       "has no lowest value", "put log_softmax before nll_loss"},
      {R"({"kind":"loss_input","loss":"nll_loss","input":"softmax"})", Severity::kWarning,
       "is given the output of a softmax", "mean error of a guess", "without the softmax"},
      {R"({"kind":"loss_input","loss":"mse_loss","input":"broadcast","shape":[64],)"
       R"("to":[64,64]})",
       Severity::kError, "[64] was broadcast to [64, 64]", "one and the same value",
       "targets.squeeze(-1)"},
      {R"({"kind":"loss_input","loss":"binary_cross_entropy_with_logits","input":"relu"})",
       Severity::kWarning, "never below 0", "below 1/2", "without the relu"},
      {R"({"kind":"loss_input","loss":"cross_entropy","input":"relu"})", Severity::kWarning,
       "is given the output of a relu, never below 0", "has no gradient", "without the relu"},
      {R"({"kind":"loss_input","loss":"nll_loss","input":"dimension","shape":[64,10]})",
       Severity::kError, "along another dimension than that of the classes, of shape [64, 10]",
       "do not sum to 1", "along the dimension of the classes"},
      {R"({"kind":"loss_input","loss":"mse_loss","input":"broadcast","shape":[64,1],)"
       R"("to":[64,64]})",
       Severity::kError,
       "mse_loss compares 64 predictions with the targets each with each: [64, 1] was broadcast "
       "to [64, 64]",
       "one and the same value", "predictions.squeeze(-1)"},
  };
  for (const auto& it : cases) {
    RunBuilder run = RunOf(NoisyLosses(1, 0.3, 0.05, 60), it.meta);
    const auto findings = FindingsOf(run);
    ASSERT_EQ(findings.size(), 1U) << it.meta;
    EXPECT_EQ(findings[0].rule, "loss_input");
    EXPECT_EQ(findings[0].severity, it.severity);
    EXPECT_EQ(findings[0].step, 0);
    EXPECT_EQ(findings[0].state, FindingState::kOpen);
    EXPECT_EQ(findings[0].last_step, 59);
    EXPECT_THAT(findings[0].message, HasSubstr(it.message));
    EXPECT_THAT(*findings[0].cause, HasSubstr(it.cause));
    EXPECT_THAT(*findings[0].try_, HasSubstr(it.try_));
  }
}

TEST(LossInputTest, SaysNothingOfWhatIsMalformedOrNotKnown) {
  for (const std::string members :
       {R"("loss":"cross_entropy","input":"tanh")", R"("loss":"mse_loss","input":"relu")",
        R"("loss":"cross_entropy")", R"("loss":7)", R"("loss":"hinge","input":"softmax")",
        R"("loss":"nll_loss","input":"dimension")", R"("loss":"mse_loss","input":"broadcast")",
        R"("loss":"mse_loss","input":"broadcast","shape":[],"to":["x"])"}) {
    RunBuilder run =
        RunOf(NoisyLosses(1, 0.3, 0.05, 60), R"({"kind":"loss_input",)" + members + "}");
    EXPECT_TRUE(FindingsOf(run).empty()) << members;
  }
}

TEST(LossInputTest, AnErrorStaysBesideALossThatIsFlatForIt) {
  RunBuilder run = RunOf(std::vector<double>(300, 2.3), kRawOutputs);
  const auto findings = FindingsOf(run);
  ASSERT_EQ(findings.size(), 2U);
  EXPECT_EQ(findings[0].rule, "loss_input");
  EXPECT_EQ(findings[0].state, FindingState::kOpen);
  EXPECT_EQ(findings[1].rule, "loss_not_decreasing");
  EXPECT_THAT(*findings[1].cause, HasSubstr("nll_loss expects log-probabilities"));
}

TEST(LossInputTest, WhatAModelLearnsWithExplainsAFlatLossOnlyWhereNothingMeasuredDoes) {
  for (const bool measured : {false, true}) {
    RunBuilder run;
    run.Between(0).Meta(kSoftmaxTwice);
    for (int64_t step = 0; step < 300; ++step) {
      run.Step(step).Scalar("loss/backward", 2.3).Scalar("learning_rate", 1e-8);
      const double moved = measured ? 0 : 0.01 * static_cast<double>(step);
      run.Weight("fc.weight", NormalStats(0, 1 + moved));
    }
    const auto findings = FindingsOf(run);
    ASSERT_EQ(findings.size(), 2U);
    EXPECT_EQ(findings[0].rule, "loss_input");
    EXPECT_EQ(findings[0].part_of, findings[1].id);
    ASSERT_EQ(findings[1].rule, "loss_not_decreasing");
    ASSERT_EQ(findings[1].also.size(), 1U);
    EXPECT_THAT(findings[1].also[0].message, HasSubstr("is given the output of a softmax"));
    EXPECT_THAT(*findings[1].cause,
                HasSubstr(measured ? "the weights hardly move"
                                   : "the model does not learn: cross_entropy, which takes a "
                                     "softmax itself, is given the output of a softmax, learning "
                                     "rate far off"));
    EXPECT_THAT(*findings[1].try_, HasSubstr(measured ? "learning rate" : "without the softmax"));
  }
}

TEST(LossInputTest, TwoLossesAreTwoFindings) {
  RunBuilder run = RunOf({1}, kSoftmaxTwice);
  run.Between(0).Meta(
      R"({"kind":"loss_input","loss":"binary_cross_entropy_with_logits","input":"sigmoid"})");
  const auto findings = FindingsOf(run);
  ASSERT_EQ(findings.size(), 2U);
  EXPECT_THAT(findings[0].message, HasSubstr("cross_entropy, which"));
  EXPECT_THAT(findings[1].message, HasSubstr("binary_cross_entropy_with_logits, which"));
}

TEST(LossInputTest, AnotherTrainingThatIsGivenWhatFitsIsNotBlamed) {
  RunBuilder run = RunOf(NoisyLosses(1, 0.3, 0.05, 60), kRawOutputs);
  run.Meta(R"({"kind":"optimizer","parameters":["fc.weight"]})");
  run.Between(60).Meta(R"({"kind":"loss_anew"})");
  run.Meta(R"({"kind":"optimizer","parameters":["Net2.fc.weight"]})");
  for (int64_t step = 60; step < 400; ++step) {
    run.Step(step).Scalar("loss/backward.Net2", 2.3);
  }
  const auto findings = FindingsOf(run);
  ASSERT_EQ(findings.size(), 2U);
  EXPECT_EQ(findings[0].rule, "loss_input");
  EXPECT_EQ(findings[0].state, FindingState::kOpen);
  EXPECT_EQ(findings[0].last_step, 59);
  EXPECT_EQ(findings[1].rule, "loss_not_decreasing");
  EXPECT_THAT(*findings[1].cause, testing::Not(HasSubstr("nll_loss")));
}

TEST(LossInputTest, NanFromElsewhereHidesItNot) {
  RunBuilder run = RunOf(NoisyLosses(1, 0.3, 0.05, 60), kRawOutputs);
  run.Step(60).Stats("input/fc", NanStats(1), {"inputs"}).Scalar("loss/backward", std::nan(""));
  const auto findings = FindingsOf(run);
  ASSERT_EQ(findings.size(), 2U);
  for (const Finding& finding : findings) {
    EXPECT_EQ(finding.state, FindingState::kOpen) << finding.rule;
  }
}

TEST(LossInputTest, ALossThatBecomesNanIsSaidToHaveHadNoLowestValue) {
  RunBuilder run;
  run.Between(0).Meta(kRawOutputs);
  for (int64_t step = 0; step < 12; ++step) {
    const double grown = std::pow(10, step);
    run.Step(step).Scalar("loss/backward", step < 11 ? -grown : std::nan(""));
    run.Weight("fc.weight", NormalStats(0, 0.1 * grown));
  }
  const auto findings = FindingsOf(run, "nonfinite");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(*findings[0].cause, HasSubstr("nll_loss expects log-probabilities"));
}

// From 3 down to `level` within fifty values, and there under noise.
std::vector<double> FallingTo(double level, double noise, int count) {
  std::vector<double> values = NoisyLosses(3, 1, 0, 50, 10);
  for (double& value : values) {
    value = level + (value - 1) / 2;
  }
  for (int i = 50; i < count; ++i) {
    values.push_back(level + (i % 2 == 0 ? noise : -noise));
  }
  return values;
}

TEST(LossInputTest, ALossThatFallsToWhatGuessingGivesIsFlat) {
  const double guess = std::log(10.0);
  const struct {
    double level;
    double noise;
    int count;
    const char* meta;
    bool is_flat;
  } cases[] = {
      {guess, 0.02, 400, R"({"kind":"guess","classes":10})", true},
      {guess, 0.02, 120, R"({"kind":"guess","classes":10})", false},  // it may just need more time
      {guess, 0.5, 400, R"({"kind":"guess","classes":10})", false},   // nobody can tell
      {guess - 0.1, 0.02, 400, R"({"kind":"guess","classes":10})", false},
      {guess, 0.02, 400, R"({"kind":"guess","classes":0})", false},
      {guess, 0.02, 400, R"({"kind":"guess","classes":5})", false},
      {guess, 0.02, 400, R"({"kind":"guess","classes":-1})", false},
  };
  for (const auto& it : cases) {
    RunBuilder run = RunOf(FallingTo(it.level, it.noise, it.count), it.meta);
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    ASSERT_EQ(findings.size(), it.is_flat ? 1U : 0U) << it.level << it.meta << it.count;
    if (it.is_flat) {
      EXPECT_THAT(findings[0].message, HasSubstr("loss/backward stays at what guessing gives: "));
      EXPECT_THAT(*findings[0].cause, HasSubstr("guessing one of 10 gives 2.3)"));
      EXPECT_EQ(findings[0].severity, Severity::kWarning);
    }
  }
}

TEST(LossInputTest, OnlyTheCrossEntropyItselfHasALevelOfGuessing) {
  RunBuilder run;
  run.Between(0).Meta(R"({"kind":"guess","classes":10})");
  const std::vector<double> values = FallingTo(std::log(10.0), 0.02, 400);
  for (size_t i = 0; i < values.size(); ++i) {
    run.Step(static_cast<int64_t>(i)).Scalar("loss/kl", values[i]);
  }
  EXPECT_TRUE(FindingsOf(run, "loss_not_decreasing").empty());
}

TEST(LossInputTest, ALossThatGuessedAndLearnsAtLastResolves) {
  std::vector<double> values = FallingTo(std::log(10.0), 0.02, 400);
  for (int i = 0; i < 200; ++i) {
    values.push_back(std::log(10.0) * std::exp2(-i / 40.0));
  }
  RunBuilder run = RunOf(values, R"({"kind":"guess","classes":10})");
  EXPECT_THAT(
      EventsOf(run, "loss_not_decreasing"),
      testing::ElementsAre("opened loss_not_decreasing-1", "resolved loss_not_decreasing-1"));
}

}  // namespace
}  // namespace wheeltapper::rules
