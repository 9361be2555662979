// Histogram, quantiles and exact median against sorted references.
#include "wheeltapper/tensor/sketch.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "bins.h"
#include "reference.h"
#include "targets.h"

namespace wheeltapper::tensor {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr float kNaNF = std::numeric_limits<float>::quiet_NaN();

template <typename T>
TestTensor TensorOf(const std::vector<T>& values, DType dtype) {
  return {
      values.data(), dtype, {static_cast<int64_t>(values.size() * sizeof(T) / ItemSize(dtype))}};
}

// The definition of a bin, from the value alone.
int ExpectedBin(long double value) {
  if (std::isnan(value)) {
    return kNaNBin;
  }
  const long double magnitude = std::fabs(value);
  int bin = 0;
  if (std::isinf(value)) {
    bin = kInfBin;
  } else if (magnitude > 0) {
    const long double largest = static_cast<long double>(std::numeric_limits<float>::max());
    const auto rounded = static_cast<float>(std::min(magnitude, largest));
    if (rounded < std::numeric_limits<float>::min()) {
      bin = kDenormalBin;
    } else {
      int exponent = 0;
      const float fraction = std::frexp(rounded, &exponent);  // in [0.5, 1)
      bin = (exponent + 126) * 16 + static_cast<int>((fraction * 2 - 1) * 16);
    }
  }
  return value < 0 ? -bin : bin;
}

std::map<int, int64_t> ExpectedCounts(const TensorView& view) {
  std::map<int, int64_t> counts;
  for (const long double value : ReferenceValues(view)) {
    ++counts[ExpectedBin(value)];
  }
  return counts;
}

std::map<int, int64_t> CountsOf(const Histogram& histogram) {
  std::vector<HistogramBin> bins(static_cast<size_t>(histogram.bins_used()));
  EXPECT_EQ(histogram.Sparse(bins), histogram.bins_used());
  std::map<int, int64_t> counts;
  for (const HistogramBin& entry : bins) {
    counts[entry.bin] = entry.count;
  }
  return counts;
}

std::vector<uint8_t> RandomBytes(size_t nbytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(nbytes);
  std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<uint8_t>(random()); });
  return bytes;
}

std::vector<float> Gaussian(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> values(count);
  std::generate(values.begin(), values.end(), [&] { return normal(random); });
  return values;
}

TEST(HistogramTest, EveryDTypeFallsIntoTheDefinedBins) {
  const auto histogram = std::make_unique<Histogram>();
  for (int raw = 0; raw < kDTypeCount; ++raw) {
    const auto dtype = static_cast<DType>(raw);
    for (const size_t count : {size_t{0}, size_t{100}, size_t{8191}, size_t{20'003}}) {
      const std::vector<uint8_t> bytes = RandomBytes(count * ItemSize(dtype), 1);
      const TestTensor tensor = TensorOf(bytes, dtype);
      OnEveryTarget([&] {
        histogram->Clear();
        histogram->Add(tensor.view());
        ASSERT_EQ(CountsOf(*histogram), ExpectedCounts(tensor.view())) << DTypeName(dtype) << count;
        ASSERT_EQ(histogram->total(), static_cast<int64_t>(count));
      });
    }
  }
}

TEST(HistogramTest, SpecialValuesHaveBinsOfTheirOwnWhereverTheyAre) {
  const float specials[] = {0.0F,
                            -0.0F,
                            1e-45F,
                            -1e-45F,
                            5e-39F,
                            -5e-39F,
                            kNaNF,
                            -kNaNF,
                            HUGE_VALF,
                            -HUGE_VALF,
                            std::numeric_limits<float>::max(),
                            std::numeric_limits<float>::lowest(),
                            std::numeric_limits<float>::min(),
                            std::numeric_limits<float>::signaling_NaN()};
  std::vector<float> values = Gaussian(9000, 2);
  const auto histogram = std::make_unique<Histogram>();
  for (const size_t stride : {size_t{1}, size_t{7}, size_t{4099}}) {
    size_t next = 0;
    for (size_t i = stride - 1; i < values.size(); i += stride) {
      values[i] = specials[next++ % std::size(specials)];
    }
    const TestTensor tensor = TensorOf(values, DType::kF32);
    histogram->Clear();
    histogram->Add(tensor.view());
    EXPECT_EQ(CountsOf(*histogram), ExpectedCounts(tensor.view())) << stride;
  }
}

TEST(HistogramTest, NonZeroF64NeverCountAsZeroNorFiniteOnesAsInfinite) {
  const std::vector<double> values = {1e-300, -1e-300, 1e300, -1e300, 0.0, kInf};
  Histogram histogram;
  histogram.Add(TensorOf(values, DType::kF64).view());
  EXPECT_EQ(histogram.count(kDenormalBin), 1);
  EXPECT_EQ(histogram.count(-kDenormalBin), 1);
  EXPECT_EQ(histogram.count(kLastNormalBin), 1);
  EXPECT_EQ(histogram.count(-kLastNormalBin), 1);
  EXPECT_EQ(histogram.count(0), 1);
  EXPECT_EQ(histogram.count(kInfBin), 1);
}

TEST(HistogramTest, MergingAddsCountsAndAddingTwiceDoublesThem) {
  const std::vector<float> values = Gaussian(50'000, 3);
  const auto once = std::make_unique<Histogram>();
  const auto twice = std::make_unique<Histogram>();
  once->Add(TensorOf(values, DType::kF32).view());
  twice->Add(TensorOf(values, DType::kF32).view());
  twice->Add(TensorOf(values, DType::kF32).view());
  once->Merge(*std::make_unique<Histogram>(*once));
  EXPECT_EQ(CountsOf(*once), CountsOf(*twice));
}

TEST(HistogramTest, IdsThatAreNoBinsAreIgnored) {
  Histogram histogram;
  for (const int bin : {2, 15, -2, -15, 4082, -4081, 32767, -32768}) {
    histogram.AddBin(static_cast<int16_t>(bin), 5);
    EXPECT_EQ(histogram.count(static_cast<int16_t>(bin)), 0);
    EXPECT_TRUE(std::isnan(BinLow(static_cast<int16_t>(bin))));
  }
  histogram.AddBin(100, -7);
  EXPECT_EQ(histogram.total(), 0);
}

TEST(HistogramTest, ATruncatedSparseListStillTellsTheSize) {
  Histogram histogram;
  histogram.AddBin(-100, 1);
  histogram.AddBin(0, 2);
  histogram.AddBin(100, 3);
  HistogramBin bins[2];
  EXPECT_EQ(histogram.Sparse(bins), 3);
  EXPECT_EQ(bins[0].bin, -100);
  EXPECT_EQ(bins[1].count, 2);
}

TEST(BinTest, EdgesMeetAndHoldTheirValues) {
  for (int bin = kFirstNormalBin; bin < kLastNormalBin; ++bin) {
    const auto id = static_cast<int16_t>(bin);
    const auto next = static_cast<int16_t>(bin + 1);
    ASSERT_EQ(BinHigh(id), BinLow(next));
    ASSERT_EQ(BinOfF32(static_cast<float>(BinLow(id))), bin);
    ASSERT_EQ(BinLow(static_cast<int16_t>(-bin)), -BinHigh(id));
    ASSERT_LE(BinHigh(id) / BinLow(id), 1.0625);
  }
  EXPECT_EQ(BinLow(kDenormalBin), 0);
  EXPECT_EQ(BinHigh(kDenormalBin), BinLow(kFirstNormalBin));
  EXPECT_EQ(BinHigh(kLastNormalBin), 0x1p128);
  EXPECT_EQ(BinLow(0), 0);
  EXPECT_EQ(BinHigh(0), 0);
  EXPECT_EQ(BinLow(kInfBin), kInf);
  EXPECT_EQ(BinHigh(-kInfBin), -kInf);
  EXPECT_TRUE(std::isnan(BinLow(kNaNBin)));
}

TEST(QuantileTest, QuantilesAreWithinABinOfTheSortedElement) {
  for (int index = 0; index < kDistributionCount; ++index) {
    const Distribution data = MakeDistribution(index, 30'001);
    std::vector<float> sorted = data.values;
    std::sort(sorted.begin(), sorted.end());
    Histogram histogram;
    histogram.Add(TensorOf(data.values, DType::kF32).view());
    std::vector<HistogramBin> bins(static_cast<size_t>(histogram.bins_used()));
    histogram.Sparse(bins);
    for (const double q : {0.0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.9, 0.999, 1.0}) {
      const auto exact = static_cast<double>(sorted[static_cast<size_t>(q * 30'000)]);
      EXPECT_NEAR(histogram.Quantile(q), exact, 0.032 * std::fabs(exact)) << data.name << q;
      EXPECT_EQ(QuantileOfBins(bins, q), histogram.Quantile(q));
    }
  }
}

TEST(QuantileTest, NaNAreLeftOutAndInfinitiesKept) {
  Histogram histogram;
  EXPECT_TRUE(std::isnan(histogram.Quantile(0.5)));
  histogram.AddBin(kNaNBin, 10);
  EXPECT_TRUE(std::isnan(histogram.Quantile(0.5)));
  histogram.AddBin(-kInfBin, 1);
  histogram.AddBin(0, 1);
  histogram.AddBin(kInfBin, 1);
  EXPECT_EQ(histogram.Quantile(0), -kInf);
  EXPECT_EQ(histogram.Quantile(0.5), 0);
  EXPECT_EQ(histogram.Quantile(1), kInf);
  EXPECT_EQ(histogram.Quantile(-3), -kInf);
  EXPECT_EQ(histogram.Quantile(7), kInf);
  EXPECT_TRUE(std::isnan(histogram.Quantile(std::nan(""))));
}

TEST(QuantileTest, DamagedBinsGiveNaNRatherThanNonsense) {
  const int64_t most = std::numeric_limits<int64_t>::max();
  EXPECT_TRUE(std::isnan(QuantileOfBins(std::vector<HistogramBin>{{100, most}, {101, most}}, 0.5)));
  EXPECT_TRUE(std::isnan(QuantileOfBins(std::vector<HistogramBin>{{7, 5}, {100, -4}}, 0.5)));
  EXPECT_EQ(QuantileOfBins(std::vector<HistogramBin>{{7, 5}, {0, 1}}, 0.5), 0);
}

double ReferenceMedian(const TensorView& view, MedianKind kind) {
  std::vector<double> values;
  for (const long double value : ReferenceValues(view)) {
    if (!std::isnan(value)) {
      values.push_back(static_cast<double>(value));
    }
  }
  if (values.empty()) {
    return std::nan("");
  }
  std::sort(values.begin(), values.end());
  const size_t middle = (values.size() - 1) / 2;
  if (kind == MedianKind::kLower || values.size() % 2 != 0) {
    return values[middle];
  }
  const long double sum =
      static_cast<long double>(values[middle]) + static_cast<long double>(values[middle + 1]);
  return static_cast<double>(sum / 2);
}

void ExpectMedian(const TestTensor& tensor) {
  // One byte off, so that alignment is the function's own business.
  std::vector<uint8_t> scratch(MedianScratchBytes(tensor.view()) + 1);
  for (const MedianKind kind : {MedianKind::kLower, MedianKind::kMean}) {
    const double expected = ReferenceMedian(tensor.view(), kind);
    const double actual = ExactMedian(tensor.view(), kind, std::span(scratch).subspan(1));
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(actual));
    } else if (tensor.dtype == DType::kC64 || tensor.dtype == DType::kC128) {
      EXPECT_NEAR(actual, expected, std::fabs(expected) * 1e-15);
    } else {
      EXPECT_EQ(actual, expected) << DTypeName(tensor.dtype);
    }
  }
}

TEST(MedianTest, EveryDTypeAndSizeAgreesWithASort) {
  for (int raw = 0; raw < kDTypeCount; ++raw) {
    const auto dtype = static_cast<DType>(raw);
    for (const size_t count : {0U, 1U, 2U, 3U, 100U, 4097U, 65535U, 65536U, 70001U}) {
      const std::vector<uint8_t> bytes = RandomBytes(count * ItemSize(dtype), 4);
      SCOPED_TRACE(count);
      ExpectMedian(TensorOf(bytes, dtype));
    }
  }
}

TEST(MedianTest, DistributionsAgreeWithASortOnEveryTarget) {
  for (int index = 0; index < kDistributionCount; ++index) {
    for (const size_t count : {size_t{70'000}, size_t{70'001}}) {
      const Distribution data = MakeDistribution(index, count);
      SCOPED_TRACE(data.name);
      OnEveryTarget([&] { ExpectMedian(TensorOf(data.values, DType::kF32)); });
      const std::vector<double> wide(data.values.begin(), data.values.end());
      ExpectMedian(TensorOf(wide, DType::kF64));
    }
  }
}

TEST(MedianTest, TheMiddleMayLieAcrossBinsSignsAndInfinities) {
  const float inf = HUGE_VALF;
  for (const auto& [low, high] : std::vector<std::pair<float, float>>{{-1, 1},
                                                                      {-0.0F, 0.0F},
                                                                      {1, 1.0000001F},
                                                                      {-1.0000001F, -1},
                                                                      {1, 1e30F},
                                                                      {-1e30F, -1e-30F},
                                                                      {-inf, 3},
                                                                      {3, inf},
                                                                      {inf, inf},
                                                                      {-inf, -inf}}) {
    std::vector<float> values(70'000, low);
    std::fill(values.begin() + 35'000, values.end(), high);
    ExpectMedian(TensorOf(values, DType::kF32));
    // NaN of both signs must shift nothing.
    values.insert(values.begin(), 20'000, kNaNF);
    values.insert(values.end(), 30'001, -kNaNF);
    ExpectMedian(TensorOf(values, DType::kF32));
    const std::vector<double> wide(values.begin(), values.end());
    ExpectMedian(TensorOf(wide, DType::kF64));
  }
}

TEST(MedianTest, OnlyNaNHaveNoMedian) {
  ExpectMedian(TensorOf(std::vector<float>(10, kNaNF), DType::kF32));
  ExpectMedian(TensorOf(std::vector<float>(70'000, -kNaNF), DType::kF32));
}

TEST(MedianTest, TooLittleScratchIsRefused) {
  const std::vector<float> values(10, 1.0F);
  std::vector<uint8_t> scratch(10);
  EXPECT_TRUE(
      std::isnan(ExactMedian(TensorOf(values, DType::kF32).view(), MedianKind::kLower, scratch)));
}

TEST(MedianTest, MidpointOfHugeNumbersDoesNotOverflow) {
  ExpectMedian(TensorOf(std::vector<double>{1.7e308, 1.6e308}, DType::kF64));
  ExpectMedian(TensorOf(std::vector<double>{5e-324, 5e-324}, DType::kF64));
}

}  // namespace
}  // namespace wheeltapper::tensor
