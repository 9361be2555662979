#include "wheeltapper/core/suggest.h"

#include <gtest/gtest.h>

namespace wheeltapper {
namespace {

TEST(ClosestNameTest, FindsTheNearestAndNothingThatIsFar) {
  const std::vector<std::string> verbs = {"run", "report", "rules", "findings"};
  EXPECT_EQ(ClosestName("rport", verbs), "report");
  EXPECT_EQ(ClosestName("finding", verbs), "findings");
  EXPECT_EQ(ClosestName("RULES", verbs), "rules");
  EXPECT_EQ(ClosestName("checkpoint", verbs), "");
  EXPECT_EQ(ClosestName("", verbs), "");
  EXPECT_EQ(ClosestName("run", {}), "");
}

TEST(ClosestNameTest, SwappedNeighboursAreOneMistake) {
  EXPECT_EQ(ClosestName("urn", {"ran", "run"}), "run");
}

TEST(ClosestNameTest, TheEarlierOfEquallyNearWins) {
  EXPECT_EQ(ClosestName("abcx", {"abcd", "abce"}), "abcd");
}

TEST(ClosestNameTest, EndlessNamesCostNothing) {
  EXPECT_EQ(ClosestName(std::string(1'000'000, 'a'), {"a"}), "");
  EXPECT_EQ(ClosestName("a", {std::string(1'000'000, 'a')}), "");
}

TEST(DidYouMeanTest, IsEmptyWhenNothingIsNear) {
  EXPECT_EQ(DidYouMean("rnu", {"run"}), "; did you mean \"run\"?");
  EXPECT_EQ(DidYouMean("zzzzzz", {"run"}), "");
}

}  // namespace
}  // namespace wheeltapper
