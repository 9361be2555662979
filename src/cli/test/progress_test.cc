#include "progress.h"

#include <string>

#include <gtest/gtest.h>

namespace wheeltapper::cli {
namespace {

constexpr TimeNs kSecond = 1'000'000'000;

class ProgressTest : public testing::Test {
 protected:
  Progress::Write Output() {
    return [this](std::string_view text) { written_ += text; };
  }
  ManualClock clock_;
  std::string written_;
};

TEST_F(ProgressTest, QuickWorkShowsNothing) {
  {
    Progress progress("checking x", Output(), clock_);
    clock_.Advance(2 * kSecond - 1);
    progress.Show(99, 100);
  }
  EXPECT_EQ(written_, "");
}

TEST_F(ProgressTest, LongWorkShowsItsShareFiveTimesASecondAndIsErased) {
  {
    Progress progress("checking x", Output(), clock_);
    clock_.Advance(2 * kSecond);
    progress.Show(1, 3);
    EXPECT_EQ(written_, "\rwheeltapper: checking x: 33 %");
    clock_.Advance(kSecond / 5 - 1);
    progress.Show(2, 3);
    EXPECT_EQ(written_, "\rwheeltapper: checking x: 33 %");
    clock_.Advance(1);
    progress.Show(2, 3);
    EXPECT_EQ(written_, "\rwheeltapper: checking x: 33 %\rwheeltapper: checking x: 67 %");
    written_.clear();
  }
  EXPECT_EQ(written_, "\r" + std::string(29, ' ') + "\r");
}

TEST_F(ProgressTest, AShorterLineCoversALongerOne) {
  Progress progress("x", Output(), clock_);
  clock_.Advance(2 * kSecond);
  progress.Count(1000, "file");
  clock_.Advance(kSecond);
  written_.clear();
  progress.Show(1, 2);
  EXPECT_EQ(written_, "\rwheeltapper: x: 50 %      ");
}

TEST_F(ProgressTest, WithoutATotalThereIsNoShareAndWithoutAnOutputNothing) {
  Progress progress("x", Output(), clock_);
  Progress silent("x", {}, clock_);
  clock_.Advance(3 * kSecond);
  progress.Show(5, 0);
  silent.Show(1, 2);
  silent.Count(1, "file");
  EXPECT_EQ(written_, "");
  progress.Count(1, "file");
  EXPECT_EQ(written_, "\rwheeltapper: x: 1 file");
}

}  // namespace
}  // namespace wheeltapper::cli
