#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wheeltapper/trial/trial.h"

namespace wheeltapper::trial {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

StatsPoint PointOf(const std::vector<double>& values, Rank rank = {}, Step step = {}) {
  const auto count = static_cast<int64_t>(values.size());
  const tensor::TensorView view{values.data(), tensor::DType::kF64, 1, &count, nullptr};
  StatsPoint point{};
  point.key = {rank, step, Mode::kTrain, step.value};
  point.dtype = tensor::DType::kF64;
  point.stats = tensor::ComputeStats(view, {.product = true});
  point.exact_median = kNaN;
  tensor::Histogram histogram;
  histogram.Add(view);
  point.histogram.resize(static_cast<size_t>(histogram.bins_used()));
  (void)histogram.Sparse(point.histogram);
  return point;
}

double Read(const StatsPoint& point, const std::string& name, bool abs = false, int ddof = 0) {
  const Result<double> value = ReductionOf(point, {name, abs, ddof});
  EXPECT_TRUE(value.ok()) << value.status().ToString();
  return value.value_or(kNaN);
}

TEST(ReductionTest, EveryNameHasItsTextbookValue) {
  const StatsPoint point = PointOf({-2, 0, 1, 4});
  EXPECT_EQ(Read(point, "min"), -2);
  EXPECT_EQ(Read(point, "max"), 4);
  EXPECT_EQ(Read(point, "mean"), 0.75);
  EXPECT_EQ(Read(point, "sum"), 3);
  EXPECT_EQ(Read(point, "prod"), 0);
  EXPECT_EQ(Read(point, "l1"), 7);
  EXPECT_DOUBLE_EQ(Read(point, "l2"), std::sqrt(21.0));
  EXPECT_DOUBLE_EQ(Read(point, "rms"), std::sqrt(21.0 / 4));
  EXPECT_DOUBLE_EQ(Read(point, "variance"), 21.0 / 4 - 0.75 * 0.75);
  EXPECT_DOUBLE_EQ(Read(point, "variance", false, 1), (21.0 - 4 * 0.75 * 0.75) / 3);
  EXPECT_DOUBLE_EQ(Read(point, "std", false, 1), std::sqrt((21.0 - 4 * 0.75 * 0.75) / 3));
  EXPECT_EQ(Read(point, "numel"), 4);
  EXPECT_EQ(Read(point, "zero_count"), 1);
  EXPECT_EQ(Read(point, "negative_count"), 1);
}

TEST(ReductionTest, AbsoluteValuesHaveTheirOwnReductions) {
  const StatsPoint point = PointOf({-2, 1, -4});
  EXPECT_EQ(Read(point, "min", true), 1);
  EXPECT_EQ(Read(point, "max", true), 4);
  EXPECT_DOUBLE_EQ(Read(point, "mean", true), 7.0 / 3);
  EXPECT_EQ(Read(point, "sum", true), 7);
  EXPECT_DOUBLE_EQ(Read(point, "prod"), 8);
  EXPECT_DOUBLE_EQ(Read(PointOf({-2, 1, 4}), "prod", true), 8);
  EXPECT_NEAR(Read(point, "variance", true), 21.0 / 3 - 49.0 / 9, 1e-12);
  EXPECT_EQ(Read(point, "negative_count", true), 0);
  EXPECT_EQ(Read(point, "l1", true), Read(point, "l1"));
}

TEST(ReductionTest, MomentsAreOverTheFiniteElementsAndTheOthersAreCounted) {
  const StatsPoint point = PointOf({1, kNaN, 3, kInf, -kInf});
  EXPECT_EQ(Read(point, "mean"), 2);
  EXPECT_EQ(Read(point, "max"), 3);
  EXPECT_EQ(Read(point, "numel"), 5);
  EXPECT_EQ(Read(point, "nan_count"), 1);
  EXPECT_EQ(Read(point, "posinf_count"), 1);
  EXPECT_EQ(Read(point, "neginf_count"), 1);
  EXPECT_EQ(Read(point, "posinf_count", true), 2);
  EXPECT_EQ(Read(point, "neginf_count", true), 0);
}

TEST(ReductionTest, WithoutFiniteElementsMomentsAreNaNAndSumsAreZero) {
  const StatsPoint point = PointOf({kNaN, kNaN});
  EXPECT_TRUE(std::isnan(Read(point, "mean")));
  EXPECT_TRUE(std::isnan(Read(point, "l2")));
  EXPECT_EQ(Read(point, "sum"), 0);
  EXPECT_TRUE(std::isnan(Read(point, "median")));
  EXPECT_TRUE(std::isnan(Read(PointOf({5}), "variance", false, 1)));
}

TEST(ReductionTest, QuantilesComeFromTheHistogramWithinItsBinWidth) {
  std::vector<double> values;
  for (int i = 1; i <= 1000; ++i) {
    values.push_back(i);
    values.push_back(-i);
  }
  const StatsPoint point = PointOf(values);
  EXPECT_NEAR(Read(point, "p95"), 900, 900 * 0.033);
  EXPECT_NEAR(Read(point, "p05"), -900, 900 * 0.033);
  EXPECT_NEAR(Read(point, "median", true), 500, 500 * 0.033);
  EXPECT_NEAR(Read(point, "p99", true), 990, 990 * 0.033);
}

TEST(ReductionTest, AnExactMedianIsPreferredForTheMedianOnly) {
  StatsPoint point = PointOf({1, 2, 3});
  point.exact_median = 2.25;
  EXPECT_EQ(Read(point, "median"), 2.25);
  EXPECT_EQ(Read(point, "p50"), 2.25);
  EXPECT_NEAR(Read(point, "median", true), 2, 0.1);
}

TEST(ReductionTest, WhatWasNotRecordedIsSaidSo) {
  StatsPoint point = PointOf({1, 2, 3});
  point.histogram.clear();
  point.stats.prod_sign = kNaN;
  point.stats.log2_abs_prod = kNaN;
  for (const char* name : {"p95", "median", "prod"}) {
    EXPECT_EQ(ReductionOf(point, {name}).status().code(), StatusCode::kNotFound) << name;
  }
}

TEST(ReductionTest, AnUnknownNameIsRefusedWithTheNearestOne) {
  const Status status = ReductionOf(PointOf({1}), {"vairance"}).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), testing::HasSubstr("did you mean \"variance\""));
  EXPECT_EQ(ReductionOf(PointOf({1}), {"std", false, 2}).status().code(),
            StatusCode::kInvalidArgument);
}

TEST(MergeRanksTest, TheMergeOfShardsIsTheWholeTensor) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal(3, 2);
  std::vector<double> whole;
  std::vector<StatsPoint> shards;
  for (int rank = 0; rank < 4; ++rank) {
    std::vector<double> shard;
    shard.reserve(400);
    for (int i = 0; i < 100 * (rank + 1); ++i) {
      shard.push_back(normal(random));
    }
    whole.insert(whole.end(), shard.begin(), shard.end());
    shards.push_back(PointOf(shard, Rank{rank}, Step{3}));
  }
  const StatsPoint expected = PointOf(whole);
  const std::vector<StatsPoint> merged = MergeRanks(shards);
  ASSERT_EQ(merged.size(), 1U);
  for (const char* name : {"mean", "variance", "l1", "l2", "min", "max", "sum", "numel"}) {
    EXPECT_NEAR(Read(merged[0], name), Read(expected, name), 1e-9 * Read(expected, "l1")) << name;
  }
  for (const char* name : {"p05", "median", "p95"}) {
    EXPECT_EQ(Read(merged[0], name), Read(expected, name)) << name;
  }
}

TEST(MergeRanksTest, StepsAndModesStayApart) {
  std::vector<StatsPoint> points{PointOf({1}, Rank{1}, Step{1}), PointOf({2}, Rank{0}, Step{1}),
                                 PointOf({3}, Rank{0}, Step{0})};
  points.push_back(PointOf({4}, Rank{0}, Step{1}));
  points.back().key.mode = Mode::kEval;
  const std::vector<StatsPoint> merged = MergeRanks(points);
  ASSERT_EQ(merged.size(), 3U);
  EXPECT_EQ(merged[0].stats.sum(), 3);
  EXPECT_EQ(merged[1].stats.sum(), 3);
  EXPECT_EQ(merged[2].stats.sum(), 4);
}

TEST(MergeRanksTest, ARankRecordedAgainByALaterAttemptCountsOnce) {
  const std::vector<StatsPoint> merged =
      MergeRanks({PointOf({1}, Rank{0}), PointOf({10}, Rank{1}), PointOf({2}, Rank{0})});
  ASSERT_EQ(merged.size(), 1U);
  EXPECT_EQ(merged[0].stats.numel, 2);
  EXPECT_EQ(merged[0].stats.sum(), 12);
}

TEST(MergeRanksTest, AHistogramOfOnlySomeRanksIsNotPassedOff) {
  StatsPoint without = PointOf({1}, Rank{1});
  without.histogram.clear();
  const std::vector<StatsPoint> merged = MergeRanks({PointOf({1}, Rank{0}), without});
  ASSERT_EQ(merged.size(), 1U);
  EXPECT_TRUE(merged[0].histogram.empty());
  EXPECT_TRUE(std::isnan(merged[0].exact_median));
}

}  // namespace
}  // namespace wheeltapper::trial
