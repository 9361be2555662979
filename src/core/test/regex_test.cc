#include "wheeltapper/core/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wheeltapper {
namespace {

using testing::HasSubstr;

TEST(RegexTest, FindsThePatternAnywhere) {
  const Result<Regex> regex = Regex::Compile("layer[0-9]+\\.weight$");
  ASSERT_TRUE(regex.ok());
  EXPECT_TRUE(*regex->Search("model.layer12.weight"));
  EXPECT_FALSE(*regex->Search("model.layer12.weight.x"));
  EXPECT_FALSE(*regex->Search(""));
  EXPECT_EQ(regex->pattern(), "layer[0-9]+\\.weight$");
}

TEST(RegexTest, BadPatternIsRefusedWithPositionAndReason) {
  const Status status = Regex::Compile("a(b").status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("missing closing parenthesis at character 4"));
  EXPECT_EQ(Regex::Compile(std::string(70'000, 'a')).status().code(), StatusCode::kInvalidArgument);
}

TEST(RegexTest, EndlessBacktrackingEndsWithAnError) {
  const Result<Regex> regex = Regex::Compile("^(a+)+$");
  ASSERT_TRUE(regex.ok());
  const Status status = regex->Search(std::string(64, 'a') + "b").status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("\"^(a+)+$\""));
}

TEST(RegexTest, AnyBytesCanBeSearched) {
  const Result<Regex> regex = Regex::Compile("b");
  ASSERT_TRUE(regex.ok());
  EXPECT_TRUE(*regex->Search(std::string_view("\0\xff\xfe b", 5)));
}

TEST(RegexSetTest, MatchesWhenAnyPatternDoesAndNeverWhenEmpty) {
  const Result<RegexSet> set = RegexSet::Compile({"^x", "y$"});
  ASSERT_TRUE(set.ok());
  EXPECT_TRUE(*set->MatchesAny("xa"));
  EXPECT_TRUE(*set->MatchesAny("ay"));
  EXPECT_FALSE(*set->MatchesAny("axya"));
  EXPECT_FALSE(*RegexSet().MatchesAny("x"));
  EXPECT_TRUE(RegexSet().empty());
  EXPECT_FALSE(RegexSet::Compile({"ok", "("}).ok());
}

}  // namespace
}  // namespace wheeltapper
