// The verbs on a run that holds next to nothing; tests/e2e drives the program itself.
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

class MainTest : public testing::Test {
 protected:
  MainTest() { MakeRun(scratch_.path(), "a", 100); }
  // What `findings` prints of the run.
  [[nodiscard]] std::string FindingsWith(const std::vector<std::string>& flags,
                                         const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"findings", run_};
    words.insert(words.end(), flags.begin(), flags.end());
    words.insert(words.end(), more.begin(), more.end());
    return AnswerTo(words).out;
  }

  const ScratchFolder scratch_;
  const std::string run_ = scratch_.file("a");
};

TEST_F(MainTest, VerbsOnAMissingRunAreUsageErrors) {
  const std::string folder = "storage.path=" + scratch_.path();
  for (const char* verb : {"show", "findings", "check", "report", "export", "fsck"}) {
    EXPECT_EQ(Main({verb, "no-such-run", "--set", folder}), kExitUsage) << verb;
  }
  EXPECT_EQ(Main({"explain", "no_such_rule"}), kExitUsage);
  EXPECT_EQ(Main({"findings", run_, "--rule", "nonfinite"}), kExitOk);
  EXPECT_EQ(Main({"findings", run_, "--rule", "NonFinite"}), kExitUsage);
  EXPECT_EQ(Main({"findings", "--severity", "loud", "--set", folder}), kExitUsage);
  EXPECT_EQ(Main({"show", "--set", "no.such.key=1"}), kExitUsage);
}

TEST_F(MainTest, FindingsOfARuleAreAlsoThoseThatTellWhatItSaw) {
  rules::Finding finding;
  finding.id = "exploding_tensor-1";
  finding.rule = "exploding_tensor";
  finding.severity = rules::Severity::kError;
  finding.also = {{.rule = "my_own_rule", .message = "too large"}};
  rules::MakeFindingsLog(run_)->Opened(finding);
  const auto listed = [&](const std::vector<std::string>& flags) -> int64_t {
    const auto json = nlohmann::json::parse(FindingsWith(flags, {"--json"}), nullptr, false);
    return json.is_array() ? static_cast<int64_t>(json.size()) : -1;
  };
  EXPECT_EQ(listed({}), 1);
  EXPECT_EQ(listed({"--rule", "my_own_rule"}), 1);
  EXPECT_EQ(listed({"--rule", "my_own_rule", "--severity", "error"}), 0) << "a warning there";
  EXPECT_EQ(listed({"--rule", "nonfinite"}), 0);
  EXPECT_EQ(Main({"findings", run_, "--rule", "my_other_rule"}), kExitUsage);
}

TEST_F(MainTest, AFindingThatGoesOnAsPartOfAnotherIsPrintedWhereThatOneIsNot) {
  rules::Finding whole;
  whole.id = "exploding_tensor-1";
  whole.rule = "exploding_tensor";
  whole.message = "conv1 explodes";
  rules::Finding part;
  part.id = "my_own_rule-1";
  part.rule = "my_own_rule";
  part.message = "it is too large";
  part.part_of = whole.id;
  const auto log = rules::MakeFindingsLog(run_);
  log->Opened(whole);
  log->Opened(part);
  const auto printed = [&](const std::vector<std::string>& flags) { return FindingsWith(flags); };
  EXPECT_THAT(printed({}), testing::HasSubstr("conv1 explodes"));
  EXPECT_THAT(printed({}), testing::Not(testing::HasSubstr("it is too large")));
  EXPECT_THAT(printed({"--rule", "my_own_rule"}), testing::HasSubstr("it is too large"));
}

TEST_F(MainTest, ExportTellsInJsonWhatItWrote) {
  for (const std::string format : {"csv", "parquet", "npz"}) {
    const std::string path = scratch_.file("out." + format);
    const Answer answer =
        AnswerTo({"export", run_, "--table", "scalars", "--format", format, "-o", path, "--json"});
    EXPECT_EQ(answer.code, kExitOk);
    const auto written = nlohmann::json::parse(answer.out, nullptr, false);
    const nlohmann::json expected = {{"run", run_},      {"table", "scalars"},
                                     {"format", format}, {"path", path},
                                     {"rows", 0},        {"damaged", nlohmann::json::array()}};
    EXPECT_EQ(written, expected);
    EXPECT_TRUE(PathExists(path));
  }
  EXPECT_EQ(Main({"export", run_, "--json"}), kExitUsage) << "stdout is the table";
}

TEST_F(MainTest, FsckTellsWhichFilesItCutALineOff) {
  const auto repair = [&](std::vector<std::string> flags) {
    EXPECT_TRUE(WriteFileAtomically(format::ActionsPath(run_), "{}\n{\"act").ok());
    flags.insert(flags.begin(), {"fsck", run_, "--repair"});
    const Answer answer = AnswerTo(flags);
    EXPECT_EQ(answer.code, kExitOk);
    return answer.out;
  };
  EXPECT_NE(repair({}).find("cut off a line that was never finished: actions.jsonl\n"),
            std::string::npos);
  const auto told = nlohmann::json::parse(repair({"--json"}), nullptr, false);
  EXPECT_EQ(told["repaired"]["torn_lines_cut"], nlohmann::json({"actions.jsonl"}));
  EXPECT_EQ(*ReadWholeFile(format::ActionsPath(run_), 100), "{}\n");
}

TEST_F(MainTest, AMistakeInTheSettingsKeepsNobodyFromReadingRuns) {
  const std::string settings = scratch_.file("wheeltapper.toml");
  ASSERT_TRUE(WriteFileAtomically(settings, "[capture]\nevrey = 5\n").ok());
  for (const std::vector<std::string>& verb : {std::vector<std::string>{"show", run_},
                                               {"findings", run_},
                                               {"ls", scratch_.path()},
                                               {"export", run_},
                                               {"report", run_},
                                               {"fsck", run_}}) {
    std::vector<std::string> args = verb;
    args.insert(args.end(), {"--config", settings});
    const Answer answer = AnswerTo(args);
    EXPECT_EQ(answer.code, kExitOk) << verb[0] << answer.err;
    EXPECT_EQ(answer.out.find("evrey"), std::string::npos) << verb[0];
    const size_t warning = answer.err.find("evrey");
    EXPECT_NE(warning, std::string::npos) << verb[0];
    EXPECT_EQ(answer.err.find("evrey", warning + 1), std::string::npos) << verb[0];
    EXPECT_THAT(answer.err, testing::HasSubstr("did you mean \"capture.every\""));
  }
  EXPECT_EQ(Main({"check", run_, "--config", settings}), kExitUsage);
  EXPECT_EQ(Main({"config", "--config", settings}), kExitUsage);
  EXPECT_EQ(Main({"run", "--config", settings, "--", "true"}), kExitUsage);
  EXPECT_EQ(Main({"show", run_, "--config", scratch_.file("none.toml")}), kExitUsage);
}

}  // namespace
}  // namespace wheeltapper::cli
