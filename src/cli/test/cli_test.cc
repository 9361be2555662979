// The parts of the command line behind the verbs; main_test.cc calls the verbs.
#include <filesystem>
#include <fstream>
#include <limits>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/trainings.h"
#include "wheeltapper/rules/engine.h"

#include "chosen_runs.h"
#include "job_environment.h"
#include "made_run.h"
#include "npz.h"
#include "render.h"
#include "rule_files.h"
#include "rule_names.h"
#include "run_name.h"
#include "support/scratch_folder.h"

namespace wheeltapper::cli {
namespace {

using testing::ElementsAre;

Config StoredIn(const std::string& folder) {
  ConfigSources sources;
  sources.flags = {{"storage.path", folder, "--set"}};
  return *Config::Load(sources);
}

TEST(ResolveRunsTest, TakesAPathANameAndByDefaultTheLatest) {
  const ScratchFolder scratch;
  const std::string& folder = scratch.path();
  MakeRun(folder, "old", 100);
  MakeRun(folder, "new", 200);
  const Config config = StoredIn(folder);
  EXPECT_THAT(*ResolveRuns(JoinPath(folder, "old"), config), ElementsAre(JoinPath(folder, "old")));
  EXPECT_THAT(*ResolveRuns("old", config), ElementsAre(JoinPath(folder, "old")));
  EXPECT_THAT(*ResolveRuns("", config), ElementsAre(JoinPath(folder, "new")));
}

TEST(ResolveRunsTest, AnUnknownNameIsAnErrorWithASuggestion) {
  const ScratchFolder scratch;
  const std::string& folder = scratch.path();
  MakeRun(folder, "swift-otter-12", 100);
  const auto run = ResolveRuns("swift-oter-12", StoredIn(folder));
  ASSERT_FALSE(run.ok());
  EXPECT_EQ(run.status().code(), StatusCode::kNotFound);
  EXPECT_NE(run.status().message().find("did you mean \"swift-otter-12\""), std::string::npos);
  const ScratchFolder empty;
  EXPECT_NE(ResolveRuns("", StoredIn(empty.path())).status().message().find("wheeltapper run --"),
            std::string::npos);
}

TEST(ResolveRunsTest, ByDefaultAllTrainingsOfTheCommandThatWasStartedLast) {
  const ScratchFolder scratch;
  const std::string& folder = scratch.path();
  const Config config = StoredIn(folder);
  MakeRun(folder, "sweep", 100);
  WriteTrainings(JoinPath(folder, "sweep"), {"sweep", "sweep-2", "sweep-3"});
  MakeRun(folder, "sweep-2", 110, "sweep");
  MakeRun(folder, "sweep-3", 400, "sweep");
  const std::vector<std::string> trainings = {
      JoinPath(folder, "sweep"), JoinPath(folder, "sweep-2"), JoinPath(folder, "sweep-3")};
  EXPECT_EQ(*ResolveRuns("", config), trainings);
  EXPECT_THAT(*ResolveRuns("sweep", config), ElementsAre(trainings[0])) << "named: it alone";
  EXPECT_THAT(*ResolveRuns("sweep-3", config), ElementsAre(trainings[2]));
  MakeRun(folder, "later", 200);
  EXPECT_THAT(*ResolveRuns("", config), ElementsAre(JoinPath(folder, "later")))
      << "started after the sweep, whose last training began after it";
}

TEST(ResolveRunsTest, WhoseTrainingARunIsSaysItsOwnRecordAndNotItsName) {
  const ScratchFolder scratch;
  const std::string& folder = scratch.path();
  MakeRun(folder, "exp", 100);
  WriteTrainings(JoinPath(folder, "exp"), {"exp", "fine-tuned"});
  MakeRun(folder, "fine-tuned", 200, "exp");
  EXPECT_THAT(*ResolveRuns("", StoredIn(folder)),
              ElementsAre(JoinPath(folder, "exp"), JoinPath(folder, "fine-tuned")));
}

// Bytes that this process has read, from the kernel; 0 where that does not say.
uint64_t BytesRead() {
  std::ifstream io("/proc/self/io");
  std::string label;
  uint64_t bytes = 0;
  io >> label >> bytes;
  return label == "rchar:" ? bytes : 0;
}

TEST(ResolveRunsTest, TheLinesOfACommandAreReadOnceHoweverManyTrainingsItHas) {
  if (BytesRead() == 0) {
    GTEST_SKIP() << "this system does not count what a process reads";
  }
  const ScratchFolder scratch;
  const std::string& folder = scratch.path();
  constexpr int kTrainings = 100;
  std::vector<std::string> runs = {"sweep"};
  MakeRun(folder, "sweep", 100);
  uint64_t bytes = 0;  // of all files
  for (int i = 2; i <= kTrainings; ++i) {
    runs.push_back(fmt::format("sweep-{}", i));
    MakeRun(folder, runs.back(), 100 + i, "sweep");
    bytes += std::filesystem::file_size(format::RunInfoPath(JoinPath(folder, runs.back())));
  }
  WriteTrainings(JoinPath(folder, "sweep"), runs);
  bytes += std::filesystem::file_size(format::TrainingsPath(JoinPath(folder, "sweep")));
  const Config config = StoredIn(folder);
  const uint64_t before = BytesRead();
  EXPECT_EQ(ResolveRuns("", config)->size(), runs.size());
  EXPECT_LT(BytesRead() - before, 2 * bytes);
}

TEST(ResolveRunsTest, ARunThatOnlyLooksLikeAFurtherTrainingIsACommandOfItsOwn) {
  const ScratchFolder scratch;
  const std::string& folder = scratch.path();
  const Config config = StoredIn(folder);
  MakeRun(folder, "exp-2", 300);
  EXPECT_THAT(*ResolveRuns("", config), ElementsAre(JoinPath(folder, "exp-2"))) << "exp is gone";
  MakeRun(folder, "exp", 100);
  WriteTrainings(JoinPath(folder, "exp"), {"exp", "exp-3"});
  EXPECT_THAT(*ResolveRuns("", config), ElementsAre(JoinPath(folder, "exp-2"))) << "not its";
  EXPECT_THAT(*ResolveRuns("exp", config), ElementsAre(JoinPath(folder, "exp")));
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

TEST(RenderTest, AModelThatIsOneLayerHasNoNameToTell) {
  rules::Finding finding;
  finding.rule = "nonfinite";
  finding.tensor = "bias";
  finding.module = "";
  EXPECT_EQ(RenderFinding(finding, false).find("layer"), std::string::npos);
  finding.module = "head";
  EXPECT_NE(RenderFinding(finding, false).find("bias, layer head, step"), std::string::npos);
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
  EXPECT_TRUE(CheckRuleFile("").ok());
  EXPECT_TRUE(CheckRuleFile(path).ok());
  EXPECT_TRUE(CheckRuleFile(path + ":Known").ok());
  EXPECT_TRUE(CheckRuleFile(path + ":Other").ok());
  EXPECT_NE(CheckRuleFile(path + ":Knwn").message().find("did you mean \"Known\""),
            std::string::npos);
  EXPECT_EQ(CheckRuleFile(path + ":Kno").code(), StatusCode::kNotFound);
  EXPECT_EQ(CheckRuleFile(path + "/nope.py:Known").code(), StatusCode::kNotFound);
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

}  // namespace
}  // namespace wheeltapper::cli
