// Rows of a sealed table by step: found wherever they are, however the steps are spaced.
#include "sealed_table.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "column_cache.h"
#include "run_builder.h"
#include "sealed_columns.h"
#include "sealed_row.h"

namespace wheeltapper::trial {
namespace {

constexpr uint64_t kCacheBytes = 1 << 20;

class SealedTableTest : public testing::Test {
 protected:
  // Seals one raw tensor "w" recorded at these steps, ascending; equal ones differ by mode.
  void Seal(const std::vector<int64_t>& steps) {
    MakeRun(folder_.path(), clock_);
    RankBuilder rank(folder_.path(), Rank{0}, clock_);
    for (size_t i = 0; i < steps.size(); ++i) {
      const bool repeated = i > 0 && steps[i] == steps[i - 1];
      rank.Begin(steps[i], repeated ? Mode::kEval : Mode::kTrain, steps[i]);
      rank.Raw("w", {static_cast<float>(steps[i])});
      rank.Commit();
    }
    rank.Drain();
    rank.Rotate();
    ASSERT_TRUE(rank.Seal());
    const std::filesystem::directory_iterator sealed(folder_.path() + "/tensors");
    auto table = SealedTable::Open(sealed->path().string(), &cache_);
    ASSERT_TRUE(table.ok()) << table.status().ToString();
    table_ = std::move(table).value();
    ASSERT_TRUE(table_->LoadNames(&names_).ok());
    w_ = names_.Intern("w");
  }

  // Asks for every step from before the first to behind the last.
  void ExpectFound(const std::vector<int64_t>& steps) {
    const auto all = table_->RangesOf(w_);
    ASSERT_TRUE(all.ok());
    ASSERT_EQ(all->size(), 1U);
    const RowRange range = all->front();
    ASSERT_EQ(range.count, static_cast<int64_t>(steps.size()));
    for (int64_t step = steps.front() - 2; step <= steps.back() + 2; ++step) {
      const auto [begin, end] = std::equal_range(steps.begin(), steps.end(), step);
      const int64_t first = range.first + (begin - steps.begin());
      for (int64_t guess = range.first; guess < range.first + range.count; ++guess) {
        EXPECT_EQ(table_->FirstRowFrom(range, step, guess).value(), first) << step << "/" << guess;
      }
      const auto at_step = table_->RangesAtStep(w_, step);
      ASSERT_TRUE(at_step.ok());
      ASSERT_EQ(at_step->size(), begin == end ? 0U : 1U) << step;
      if (begin != end) {
        EXPECT_EQ(at_step->front().first, first);
        EXPECT_EQ(at_step->front().count, end - begin);
      }
    }
  }

  ScratchFolder folder_;
  ManualClock clock_;
  ColumnCache cache_{kCacheBytes};
  format::NameTable names_;
  std::unique_ptr<SealedTable> table_;
  format::NameId w_ = 0;
};

TEST_F(SealedTableTest, EvenlySpacedStepsAreFound) {
  std::vector<int64_t> steps;
  for (int64_t step = 100; step < 400; step += 7) {
    steps.push_back(step);
  }
  Seal(steps);
  ExpectFound(steps);
}

TEST_F(SealedTableTest, UnevenAndRepeatedStepsAreFound) {
  const std::vector<int64_t> steps = {0, 1, 2, 3, 5, 5, 8, 13, 13, 200, 201, 350, 351, 352, 352};
  Seal(steps);
  ExpectFound(steps);
}

TEST_F(SealedTableTest, ASingleStepIsFound) {
  Seal({42});
  ExpectFound({42});
}

TEST_F(SealedTableTest, NothingIsFoundInAnEmptyRangeOrBeyondAllSteps) {
  Seal({1, 2, 3});
  const RowRange all = table_->RangesOf(w_)->front();
  EXPECT_EQ(table_->FirstRowFrom({all.first, 0}, 2).value(), all.first);
  constexpr auto kLowest = std::numeric_limits<int64_t>::min();
  constexpr auto kHighest = std::numeric_limits<int64_t>::max();
  EXPECT_TRUE(table_->RangesAtStep(w_, kLowest)->empty());
  EXPECT_TRUE(table_->RangesAtStep(w_, kHighest)->empty());
}

TEST_F(SealedTableTest, ARowSaysWhatIsWrongWithItsColumns) {
  Seal({1, 2});
  const std::array columns = {kStepColumn, kDTypeColumn, kCrcColumn};
  const auto row = SealedRow::Open(*table_, columns, 1);
  ASSERT_TRUE(row.ok()) << row.status().ToString();
  EXPECT_EQ(row->Int(0).value(), 2);
  EXPECT_EQ(row->Text(1).value(), "float32");
  EXPECT_EQ(row->Int(2).value(), table_->IntAt(kCrcColumn, 1).value());
  EXPECT_EQ(row->Text(0).status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(row->Int(1).status().code(), StatusCode::kDataLoss);
  const std::array unknown = {"no such column"};
  EXPECT_EQ(SealedRow::Open(*table_, unknown, 0).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(table_->IntAt("no such column", 0).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace wheeltapper::trial
