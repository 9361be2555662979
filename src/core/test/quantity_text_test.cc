#include "wheeltapper/core/quantity_text.h"

#include <gtest/gtest.h>

namespace wheeltapper {
namespace {

TEST(QuantityTextTest, DurationsReadLikeDurations) {
  EXPECT_EQ(DurationText(0), "0 µs");
  EXPECT_EQ(DurationText(350'000), "350 µs");
  EXPECT_EQ(DurationText(4'000'000), "4.0 ms");
  EXPECT_EQ(DurationText(250'000'000), "250 ms");
  EXPECT_EQ(DurationText(2'500'000'000), "2.5 s");
  EXPECT_EQ(DurationText(125'000'000'000), "2 min 5 s");
  EXPECT_EQ(DurationText(8'040'000'000'000), "2 h 14 min");
}

TEST(QuantityTextTest, WhatRoundsUpToTheNextUnitIsSaidInIt) {
  EXPECT_EQ(DurationText(999'499), "999 µs");
  EXPECT_EQ(DurationText(999'600), "1.0 ms");
  EXPECT_EQ(DurationText(99'960'000), "100 ms");
  EXPECT_EQ(DurationText(999'600'000), "1.0 s");
  EXPECT_EQ(DurationText(59'960'000'000), "1 min 0 s");
  EXPECT_EQ(DurationText(3'599'700'000'000), "1 h 0 min");
}

TEST(QuantityTextTest, SharesArePercentsWithTwoDecimals) {
  EXPECT_EQ(PercentText(0.0042), "0.42 %");
  EXPECT_EQ(PercentText(1), "100.00 %");
}

}  // namespace
}  // namespace wheeltapper
