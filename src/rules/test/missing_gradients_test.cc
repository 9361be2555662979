// Parameters of an optimizer that never have a gradient while others do.
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_fixture.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

constexpr const char* kModel = R"({"kind":"model","modules":[
  {"path":"","type":"Net","parameters":[]},
  {"path":"body","type":"Sequential","parameters":[]},
  {"path":"body.0","type":"Conv2d","parameters":["body.0.weight"]},
  {"path":"body.2","type":"Conv2d","parameters":["body.2.weight"]},
  {"path":"head","type":"Linear","parameters":["head.weight"]}],
 "parameters":[{"name":"body.0.weight","requires_grad":true},
  {"name":"body.2.weight","requires_grad":true},
  {"name":"frozen.weight","requires_grad":false},
  {"name":"head.weight","requires_grad":true}]})";

// Captured at ten steps, then every tenth. The head learns.
struct Detached {
  int64_t steps = 150;
  int64_t gradient_from = 1000;  // the step from which the body has one
  int64_t moves_at = 1000;       // the body's weights, without a captured gradient
  bool is_called = true;
  bool own_optimizer = false;  // of the body; it has no turn
};

RunBuilder RunOf(const Detached& one) {
  RunBuilder run;
  run.Between(0).Meta(kModel);
  const char* body = R"("body.0.weight","body.2.weight","frozen.weight")";
  if (one.own_optimizer) {
    run.Meta(std::string(R"({"kind":"optimizer","parameters":[)") + body + "]}");
    run.Meta(R"({"kind":"optimizer","parameters":["head.weight"]})");
  } else {
    run.Meta(std::string(R"({"kind":"optimizer","parameters":[)") + body + R"(,"head.weight"]})");
  }
  for (int64_t step = 0; step < one.steps; ++step) {
    run.Step(step);
    if (step >= 10 && step % 10 != 0) {
      continue;
    }
    const double moving = 1 + 0.01 * static_cast<double>(step);
    run.Weight("head.weight", NormalStats(0, moving));
    run.Stats("gradient/head.weight", NormalStats(0, moving))
        .Stats("output/head", NormalStats(0, 1));
    for (const std::string name : {"body.0.weight", "body.2.weight", "frozen.weight"}) {
      run.Weight(name, NormalStats(0, step < one.moves_at ? 1 : moving));
      if (step >= one.gradient_from && name != "frozen.weight") {
        run.Stats("gradient/" + name, NormalStats(0, moving));
      }
    }
    if (one.is_called) {
      run.Stats("output/body.2", NormalStats(0, 1));
    }
  }
  return run;
}

TEST(MissingGradientsTest, ReportsAModuleThatIsDetachedWhileOthersLearn) {
  for (const int64_t steps : {30, 150}) {
    RunBuilder run = RunOf({.steps = steps});
    const auto findings = FindingsOf(run);
    ASSERT_EQ(findings.size(), 1U) << steps;
    EXPECT_EQ(findings[0].rule, "optimizer_no_op");
    EXPECT_EQ(findings[0].severity, Severity::kWarning);
    EXPECT_EQ(findings[0].module, "body");
    EXPECT_EQ(findings[0].tensors, (std::vector<std::string>{"body.0.weight", "body.2.weight"}));
    EXPECT_EQ(findings[0].step, 0);
    EXPECT_THAT(findings[0].message, HasSubstr("body (body.0.weight) has had no gradient at "));
    EXPECT_THAT(*findings[0].cause, HasSubstr("detach() or item() cuts"));
  }
}

TEST(MissingGradientsTest, TellsAModuleOfWhichNoCallWasCaptured) {
  RunBuilder run = RunOf({.is_called = false});
  const auto findings = FindingsOf(run);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].severity, Severity::kWarning);
  EXPECT_THAT(*findings[0].cause,
              HasSubstr("called under no_grad(), or forward() does not use it"));
}

TEST(MissingGradientsTest, StaysSilentOnAnExpertThatIsUsedLateAndOneThatMovesUnseen) {
  RunBuilder late = RunOf({.gradient_from = 80, .moves_at = 80});
  EXPECT_TRUE(FindingsOf(late, "optimizer_no_op").empty());
  RunBuilder unseen = RunOf({.moves_at = 30});
  EXPECT_TRUE(FindingsOf(unseen, "optimizer_no_op").empty());
}

TEST(MissingGradientsTest, StaysSilentOnAnOptimizerThatHasNoTurn) {
  RunBuilder run = RunOf({.own_optimizer = true});
  EXPECT_TRUE(FindingsOf(run, "optimizer_no_op").empty());
}

TEST(MissingGradientsTest, ResolvesOnceTheGradientComes) {
  RunBuilder run = RunOf({.steps = 300, .gradient_from = 150, .moves_at = 150});
  EXPECT_EQ(EventsOf(run, "optimizer_no_op"),
            (std::vector<std::string>{"opened optimizer_no_op-1", "resolved optimizer_no_op-1"}));
}

}  // namespace
}  // namespace wheeltapper::rules
