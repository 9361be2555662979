#include "wheeltapper/core/json.h"

#include <limits>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace wheeltapper {
namespace {

std::string Nested(int levels) {
  return std::string(static_cast<size_t>(levels), '[') +
         std::string(static_cast<size_t>(levels), ']');
}

TEST(JsonTest, WhatIsNoJsonIsDiscarded) {
  for (const char* text : {"", "{", "{\"a\":}", "nan", "[1,]", "{} {}", "\"\xff\""}) {
    EXPECT_TRUE(ParseJson(text).is_discarded()) << text;
    EXPECT_TRUE(ParseOrderedJson(text).is_discarded()) << text;
  }
}

TEST(JsonTest, DepthIsBounded) {
  EXPECT_TRUE(ParseJson(Nested(kMaxJsonDepth)).is_array());
  EXPECT_TRUE(ParseJson(Nested(kMaxJsonDepth + 1)).is_discarded());
  EXPECT_TRUE(ParseOrderedJson(Nested(kMaxJsonDepth + 1)).is_discarded());
  EXPECT_TRUE(ParseJson("{\"a\":" + Nested(1'000'000) + "}").is_discarded());
}

TEST(JsonTest, OrderedJsonKeepsTheOrderOfTheText) {
  const std::string text = R"({"b":1,"a":[1,2],"c":null})";
  EXPECT_EQ(JsonLine(ParseOrderedJson(text)), text);
  EXPECT_EQ(JsonLine(ParseJson(text)), R"({"a":[1,2],"b":1,"c":null})");
}

TEST(JsonTest, IndentedEndsWithoutALineBreak) {
  EXPECT_EQ(JsonIndented(ParseJson(R"({"a":[1]})")), "{\n  \"a\": [\n    1\n  ]\n}");
}

TEST(JsonTest, BytesThatAreNoUtf8BecomeReplacementCharacters) {
  EXPECT_EQ(JsonLine(nlohmann::json("a\xff z")), "\"a\xef\xbf\xbd z\"");
}

TEST(JsonTest, AMemberThatIsMissingOrOfAnotherTypeIsAsIfMissing) {
  const nlohmann::json object = ParseJson(R"({"text":"x","whole":-7,"part":1.5,"null":null})");
  EXPECT_EQ(JsonText(object, "text"), "x");
  EXPECT_EQ(JsonInteger(object, "whole"), -7);
  for (const char* key : {"none", "whole", "part", "null"}) {
    EXPECT_EQ(JsonText(object, key), "") << key;
    EXPECT_EQ(JsonText(object, key, "else"), "else") << key;
  }
  for (const char* key : {"none", "text", "part", "null"}) {
    EXPECT_EQ(JsonInteger(object, key), 0) << key;
    EXPECT_EQ(JsonInteger(object, key, 3), 3) << key;
  }
  for (const char* text : {"null", "[1]", "1", "{"}) {
    EXPECT_EQ(JsonText(ParseJson(text), "text"), "") << text;
    EXPECT_EQ(JsonInteger(ParseJson(text), "whole"), 0) << text;
  }
}

TEST(JsonTest, AnIntegerThatDoesNotFitIsAsIfMissing) {
  const nlohmann::json object =
      ParseJson(R"({"most":9223372036854775807,"more":9223372036854775808})");
  EXPECT_EQ(JsonInteger(object, "most"), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(JsonInteger(object, "more"), 0);
}

}  // namespace
}  // namespace wheeltapper
