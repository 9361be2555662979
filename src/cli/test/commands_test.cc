// The verbs on a command with several trainings; tests/e2e has one of real ones.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/rules/engine.h"

#include "answer.h"
#include "made_run.h"
#include "support/scratch_folder.h"

namespace wheeltapper::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Three trainings; the first and the last have a finding each.
class CommandsTest : public testing::Test {
 protected:
  CommandsTest() {
    MakeRun(scratch_.path(), "exp", 100);
    MakeRun(scratch_.path(), "exp-2", 200, "exp");
    MakeRun(scratch_.path(), "exp-3", 300, "exp");
    WriteTrainings(scratch_.file("exp"), {"exp", "exp-2", "exp-3"});
    for (const std::string run : {"exp", "exp-3"}) {
      rules::Finding finding;
      finding.id = "overfit-1";
      finding.rule = "overfit";
      finding.message = "val_loss of " + run + " rises";
      rules::MakeFindingsLog(scratch_.file(run))->Opened(finding);
    }
  }
  [[nodiscard]] Answer Ask(std::vector<std::string> words) const {
    words.insert(words.end(), {"--set", "storage.path=" + scratch_.path()});
    return AnswerTo(words);
  }

  const ScratchFolder scratch_;
};

TEST_F(CommandsTest, FindingsOfARunThatCannotBeReadHideNoOthers) {
  std::filesystem::create_directory(format::FindingsPath(scratch_.file("exp-2")));
  const Answer listed = Ask({"findings"});
  EXPECT_EQ(listed.code, kExitFindings);
  EXPECT_THAT(listed.out, AllOf(HasSubstr("val_loss of exp rises"),
                                HasSubstr("run exp-3: warning[overfit]: val_loss of exp-3 rises")));
  EXPECT_THAT(listed.err, AllOf(HasSubstr("error: exp-2: "), HasSubstr("findings.jsonl")));
  EXPECT_EQ(nlohmann::json::parse(Ask({"findings", "--json"}).out).size(), 2U);
  const Answer others = Ask({"findings", "--rule", "dead_relu"});
  EXPECT_EQ(others.code, kExitFindings);
  EXPECT_THAT(others.err, HasSubstr("no findings in exp and exp-3\n"));
  EXPECT_EQ(Ask({"findings", "exp-2"}).code, kExitUsage) << "there is no other";
}

TEST_F(CommandsTest, FindingsOfACommandOfWhichNothingCanBeReadAreNotCalledNone) {
  for (const char* run : {"exp", "exp-2", "exp-3"}) {
    std::filesystem::remove(format::FindingsPath(scratch_.file(run)));
    std::filesystem::create_directory(format::FindingsPath(scratch_.file(run)));
  }
  const Answer listed = Ask({"findings"});
  EXPECT_EQ(listed.code, kExitFindings);
  EXPECT_THAT(listed.err, Not(HasSubstr("no findings")));
}

TEST_F(CommandsTest, ShowOfARunAnswersForItAndNamesTheOthersLast) {
  const std::string shown = Ask({"show", "exp"}).out;
  const size_t others = shown.find("trainings exp-2 and exp-3 are further trainings");
  EXPECT_NE(others, std::string::npos) << shown;
  EXPECT_GT(others, shown.find("val_loss of exp rises"));
  EXPECT_EQ(shown.find('\n', others), shown.size() - 1) << "the last line";
  EXPECT_THAT(shown, Not(HasSubstr("val_loss of exp-3"))) << "their verdicts are not asked for";
}

TEST_F(CommandsTest, ShowAsJsonHoldsEveryTrainingTheRunItselfAsTheRestSaysIt) {
  const auto shown = nlohmann::json::parse(Ask({"show", "exp-3", "--json"}).out);
  ASSERT_EQ(shown["trainings"].size(), 3U);
  const nlohmann::json& own = shown["trainings"][2];
  EXPECT_EQ(own["name"], "exp-3");
  for (const char* key : {"path", "state", "level", "verdict", "findings", "steps"}) {
    EXPECT_EQ(own[key], shown[key]) << key;
  }
  EXPECT_EQ(shown["trainings"][0]["findings"], 1);
}

}  // namespace
}  // namespace wheeltapper::cli
