#include "wheeltapper/core/output_tail.h"

#include <gtest/gtest.h>

namespace wheeltapper {
namespace {

TEST(OutputTailTest, KeepsTheEndAndBeginsWithAWholeCharacter) {
  OutputTail tail(5);
  EXPECT_EQ(tail.Text(), "");
  tail.Append("ab");
  tail.Append("cdef");
  EXPECT_EQ(tail.Text(), "bcdef");
  tail.Append("äöü");
  EXPECT_EQ(tail.Text(), "öü");
  tail.Append("😀xy");
  EXPECT_EQ(tail.Text(), "xy");
}

TEST(OutputTailTest, WhatIsNoUtf8IsReplaced) {
  OutputTail tail(10);
  tail.Append("a\377b");
  EXPECT_EQ(tail.Text(), "a\uFFFDb");
  OutputTail stray(4);
  stray.Append("\x80\x80\x80\x80\x80\x80");
  EXPECT_EQ(stray.Text(), "\uFFFD") << "no character is that long";
}

TEST(LastLineTest, PassesOverEmptyLinesAndCutsALongOne) {
  EXPECT_EQ(LastLineOf("one\ntwo \r\n \n\n"), "two");
  EXPECT_EQ(LastLineOf("only"), "only");
  EXPECT_EQ(LastLineOf(" \n\n"), "");
  EXPECT_EQ(LastLineOf("\x1b[31mred"), "[31mred");
  EXPECT_EQ(LastLineOf(std::string(300, 'x')), std::string(200, 'x') + "…");
}

TEST(LastLineTest, CutsNoCharacterInTwo) {
  std::string accents;
  for (int i = 0; i < 150; ++i) {
    accents += "é";
  }
  EXPECT_EQ(LastLineOf(accents), accents.substr(0, 200) + "…");
  EXPECT_EQ(LastLineOf("x" + accents), "x" + accents.substr(0, 198) + "…");
  EXPECT_EQ(LastLineOf(std::string(199, 'x') + "éx"), std::string(199, 'x') + "…");
  EXPECT_EQ(LastLineOf(std::string(198, 'x') + "éx"), std::string(198, 'x') + "é…");
  EXPECT_EQ(LastLineOf(std::string(197, 'x') + "😀x"), std::string(197, 'x') + "…");
}

TEST(LastLineTest, BeginsWhereSomethingStands) {
  EXPECT_EQ(LastLineOf(std::string(300, ' ') + "far right"), "far right");
  EXPECT_EQ(LastLineOf("\t" + std::string(300, '\x1b') + "x" + std::string(300, ' ') + "\n"), "x");
}

}  // namespace
}  // namespace wheeltapper
