// Statistics against a long double reference: the accuracy table of docs/design/numerics.md, and
// agreement of targets.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "wheeltapper/tensor/stats.h"

#include "reference.h"
#include "targets.h"

namespace wheeltapper::tensor {
namespace {

constexpr size_t kLength = 1'000'000;

double RelativeError(double value, long double expected, long double scale) {
  const auto actual = static_cast<long double>(value);
  return scale == 0 ? static_cast<double>(std::fabs(actual - expected))
                    : static_cast<double>(std::fabs((actual - expected) / scale));
}

class DistributionTest : public testing::TestWithParam<int> {};

TEST_P(DistributionTest, ErrorsStayBelowOneMillionthOnEveryTarget) {
  const size_t length = GetParam() == 12 ? 3 * kLength + 7 : kLength;
  const Distribution data = MakeDistribution(GetParam(), length);
  const TestTensor tensor{data.values.data(), DType::kF32, {static_cast<int64_t>(length)}};
  const ReferenceStats reference = ReferenceOf(ReferenceValues(tensor.view()));
  OnEveryTarget([&] {
    const TensorStats stats = ComputeStats(tensor.view(), {.product = true});
    EXPECT_EQ(Disagreement(stats, reference, {}), "") << data.name;
    const auto n = static_cast<long double>(length);
    char row[256];
    (void)std::snprintf(row, sizeof(row), "%.0e / %.0e / %.0e / %.0e",
                        RelativeError(stats.mean, reference.mean, reference.l1 / n),
                        RelativeError(stats.m2, reference.m2, reference.m2),
                        RelativeError(stats.abs_m2, reference.abs_m2, reference.abs_m2),
                        RelativeError(stats.l2(), reference.l2, reference.l2));
    RecordProperty(std::string("mean_var_absvar_l2_") + KernelTarget(), row);
    std::printf("%-34s %-8s %s\n", data.name, KernelTarget(), row);
  });
}

INSTANTIATE_TEST_SUITE_P(Accuracy, DistributionTest, testing::Range(0, kDistributionCount));

}  // namespace
}  // namespace wheeltapper::tensor
