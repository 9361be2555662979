#include "incidents.h"

#include <array>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wheeltapper::rules {
namespace {

using testing::ElementsAre;

constexpr std::array<Explanation, 2> kByTheOptimizer = {{
    {"small", "optimizer_no_op", kAnyCause, Reach::kSamePlace},
    {"flat", "optimizer_no_op", kAnyCause, Reach::kWholeModel},
}};

constexpr std::array<Explanation, 1> kByTheLoss = {{{"", "loss", "diverged"}}};
constexpr std::array<Explanation, 1> kBySums = {{{"diverged", "sums", kAnyCause}}};

constexpr std::array<Explanation, 1> kByNan = {{{"large", "nan", kAnyCause}}};
constexpr std::array<Explanation, 2> kByNanOrAnUpdate = {
    {{"diverged", "nan", kAnyCause},
     {"diverged", "update", "large", Reach::kAnywhere, /*outlasts=*/true}}};

constexpr std::array<Explanation, 1> kByTheGradient = {{
    {"", "vanishing_gradient", kAnyCause, Reach::kSamePlace},
}};

// Feeds a book as the engine does: what one rule says of one step.
class IncidentBookTest : public testing::Test {
 protected:
  static format::StepKey At(int64_t step, int32_t rank) {
    return {.rank = Rank{rank}, .step = Step{step}, .mode = Mode::kTrain, .mode_step = step};
  }
  static Observation Seen(const std::string& cause, const std::string& tensor) {
    return {.cause_key = cause,
            .tensor = tensor,
            .module = {},
            .key = {},
            .message = {},
            .cause = {},
            .try_ = {},
            .evidence = {},
            .severity = {}};
  }
  void Apply(const FindingSource& source, int64_t step, int32_t rank,
             std::vector<Observation> observations) {
    Verdicts verdicts;
    for (Observation& observation : observations) {
      observation.key = At(step, rank);
      observation.message = *observation.tensor + " at step " + std::to_string(step);
      verdicts.observations.push_back(std::move(observation));
    }
    book_->Apply(source, verdicts, 0);
  }
  void Idle(int64_t step, const std::vector<std::string>& parameters, bool whole_model,
            int32_t rank = 0) {
    std::vector<Observation> observations;
    for (const std::string& parameter : parameters) {
      observations.push_back(Seen("", parameter));
      observations.back().whole_model = whole_model;
    }
    Apply(optimizer_, step, rank, std::move(observations));
  }
  void IsClear(const FindingSource& source, const char* cause, int64_t step,
               bool for_certain = false) {
    book_->Apply(
        source, {.cleared = {{.cause_key = cause, .key = At(step, 0), .for_certain = for_certain}}},
        0);
  }
  void Vanishes(int64_t step, const std::string& parameter) {
    Apply(gradient_, step, 0, {Seen("small", "gradient/" + parameter)});
  }
  void IsFlat(int64_t step, int32_t rank = 0) { Apply(loss_, step, rank, {Seen("flat", "loss")}); }

  // The rules whose findings are open, in order of opening.
  [[nodiscard]] std::vector<std::string> OpenRules() const {
    std::vector<std::string> rules;
    for (const Finding& finding : book_->findings()) {
      if (finding.state == FindingState::kOpen) {
        rules.push_back(finding.rule);
      }
    }
    return rules;
  }

  const FindingSource optimizer_ = {.rule = "optimizer_no_op", .severity = Severity::kError};
  const FindingSource gradient_ = {.rule = "vanishing_gradient", .explained_by = kByTheOptimizer};
  const FindingSource loss_ = {.rule = "loss_not_decreasing", .explained_by = kByTheOptimizer};
  const FindingSource update_ = {.rule = "update", .severity = Severity::kError};
  const FindingSource diverging_ = {
      .rule = "loss", .severity = Severity::kError, .explained_by = kByNanOrAnUpdate};
  ManualClock clock_;
  std::optional<IncidentBook> book_{clock_};
};

TEST_F(IncidentBookTest, AFindingThatOpensAgainExplainsOnlyWhereItIsNow) {
  Idle(0, {"body.weight", "head.bias"}, true);
  for (int64_t step = 1; step <= kClearsToResolve; ++step) {
    IsClear(optimizer_, "", step);
  }
  Idle(10, {"head.bias"}, false);
  Vanishes(10, "body.weight");
  EXPECT_THAT(OpenRules(), ElementsAre("optimizer_no_op", "vanishing_gradient"));
}

TEST_F(IncidentBookTest, WhatExplainsACauseExplainsItsLaterOccurrencesToo) {
  Idle(0, {"body.weight"}, true);
  Apply(loss_, 1, 0, {Seen("flat@2", "loss")});
  EXPECT_THAT(OpenRules(), ElementsAre("optimizer_no_op"));
}

TEST_F(IncidentBookTest, AFindingThatLastsSaysHowLongItHas) {
  const auto see = [&](int64_t step, const std::string& tensor, int32_t rank = 0) {
    Observation observation = Seen("", tensor);
    observation.lasts = true;
    observation.since = Step{2};
    Apply(optimizer_, step, rank, {observation});
  };
  see(10, "a");
  see(10, "b");
  see(20, "a");
  see(20, "b");
  see(25, "a", 1);
  book_->Flush(true);
  EXPECT_EQ(book_->findings()[0].message, "a at step 20 (and 1 more tensor)");
  EXPECT_EQ(book_->findings()[0].tensor, "a");
  EXPECT_EQ(book_->findings()[0].step, 2);
}

TEST_F(IncidentBookTest, AFindingOfAnInstantKeepsWhatItSaidFirst) {
  Idle(10, {"a"}, false);
  Idle(20, {"a"}, false);
  book_->Flush(true);
  EXPECT_EQ(book_->findings()[0].message, "a at step 10");
}

TEST_F(IncidentBookTest, AFindingCountsAlsoTheTensorsThatItDoesNotName) {
  std::vector<std::string> parameters;
  parameters.reserve(26);
  for (int i = 0; i < 26; ++i) {
    parameters.push_back("layer" + std::to_string(i));
  }
  Idle(0, parameters, true);
  const Finding& finding = book_->findings()[0];
  EXPECT_EQ(finding.tensors.size(), kMaxTensorsShown);
  EXPECT_EQ(finding.tensors_total, 26);
  EXPECT_EQ(finding.message, "layer0 at step 0 (and 25 more tensors)");
}

TEST_F(IncidentBookTest, AFindingThatLeavesAPartOfTheModelSoonExplainsNothingThere) {
  Idle(0, {"body.weight", "head.bias"}, true);
  for (int64_t step = 1; step < kClearsToResolve; ++step) {
    Idle(step, {"head.bias"}, false);
    Vanishes(step, "body.weight");
    EXPECT_THAT(OpenRules(), ElementsAre("optimizer_no_op")) << step;  // it may be there again
  }
  Idle(kClearsToResolve, {"head.bias"}, false);
  Vanishes(kClearsToResolve, "head.bias");
  EXPECT_THAT(OpenRules(), ElementsAre("optimizer_no_op"));
  Vanishes(kClearsToResolve, "body.weight");
  EXPECT_THAT(OpenRules(), ElementsAre("optimizer_no_op", "vanishing_gradient"));
}

TEST_F(IncidentBookTest, AFlatLossIsExplainedWhereEveryRankThatShowsTheCauseIsWhollyIdle) {
  for (const bool partly : {false, true}) {
    for (const int32_t last : {0, 1}) {  // in whatever order the ranks are read
      book_.emplace(clock_);
      Idle(0, {"head.bias"}, last == 0 ? !partly : true, 1 - last);
      Idle(0, {"head.bias"}, last == 0 ? true : !partly, last);
      IsFlat(100);
      EXPECT_EQ(OpenRules().size(), partly ? 2U : 1U) << "read last: rank " << last;
    }
  }
}

TEST_F(IncidentBookTest, AFindingThatTakesAnotherOverTellsTheLatestOfIt) {
  Vanishes(5, "head.bias");
  Vanishes(6, "head.bias");
  Idle(7, {"head.bias"}, false);
  ASSERT_THAT(OpenRules(), ElementsAre("optimizer_no_op"));
  ASSERT_EQ(book_->findings()[1].also.size(), 1U);
  EXPECT_EQ(book_->findings()[1].also[0].message, "gradient/head.bias at step 6");
}

TEST_F(IncidentBookTest, ResolvingTakesAsManyClearStepsAsReportingAndAHeldStepIsNone) {
  Observation observation = Seen("", "head.bias");
  observation.patience = 5;
  Apply(optimizer_, 0, 0, {observation});
  const auto clear = [this](int64_t step) {
    IsClear(optimizer_, "", step);
    return OpenRules().empty();
  };
  for (int64_t step = 1; step < 5; ++step) {
    EXPECT_FALSE(clear(step)) << step;
  }
  book_->Apply(optimizer_, {.held = {{.cause_key = "", .key = At(5, 0)}}}, 0);
  for (int64_t step = 6; step < 10; ++step) {
    EXPECT_FALSE(clear(step)) << step;
  }
  EXPECT_TRUE(clear(10));
}

TEST_F(IncidentBookTest, AStepAtWhichItsTensorIsNotFiniteIsNotClear) {
  const std::set<std::string> nonfinite = {"head.bias"};
  const std::set<std::string> elsewhere = {"body.weight"};
  for (const auto* names : {&nonfinite, &elsewhere}) {
    book_.emplace(clock_);
    Idle(0, {"head.bias"}, false);
    Vanishes(0, "head.bias");  // goes into the finding of the optimizer
    for (int64_t step = 1; step < 9; ++step) {
      for (const auto& [source, cause] :
           {std::pair(&optimizer_, ""), std::pair(&gradient_, "small")}) {
        book_->Apply(*source,
                     {.cleared = {{.cause_key = cause, .key = At(step, 0)}}, .nonfinite = names},
                     0);
      }
    }
    EXPECT_EQ(OpenRules().empty(), names == &elsewhere);
  }
}

TEST_F(IncidentBookTest, AFindingThatTakesAnotherOverTellsWhatThatOneToldOfOthers) {
  const FindingSource other{.rule = "other", .explained_by = kByTheGradient};
  Vanishes(5, "head.bias");
  Apply(other, 5, 0, {Seen("", "head.bias")});
  ASSERT_THAT(OpenRules(), ElementsAre("vanishing_gradient"));
  Idle(7, {"head.bias"}, false);
  ASSERT_THAT(OpenRules(), ElementsAre("optimizer_no_op"));
  ASSERT_EQ(book_->findings()[1].also.size(), 2U);
  EXPECT_EQ(book_->findings()[1].also[0].rule, "other");
}

TEST_F(IncidentBookTest, WhatOutlastsItsExplanationKeepsTheFindingOpen) {
  for (const bool loss_first : {false, true}) {
    book_.emplace(clock_);
    if (loss_first) {
      Apply(diverging_, 1, 0, {Seen("diverged", "loss")});
    }
    Apply(update_, 1, 0, {Seen("large", "w")});
    for (int64_t step = 2; step < 12; ++step) {
      IsClear(update_, "large", step);
      Apply(diverging_, step, 0, {Seen("diverged", "loss")});
      EXPECT_THAT(OpenRules(), ElementsAre("update")) << step;
    }
    EXPECT_EQ(book_->findings().back().last_step, 11);
    for (int64_t step = 12; step < 12 + kClearsToResolve; ++step) {
      EXPECT_THAT(OpenRules(), ElementsAre("update")) << step;
      IsClear(diverging_, "diverged", step);
    }
    EXPECT_THAT(OpenRules(), ElementsAre());
    ASSERT_EQ(book_->findings().back().also.size(), 1U);
    EXPECT_EQ(book_->findings().back().also[0].message, "loss at step 11");
    EXPECT_EQ(book_->findings().size(), loss_first ? 2U : 1U);
  }
}

TEST_F(IncidentBookTest, WhatOutlastsItsExplanationHoldsNothingOnceItsRuleIsSilent) {
  Apply(update_, 1, 0, {Seen("large", "w")});
  Apply(diverging_, 1, 0, {Seen("diverged", "loss")});
  for (int64_t step = 2; step < 1 + 2 * kClearsToResolve; ++step) {
    EXPECT_THAT(OpenRules(), ElementsAre("update")) << step;
    IsClear(update_, "large", step);
  }
  // As the loss of a later training, which is another.
  Apply(diverging_, 20, 0, {Seen("diverged@2", "loss")});
  EXPECT_THAT(OpenRules(), ElementsAre("loss"));
}

TEST_F(IncidentBookTest, WhatIsCertainlyOverResolvesWhateverOutlastsIt) {
  for (const int64_t clears : {0, kClearsToResolve}) {
    book_.emplace(clock_);
    Apply(update_, 1, 0, {Seen("large", "w")});
    for (int64_t step = 2; step < 2 + clears; ++step) {
      Apply(diverging_, step, 0, {Seen("diverged", "loss")});
      IsClear(update_, "large", step);
    }
    EXPECT_THAT(OpenRules(), ElementsAre("update"));
    IsClear(update_, "large", 30, true);
    EXPECT_THAT(OpenRules(), ElementsAre());
  }
}

TEST_F(IncidentBookTest, WhatWasOpenForWhatOutlastsItAloneIsNoPartOfWhatTakesOver) {
  const FindingSource update{
      .rule = "update", .severity = Severity::kError, .explained_by = kByNan};
  const FindingSource nan{.rule = "nan", .severity = Severity::kCritical};
  Apply(update, 1, 0, {Seen("large", "w")});
  for (int64_t step = 1; step < 9; ++step) {
    Apply(diverging_, step, 0, {Seen("diverged", "loss")});
    IsClear(update, "large", step);
  }
  Apply(nan, 9, 0, {Seen("", "w")});
  ASSERT_THAT(OpenRules(), ElementsAre("nan"));
  ASSERT_EQ(book_->findings()[1].also.size(), 1U);
  EXPECT_EQ(book_->findings()[1].also[0].rule, "loss");
  for (int64_t step = 10; step < 10 + kClearsToResolve; ++step) {
    EXPECT_THAT(OpenRules(), ElementsAre("nan")) << step;
    IsClear(nan, "", step);
  }
  EXPECT_THAT(OpenRules(), ElementsAre()) << "what outlasts another explanation does not this one";
}

TEST_F(IncidentBookTest, OfTwoThatExplainEachOtherTheMoreSevereStaysWhicheverComesFirst) {
  const FindingSource loss{.rule = "loss", .severity = Severity::kError, .explained_by = kBySums};
  for (const Severity severity : {Severity::kInfo, Severity::kWarning, Severity::kError}) {
    const FindingSource sums{.rule = "sums", .severity = severity, .explained_by = kByTheLoss};
    const char* stays = severity == Severity::kError ? "sums" : "loss";
    book_.emplace(clock_);
    Apply(sums, 3, 0, {Seen("", "w")});
    EXPECT_THAT(OpenRules(), ElementsAre("sums"));
    Apply(loss, 4, 0, {Seen("diverged", "loss")});
    Apply(sums, 4, 0, {Seen("", "w")});
    EXPECT_THAT(OpenRules(), ElementsAre(stays));
    book_.emplace(clock_);
    Apply(loss, 4, 0, {Seen("diverged", "loss")});
    Apply(sums, 4, 0, {Seen("", "w")});
    EXPECT_THAT(OpenRules(), ElementsAre("loss"));
    ASSERT_EQ(book_->findings()[0].also.size(), 1U);
    // What is still there when the other one has resolved opens by itself.
    for (int64_t step = 5; step < 5 + kClearsToResolve; ++step) {
      IsClear(loss, "diverged", step);
    }
    Apply(sums, 9, 0, {Seen("", "w")});
    EXPECT_THAT(OpenRules(), ElementsAre("sums"));
  }
}

TEST_F(IncidentBookTest, TheStateOfAnOptimizerIsWhereItsParameterIs) {
  Idle(0, {"head.bias"}, false);
  Apply(gradient_, 0, 0, {Seen("small", "optimizer/head.bias/exp_avg")});
  EXPECT_THAT(OpenRules(), ElementsAre("optimizer_no_op"));
}

}  // namespace
}  // namespace wheeltapper::rules
