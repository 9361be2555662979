#include "wheeltapper/rules/engine.h"

#include <algorithm>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "incidents.h"
#include "run_fixture.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

std::vector<std::string> Lines(const std::vector<Finding>& findings) {
  std::vector<std::string> lines;
  lines.reserve(findings.size());
  for (const Finding& finding : findings) {
    lines.push_back(FindingToJson(finding));
  }
  return lines;
}

// A run with something for several rules to say.
RunBuilder EventfulRun() {
  RunBuilder run;
  for (int64_t step = 0; step < 60; ++step) {
    run.Step(step).Scalar("loss/ce", step < 30 ? 2.0 - 0.05 * static_cast<double>(step) : 900.0);
    run.Weight("fc.weight", NormalStats(0, 0.1 + 0.001 * static_cast<double>(step)));
    run.Stats("gradient/fc.weight",
              step % 7 == 6 ? NanStats(3) : NormalStats(0.001 * static_cast<double>(step), 1));
    run.Stats("gradient/fc.bias", NormalStats(0, 1));
    run.Weight("fc.bias", NormalStats(0.5, 0.1));
    if (step % 3 == 0) {
      run.Between(step).Scalar("val_loss", 1.0 + 0.1 * static_cast<double>(step));
    }
  }
  return run;
}

TEST(RuleEngineTest, GivesTheSameFindingsLiveInAnyPortionsAndAllAtOnce) {
  RunBuilder whole = EventfulRun();
  const std::vector<std::string> expected = Lines(FindingsOf(whole));
  ASSERT_GE(expected.size(), 3U);
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    RunBuilder run = EventfulRun();
    ManualClock clock;
    std::vector<RuleSelection> selections;
    for (const RuleType& type : BuiltinRules()) {
      selections.push_back(Select(type.info->name));
    }
    const auto engine = RuleEngine::Create(selections, clock);
    ASSERT_TRUE(engine.ok());
    MemoryTrial trial(run);
    for (size_t shown = 0; shown < run.batches().size(); shown += 1 + random() % 9) {
      trial.Show(shown);
      ASSERT_TRUE((*engine)->Advance(trial).ok());
      clock.Advance(1'000'000'000);
    }
    trial.ShowAll();
    ASSERT_TRUE((*engine)->Finish(trial).ok());
    EXPECT_EQ(Lines((*engine)->findings()), expected) << "seed " << seed;
  }
}

TEST(RuleEngineTest, TwoHundredLayersWithOneCauseAreOneFinding) {
  RunBuilder run;
  run.Step(5);
  for (int layer = 0; layer < 200; ++layer) {
    run.Stats("gradient/layer" + std::to_string(layer) + ".weight", NanStats(1));
  }
  const auto findings = FindingsOf(run, "nonfinite");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].count, 200);
  EXPECT_EQ(findings[0].tensors.size(), 20U);
  EXPECT_EQ(findings[0].tensor, "gradient/layer199.weight");  // the deepest comes first
  EXPECT_THAT(findings[0].message, HasSubstr("(and 199 more tensors)"));
}

TEST(RuleEngineTest, AFindingResolvesAfterThreeClearStepsAndOpensAgainWithTheSameId) {
  RunBuilder run;
  const std::vector<bool> bad = {true, false, false, true, false, false, false, true};
  for (size_t step = 0; step < bad.size(); ++step) {
    run.Step(static_cast<int64_t>(step))
        .Stats("gradient/w", bad[step] ? NanStats(1) : NormalStats(0, 1));
  }
  const ManualClock clock;
  const auto engine = RuleEngine::Create({Select("nonfinite")}, clock);
  ASSERT_TRUE(engine.ok());
  RecordingSink sink;
  (*engine)->AddSink(&sink);
  MemoryTrial trial(run);
  trial.ShowAll();
  ASSERT_TRUE((*engine)->Finish(trial).ok());
  EXPECT_THAT(sink.events, testing::ElementsAre("opened nonfinite-1", "resolved nonfinite-1",
                                                "opened nonfinite-1"));
  EXPECT_EQ((*engine)->findings()[0].count, 3);
  EXPECT_EQ((*engine)->findings()[0].last_step, 7);
}

TEST(RuleEngineTest, AFindingThatComesAndGoesIsToldMoreAndMoreRarely) {
  RunBuilder run;
  for (int64_t step = 0; step < 400; ++step) {
    run.Step(step).Stats("gradient/w", step % 10 < 2 ? NanStats(1) : NormalStats(0, 1));
  }
  EXPECT_THAT(
      EventsOf(run, "nonfinite"),
      testing::ElementsAre("opened nonfinite-1", "resolved nonfinite-1", "opened nonfinite-1",
                           "resolved nonfinite-1", "opened nonfinite-1"));
}

TEST(RuleEngineTest, WhatComesBackAfterALongTimeResolvesAsSoonAsTheFirstTime) {
  RunBuilder run;
  constexpr int64_t kSteps = 100 * 8 + 1 + kClearsToResolve;  // ends three steps after the last
  for (int64_t step = 0; step < kSteps; ++step) {
    run.Step(step).Stats("gradient/w", step % 100 == 0 ? NanStats(1) : NormalStats(0, 1));
  }
  const auto findings = FindingsOf(run, "nonfinite");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].count, 9);
  EXPECT_EQ(findings[0].state, FindingState::kResolved);
}

TEST(RuleEngineTest, AFindingThatOpensAgainTellsWhatIsSoNow) {
  RunBuilder run;
  for (int64_t step = 0; step < 20; ++step) {
    run.Step(step).Stats("gradient/a", step < 2 ? NanStats(1) : NormalStats(0, 1));
    run.Stats("gradient/b", step == 10 ? NanStats(2) : NormalStats(0, 1));
  }
  const auto findings = FindingsOf(run, "nonfinite");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].tensor, "gradient/b");
  EXPECT_EQ(findings[0].tensors, std::vector<std::string>{"gradient/b"});
  EXPECT_EQ(findings[0].step, 10);
  EXPECT_EQ(findings[0].count, 3);
  EXPECT_EQ(findings[0].message,
            "gradient/b holds 2 NaN of 64 values at step 10; before that at steps 0 to 1");
}

// Weights that explode and then are NaN, as the loss is.
RunBuilder ExplodesIntoNan() {
  RunBuilder run;
  for (int64_t step = 0; step < 30; ++step) {
    const double level = step < 5 ? 0.1 : std::pow(1e6, step - 3);
    run.Step(step).Scalar("learning_rate", 10);
    run.Scalar("loss/ce", step < 5 ? 2.3 : step < 8 ? level : std::nan(""));
    run.Weight("fc.weight", step < 8 ? NormalStats(0, level) : NanStats(64));
    run.Weight("fc.bias", NormalStats(0, 1 + 0.01 * static_cast<double>(step)));
  }
  return run;
}

TEST(RuleEngineTest, WhatBecomesNanHasNotRecovered) {
  for (const char* rule : {"exploding_tensor", "weight_update_ratio"}) {
    RunBuilder run = ExplodesIntoNan();
    EXPECT_THAT(EventsOf(run, rule), testing::ElementsAre(std::string("opened ") + rule + "-1"));
  }
}

// Live rows come as they were recorded, sealed ones sorted by name: "11" is before "2" there.
TEST(RuleEngineTest, TheHeadlineIsTheFirstOfTheModelInWhateverOrderRowsCome) {
  for (const bool sorted : {false, true}) {
    RunBuilder run;
    run.Between(0).Meta(R"({"kind":"model","modules":[{"path":"2"},{"path":"11"}],)"
                        R"("parameters":[{"name":"2.weight"},{"name":"11.weight"}]})");
    for (int64_t step = 0; step < 8; ++step) {
      run.Step(step).Scalar("learning_rate", 0);
      for (const char* name :
           {sorted ? "11.weight" : "2.weight", sorted ? "2.weight" : "11.weight"}) {
        run.Stats(std::string("gradient/") + name, NormalStats(0, 1));
        run.Weight(name, NormalStats(0, 1));
      }
    }
    const auto findings = FindingsOf(run, "optimizer_no_op");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].tensors, (std::vector<std::string>{"2.weight", "11.weight"})) << sorted;
  }
}

TEST(RuleEngineTest, ADivergenceThatEndsInNanIsOneIncident) {
  RunBuilder run = ExplodesIntoNan();
  const auto findings = FindingsOf(run);
  int open = 0;
  for (const Finding& finding : findings) {
    open += finding.state == FindingState::kOpen ? 1 : 0;
    if (finding.state == FindingState::kResolved) {
      EXPECT_EQ(finding.part_of, "nonfinite-1") << finding.rule;
    } else {
      EXPECT_EQ(finding.rule, "nonfinite");
      EXPECT_EQ(finding.severity, Severity::kCritical);
      EXPECT_THAT(*finding.cause, HasSubstr("the learning rate (10) is too high"));
      std::set<std::string> also;
      for (const AlsoSeen& other : finding.also) {
        also.insert(other.rule);
      }
      EXPECT_THAT(also, testing::ElementsAre("exploding_tensor", "loss_not_decreasing",
                                             "weight_update_ratio"));
    }
  }
  EXPECT_EQ(open, 1);
}

TEST(RuleEngineTest, WhatExplodesAtTheStepThatShowsNanIsNoFindingOfItsOwn) {
  RunBuilder run;
  for (int64_t step = 0; step < 6; ++step) {
    run.Step(step).Weight("fc.weight", NormalStats(0, step < 5 ? 0.1 : 1e12));
    run.Weight("fc.bias", step < 5 ? NormalStats(0, 1) : NanStats(1));
  }
  const auto findings = FindingsOf(run);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].rule, "nonfinite");
  EXPECT_EQ(findings[0].also.size(), 2U);
}

TEST(RuleEngineTest, UpdatesAreRateLimitedAndTheLastOneIsNotLost) {
  RunBuilder run;
  for (int64_t step = 0; step < 30; ++step) {
    run.Step(step).Stats("gradient/w", NanStats(1));
  }
  ManualClock clock;
  const auto engine = RuleEngine::Create({Select("nonfinite")}, clock);
  ASSERT_TRUE(engine.ok());
  RecordingSink sink;
  (*engine)->AddSink(&sink);
  MemoryTrial trial(run);
  for (size_t shown = 1; shown <= 30; ++shown) {
    trial.Show(shown);
    ASSERT_TRUE((*engine)->Advance(trial).ok());
    clock.Advance(1'000'000'000);
  }
  ASSERT_TRUE((*engine)->Finish(trial).ok());
  EXPECT_THAT(sink.events, testing::ElementsAre("opened nonfinite-1", "updated nonfinite-1",
                                                "updated nonfinite-1", "updated nonfinite-1"));
  EXPECT_EQ((*engine)->findings()[0].count, 30);
}

TEST(RuleEngineTest, RanksMergeIntoOneFindingWhicheverIsReadFirst) {
  std::vector<std::string> results;
  for (const bool swapped : {false, true}) {
    RunBuilder run;
    for (const int32_t rank : swapped ? std::vector{1, 0} : std::vector{0, 1}) {
      for (int64_t step = 0; step < 4; ++step) {
        run.Step(step, Mode::kTrain, rank);
        run.Stats("gradient/w", step >= 2 - rank ? NanStats(1 + rank) : NormalStats(0, 1));
      }
    }
    const auto findings = FindingsOf(run, "nonfinite");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].rank, std::nullopt);
    EXPECT_EQ(findings[0].step, 1);
    EXPECT_EQ(findings[0].count, 5);
    results.push_back(FindingToJson(findings[0]));
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST(RuleEngineTest, ARuleInErrorIsIsolatedAndNeverAFinding) {
  RunBuilder run;
  run.Step(0).Scalar("loss/ce", 1).Stats("gradient/w", NanStats(1));
  run.Step(1).Scalar("loss/ce", 1).Stats("gradient/w", NanStats(1));
  const ManualClock clock;
  const auto engine = RuleEngine::Create(
      {Select("loss_not_decreasing", {{"mode", "sideways"}}), Select("nonfinite")}, clock);
  ASSERT_TRUE(engine.ok());
  MemoryTrial trial(run);
  trial.ShowAll();
  ASSERT_TRUE((*engine)->Finish(trial).ok());
  const auto states = (*engine)->rule_states();
  EXPECT_EQ(states[0].state, RuleState::kErrored);
  EXPECT_THAT(states[0].detail, HasSubstr("expected train, eval, predict or global"));
  EXPECT_EQ(states[0].batches, 1);
  EXPECT_EQ(states[1].state, RuleState::kActive);
  ASSERT_EQ((*engine)->findings().size(), 1U);
  EXPECT_EQ((*engine)->findings()[0].rule, "nonfinite");
}

TEST(RuleEngineTest, ARuleWhoseNeedsAreNotMetSaysWhatItWaitsFor) {
  RunBuilder run;
  run.Step(0).Scalar("accuracy", 1);
  const ManualClock clock;
  const auto engine =
      RuleEngine::Create({Select("vanishing_gradient"), Select("stalled_training")}, clock);
  ASSERT_TRUE(engine.ok());
  MemoryTrial trial(run);
  trial.ShowAll();
  ASSERT_TRUE((*engine)->Finish(trial).ok());
  const auto states = (*engine)->rule_states();
  EXPECT_EQ(states[0].state, RuleState::kWaiting);
  EXPECT_EQ(states[0].detail, "needs collection gradients, none captured so far");
  EXPECT_EQ(states[1].state, RuleState::kActive);
}

TEST(RuleEngineTest, ValidationLossesThatAreAllNanAreNotCalledMissing) {
  RunBuilder run;
  for (int64_t step = 0; step < 50; ++step) {
    run.Step(step).Scalar("loss/backward", 2.3);
  }
  run.Step(50, Mode::kEval).Scalar("loss/CrossEntropyLoss", std::nan(""));
  EXPECT_THAT(StateOver(run, "overfit").detail,
              HasSubstr("every value of the validation loss loss/CrossEntropyLoss is NaN"));
}

TEST(RuleEngineTest, ARuleThatFoundNothingToJudgeSaysWhatToDo) {
  RunBuilder run;
  for (int64_t step = 0; step < 50; ++step) {
    run.Step(step).Scalar("loss/backward", 2.3);
  }
  for (const char* rule : {"overfit", "overtraining"}) {
    const RuleStatus state = StateOver(run, rule);
    EXPECT_EQ(state.state, RuleState::kWaiting) << rule;
    EXPECT_THAT(state.detail, HasSubstr("no validation loss was seen"));
    EXPECT_THAT(state.detail, HasSubstr(R"(wheeltapper.log({"val_loss": value}))"));
  }
  EXPECT_EQ(StateOver(run, "loss_not_decreasing").state, RuleState::kActive);
  for (int64_t step = 50; step < 55; ++step) {
    run.Step(step).Scalar("loss/backward", 2.3);
    run.Between(step).Scalar("val_loss", 2.4);
  }
  EXPECT_EQ(StateOver(run, "overfit").state, RuleState::kActive);
  EXPECT_EQ(StateOver(run, "overtraining").state, RuleState::kActive);
}

TEST(RuleEngineTest, AdvisesToCaptureGradientsAndSaysWhatStaysUnread) {
  for (const bool unreadable : {false, true}) {
    RunBuilder run;
    run.Between(0).Gap(format::GapReason::kCorruption);
    if (unreadable) {
      run.Gap(format::GapReason::kUnsupported);
    }
    run.Step(0).Weight("fc.weight", NormalStats(0, 1));
    const RuleStatus state = StateOver(run, "optimizer_no_op");
    EXPECT_EQ(state.state, RuleState::kWaiting);
    EXPECT_THAT(state.detail, HasSubstr("capture.gradients=stats"));
    EXPECT_EQ(state.detail.find("under torch.compile") != std::string::npos, unreadable);
  }
}

TEST(RuleEngineTest, AConfiguredSeverityGoesBeforeWhatTheRuleSays) {
  RunBuilder run;
  for (int64_t step = 0; step < 200; ++step) {
    run.Step(step).Scalar("loss/ce", 2.3);
  }
  RuleSelection selection = Select("loss_not_decreasing");
  for (const auto& [configured, expected] :
       {std::pair(std::optional<Severity>(), Severity::kWarning),
        std::pair(std::optional(Severity::kError), Severity::kError)}) {
    selection.severity = configured;
    const ManualClock clock;
    const auto engine = RuleEngine::Create({selection}, clock);
    ASSERT_TRUE(engine.ok());
    MemoryTrial trial(run);
    trial.ShowAll();
    ASSERT_TRUE((*engine)->Finish(trial).ok());
    ASSERT_EQ((*engine)->findings().size(), 1U);
    EXPECT_EQ((*engine)->findings()[0].severity, expected);
  }
}

TEST(RuleEngineTest, ParametersInForceStandInTheFinding) {
  RunBuilder run;
  run.Step(0).Stats("gradient/w", NanStats(1));
  const auto findings = FindingsOf(run, "exploding_tensor", {{"nonfinite", "true"}});
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].parameters.at("nonfinite"), "true");
  EXPECT_EQ(findings[0].parameters.at("only_nan"), "false");
}

}  // namespace
}  // namespace wheeltapper::rules
