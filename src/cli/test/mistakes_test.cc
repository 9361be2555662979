// Mistakes in the settings: all of them at once, a line each, with where they were made.
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wheeltapper/core/file.h"

#include "answer.h"
#include "support/scratch_folder.h"

namespace wheeltapper::cli {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

std::vector<std::string> LinesOf(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line);
  }
  return lines;
}

class MistakesTest : public testing::Test {
 protected:
  void WriteSettings(const std::string& toml) const {
    ASSERT_TRUE(WriteFileAtomically(settings_, toml).ok());
  }
  // What a verb says on stderr; it ends with `code`.
  static std::vector<std::string> Told(const std::vector<std::string>& args, int code) {
    const Answer answer = AnswerTo(args);
    EXPECT_EQ(answer.code, code);
    return LinesOf(answer.err);
  }

  const ScratchFolder scratch_;
  const std::string settings_ = scratch_.file("wheeltapper.toml");
};

TEST_F(MistakesTest, ARuleThatIsNotEvaluatedCannotStopTheJob) {
  for (const std::vector<std::string>& choice :
       {std::vector<std::string>{"--ignore", "dead_relu"}, {"--rules", "nonfinite,overfit"}}) {
    std::vector<std::string> args = {"run", "--stop-on", "dead_relu"};
    args.insert(args.end(), choice.begin(), choice.end());
    args.insert(args.end(), {"--set", "storage.path=" + scratch_.file("runs"), "--", "true"});
    const std::vector<std::string> told = Told(args, kExitUsage);
    ASSERT_THAT(told, SizeIs(1));
    EXPECT_THAT(told[0], AllOf(HasSubstr("(--stop-on)"), HasSubstr("\"dead_relu\""),
                               HasSubstr("not evaluated"), HasSubstr("rules.select")));
    EXPECT_FALSE(PathExists(scratch_.file("runs")));
  }
}

TEST_F(MistakesTest, AllOfThemAreToldAtOnceALineEachWithFileAndKey) {
  WriteSettings(
      "budgett = 1\n"
      "[capture]\n"
      "include = [\"[\"]\n"
      "[rules]\n"
      "select = [\"ded_relu\"]\n"
      "ignore = [\"overfitt\", \"nonfinit\"]\n"
      "custom = [\"nope.py\", \"nope.txt\"]\n"
      "[rules.unchanged_tensor]\n"
      "tensor_regex = \"(\"\n"
      "[rules.overfit]\n"
      "action = [\"webhook\"]\n"
      "[rules.dead_relu]\n"
      "action = [\"command\"]\n"
      "[actions.stop]\n"
      "on = [\"eror\"]\n");
  const std::vector<std::string> told =
      Told({"run", "--config", settings_, "--", "true"}, kExitUsage);
  const std::vector<std::pair<std::string, std::string>> wanted = {
      {"budgett", ":1)"},
      {"capture.include", ":3)"},
      {"rules.select", ":5)"},
      {"overfitt", ":6)"},
      {"nonfinit", ":6)"},
      {"nope.py", ":7)"},
      {"nope.txt", ":7)"},
      {"rules.unchanged_tensor.tensor_regex", ":9)"},
      {"rules.overfit.action", ":11)"},
      {"rules.dead_relu.action", ":13)"},
      {"eror", ":15)"},
  };
  EXPECT_THAT(told, SizeIs(wanted.size()));
  EXPECT_THAT(told, Each(StartsWith("wheeltapper: error: ")));
  for (const auto& [key, line] : wanted) {
    EXPECT_THAT(told, testing::Contains(AllOf(HasSubstr(key), HasSubstr(settings_ + line)))) << key;
  }
}

TEST_F(MistakesTest, CheckTellsThoseOfTheRulesToo) {
  WriteSettings("budgett = 1\n[rules]\nselect = [\"ded_relu\"]\n");
  EXPECT_THAT(Told({"check", "a-run", "--config", settings_}, kExitUsage), SizeIs(2));
}

// What follows from a mistake is none: it would be gone with it.
TEST_F(MistakesTest, WhatOnlyFollowsFromAnotherIsNotTold) {
  WriteSettings(
      "[rules]\nselect = [\"my_rule\"]\ncustom = 3\n[rules.overfit]\naction = [\"webhook\"]\n"
      "[actions.webhook]\nurl = 3\n");
  EXPECT_THAT(Told({"run", "--config", settings_, "--", "true"}, kExitUsage), SizeIs(2));
}

TEST_F(MistakesTest, WarningsOfVerbsThatOnlyReadAreALineEachToo) {
  WriteSettings("budgett = 1\n[capture]\nevrey = 1\n");
  const std::vector<std::string> told =
      Told({"ls", scratch_.path(), "--config", settings_}, kExitOk);
  ASSERT_GE(told.size(), 2U);
  EXPECT_THAT(told[0], AllOf(StartsWith("wheeltapper: warning: "), HasSubstr("budgett")));
  EXPECT_THAT(told[1], AllOf(StartsWith("wheeltapper: warning: "), HasSubstr("evrey")));
}

}  // namespace
}  // namespace wheeltapper::cli
