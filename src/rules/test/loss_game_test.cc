// Losses of two optimizers that play against each other, or that only look like it.
#include <cmath>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "losses.h"
#include "run_fixture.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

// Two optimizers; with a loss each, as of a GAN, or with one for both.
RunBuilder TwoOptimizers(const std::function<double(int)>& critic,
                         const std::function<double(int)>& generator, int steps) {
  RunBuilder run;
  run.Between(0).Meta(R"({"kind":"optimizer","parameters":["critic.weight"]})");
  run.Between(0).Meta(R"({"kind":"optimizer","parameters":["generator.weight"]})");
  for (int step = 0; step < steps; ++step) {
    run.Step(step).Scalar("loss/backward", critic(step));
    if (generator) {
      run.Scalar("loss/backward.Generator", generator(step));
    }
  }
  return run;
}

TEST(LossNotDecreasingTest, StaysSilentOnTheLossesOfAGanThatHover) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const std::vector<double> noise = NoisyLosses(seed, 2.3, 0.003, 600);
    const auto critic = [&](int step) { return noise[static_cast<size_t>(step)] - 0.9; };
    const auto generator = [&](int step) { return 3 - noise[static_cast<size_t>(599 - step)]; };
    RunBuilder run = TwoOptimizers(critic, generator, 600);
    EXPECT_TRUE(FindingsOf(run, "loss_not_decreasing").empty()) << "seed " << seed;
    // Named by the user, a loss is meant to fall.
    EXPECT_EQ(FindingsOf(run, "loss_not_decreasing", {{"tensor_regex", "Generator"}}).size(), 1U);
  }
}

TEST(LossNotDecreasingTest, StaysSilentWhereOneSideOfAGanGainsWhatTheOtherLoses) {
  const auto critic = [](int step) { return 0.2 + 1.2 * std::exp2(-step / 50.0); };
  const auto generator = [](int step) { return 4.0 - 3.3 * std::exp2(-step / 50.0); };
  RunBuilder run = TwoOptimizers(critic, generator, 400);
  EXPECT_TRUE(FindingsOf(run, "loss_not_decreasing").empty());
}

// Those of a critic whose weights are clipped (WGAN) may rise from nothing to little, and the other
// one stay.
TEST(LossNotDecreasingTest, NoLossOfAGameThatStaysBelowOneDiverges) {
  for (const double level : {0.5, 5.0}) {
    const auto critic = [](int step) { return -0.02 + 0.001 * (step % 3); };
    const auto generator = [&](int step) {
      return step < 250 ? -0.15 + 0.001 * (step % 5) : level;
    };
    RunBuilder run = TwoOptimizers(critic, generator, 400);
    EXPECT_EQ(FindingsOf(run, "loss_not_decreasing").size(), level < 1 ? 0U : 1U) << level;
  }
}

// Two optimizers, over one model or over two, whose script logs two flat losses; what backward()
// starts from cannot be read.
RunBuilder TwoLogged(bool two_models) {
  const std::string body = R"({"name":"body.weight"})";
  const std::string head = R"({"name":"head.weight"})";
  RunBuilder run;
  run.Between(0).Meta(R"({"kind":"model","modules":[],"parameters":[)" + body +
                      (two_models ? "" : "," + head) + "]}");
  if (two_models) {
    run.Meta(R"({"kind":"model","modules":[],"parameters":[)" + head + "]}");
  }
  run.Between(0).Meta(R"({"kind":"optimizer","parameters":["body.weight"]})");
  run.Between(0).Meta(R"({"kind":"optimizer","parameters":["head.weight"]})");
  const std::vector<double> flat = NoisyLosses(3, 2.3, 0.01, 300);
  for (int step = 0; step < 300; ++step) {
    run.Step(step).Scalar("loss", flat[static_cast<size_t>(step)]);
    run.Scalar("z_loss", 0.1 * flat[static_cast<size_t>(step)]);
  }
  return run;
}

TEST(LossNotDecreasingTest, TwoOptimizersOverOneModelAreNoGameHoweverManyLossesAreLogged) {
  RunBuilder one = TwoLogged(false);
  EXPECT_EQ(FindingsOf(one, "loss_not_decreasing").size(), 1U);
  RunBuilder two = TwoLogged(true);
  EXPECT_TRUE(FindingsOf(two, "loss_not_decreasing").empty());
}

TEST(LossNotDecreasingTest, SaysThatItCallsNoLossFlatWhileTheGameIsOn) {
  for (const bool two_models : {true, false}) {
    RunBuilder run = TwoLogged(two_models);
    const RuleStatus state = StateOver(run, "loss_not_decreasing");
    EXPECT_EQ(state.state, RuleState::kActive);
    EXPECT_EQ(state.left_out.empty(), !two_models);
    if (two_models) {
      EXPECT_THAT(state.left_out, HasSubstr("no loss is called flat; name the losses"));
    }
  }
}

TEST(LossNotDecreasingTest, AFlatLossResolvesOnceTheGameBegins) {
  RunBuilder run;
  run.Between(0).Meta(R"({"kind":"optimizer","parameters":["critic.weight"]})");
  for (int step = 0; step < 400; ++step) {
    run.Step(step).Scalar("loss/backward", 2.3);
    if (step == 200) {
      run.Meta(R"({"kind":"optimizer","parameters":["generator.weight"]})");
    }
    if (step >= 200) {
      run.Scalar("loss/backward.Generator", 2.3);
    }
  }
  EXPECT_EQ(
      EventsOf(run, "loss_not_decreasing"),
      (std::vector<std::string>{"opened loss_not_decreasing-1", "resolved loss_not_decreasing-1"}));
}

TEST(LossNotDecreasingTest, ReportsAGanThatDiverges) {
  const auto explodes = [](int step) { return step < 60 ? 0.7 : 0.7 * std::exp2(step - 60); };
  const auto falls = [](int step) { return 1.4 * std::exp2(-step / 50.0); };
  RunBuilder both = TwoOptimizers(explodes, explodes, 80);
  EXPECT_EQ(FindingsOf(both, "loss_not_decreasing").size(), 1U);
  RunBuilder one = TwoOptimizers(falls, explodes, 80);
  EXPECT_EQ(FindingsOf(one, "loss_not_decreasing").size(), 1U);
}

TEST(LossNotDecreasingTest, AGanMayLoseTenTimesTheLargestStartOrTen) {
  const auto falls_from = [](double start) {
    return [start](int step) { return start * (2 * std::exp2(-step / 50.0) - 1); };
  };
  const auto rises_to = [](double start, double end) {
    return [start, end](int step) { return step < 60 ? start : end; };
  };
  for (const auto& [start, end, expected] :
       {std::tuple(0.01, 9.0, 0U), std::tuple(0.01, 11.0, 1U), std::tuple(3.0, 29.0, 0U),
        std::tuple(3.0, 31.0, 1U)}) {
    RunBuilder run = TwoOptimizers(falls_from(start), rises_to(start, end), 120);
    EXPECT_EQ(FindingsOf(run, "loss_not_decreasing").size(), expected) << start << " to " << end;
  }
  EXPECT_THAT(FindRule("loss_not_decreasing")->info->what_it_means,
              HasSubstr("ten times the largest of the losses at the start, or to less than 10"));
}

// Trainings one after the other, of a fresh model each: what backward() starts from is named after
// the model, what the loss module returns and what the script logs after nothing.
RunBuilder OneAfterTheOther(const std::vector<std::function<double(int)>>& trainings, int steps,
                            bool backward_is_read = true) {
  RunBuilder run;
  for (size_t i = 0; i < trainings.size(); ++i) {
    const std::string label = i == 0 ? "" : ".Net" + std::to_string(i + 1);
    const std::string weight = "weight" + label;
    run.Between(static_cast<int64_t>(i) * steps)
        .Meta(R"({"kind":"model","modules":[],"parameters":[{"name":")" + weight + R"("}]})")
        .Meta(R"({"kind":"optimizer","parameters":[")" + weight + R"("]})");
    for (int step = 0; step < steps; ++step) {
      const double loss = trainings[i](step);
      run.Step(static_cast<int64_t>(i) * steps + step).Scalar("learning_rate" + label, 0.1);
      if (backward_is_read) {
        run.Scalar("loss/backward" + label, loss);
      } else {
        run.Scalar("aux_loss", loss / 2);
      }
      run.Scalar("loss", loss);
    }
  }
  return run;
}

double Learns(int step) { return 0.1 + 2.2 * std::exp2(-step / 50.0); }
double StaysFlat(int /*step*/) { return 2.3; }
double Diverges(int step) { return step < 100 ? Learns(step) : 200.0; }

TEST(LossNotDecreasingTest, TrainingsOneAfterTheOtherAreNoGame) {
  for (const bool backward_is_read : {true, false}) {
    RunBuilder run = OneAfterTheOther({Learns, Learns, Learns}, 250, backward_is_read);
    const ManualClock clock;
    const auto engine = RuleEngine::Create({Select("loss_not_decreasing")}, clock);
    ASSERT_TRUE(engine.ok());
    MemoryTrial trial(run);
    trial.ShowAll();
    ASSERT_TRUE((*engine)->Finish(trial).ok());
    EXPECT_EQ((*engine)->rule_states()[0].left_out, "");
    EXPECT_TRUE((*engine)->findings().empty());
  }
}

TEST(LossNotDecreasingTest, ALaterTrainingIsJudgedAndStaysAsItEnded) {
  for (const bool backward_is_read : {true, false}) {
    RunBuilder run = OneAfterTheOther({Learns, Learns, StaysFlat, Learns}, 250, backward_is_read);
    const auto findings = FindingsOf(run, "loss_not_decreasing");
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].step, 500);
    EXPECT_EQ(findings[0].last_step, 749);
    EXPECT_EQ(findings[0].state, FindingState::kOpen);
    EXPECT_THAT(findings[0].message, HasSubstr("up to step 749"));
  }
}

TEST(LossNotDecreasingTest, EachTrainingThatIsFlatHasAFindingOfItsOwn) {
  RunBuilder run = OneAfterTheOther({StaysFlat, Learns, StaysFlat}, 250);
  const auto findings = FindingsOf(run, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 2U);
  for (size_t i = 0; i < 2; ++i) {
    const auto begin = static_cast<int64_t>(i) * 500;
    EXPECT_EQ(findings[i].step, begin);
    EXPECT_EQ(findings[i].last_step, begin + 249);
    EXPECT_EQ(findings[i].state, FindingState::kOpen);
  }
}

TEST(LossNotDecreasingTest, ATrainingThatDivergedIsNotResolvedByTheNext) {
  RunBuilder run = OneAfterTheOther({Diverges, Learns, Diverges}, 250);
  const auto findings = FindingsOf(run, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 2U);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(findings[i].step, static_cast<int64_t>(i) * 500 + 100);
    EXPECT_EQ(findings[i].last_step, static_cast<int64_t>(i) * 500 + 249);
    EXPECT_EQ(findings[i].state, FindingState::kOpen);
  }
}

TEST(LossNotDecreasingTest, AGanAfterAnotherIsAGameAndAClassifierAfterAGanIsNone) {
  const auto run_of = [](bool second_is_gan) {
    RunBuilder run;
    for (int step = 0; step < 600; ++step) {
      const bool first = step < 300;
      const std::string label = first ? "" : "2";
      if (step % 300 == 0) {
        run.Between(step).Meta(R"({"kind":"optimizer","parameters":["critic)" + label + R"("]})");
      }
      if (step == 5 || (step == 305 && second_is_gan)) {
        run.Between(step).Meta(R"({"kind":"optimizer","parameters":["actor)" + label + R"("]})");
      }
      run.Step(step).Scalar("loss/backward" + label, 2.3);
      if (step % 300 % 5 == 0 && step % 300 > 0 && (first || second_is_gan)) {
        run.Scalar("loss/backward.Actor" + label, 2.3);
      }
    }
    return run;
  };
  RunBuilder gans = run_of(true);
  EXPECT_TRUE(FindingsOf(gans, "loss_not_decreasing").empty());
  RunBuilder classifier = run_of(false);
  const auto findings = FindingsOf(classifier, "loss_not_decreasing");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].step, 300);
}

TEST(LossNotDecreasingTest, OptimizersThatTakeLongTurnsAreAGameFromTheFirstReturn) {
  RunBuilder run;
  run.Between(0).Meta(R"({"kind":"optimizer","parameters":["critic"]})");
  for (int step = 0; step < 1200; ++step) {
    if (step == 80) {
      run.Between(step).Meta(R"({"kind":"optimizer","parameters":["actor"]})");
    }
    run.Step(step).Scalar(step / 80 % 2 == 0 ? "loss/backward" : "loss/backward.Actor", 2.3);
  }
  EXPECT_TRUE(FindingsOf(run, "loss_not_decreasing").empty());
}

TEST(LossNotDecreasingTest, ReportsAFlatLossThatTwoOptimizersShare) {
  const std::vector<double> flat = NoisyLosses(3, 2.3, 0.01, 300);
  RunBuilder run =
      TwoOptimizers([&](int step) { return flat[static_cast<size_t>(step)]; }, nullptr, 300);
  EXPECT_EQ(FindingsOf(run, "loss_not_decreasing").size(), 1U);
}

}  // namespace
}  // namespace wheeltapper::rules
