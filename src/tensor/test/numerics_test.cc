// What the statistics mean at the edges: merging, products, wide integers, extreme ranges, the
// thread's float mode.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "wheeltapper/tensor/stats.h"

#include "reference.h"
#include "targets.h"

namespace wheeltapper::tensor {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

template <typename T>
TensorStats StatsOf(const std::vector<T>& values, DType dtype) {
  const TestTensor tensor{values.data(), dtype, {static_cast<int64_t>(values.size())}};
  return ComputeStats(tensor.view(), {.product = true});
}

template <typename T>
std::string Check(const std::vector<T>& values, DType dtype) {
  const TestTensor tensor{values.data(), dtype, {static_cast<int64_t>(values.size())}};
  return Disagreement(ComputeStats(tensor.view(), {.product = true}),
                      ReferenceOf(ReferenceValues(tensor.view())), {});
}

TEST(MergeStatsTest, MergedPartsAgreeWithTheWhole) {
  for (int index = 0; index < kDistributionCount; ++index) {
    const Distribution data = MakeDistribution(index, 10'000);
    const TestTensor whole{data.values.data(), DType::kF32, {10'000}};
    const ReferenceStats reference = ReferenceOf(ReferenceValues(whole.view()));
    for (const int64_t cut : {0, 1, 63, 5000, 9999, 10'000}) {
      const TestTensor left{data.values.data(), DType::kF32, {cut}};
      const TestTensor right{data.values.data() + cut, DType::kF32, {10'000 - cut}};
      const TensorStats merged = MergeStats(ComputeStats(left.view(), {.product = true}),
                                            ComputeStats(right.view(), {.product = true}));
      EXPECT_EQ(Disagreement(merged, reference, {}), "") << data.name << " cut at " << cut;
    }
  }
}

TEST(MergeStatsTest, NothingIsTheNeutralElement) {
  const TensorStats some = StatsOf<float>({1, -2, 3}, DType::kF32);
  for (const TensorStats& merged :
       {MergeStats(some, TensorStats{}), MergeStats(TensorStats{}, some),
        MergeStats(some, StatsOf<float>({}, DType::kF32))}) {
    EXPECT_TRUE(SameBits(merged, some));
  }
}

TEST(MergeStatsTest, PartsWithoutFiniteElementsOnlyAddTheirCounts) {
  const TensorStats some = StatsOf<double>({1, -2, 3}, DType::kF64);
  const TensorStats none = StatsOf<double>({kNaN, kInf, -kInf, -kInf}, DType::kF64);
  for (const TensorStats& merged : {MergeStats(some, none), MergeStats(none, some)}) {
    EXPECT_EQ(merged.numel, 7);
    EXPECT_EQ(merged.nan_count, 1);
    EXPECT_EQ(merged.posinf_count, 1);
    EXPECT_EQ(merged.neginf_count, 2);
    EXPECT_EQ(merged.finite(), 3);
    EXPECT_EQ(merged.mean, some.mean);
    EXPECT_EQ(merged.m2, some.m2);
    EXPECT_EQ(merged.min, -2);
    EXPECT_DOUBLE_EQ(merged.prod(), -6);
  }
  EXPECT_TRUE(std::isnan(MergeStats(none, none).mean));
}

TEST(TensorStatsTest, DerivedValuesFollowTheirDefinitions) {
  const TensorStats stats = StatsOf<float>({1, -2, 3, -4}, DType::kF32);
  EXPECT_DOUBLE_EQ(stats.sum(), -2);
  EXPECT_DOUBLE_EQ(stats.variance(0), 7.25);
  EXPECT_DOUBLE_EQ(stats.variance(1), 29.0 / 3);
  EXPECT_DOUBLE_EQ(stats.std(0), std::sqrt(7.25));
  EXPECT_DOUBLE_EQ(stats.l2(), std::sqrt(30.0));
  EXPECT_DOUBLE_EQ(stats.rms(), std::sqrt(7.5));
  EXPECT_DOUBLE_EQ(stats.abs_mean(), 2.5);
  EXPECT_DOUBLE_EQ(stats.abs_variance(0), 1.25);
  EXPECT_DOUBLE_EQ(stats.abs_std(0), std::sqrt(1.25));
  EXPECT_DOUBLE_EQ(stats.prod(), 24);
  EXPECT_TRUE(std::isnan(StatsOf<float>({1}, DType::kF32).variance(1)));
  EXPECT_EQ(StatsOf<float>({1}, DType::kF32).variance(0), 0);
}

TEST(ProductTest, UnderflowAndOverflowKeepTheirLogarithm) {
  const TensorStats small = StatsOf(std::vector<float>(100'000, 0.5F), DType::kF32);
  EXPECT_DOUBLE_EQ(small.log2_abs_prod, -100'000);
  EXPECT_EQ(small.prod(), 0);
  const TensorStats large = StatsOf(std::vector<float>(100'001, -8.0F), DType::kF32);
  EXPECT_DOUBLE_EQ(large.log2_abs_prod, 300'003);
  EXPECT_EQ(large.prod(), -kInf);
}

TEST(ProductTest, AZeroAnywhereMakesItZero) {
  std::vector<float> values(10'000, -3.0F);
  for (const size_t position : {size_t{0}, size_t{4095}, size_t{5000}, size_t{9999}}) {
    values[position] = -0.0F;
    const TensorStats stats = StatsOf(values, DType::kF32);
    EXPECT_EQ(stats.log2_abs_prod, -kInf);
    EXPECT_EQ(stats.prod_sign, 0);
    EXPECT_EQ(stats.prod(), 0);
    values[position] = -3.0F;
  }
}

TEST(ProductTest, DenormalsAndAllRangesAreExact) {
  OnEveryTarget([] {
    std::mt19937 random(1);
    std::vector<float> values(8192 + 33);
    for (float& value : values) {
      const auto bits = static_cast<uint32_t>(random()) & 0xff7fffffU;
      value = std::bit_cast<float>(bits | 1U);
    }
    EXPECT_EQ(Check(values, DType::kF32), "");
  });
}

TEST(ProductTest, ItIsNotComputedUnlessAskedFor) {
  const float one = 1;
  const TestTensor tensor{&one, DType::kF32, {1}};
  EXPECT_TRUE(std::isnan(ComputeStats(tensor.view(), {}).log2_abs_prod));
  EXPECT_TRUE(std::isnan(ComputeStats(tensor.view(), {}).prod_sign));
}

TEST(WideIntegerTest, SmallVariationOnALargeOffsetIsResolved) {
  std::vector<int64_t> values;
  std::vector<uint64_t> unsigned_values;
  for (int64_t i = 0; i < 5000; ++i) {
    values.push_back((int64_t{1} << 62) + i % 3);
    unsigned_values.push_back(std::numeric_limits<uint64_t>::max() - static_cast<uint64_t>(i % 7));
  }
  EXPECT_EQ(Check(values, DType::kI64), "");
  EXPECT_EQ(Check(unsigned_values, DType::kU64), "");
  std::transform(values.begin(), values.end(), values.begin(), [](int64_t x) { return -x; });
  EXPECT_EQ(Check(values, DType::kI64), "");
}

TEST(WideIntegerTest, WideAndNarrowBlocksMix) {
  std::vector<int64_t> values(10'000);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = i < 6000 ? static_cast<int64_t>(i) - 50 : std::numeric_limits<int64_t>::min() + 5;
  }
  EXPECT_EQ(Check(values, DType::kI64), "");
  EXPECT_EQ(Check(std::vector<int64_t>{std::numeric_limits<int64_t>::min(),
                                       std::numeric_limits<int64_t>::max(), 0, -1},
                  DType::kI64),
            "");
}

TEST(RangeTest, NoFalseZeroOrInfinityAtAnyF32Exponent) {
  OnEveryTarget([] {
    std::mt19937 random(3);
    std::normal_distribution<double> normal(0, 1);
    std::vector<float> values(1000);
    for (int exponent = -149; exponent <= 125; ++exponent) {
      for (float& value : values) {
        value = static_cast<float>(std::ldexp(std::clamp(normal(random), -3.0, 3.0), exponent));
      }
      ASSERT_EQ(Check(values, DType::kF32), "") << exponent;
    }
  });
}

TEST(RangeTest, BlocksOfVeryDifferentScaleMix) {
  OnEveryTarget([] {
    std::mt19937 random(4);
    std::normal_distribution<double> normal(0, 1);
    std::vector<float> values(4096 * 12 + 17);
    const int exponents[] = {0, -60, 100, -126, 61, -41, 30, -140, 2, 120, -39, 59, 0};
    for (size_t i = 0; i < values.size(); ++i) {
      const double x = std::clamp(normal(random), -3.0, 3.0);
      values[i] = static_cast<float>(std::ldexp(x, exponents[i / 4096]));
    }
    EXPECT_EQ(Check(values, DType::kF32), "");
  });
}

TEST(RangeTest, F64BeyondF32IsRightAndItsSquaresSaturate) {
  EXPECT_EQ(Check(std::vector<double>{1e150, -2e150, 3e150}, DType::kF64), "");
  EXPECT_EQ(Check(std::vector<double>{1e-150, -2e-150, 3e-150}, DType::kF64), "");
  const TensorStats stats = StatsOf(std::vector<double>(1000, 1.7e308), DType::kF64);
  EXPECT_DOUBLE_EQ(stats.mean, 1.7e308);
  EXPECT_EQ(stats.m2, 0);
  const TensorStats spread = StatsOf<double>({1.7e308, -1.7e308, 1e308}, DType::kF64);
  EXPECT_EQ(spread.m2, kInf);
  EXPECT_FALSE(std::isnan(spread.abs_m2));
  EXPECT_NEAR(spread.mean / 1e308, 1.0 / 3, 1e-12);
}

TEST(RangeTest, AConstantHasVarianceZeroWhateverItsValue) {
  OnEveryTarget([] {
    std::mt19937 random(5);
    for (int i = 0; i < 200; ++i) {
      const auto value = std::bit_cast<float>(static_cast<uint32_t>(random()));
      if (!std::isfinite(value)) {
        continue;
      }
      const TensorStats stats = StatsOf(std::vector<float>(70'000, value), DType::kF32);
      EXPECT_EQ(stats.m2, 0) << value;
      EXPECT_EQ(stats.abs_m2, 0) << value;
      EXPECT_EQ(stats.mean, static_cast<double>(value));
    }
  });
}

TEST(ComplexTest, AnElementWithANaNPartIsNaNEvenNextToAnInfinity) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float parts[] = {3, -4, inf, nan, -inf, 1};
  const TestTensor tensor{parts, DType::kC64, {3}};
  const TensorStats three = ComputeStats(tensor.view(), {});
  EXPECT_EQ(three.nan_count, 1);
  EXPECT_EQ(three.posinf_count, 1);
  EXPECT_EQ(three.mean, 5);
  EXPECT_EQ(three.negative_count, 0);
}

#if defined(__x86_64__)
TEST(FloatModeTest, FlushToZeroAndTrapsOfTheCallerDoNotMatterAndSurvive) {
  std::vector<float> values(5000, 1e-42F);
  values[77] = std::numeric_limits<float>::signaling_NaN();
  values[4990] = -1e-42F;
  const unsigned saved = _mm_getcsr();
  // Flush to zero, denormals are zero, round down, invalid and denormal exceptions trap.
  const unsigned unusual = 0xe040U & ~0x0180U;
  _mm_setcsr((unusual | 0x1e00U) & ~0x3fU);
  const unsigned before = _mm_getcsr();
  const TensorStats stats = StatsOf(values, DType::kF32);
  const unsigned after = _mm_getcsr();
  _mm_setcsr(saved);
  EXPECT_EQ(before, after);
  EXPECT_EQ(stats.nan_count, 1);
  EXPECT_EQ(stats.zero_count, 0);
  EXPECT_EQ(stats.negative_count, 1);
  EXPECT_EQ(stats.max, static_cast<double>(1e-42F));
}
#endif

}  // namespace
}  // namespace wheeltapper::tensor
