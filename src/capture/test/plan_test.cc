#include "plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fuse.h"
#include "gap_ledger.h"
#include "governor.h"
#include "scaling.h"

namespace wheeltapper::capture {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Config WithFlags(std::vector<ConfigFlag> flags) {
  ConfigSources sources;
  sources.flags = std::move(flags);
  Result<Config> config = Config::Load(sources);
  EXPECT_TRUE(config.ok()) << config.status().ToString();
  return config.ok() ? *config : Config::Defaults();
}

std::vector<int64_t> Armed(const Schedule& schedule, int64_t until, int64_t multiplier) {
  std::vector<int64_t> steps;
  for (int64_t step = 0; step < until; ++step) {
    if (schedule.Fires(step, multiplier)) {
      steps.push_back(step);
    }
  }
  return steps;
}

TEST(ScheduleTest, AutoFiresOnTheFirstTenStepsThenEveryTenth) {
  EXPECT_THAT(Armed(Schedule{}, 35, 1), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30));
}

TEST(ScheduleTest, IntervalAndExplicitStepsAreAUnion) {
  Schedule schedule;
  schedule.every = 10;
  schedule.steps = {3, 7};
  EXPECT_THAT(Armed(schedule, 25, 1), ElementsAre(0, 3, 7, 10, 20));
}

TEST(ScheduleTest, WindowLimitsTheIntervalButNotExplicitSteps) {
  Schedule schedule;
  schedule.every = 5;
  schedule.start = 7;
  schedule.end = 20;
  schedule.steps = {1, 40};
  EXPECT_THAT(Armed(schedule, 50, 1), ElementsAre(1, 10, 15, 40));
}

TEST(ScheduleTest, ThinnedSetsNestSoThatRanksShareTheCoarsest) {
  for (const int64_t every : {0, 1, 3, 10}) {
    for (const int64_t start : {0, 17}) {
      Schedule schedule;
      schedule.every = every;
      schedule.start = start;
      for (int64_t m = 1; m <= 1024; m *= 2) {
        for (const int64_t step : Armed(schedule, 3000, 2 * m)) {
          EXPECT_TRUE(schedule.Fires(step, m)) << step << " at " << 2 * m << ", not at " << m;
        }
      }
    }
  }
}

TEST(ScheduleTest, NextAgreesWithFires) {
  Schedule schedule;
  schedule.start = 4;
  schedule.end = 95;
  schedule.steps = {2, 33, 200};
  for (const int64_t m : {1, 2, 16}) {
    for (int64_t from = 0; from < 220; ++from) {
      int64_t expected = from;
      while (expected < 300 && !schedule.Fires(expected, m)) {
        ++expected;
      }
      EXPECT_EQ(schedule.Next(from, m), expected == 300 ? kNever : expected);
    }
  }
}

TEST(ScheduleTest, HugeNumbersDoNotOverflow) {
  Schedule schedule;
  schedule.every = kNever / 2;
  EXPECT_EQ(schedule.Next(1, int64_t{1} << 20), kNever);
  EXPECT_EQ(schedule.Next(kNever, 1), kNever);
}

TEST(PlanTest, DefaultsTakeStatisticsOfWeightsGradientsAndActivations) {
  const auto plan = CapturePlan::Create(Config::Defaults());
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  for (const Role role : {Role::kWeight, Role::kBias, Role::kGradient, Role::kOutput}) {
    const auto decision = plan->Decide({.name = "x", .role = role});
    ASSERT_TRUE(decision.ok());
    EXPECT_EQ(decision->take[0], uint32_t{kTakeStats});
  }
  EXPECT_EQ(plan->Decide({.name = "x", .role = Role::kInput})->take[0], uint32_t{kTakeNothing});
  EXPECT_EQ(plan->Decide({.name = "x"})->take[0], uint32_t{kTakeStats | kTakeRaw});
  EXPECT_FALSE(plan->takes_raw());
}

TEST(PlanTest, GradientsAreNotTakenInEval) {
  const auto plan = CapturePlan::Create(Config::Defaults());
  const auto decision = plan->Decide({.name = "gradient/w", .role = Role::kGradient});
  EXPECT_NE(decision->take[static_cast<size_t>(Mode::kTrain)], 0U);
  EXPECT_EQ(decision->take[static_cast<size_t>(Mode::kEval)], 0U);
}

TEST(PlanTest, RootOutputsAreActivationsAndOutputs) {
  const auto plan = CapturePlan::Create(Config::Defaults());
  EXPECT_THAT(plan->Decide({.name = "output/m", .role = Role::kOutput, .root = true})->collections,
              ElementsAre("activations", "outputs"));
}

TEST(PlanTest, UserCollectionTakesTheUnionOnItsOwnSchedule) {
  const auto plan = CapturePlan::Create(
      WithFlags({{"capture.collections.relu.include", "[\"relu\"]", ""},
                 {"capture.collections.relu.raw", "true", ""},
                 {"capture.collections.relu.histogram", "true", ""},
                 {"capture.collections.relu.reductions", "[\"prod\", \"median\"]", ""},
                 {"capture.collections.relu.every", "3", ""}}));
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  const auto decision = plan->Decide({.name = "output/relu1", .role = Role::kOutput});
  EXPECT_THAT(decision->collections, ElementsAre("activations", "relu"));
  EXPECT_EQ(decision->take[0],
            uint32_t{kTakeStats | kTakeHistogram | kTakeRaw | kTakeProduct | kTakeMedian});
  EXPECT_EQ(decision->by_mode[0].size(), 2U);
  EXPECT_TRUE(plan->takes_raw());
}

TEST(PlanTest, ExcludeWinsAndIncludeLimitsBuiltinsOnly) {
  const auto plan = CapturePlan::Create(
      WithFlags({{"capture.include", "[\"^layer1\"]", ""}, {"capture.exclude", "[\"bias\"]", ""}}));
  ASSERT_TRUE(plan.ok());
  EXPECT_NE(plan->Decide({.name = "layer1.weight", .role = Role::kWeight})->take[0], 0U);
  EXPECT_EQ(plan->Decide({.name = "layer2.weight", .role = Role::kWeight})->take[0], 0U);
  EXPECT_EQ(plan->Decide({.name = "layer1.bias", .role = Role::kBias})->take[0], 0U);
  EXPECT_NE(plan->Decide({.name = "mine"})->take[0], 0U);
}

TEST(PlanTest, UnknownReductionIsAnErrorWithASuggestion) {
  const auto plan = CapturePlan::Create(WithFlags({{"capture.reductions", "[\"medain\"]", ""}}));
  EXPECT_EQ(plan.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(plan.status().message(), HasSubstr("median"));
}

TEST(PlanTest, AnIntervalWrittenDownIsThinnedOnlyWithABudgetWrittenDown) {
  const auto exact = CapturePlan::Create(WithFlags({{"capture.every", "1", ""}}));
  EXPECT_FALSE(exact->schedules(Mode::kTrain)[0].governed);
  const auto budgeted =
      CapturePlan::Create(WithFlags({{"capture.every", "1", ""}, {"budget", "2%", ""}}));
  EXPECT_TRUE(budgeted->schedules(Mode::kTrain)[0].governed);
}

TEST(PlanTest, ModeKeysOverrideOneByOne) {
  const auto plan =
      CapturePlan::Create(WithFlags({{"capture.start", "5", ""}, {"capture.eval.every", "2", ""}}));
  EXPECT_EQ(plan->schedules(Mode::kEval)[0].every, 2);
  EXPECT_EQ(plan->schedules(Mode::kEval)[0].start, 5);
  EXPECT_EQ(plan->schedules(Mode::kTrain)[0].every, 0);
}

TEST(GovernorTest, OverTheBudgetDoublesAndFarBelowHalves) {
  Governor governor(GovernorOptions{0.01, true});
  for (int i = 0; i < 6; ++i) {
    governor.OnStep(true, 50'000, 1'000'000);
  }
  EXPECT_GE(governor.multiplier(), 4);
  for (int i = 0; i < 100; ++i) {
    governor.OnStep(true, 100, 1'000'000);
  }
  EXPECT_EQ(governor.multiplier(), 1);
}

TEST(GovernorTest, SettlesWithinTheBudgetWhenArmedStepsAreExpensive) {
  Governor governor(GovernorOptions{0.01, true});
  const Schedule schedule;
  TimeNs blocked_total = 0;
  TimeNs elapsed_total = 0;
  for (int64_t step = 0; step < 20'000; ++step) {
    const bool armed = schedule.Fires(step, governor.multiplier());
    const TimeNs blocked = armed ? 400'000 : 100;  // 40 % of a step of 1 ms
    governor.OnStep(armed, blocked, 1'000'000 + blocked);
    if (step >= 2'000) {
      blocked_total += blocked;
      elapsed_total += 1'000'000 + blocked;
    }
  }
  EXPECT_LE(static_cast<double>(blocked_total) / static_cast<double>(elapsed_total), 0.012);
  EXPECT_GE(governor.multiplier(), 4);
  EXPECT_LE(governor.multiplier(), 16);
}

TEST(GovernorTest, CapturesKeepAQuarterOfABudgetThatShortStepsUseUp) {
  Governor governor(GovernorOptions{0.01, true});
  const Schedule schedule;
  int64_t captured = 0;
  TimeNs captures_ns = 0;
  TimeNs elapsed_ns = 0;
  constexpr TimeNs kHooksNs = 30'000;  // 10 % of a step of 0.3 ms, whatever is captured
  for (int64_t step = 0; step < 200'000; ++step) {
    const bool armed = schedule.Fires(step, governor.multiplier());
    const TimeNs capture_ns = armed ? 500'000 : 0;
    governor.OnStep(armed, kHooksNs + capture_ns, 300'000 + capture_ns);
    captured += armed ? 1 : 0;
    captures_ns += capture_ns;
    elapsed_ns += 300'000 + capture_ns;
  }
  const double share = static_cast<double>(captures_ns) / static_cast<double>(elapsed_ns);
  EXPECT_LE(share, 0.003);
  EXPECT_GE(share, 0.001);
  EXPECT_GE(captured, 100);
  EXPECT_NEAR(governor.overhead(), 0.1, 0.01);  // what is told is all of it
}

TEST(GovernorTest, DisabledMeasuresOnly) {
  Governor governor(GovernorOptions{0.01, false});
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(governor.OnStep(true, 500'000, 1'000'000));
  }
  EXPECT_DOUBLE_EQ(governor.overhead(), 0.5);
  EXPECT_EQ(governor.multiplier(), 1);
}

TEST(FuseTest, BlowsAfterTheLimitAndKeepsTheFirstError) {
  Fuse fuse(3);
  fuse.Report(StatusCode::kInvalidArgument, "first");
  fuse.Report(StatusCode::kInternal, "second");
  EXPECT_FALSE(fuse.blown());
  fuse.Report(StatusCode::kInternal, "third");
  EXPECT_TRUE(fuse.blown());
  EXPECT_EQ(fuse.first().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(fuse.first().message(), "first");
  int codes = 0;
  fuse.TakeNew([&](StatusCode, const char*, int64_t) { ++codes; });
  fuse.TakeNew([&](StatusCode, const char*, int64_t) { ++codes; });
  EXPECT_EQ(codes, 2);
}

TEST(GapLedgerTest, CoalescesASeriesAndStartsAnewAfterAWholeStep) {
  GapLedger ledger;
  std::vector<format::GapPayload> written;
  const auto write = [&](const format::GapPayload& gap) {
    written.push_back(gap);
    return true;
  };
  for (int64_t step = 0; step < 1000; ++step) {
    ledger.Note(format::GapReason::kRingFull, format::GapWhat::kRawTensors, step, 2, 10);
    ledger.WriteDue(write);
  }
  ledger.MakeAllDue();
  ledger.WriteDue(write);
  EXPECT_LT(written.size(), 30U);
  uint64_t tensors = 0;
  int64_t next = 0;
  for (const auto& gap : written) {
    EXPECT_EQ(gap.first_step, next);
    next = gap.last_step + 1;
    tensors += gap.tensors_dropped;
  }
  EXPECT_EQ(next, 1000);
  EXPECT_EQ(tensors, 2000U);
  ledger.CloseSeries();
  ledger.Note(format::GapReason::kRingFull, format::GapWhat::kRawTensors, 2000, 1, 1);
  EXPECT_TRUE(ledger.any_due());
}

TEST(GapLedgerTest, WhatFindsNoRoomStaysDue) {
  GapLedger ledger;
  ledger.Note(format::GapReason::kRingFull, format::GapWhat::kWholeStep, 3, 1, 1);
  ledger.WriteDue([](const format::GapPayload&) { return false; });
  EXPECT_TRUE(ledger.any_due());
}

template <typename T>
tensor::TensorView ViewOf(const std::vector<T>& values, const int64_t* shape, tensor::DType dtype) {
  return {values.data(), dtype, 1, shape, nullptr};
}

TEST(ScalingTest, StatisticsMatchAPassOverTheScaledElements) {
  const std::vector<float> values{1.5F, -2.0F, 0.0F, 8.25F, -0.125F};
  const int64_t shape = 5;
  for (const double scale : {0.25, -2.0, 1024.0}) {
    std::vector<float> scaled = values;
    ScaleElements(tensor::DType::kF32, scaled.data(), 5, scale);
    const tensor::StatsOptions options{true};
    const auto expected =
        tensor::ComputeStats(ViewOf(scaled, &shape, tensor::DType::kF32), options);
    const auto actual = ScaleStats(
        tensor::ComputeStats(ViewOf(values, &shape, tensor::DType::kF32), options), scale);
    EXPECT_DOUBLE_EQ(actual.min, expected.min);
    EXPECT_DOUBLE_EQ(actual.max, expected.max);
    EXPECT_NEAR(actual.mean, expected.mean, 1e-9 * std::abs(scale));
    EXPECT_NEAR(actual.m2, expected.m2, 1e-6 * expected.m2);
    EXPECT_DOUBLE_EQ(actual.l1, expected.l1);
    EXPECT_EQ(actual.negative_count, expected.negative_count);
    EXPECT_EQ(actual.prod_sign, expected.prod_sign);
  }
}

TEST(ScalingTest, HalvesRoundToNearestEvenAndKeepSpecialValues) {
  // 1, 65504 (largest), 2^-24 (smallest), inf, −0
  std::vector<uint16_t> f16{0x3C00, 0x7BFF, 0x0001, 0x7C00, 0x8000};
  ScaleElements(tensor::DType::kF16, f16.data(), 5, 0.5);
  EXPECT_THAT(f16, ElementsAre(0x3800, 0x77FF, 0x0000, 0x7C00, 0x8000));
  std::vector<uint16_t> bf16{0x3F80, 0x7F80, 0x7FC0};
  ScaleElements(tensor::DType::kBF16, bf16.data(), 3, 4.0);
  EXPECT_THAT(bf16, ElementsAre(0x4080, 0x7F80, 0x7FC0));
}

TEST(ScalingTest, BinsMoveWithTheirValues) {
  tensor::Histogram plain;
  tensor::Histogram scaled;
  const std::vector<float> values{1.0F, -3.0F, 0.0F, 1e-3F, 7e5F};
  std::vector<float> times = values;
  ScaleElements(tensor::DType::kF32, times.data(), 5, -0.125);
  const int64_t shape = 5;
  plain.Add(ViewOf(values, &shape, tensor::DType::kF32));
  scaled.Add(ViewOf(times, &shape, tensor::DType::kF32));
  std::vector<tensor::HistogramBin> bins(16);
  const int used = plain.Sparse(bins);
  for (int i = 0; i < used; ++i) {
    const auto& bin = bins[static_cast<size_t>(i)];
    EXPECT_GE(scaled.count(ScaleBin(bin.bin, -0.125)), 1) << bin.bin;
  }
}

}  // namespace
}  // namespace wheeltapper::capture
