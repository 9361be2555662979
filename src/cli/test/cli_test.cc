// The parts of the command line that need no run; tests/e2e drives the program itself.
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/format/journal.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/rules/engine.h"

#include "context.h"
#include "job_environment.h"
#include "npz.h"
#include "render.h"
#include "rule_files.h"
#include "rule_names.h"
#include "run_name.h"
#include "support/scratch_folder.h"

namespace wheeltapper::cli {
namespace {

void MakeRun(const std::string& folder, const std::string& name, TimeNs started) {
  format::RunInfo info;
  info.format_version = format::kFormatVersion;
  info.min_reader = format::kMinReaderVersion;
  info.name = name;
  info.run_id = 7;
  info.started_wall_ns = started;
  ASSERT_TRUE(format::CreateRunDirectory(JoinPath(folder, name), info).ok());
}

Config StoredIn(const std::string& folder) {
  ConfigSources sources;
  sources.flags = {{"storage.path", folder, "--set"}};
  return *Config::Load(sources);
}

TEST(ResolveRunTest, TakesAPathANameAndByDefaultTheLatest) {
  const ScratchFolder scratch;
  const std::string& folder = scratch.path();
  MakeRun(folder, "old", 100);
  MakeRun(folder, "new", 200);
  const Config config = StoredIn(folder);
  EXPECT_EQ(*ResolveRun(JoinPath(folder, "old"), config), JoinPath(folder, "old"));
  EXPECT_EQ(*ResolveRun("old", config), JoinPath(folder, "old"));
  EXPECT_EQ(*ResolveRun("", config), JoinPath(folder, "new"));
}

TEST(ResolveRunTest, AnUnknownNameIsAnErrorWithASuggestion) {
  const ScratchFolder scratch;
  const std::string& folder = scratch.path();
  MakeRun(folder, "swift-otter-12", 100);
  const Result<std::string> run = ResolveRun("swift-oter-12", StoredIn(folder));
  ASSERT_FALSE(run.ok());
  EXPECT_EQ(run.status().code(), StatusCode::kNotFound);
  EXPECT_NE(run.status().message().find("did you mean \"swift-otter-12\""), std::string::npos);
  const ScratchFolder empty;
  EXPECT_NE(ResolveRun("", StoredIn(empty.path())).status().message().find("wheeltapper run --"),
            std::string::npos);
}

TEST(RunNameTest, IsTwoWordsAndANumberForAnySeed) {
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, std::numeric_limits<uint64_t>::max()}) {
    const std::string name = MakeRunName(seed);
    EXPECT_EQ(std::count(name.begin(), name.end(), '-'), 2) << name;
  }
  EXPECT_NE(MakeRunName(1), MakeRunName(2));
}

TEST(RenderTest, ControlCharactersOfANameNeverReachTheTerminal) {
  rules::Finding finding;
  finding.rule = "nonfinite";
  finding.tensor = "evil\x1b[2Jname";
  finding.message = "line\nbreak";
  const std::string text = RenderFinding(finding, false);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_NE(text.find("line?break"), std::string::npos);
}

TEST(RenderTest, OnlyBuiltInRulesPointToExplain) {
  rules::Finding finding;
  finding.rule = "nonfinite";
  finding.tensors.assign(20, "one of 29");
  const std::string text = RenderFinding(finding, false);
  EXPECT_NE(text.find("wheeltapper explain nonfinite"), std::string::npos);
  EXPECT_EQ(text.find("20"), std::string::npos) << "the list is cut: its length is no count";
  finding.rule = "weights_too_large";
  EXPECT_EQ(RenderFinding(finding, false).find("explain"), std::string::npos);
}

TEST(RuleNamesTest, AClassOrAPartOfANameLeadsToTheRule) {
  EXPECT_NE(NoSuchRule("exploding", {}).message().find("did you mean \"exploding_tensor\""),
            std::string::npos);
  EXPECT_NE(NoSuchRule("nonfinit", {}).message().find("did you mean \"nonfinite\""),
            std::string::npos);
  EXPECT_NE(NoSuchRule("WeightsTooLarge", {"weights_too_large"})
                .message()
                .find("did you mean \"weights_too_large\""),
            std::string::npos);
  EXPECT_EQ(NoSuchRule("qq", {}).message().find("did you mean"), std::string::npos);
}

TEST(RuleFilesTest, AMissingFileOrClassIsToldBeforeAnythingRuns) {
  const ScratchFolder scratch;
  const std::string path = scratch.file("my_rule.py");
  ASSERT_TRUE(WriteFileAtomically(path,
                                  "import wheeltapper\n\nclass Known(wheeltapper.Rule):\n"
                                  "    pass\n\nclass Other:\n    pass\n")
                  .ok());
  const auto check = [](const std::string& file) {
    rules::RuleSelection rule;
    rule.python_file = file;
    return CheckRuleFiles({rules::RuleSelection(), rule});
  };
  EXPECT_TRUE(check(path).ok());
  EXPECT_TRUE(check(path + ":Known").ok());
  EXPECT_TRUE(check(path + ":Other").ok());
  EXPECT_NE(check(path + ":Knwn").message().find("did you mean \"Known\""), std::string::npos);
  EXPECT_EQ(check(path + ":Kno").code(), StatusCode::kNotFound);
  EXPECT_EQ(check(path + "/nope.py:Known").code(), StatusCode::kNotFound);
}

TEST(RenderTest, DurationsReadLikeDurations) {
  EXPECT_EQ(RenderDuration(250'000'000), "250 ms");
  EXPECT_EQ(RenderDuration(2'500'000'000), "2.5 s");
  EXPECT_EQ(RenderDuration(125'000'000'000), "2 min 5 s");
  EXPECT_EQ(RenderDuration(8'040'000'000'000), "2 h 14 min");
}

TEST(JobEnvironmentTest, PutsTheShimInFrontOfAPythonPath) {
  setenv("PYTHONPATH", "/theirs", 1);  // NOLINT(concurrency-mt-unsafe): one thread
  const auto environment = JobEnvironment("/run", "/package");
  EXPECT_EQ(environment.at("PYTHONPATH"), "/package/_shim:/theirs");
  EXPECT_EQ(environment.at("WHEELTAPPER_RUN_DIR"), "/run");
}

TEST(NpzTest, AFileAppearsOnlyWhenItIsFinished) {
  const ScratchFolder scratch;
  const std::string path = scratch.file("out.npz");
  Result<NpzWriter> npz = NpzWriter::Create(path);
  ASSERT_TRUE(npz.ok());
  const std::vector<float> values = {1, 2, 3};
  const ByteSpan bytes(reinterpret_cast<const uint8_t*>(values.data()), 12);
  ASSERT_TRUE(npz->Add("a/b", tensor::DType::kF32, {3}, bytes).ok());
  EXPECT_FALSE(PathExists(path));
  ASSERT_TRUE(npz->Finish().ok());
  const std::string file = *ReadWholeFile(path, 1 << 20);
  EXPECT_EQ(file.substr(0, 4), "PK\x03\x04");
  EXPECT_NE(file.find("'descr': '<f4', 'fortran_order': False, 'shape': (3,)"), std::string::npos);
}

TEST(NpzTest, AnArchiveOfNothingIsOneThatNumPyReads) {
  const ScratchFolder scratch;
  Result<NpzWriter> npz = NpzWriter::Create(scratch.file("out.npz"));
  ASSERT_TRUE(npz.ok());
  ASSERT_TRUE(npz->Finish().ok());
  EXPECT_EQ(*ReadWholeFile(scratch.file("out.npz"), 1 << 20), "PK\x05\x06" + std::string(18, '\0'));
}

TEST(MainTest, VerbsOnAMissingRunAreUsageErrors) {
  const ScratchFolder scratch;
  const std::string folder = "storage.path=" + scratch.path();
  for (const char* verb : {"show", "findings", "check", "report", "export", "fsck"}) {
    EXPECT_EQ(Main({verb, "no-such-run", "--set", folder}), kExitUsage) << verb;
  }
  EXPECT_EQ(Main({"explain", "no_such_rule"}), kExitUsage);
  MakeRun(scratch.path(), "a", 100);
  EXPECT_EQ(Main({"findings", scratch.file("a"), "--rule", "nonfinite"}), kExitOk);
  EXPECT_EQ(Main({"findings", scratch.file("a"), "--rule", "NonFinite"}), kExitUsage);
  EXPECT_EQ(Main({"findings", "--severity", "loud", "--set", folder}), kExitUsage);
  EXPECT_EQ(Main({"show", "--set", "no.such.key=1"}), kExitUsage);
}

TEST(MainTest, FindingsOfARuleAreAlsoThoseThatTellWhatItSaw) {
  const ScratchFolder scratch;
  MakeRun(scratch.path(), "a", 100);
  rules::Finding finding;
  finding.id = "exploding_tensor-1";
  finding.rule = "exploding_tensor";
  finding.severity = rules::Severity::kError;
  finding.also = {{.rule = "my_own_rule", .message = "too large"}};
  rules::MakeFindingsLog(scratch.file("a"))->Opened(finding);
  const auto listed = [&](const std::vector<std::string>& flags) -> int64_t {
    std::vector<std::string> words = {"findings", scratch.file("a"), "--json"};
    words.insert(words.end(), flags.begin(), flags.end());
    testing::internal::CaptureStdout();
    (void)Main(words);
    const std::string text = testing::internal::GetCapturedStdout();
    const auto json = nlohmann::json::parse(text, nullptr, false);
    return json.is_array() ? static_cast<int64_t>(json.size()) : -1;
  };
  EXPECT_EQ(listed({}), 1);
  EXPECT_EQ(listed({"--rule", "my_own_rule"}), 1);
  EXPECT_EQ(listed({"--rule", "my_own_rule", "--severity", "error"}), 0) << "a warning there";
  EXPECT_EQ(listed({"--rule", "nonfinite"}), 0);
  EXPECT_EQ(Main({"findings", scratch.file("a"), "--rule", "my_other_rule"}), kExitUsage);
}

TEST(MainTest, AFindingThatGoesOnAsPartOfAnotherIsPrintedWhereThatOneIsNot) {
  const ScratchFolder scratch;
  MakeRun(scratch.path(), "a", 100);
  rules::Finding whole;
  whole.id = "exploding_tensor-1";
  whole.rule = "exploding_tensor";
  whole.message = "conv1 explodes";
  rules::Finding part;
  part.id = "my_own_rule-1";
  part.rule = "my_own_rule";
  part.message = "it is too large";
  part.part_of = whole.id;
  const auto log = rules::MakeFindingsLog(scratch.file("a"));
  log->Opened(whole);
  log->Opened(part);
  const auto printed = [&](const std::vector<std::string>& flags) {
    std::vector<std::string> words = {"findings", scratch.file("a")};
    words.insert(words.end(), flags.begin(), flags.end());
    testing::internal::CaptureStdout();
    (void)Main(words);
    return testing::internal::GetCapturedStdout();
  };
  EXPECT_THAT(printed({}), testing::HasSubstr("conv1 explodes"));
  EXPECT_THAT(printed({}), testing::Not(testing::HasSubstr("it is too large")));
  EXPECT_THAT(printed({"--rule", "my_own_rule"}), testing::HasSubstr("it is too large"));
}

TEST(MainTest, ExportTellsInJsonWhatItWrote) {
  const ScratchFolder scratch;
  MakeRun(scratch.path(), "a", 100);
  const std::string run = scratch.file("a");
  for (const std::string format : {"csv", "parquet", "npz"}) {
    const std::string path = scratch.file("out." + format);
    testing::internal::CaptureStdout();
    EXPECT_EQ(Main({"export", run, "--table", "scalars", "--format", format, "-o", path, "--json"}),
              kExitOk);
    const auto written =
        nlohmann::json::parse(testing::internal::GetCapturedStdout(), nullptr, false);
    const nlohmann::json expected = {
        {"run", run}, {"table", "scalars"}, {"format", format}, {"path", path}, {"rows", 0}};
    EXPECT_EQ(written, expected);
    EXPECT_TRUE(PathExists(path));
  }
  EXPECT_EQ(Main({"export", run, "--json"}), kExitUsage) << "stdout is the table";
}

TEST(MainTest, FsckTellsWhichFilesItCutALineOff) {
  const ScratchFolder scratch;
  MakeRun(scratch.path(), "a", 100);
  const std::string run = scratch.file("a");
  const auto repair = [&run](std::vector<std::string> flags) {
    EXPECT_TRUE(WriteFileAtomically(format::ActionsPath(run), "{}\n{\"act").ok());
    flags.insert(flags.begin(), {"fsck", run, "--repair"});
    testing::internal::CaptureStdout();
    EXPECT_EQ(Main(flags), kExitOk);
    return testing::internal::GetCapturedStdout();
  };
  EXPECT_NE(repair({}).find("cut off a line that was never finished: actions.jsonl\n"),
            std::string::npos);
  const auto told = nlohmann::json::parse(repair({"--json"}), nullptr, false);
  EXPECT_EQ(told["repaired"]["torn_lines_cut"], nlohmann::json({"actions.jsonl"}));
  EXPECT_EQ(*ReadWholeFile(format::ActionsPath(run), 100), "{}\n");
}

TEST(MainTest, AMistakeInTheSettingsKeepsNobodyFromReadingRuns) {
  const ScratchFolder scratch;
  MakeRun(scratch.path(), "a", 100);
  const std::string run = scratch.file("a");
  const std::string settings = scratch.file("wheeltapper.toml");
  ASSERT_TRUE(WriteFileAtomically(settings, "[capture]\nevrey = 5\n").ok());
  for (const std::vector<std::string>& verb : {std::vector<std::string>{"show", run},
                                               {"findings", run},
                                               {"ls", scratch.path()},
                                               {"export", run},
                                               {"report", run},
                                               {"fsck", run}}) {
    std::vector<std::string> args = verb;
    args.insert(args.end(), {"--config", settings});
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int code = Main(args);
    const std::string data = testing::internal::GetCapturedStdout();
    const std::string messages = testing::internal::GetCapturedStderr();
    EXPECT_EQ(code, kExitOk) << verb[0] << messages;
    EXPECT_EQ(data.find("evrey"), std::string::npos) << verb[0];
    const size_t warning = messages.find("evrey");
    EXPECT_NE(warning, std::string::npos) << verb[0];
    EXPECT_EQ(messages.find("evrey", warning + 1), std::string::npos) << verb[0];
    EXPECT_NE(messages.find("did you mean \"capture.every\""), std::string::npos) << messages;
  }
  EXPECT_EQ(Main({"check", run, "--config", settings}), kExitUsage);
  EXPECT_EQ(Main({"config", "--config", settings}), kExitUsage);
  EXPECT_EQ(Main({"run", "--config", settings, "--", "true"}), kExitUsage);
  EXPECT_EQ(Main({"show", run, "--config", scratch.file("none.toml")}), kExitUsage);
}

}  // namespace
}  // namespace wheeltapper::cli
