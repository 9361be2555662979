// Every length, alignment, dtype, stride pattern and position of a special value, against the long
// double reference.
#include "wheeltapper/tensor/stats.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "reference.h"
#include "targets.h"

namespace wheeltapper::tensor {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<DType> AllDTypes() {
  std::vector<DType> dtypes;
  dtypes.reserve(kDTypeCount);
  for (int raw = 0; raw < kDTypeCount; ++raw) {
    dtypes.push_back(static_cast<DType>(raw));
  }
  return dtypes;
}

// Random bit patterns: for float dtypes that means every exponent, NaN, infinities and denormals.
std::vector<uint8_t> RandomBytes(size_t nbytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(nbytes);
  std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<uint8_t>(random()); });
  return bytes;
}

std::vector<float> Gaussian(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.5F, 1);
  std::vector<float> values(count);
  std::generate(values.begin(), values.end(), [&] { return normal(random); });
  return values;
}

std::string CheckAgainstReference(const TestTensor& tensor) {
  const ReferenceStats reference = ReferenceOf(ReferenceValues(tensor.view()));
  const Tolerance tolerance = ToleranceFor(tensor.dtype);
  std::string problems =
      Disagreement(ComputeStats(tensor.view(), {.product = true}), reference, tolerance);
  std::vector<uint8_t> copy(static_cast<size_t>(tensor.view().nbytes()) + 1, 0xa5);
  const TensorStats copied = CopyAndComputeStats(tensor.view(), copy.data(), {});
  problems += Disagreement(copied, reference, tolerance);
  std::vector<uint8_t> expected = ReferenceBytes(tensor.view());
  expected.push_back(0xa5);
  if (copy != expected) {
    problems += "copied bytes differ";
  }
  return problems;
}

TEST(StatsTest, EveryLengthAgreesWithTheReference) {
  const std::vector<float> values = Gaussian(4200, 1);
  std::vector<long double> prefix;
  for (int64_t length = 0; length <= 4200; ++length) {
    const TestTensor tensor{values.data(), DType::kF32, {length}};
    const ReferenceStats reference = ReferenceOf(prefix);
    ASSERT_EQ(Disagreement(ComputeStats(tensor.view(), {.product = true}), reference, {}), "")
        << length;
    if (length < 4200) {
      prefix.push_back(static_cast<long double>(values[static_cast<size_t>(length)]));
    }
  }
}

TEST(StatsTest, EveryLengthAgreesWithTheReferenceOnEveryTargetAndDType) {
  for (const DType dtype : AllDTypes()) {
    const std::vector<uint8_t> bytes = RandomBytes(200 * ItemSize(dtype), 2);
    OnEveryTarget([&] {
      for (int64_t length = 0; length <= 200; length += length < 70 ? 1 : 13) {
        ASSERT_EQ(CheckAgainstReference({bytes.data(), dtype, {length}}), "")
            << DTypeName(dtype) << " " << length;
      }
    });
  }
}

TEST(StatsTest, EveryDTypeAgreesWithTheReferenceOverManyBlocks) {
  for (const DType dtype : AllDTypes()) {
    const std::vector<uint8_t> bytes = RandomBytes(9001 * ItemSize(dtype), 3);
    EXPECT_EQ(CheckAgainstReference({bytes.data(), dtype, {9001}}), "") << DTypeName(dtype);
  }
}

TEST(StatsTest, EveryEightBitFloatIsWidenedExactly) {
  std::vector<uint8_t> bytes(256);
  std::iota(bytes.begin(), bytes.end(), uint8_t{0});
  for (const DType dtype : {DType::kF8E4M3, DType::kF8E5M2, DType::kBool, DType::kI8}) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      ASSERT_EQ(CheckAgainstReference({bytes.data() + i, dtype, {1}}), "") << DTypeName(dtype) << i;
    }
  }
}

TEST(StatsTest, EverySixteenBitFloatIsWidenedExactlyOnEveryTarget) {
  std::vector<uint16_t> patterns(65536);
  std::iota(patterns.begin(), patterns.end(), uint16_t{0});
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    OnEveryTarget([&] {
      // Blocks of 64 equal elements take the fast path, whose extremes are then the element itself.
      std::vector<uint16_t> block(64);
      for (const uint16_t pattern : patterns) {
        std::fill(block.begin(), block.end(), pattern);
        const TestTensor tensor{block.data(), dtype, {64}};
        const TensorStats stats = ComputeStats(tensor.view(), {});
        const long double value = DecodeElement(dtype, &pattern);
        if (std::isfinite(value)) {
          ASSERT_EQ(stats.max, static_cast<double>(value)) << pattern;
          ASSERT_EQ(stats.mean, static_cast<double>(value)) << pattern;
          ASSERT_EQ(stats.m2, 0) << pattern;
        } else {
          ASSERT_EQ(stats.nonfinite_count(), 64) << pattern;
        }
      }
    });
  }
}

TEST(StatsTest, MisalignedDataGivesTheSameBits) {
  for (const DType dtype : AllDTypes()) {
    const std::vector<uint8_t> bytes = RandomBytes(5000 * ItemSize(dtype), 4);
    const TestTensor aligned{bytes.data(), dtype, {5000}};
    const TensorStats expected = ComputeStats(aligned.view(), {.product = true});
    for (size_t shift = 1; shift < 16; ++shift) {
      std::vector<uint8_t> moved(bytes.size() + shift);
      std::copy(bytes.begin(), bytes.end(), moved.begin() + static_cast<ptrdiff_t>(shift));
      const TestTensor tensor{moved.data() + shift, dtype, {5000}};
      const TensorStats stats = ComputeStats(tensor.view(), {.product = true});
      ASSERT_TRUE(SameBits(stats, expected)) << DTypeName(dtype) << shift;
    }
  }
}

TEST(StatsTest, ASpecialValueIsFoundInEveryPositionOfABlockOnEveryTarget) {
  constexpr size_t kCount = 4096 + 70;
  const float specials[] = {kNaN, kInf, -kInf, -0.0F, 0.0F, 1e-42F, -1e-42F, 3e38F, -1e-38F};
  std::vector<float> values = Gaussian(kCount, 5);
  const std::vector<long double> clean(values.begin(), values.end());
  OnEveryTarget([&] {
    for (size_t position = 0; position < kCount; position += position < 70 ? 1 : 127) {
      for (const float special : specials) {
        std::vector<long double> expected = clean;
        expected[position] = static_cast<long double>(special);
        const float original = values[position];
        values[position] = special;
        const TestTensor tensor{values.data(), DType::kF32, {kCount}};
        ASSERT_EQ(
            Disagreement(ComputeStats(tensor.view(), {.product = true}), ReferenceOf(expected), {}),
            "")
            << special << " at " << position;
        values[position] = original;
      }
    }
  });
}

TEST(StatsTest, TargetsAgreeToFourUlp) {
  for (int index = 0; index < kDistributionCount; ++index) {
    const Distribution data = MakeDistribution(index, 100'003);
    const TestTensor tensor{data.values.data(), DType::kF32, {100'003}};
    const TensorStats best = ComputeStats(tensor.view(), {.product = true});
    constexpr double kFourUlp = 4 * 0x1p-23;
    OnEveryTarget([&] {
      const TensorStats stats = ComputeStats(tensor.view(), {.product = true});
      EXPECT_NEAR(stats.mean, best.mean, kFourUlp * best.abs_mean()) << data.name;
      EXPECT_NEAR(stats.m2, best.m2, kFourUlp * best.m2) << data.name;
      EXPECT_NEAR(stats.l1, best.l1, kFourUlp * best.l1) << data.name;
      EXPECT_NEAR(stats.abs_m2, best.abs_m2, kFourUlp * best.abs_m2) << data.name;
      EXPECT_NEAR(stats.l2(), best.l2(), kFourUlp * best.l2()) << data.name;
      EXPECT_EQ(stats.min, best.min);
      EXPECT_EQ(stats.max, best.max);
      EXPECT_EQ(stats.abs_min, best.abs_min);
      EXPECT_EQ(stats.abs_max, best.abs_max);
      EXPECT_EQ(stats.zero_count, best.zero_count);
      EXPECT_EQ(stats.negative_count, best.negative_count);
    });
  }
}

TEST(StatsTest, CopyingStreamingAndGatheringChangeNoBit) {
  constexpr int64_t kCount = 200'001;
  for (const DType dtype : AllDTypes()) {
    const std::vector<uint8_t> bytes =
        RandomBytes(static_cast<size_t>(kCount) * ItemSize(dtype) * 2, 6);
    const TestTensor contiguous{bytes.data(), dtype, {kCount}};
    const TensorStats expected = ComputeStats(contiguous.view(), {});
    const auto nbytes = static_cast<size_t>(contiguous.view().nbytes());
    std::vector<uint8_t> room(nbytes + 128);
    const size_t skew = reinterpret_cast<uintptr_t>(room.data()) % 64;
    for (const size_t shift : {size_t{64} - skew, size_t{65} - skew}) {
      std::fill(room.begin(), room.end(), uint8_t{0});
      const TensorStats copied = CopyAndComputeStats(contiguous.view(), room.data() + shift, {});
      ASSERT_TRUE(SameBits(copied, expected)) << DTypeName(dtype);
      ASSERT_EQ(std::memcmp(room.data() + shift, bytes.data(), nbytes), 0) << DTypeName(dtype);
      std::fill(room.begin(), room.end(), uint8_t{0});
      CopyTensor(contiguous.view(), room.data() + shift);
      ASSERT_EQ(std::memcmp(room.data() + shift, bytes.data(), nbytes), 0) << DTypeName(dtype);
    }
    // Every second element of a spread-out copy is the same tensor.
    std::vector<uint8_t> spread(nbytes * 2);
    const size_t item = ItemSize(dtype);
    for (size_t i = 0; i < static_cast<size_t>(kCount); ++i) {
      std::memcpy(spread.data() + 2 * i * item, bytes.data() + i * item, item);
    }
    const TestTensor strided{spread.data(), dtype, {kCount}, {2}};
    const TensorStats gathered = ComputeStats(strided.view(), {});
    ASSERT_TRUE(SameBits(gathered, expected)) << DTypeName(dtype);
    CopyTensor(strided.view(), room.data() + 64 - skew);
    ASSERT_EQ(std::memcmp(room.data() + 64 - skew, bytes.data(), nbytes), 0) << DTypeName(dtype);
  }
}

TEST(StatsTest, StridedTensorsAgreeWithTheReference) {
  const std::vector<float> values = Gaussian(40'000, 7);
  const float* middle = values.data() + 20'000;
  const std::vector<TestTensor> tensors = {
      {middle, DType::kF32, {}},                                   // 0-d
      {middle, DType::kF32, {0}},                                  // nothing
      {middle, DType::kF32, {5, 0, 7}, {1, 1, 1}},                 // nothing
      {middle, DType::kF32, {100, 90}, {1, 100}},                  // transposed
      {middle, DType::kF32, {50, 30}, {100, 1}},                   // columns of a wider matrix
      {middle, DType::kF32, {7000}, {-2}},                         // backwards
      {middle, DType::kF32, {30, 40}, {-40, -1}},                  // backwards in both
      {middle, DType::kF32, {4000, 3}, {0, 1}},                    // expanded
      {middle, DType::kF32, {3, 4000}, {1, 0}},                    // expanded, inner
      {middle, DType::kF32, {2, 1, 3, 1, 5}, {500, 9, 50, 9, 5}},  // extents of 1
      {middle, DType::kF32, {9, 8, 7, 6}, {1, 9, 72, 504}},        // Fortran order
      {middle, DType::kF32, {10, 20, 30}, {600, 30, 1}},           // C order, spelled out
  };
  for (const TestTensor& tensor : tensors) {
    EXPECT_EQ(CheckAgainstReference(tensor), "") << tensor.shape.size() << "-d";
  }
}

TEST(StatsTest, SixtyFourDimensionsWork) {
  const std::vector<float> values = Gaussian(1 << 10, 8);
  std::vector<int64_t> shape(64, 1);
  std::vector<int64_t> strides(64, 12345);
  for (size_t dim = 0; dim < 10; ++dim) {
    shape[dim * 6] = 2;
    strides[dim * 6] = int64_t{1} << dim;
  }
  EXPECT_EQ(CheckAgainstReference({values.data(), DType::kF32, shape, strides}), "");
}

TEST(StatsTest, MoreThanTwoToTheThirtyOneElementsAreCounted) {
  const float row[] = {1, -1, 0, 4};
  const int64_t rows = (int64_t{1} << 29) + 3;
  const TestTensor tensor{row, DType::kF32, {rows, 4}, {0, 1}};
  const TensorStats stats = ComputeStats(tensor.view(), {});
  const auto n = static_cast<double>(rows) * 4;
  EXPECT_EQ(stats.numel, rows * 4);
  EXPECT_EQ(stats.zero_count, rows);
  EXPECT_EQ(stats.negative_count, rows);
  EXPECT_NEAR(stats.mean, 1.0, 1e-9);
  EXPECT_NEAR(stats.m2, n * 3.5, n * 1e-7);
  EXPECT_NEAR(stats.l1, n * 1.5, n * 1e-7);
}

TEST(StatsTest, AViewWithoutDataIsEmpty) {
  const TestTensor tensor{nullptr, DType::kF32, {0, 3}};
  const TensorStats stats = ComputeStats(tensor.view(), {.product = true});
  EXPECT_EQ(stats.numel, 0);
  EXPECT_TRUE(std::isnan(stats.mean));
  EXPECT_EQ(stats.prod(), 1);
  EXPECT_EQ(stats.sum(), 0);
}

TEST(TensorViewTest, ExtentsThatOverflowSaturate) {
  const TestTensor tensor{nullptr, DType::kF64, {int64_t{1} << 40, int64_t{1} << 40}};
  EXPECT_EQ(tensor.view().numel(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(tensor.view().nbytes(), std::numeric_limits<int64_t>::max());
  const TestTensor empty{nullptr, DType::kF64, {int64_t{1} << 40, int64_t{1} << 40, 0}};
  EXPECT_EQ(empty.view().numel(), 0);
}

TEST(TensorViewTest, ContiguityIgnoresExtentsOfOne) {
  EXPECT_TRUE((TestTensor{nullptr, DType::kF32, {2, 1, 3}, {3, 77, 1}}.view().is_contiguous()));
  EXPECT_FALSE((TestTensor{nullptr, DType::kF32, {2, 3}, {1, 2}}.view().is_contiguous()));
  EXPECT_TRUE((TestTensor{nullptr, DType::kF32, {2, 0}, {1, 2}}.view().is_contiguous()));
  EXPECT_TRUE((TestTensor{nullptr, DType::kF32, {}}.view().is_contiguous()));
}

}  // namespace
}  // namespace wheeltapper::tensor
