#include "arguments.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wheeltapper/cli/main.h"

namespace wheeltapper::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(ArgumentsTest, EverythingAfterTheDashesBelongsToTheCommand) {
  const ParseOutcome outcome = ParseArguments(
      {"run", "--name", "a", "--", "python", "train.py", "--name", "b", "--help", "--", "-q"});
  ASSERT_FALSE(outcome.exit_code.has_value()) << outcome.text;
  EXPECT_EQ(outcome.arguments.verb, Verb::kRun);
  EXPECT_EQ(outcome.arguments.command,
            (std::vector<std::string>{"python", "train.py", "--name", "b", "--help", "--", "-q"}));
  ASSERT_EQ(outcome.arguments.flags.size(), 1U);
  EXPECT_EQ(outcome.arguments.flags[0].key, "run.name");
  EXPECT_EQ(outcome.arguments.flags[0].text, "a");
}

TEST(ArgumentsTest, SetTakesAnyKeyAndKeepsLaterEqualsSigns) {
  const ParseOutcome outcome =
      ParseArguments({"run", "--set", "capture.include=a=b", "--", "true"});
  ASSERT_FALSE(outcome.exit_code.has_value()) << outcome.text;
  ASSERT_EQ(outcome.arguments.flags.size(), 1U);
  EXPECT_EQ(outcome.arguments.flags[0].key, "capture.include");
  EXPECT_EQ(outcome.arguments.flags[0].text, "a=b");
}

struct Mistake {
  std::vector<std::string> args;
  const char* says;
};

TEST(ArgumentsTest, MistakesAreUsageErrorsThatSayHowToMendThem) {
  const std::vector<Mistake> mistakes = {
      {{"run"}, "needs a command after --"},
      {{"run", "--"}, "needs a command after --"},
      {{"rnu", "--", "true"}, "did you mean \"run\""},
      {{"show", "--nonsense"}, "wheeltapper show --help"},
      {{"show", "--", "true"}, "only `run` takes a command"},
      {{"run", "--set", "budget", "--", "true"}, "KEY=VALUE"},
      {{"export", "--table", "nothing"}, "nothing"},
      {{"explain"}, "RULE"},
      {{"explain"}, "`wheeltapper rules` lists them"},
      {{"explain", "--json"}, "`wheeltapper rules` lists them"},
      {{"run", "--json", "--", "true"}, "--json"},
      {{"run", "python", "train.py", "--lr", "0.1", "--epochs", "1"},
       "put \"--\" before the command: wheeltapper run -- python train.py --lr 0.1 --epochs 1"},
      {{"run", "train.py", "--lr", "1"}, "wheeltapper run -- python train.py --lr 1"},
      {{"run", "-q", "--name", "a", "--set", "b=c", "python", "train.py", "--name", "b"},
       "wheeltapper run -q --name a --set b=c -- python train.py --name b"},
      {{"run", "--stop-n", "error", "--", "true"}, "did you mean \"--stop-on\""},
      {{"run", "--stop-n=error", "--", "true"}, "did you mean \"--stop-on\""},
      {{"run", "true", "--", "true"}, "\"true\" stands before --"},
      {{"findings", "a-run", "--severty", "error"}, "did you mean \"--severity\""},
  };
  for (const Mistake& mistake : mistakes) {
    const ParseOutcome outcome = ParseArguments(mistake.args);
    ASSERT_TRUE(outcome.exit_code.has_value()) << mistake.says;
    EXPECT_EQ(*outcome.exit_code, kExitUsage);
    EXPECT_FALSE(outcome.to_stdout);
    EXPECT_NE(outcome.text.find(mistake.says), std::string::npos) << outcome.text;
  }
}

TEST(ArgumentsTest, HelpAndVersionGoToStdoutWithZero) {
  for (const std::vector<std::string>& args : {std::vector<std::string>{"--help"},
                                               {"--version"},
                                               {"run", "--help"},
                                               {"findings", "--help"}}) {
    const ParseOutcome outcome = ParseArguments(args);
    ASSERT_TRUE(outcome.exit_code.has_value());
    EXPECT_EQ(*outcome.exit_code, 0);
    EXPECT_TRUE(outcome.to_stdout);
    EXPECT_FALSE(outcome.text.empty());
  }
  EXPECT_NE(ParseArguments({"--help"}).text.find("fsck"), std::string::npos);
  EXPECT_NE(ParseArguments({"--help"}).text.find("the newest command: verdict"), std::string::npos)
      << "a sweep shows neither overhead nor gaps";
}

TEST(ArgumentsTest, TheHelpOfEveryVerbIsAPageThatAManWouldBe) {
  for (const char* verb : {"run", "ls", "show", "findings", "explain", "check", "rules", "report",
                           "export", "fsck", "config"}) {
    const std::string text = ParseArguments({verb, "--help"}).text;
    EXPECT_THAT(text, HasSubstr(std::string("Usage: wheeltapper ") + verb + " ")) << verb;
    EXPECT_THAT(text, HasSubstr("Exit codes: ")) << verb;
    EXPECT_THAT(text, HasSubstr(std::string("\n  wheeltapper ") + verb)) << "an example";
    EXPECT_THAT(text, Not(HasSubstr(" TEXT "))) << "a value is named after what it is";
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      EXPECT_LE(line.size(), 100U) << line;
    }
  }
}

TEST(ArgumentsTest, TheUsageLineOfRunHasTheCommand) {
  EXPECT_THAT(ParseArguments({"run", "--help"}).text,
              HasSubstr("Usage: wheeltapper run [OPTIONS] -- COMMAND [ARGUMENTS]...\n"));
}

}  // namespace
}  // namespace wheeltapper::cli
