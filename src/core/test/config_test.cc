#include "wheeltapper/core/config.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/log.h"

#include "support/scratch_folder.h"

namespace wheeltapper {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// A folder tree for one test: project/inner is the working directory, home is the user's.
class ConfigTest : public testing::Test {
 protected:
  ConfigTest() {
    std::filesystem::create_directories(root_ + "/project/inner");
    std::filesystem::create_directories(root_ + "/home/.config/wheeltapper");
    sources_.working_directory = root_ + "/project/inner";
    sources_.environment["HOME"] = root_ + "/home";
  }

  void WriteProject(const std::string& toml) { Write("/project/wheeltapper.toml", toml); }
  void WriteUser(const std::string& toml) {
    Write("/home/.config/wheeltapper/wheeltapper.toml", toml);
  }
  void Write(const std::string& path, const std::string& text) const {
    ASSERT_TRUE(WriteFileAtomically(root_ + path, text).ok());
  }
  [[nodiscard]] Result<Config> Load() const { return Config::Load(sources_); }
  [[nodiscard]] std::string LoadError() const {
    const Result<Config> config = Load();
    return config.ok() ? "no error" : config.status().message();
  }

  ScratchFolder scratch_;
  const std::string& root_ = scratch_.path();
  ConfigSources sources_;
};

TEST_F(ConfigTest, EveryDefaultOfTheTablePassesItsOwnChecks) {
  const Result<Config> config = Config::Load(ConfigSources{});
  ASSERT_TRUE(config.ok()) << config.status().message();
  for (const ConfigKey& key : ConfigKeys()) {
    EXPECT_EQ(config->Find(key.name) != nullptr, !key.default_toml.empty()) << key.name;
    EXPECT_THAT(key.meaning, Not(IsEmpty())) << key.name;
  }
  EXPECT_DOUBLE_EQ(config->GetFloat("budget"), 0.01);
  EXPECT_EQ(config->GetInt("capture.every"), 0);  // auto
  EXPECT_EQ(config->GetText("capture.gradients"), "stats");
  EXPECT_THAT(config->GetTexts("rules.select"), ElementsAre("all"));
}

TEST_F(ConfigTest, FlagBeatsEnvironmentBeatsProjectBeatsUserBeatsDefault) {
  EXPECT_EQ(Load()->GetInt("capture.ring_mb"), 32);
  WriteUser("[capture]\nring_mb = 1\n");
  EXPECT_EQ(Load()->GetInt("capture.ring_mb"), 1);
  EXPECT_EQ(Load()->Find("capture.ring_mb")->layer, ConfigLayer::kUser);
  WriteProject("[capture]\nring_mb = 2\n");
  EXPECT_EQ(Load()->GetInt("capture.ring_mb"), 2);
  EXPECT_THAT(Load()->Find("capture.ring_mb")->where, HasSubstr("/project/wheeltapper.toml:2"));
  sources_.environment["WHEELTAPPER_CAPTURE_RING_MB"] = "3";
  EXPECT_EQ(Load()->GetInt("capture.ring_mb"), 3);
  EXPECT_EQ(Load()->Find("capture.ring_mb")->where, "WHEELTAPPER_CAPTURE_RING_MB");
  sources_.flags = {{"capture.ring_mb", "4", "--set capture.ring_mb"}};
  EXPECT_EQ(Load()->GetInt("capture.ring_mb"), 4);
  EXPECT_EQ(Load()->Find("capture.ring_mb")->layer, ConfigLayer::kFlag);
}

TEST_F(ConfigTest, KnowsWhatSomebodyWroteDownEvenWhereItIsTheDefault) {
  sources_.flags = {{.key = "budget", .text = "1%", .spelled = "--budget"}};
  const Result<Config> config = Load();
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_TRUE(config->WasChosen("budget"));
  EXPECT_FALSE(config->WasChosen("capture.on_full"));
  EXPECT_FALSE(config->WasChosen("no.such.key"));
}

TEST_F(ConfigTest, NearestFolderWinsAndFartherOnesAreNotRead) {
  WriteProject("budget = \"2%\"\n[capture]\nring_mb = 7\n");
  Write("/project/inner/wheeltapper.toml", "budget = \"3%\"\n");
  EXPECT_DOUBLE_EQ(Load()->GetFloat("budget"), 0.03);
  EXPECT_EQ(Load()->GetInt("capture.ring_mb"), 32);
}

TEST_F(ConfigTest, PyprojectCountsOnlyWithOurTable) {
  WriteProject("budget = \"2%\"\n");
  Write("/project/inner/pyproject.toml", "[project]\nname = \"x\"\n");
  EXPECT_DOUBLE_EQ(Load()->GetFloat("budget"), 0.02);
  Write("/project/inner/pyproject.toml", "[tool.wheeltapper]\nbudget = \"4%\"\n");
  EXPECT_DOUBLE_EQ(Load()->GetFloat("budget"), 0.04);
  Write("/project/inner/pyproject.toml", "[project\nbroken");
  EXPECT_DOUBLE_EQ(Load()->GetFloat("budget"), 0.02);
}

TEST_F(ConfigTest, NamedFileReplacesTheProjectFileAndMustExist) {
  WriteProject("budget = \"2%\"\n");
  Write("/other.toml", "[capture]\nring_mb = 9\n");
  sources_.file = root_ + "/other.toml";
  EXPECT_DOUBLE_EQ(Load()->GetFloat("budget"), 0.01);
  EXPECT_EQ(Load()->GetInt("capture.ring_mb"), 9);
  sources_.file = root_ + "/absent.toml";
  EXPECT_EQ(Load().status().code(), StatusCode::kNotFound);
  EXPECT_THAT(LoadError(), HasSubstr("absent.toml"));
}

TEST_F(ConfigTest, UnknownKeyNamesFileLineAndNearestKey) {
  WriteProject("\n[capture]\nevrey = 10\n");
  const std::string error = LoadError();
  EXPECT_EQ(Load().status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(error, HasSubstr("unknown configuration key \"capture.evrey\""));
  EXPECT_THAT(error, HasSubstr("wheeltapper.toml:3)"));
  EXPECT_THAT(error, HasSubstr("did you mean \"capture.every\"?"));
}

TEST_F(ConfigTest, AnUnknownKeyLikeNoOtherIsToBeCorrectedOrRemoved) {
  sources_.flags = {{"foo", "1", "--set foo"}};
  EXPECT_THAT(LoadError(), testing::EndsWith("\"foo\" (--set foo), correct or remove it"));
}

TEST_F(ConfigTest, AnEmptyTableIsOfKnownKeys) {
  WriteProject("[capture]\n[capture.collections.mine]\n[rules.overfit]\n[actions.webhook]\n");
  EXPECT_TRUE(Load().ok()) << LoadError();
  for (const char* table : {"captur", "capture.evry", "budgt"}) {
    WriteProject("[capture]\n[" + std::string(table) + "]\n");
    EXPECT_THAT(LoadError(), HasSubstr("unknown configuration key \"" + std::string(table) + "\""));
    EXPECT_THAT(LoadError(), HasSubstr("wheeltapper.toml:2)"));
  }
}

TEST_F(ConfigTest, UnknownKeyInsideACollectionIsSuggestedWithTheCollectionsName) {
  WriteProject("[capture.collections.attn]\ninclude = [\"attn\"]\nhistogramm = true\n");
  EXPECT_THAT(LoadError(), HasSubstr("did you mean \"capture.collections.attn.histogram\"?"));
}

TEST_F(ConfigTest, UnknownVariableIsAnErrorButOursAndTheJobsAreNot) {
  sources_.environment["WHEELTAPPER_STRICT"] = "1";
  sources_.environment["WHEELTAPPER_JOB_ANYTHING"] = "1";
  EXPECT_TRUE(Load().ok());
  sources_.environment["WHEELTAPPER_BUDGTE"] = "1%";
  EXPECT_THAT(LoadError(), HasSubstr("unknown variable WHEELTAPPER_BUDGTE"));
  EXPECT_THAT(LoadError(), HasSubstr("did you mean \"WHEELTAPPER_BUDGET\"?"));
}

TEST_F(ConfigTest, AllMistakesOfAllLayersAreReportedAtOnce) {
  WriteProject("budgett = 1\nrun = { grace_s = \"long\" }\n");
  sources_.environment["WHEELTAPPER_CAPTURE_GRADIENTS"] = "histo";
  sources_.flags = {{"capture.include", "[", "--set capture.include"}};
  const std::string error = LoadError();
  EXPECT_THAT(error, HasSubstr("\"budgett\""));
  EXPECT_THAT(error, HasSubstr("expected a number from 0 to 3600, got \"long\""));
  EXPECT_THAT(error, HasSubstr("\"histo\"; did you mean \"hist\"?"));
  EXPECT_THAT(error, HasSubstr("bad regular expression"));
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 3);
}

struct BadValue {
  const char* toml;
  const char* problem;
};

class ConfigBadValueTest : public ConfigTest, public testing::WithParamInterface<BadValue> {};

TEST_P(ConfigBadValueTest, IsRefusedWithTheReason) {
  WriteProject(GetParam().toml);
  EXPECT_THAT(LoadError(), HasSubstr(GetParam().problem));
}

INSTANTIATE_TEST_SUITE_P(
    Values, ConfigBadValueTest,
    testing::Values(
        BadValue{"budget = 1", "expected a percentage such as \"1%\" from 0.01% to 100%, got 1"},
        BadValue{"budget = \"200%\"", "from 0.01% to 100%"},
        BadValue{"budget = \"lots\"", "got \"lots\""}, BadValue{"budget = nan", "got nan"},
        BadValue{"[capture]\nevery = 0", "\"auto\" or a whole number, at least 1"},
        BadValue{"[capture]\nevery = \"often\"", "got \"often\""},
        BadValue{"[capture]\nevery = 1.5", "got 1.5"},
        BadValue{"[capture]\nring_mb = 99999999999", "a whole number from 1 to 65536"},
        BadValue{"[capture]\nring_mb = true", "got true"},
        BadValue{"[capture]\nsteps = [1, -2]", "a list of whole numbers"},
        BadValue{"[capture]\nsteps = [\"x\"]", "got [\"x\"]"},
        BadValue{"[capture]\nsteps = [1, \"x\"]", "only whole numbers or only strings"},
        BadValue{"[capture]\nstart = 2026-01-01", "dates and times"},
        BadValue{"[capture]\nexclude = [\"a(b\"]", "at character 4: \"a(b\""},
        BadValue{"[capture]\non_full = \"drop\"", "one of \"degrade\", \"skip\""},
        BadValue{"[capture.collections.mine]\nraw = true", "it has no `include`"},
        BadValue{"[capture]\ngradients = 3", "got 3"},
        BadValue{"[rules.overfit]\nseverity = \"fatal\"", "\"critical\", got \"fatal\""},
        BadValue{"[capture.every]", "expected a value, got a table"},
        BadValue{"[[rules]]\nx = 1", "unknown configuration key \"rules\""},
        BadValue{"x = [", "not valid TOML"}));

TEST_F(ConfigTest, TextsOfFlagsAndVariablesMeanWhatTheKeyHolds) {
  sources_.flags = {
      {"capture.every", "auto", ""},
      {"capture.steps", "1, 5,9", ""},
      {"capture.include", "^layer[0-9]{1,2}$", ""},
      {"capture.exclude", "[\"a\", \"b\"]", ""},
      {"rules.select", "overfit,nonfinite", ""},
      {"actions.webhook.allow_private", "1", ""},
      {"rules.overfit.patience", "7", ""},
      {"rules.overfit.ratio", "0.5", ""},
      {"run.name", "007", ""},
      {"capture.train.every", "3", ""},
  };
  const Result<Config> config = Load();
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->GetInt("capture.every"), 0);
  EXPECT_THAT(config->GetInts("capture.steps"), ElementsAre(1, 5, 9));
  EXPECT_THAT(config->GetTexts("capture.include"), ElementsAre("^layer[0-9]{1,2}$"));
  EXPECT_THAT(config->GetTexts("capture.exclude"), ElementsAre("a", "b"));
  EXPECT_THAT(config->GetTexts("rules.select"), ElementsAre("overfit", "nonfinite"));
  EXPECT_TRUE(config->GetBool("actions.webhook.allow_private"));
  EXPECT_EQ(config->GetInt("rules.overfit.patience"), 7);
  EXPECT_DOUBLE_EQ(config->GetFloat("rules.overfit.ratio"), 0.5);
  EXPECT_EQ(config->GetText("run.name"), "007");
  EXPECT_EQ(config->GetInt("capture.train.every"), 3);
}

TEST_F(ConfigTest, CharacterClassIsAPatternNotAnArray) {
  sources_.flags = {{"capture.include", "[a-z]+[0-9]", ""}};
  EXPECT_THAT(Load()->GetTexts("capture.include"), ElementsAre("[a-z]+[0-9]"));
}

TEST_F(ConfigTest, VariablesReachKeysWithNamesInThem) {
  sources_.environment["WHEELTAPPER_RULES_DEAD_RELU_SEVERITY"] = "critical";
  sources_.environment["WHEELTAPPER_CAPTURE_COLLECTIONS_ATTN_INCLUDE"] = "attn";
  const Result<Config> config = Load();
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->GetText("rules.dead_relu.severity"), "critical");
  EXPECT_THAT(config->ChildrenOf("capture.collections"), ElementsAre("attn"));
}

TEST_F(ConfigTest, KnownRulesParametersAreCheckedAndSuggested) {
  sources_.rule_keys = {{.name = "rules.overfit.patience",
                         .type = ConfigType::kInt,
                         .default_toml = "5",
                         .meaning = "Steps.",
                         .min = 1}};
  EXPECT_EQ(Load()->GetInt("rules.overfit.patience"), 5);
  sources_.environment["WHEELTAPPER_RULES_OVERFIT_PATIENCE"] = "6";
  EXPECT_EQ(Load()->GetInt("rules.overfit.patience"), 6);
  WriteProject("[rules.overfit]\npatiense = 3\n");
  EXPECT_THAT(LoadError(), HasSubstr("did you mean \"rules.overfit.patience\"?"));
  WriteProject("[rules.overfit]\npatience = 0\n");
  EXPECT_THAT(LoadError(), HasSubstr("at least 1, got 0"));
  WriteProject("[rules.overfti]\npatience = 3\n");
  EXPECT_THAT(LoadError(), HasSubstr("unknown rule \"overfti\""));
  EXPECT_THAT(LoadError(), HasSubstr("did you mean \"overfit\"?"));
}

TEST_F(ConfigTest, CustomRulesMayHaveTheirOwnTable) {
  sources_.rule_keys = {
      {.name = "rules.overfit.patience", .type = ConfigType::kInt, .meaning = "."}};
  WriteProject("[rules]\ncustom = [\"mine.py:LossSpike\"]\n[rules.loss_spike]\nz = 6\n");
  EXPECT_EQ(Load()->GetInt("rules.loss_spike.z"), 6);
  WriteProject("[rules]\ncustom = [\"mine.py:KLDivergence\"]\n[rules.kl_divergence]\nz = 7\n");
  EXPECT_EQ(Load()->GetInt("rules.kl_divergence.z"), 7);
}

TEST(RuleNameOfClassTest, TakesARunOfCapitalsForOneWord) {
  for (const auto& [class_name, name] :
       std::map<std::string, std::string>{{"MyRule", "my_rule"},
                                          {"R", "r"},
                                          {"my_rule", "my_rule"},
                                          {"My_Rule", "my_rule"},
                                          {"KLDivergence", "kl_divergence"},
                                          {"LossKL", "loss_kl"},
                                          {"L2NormTooLarge", "l2_norm_too_large"},
                                          {"DeadReLU", "dead_re_lu"}}) {
    EXPECT_EQ(RuleNameOfClass(class_name), name);
  }
}

TEST_F(ConfigTest, JsonRoundTripKeepsValuesTypesAndOrigins) {
  WriteProject(
      "budget = \"2.5%\"\n[capture]\nevery = 10\nsteps = [1, 2]\nexclude = ['\\.bias$']\n"
      "[rules.overfit]\nratio = 1.0\nname = \"x\"\n[actions.webhook]\nallow_private = true\n");
  const Result<Config> before = Load();
  ASSERT_TRUE(before.ok()) << before.status().message();
  const Result<Config> after = Config::FromJson(before->ToJson());
  ASSERT_TRUE(after.ok()) << after.status().message();
  ASSERT_EQ(after->entries().size(), before->entries().size());
  for (const auto& [name, entry] : before->entries()) {
    const ConfigEntry* read = after->Find(name);
    ASSERT_NE(read, nullptr) << name;
    EXPECT_EQ(read->value, entry.value) << name;
    EXPECT_EQ(read->layer, entry.layer) << name;
    EXPECT_EQ(read->where, entry.where) << name;
  }
}

TEST_F(ConfigTest, JsonOfAnotherVersionKeepsUnknownKeysAndFillsInMissingOnes) {
  const Result<Config> config = Config::FromJson(
      R"({"schema": 2, "values": {"future.key": {"value": [1], "origin": "flag"}}})");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_THAT(config->GetInts("future.key"), ElementsAre(1));
  EXPECT_DOUBLE_EQ(config->GetFloat("budget"), 0.01);
}

TEST_F(ConfigTest, DamagedJsonIsDataLoss) {
  for (const char* text : {"", "{", "[]", "{\"values\": 3}", R"({"values": {"budget": 3}})",
                           R"({"values": {"budget": {"value": "lots", "origin": "flag"}}})",
                           R"({"values": {"budget": {"value": 0.01, "origin": "moon"}}})",
                           R"({"values": {"x": {"value": {"a": 1}, "origin": "flag"}}})",
                           R"({"values": {"x": {"value": [1, "a"], "origin": "flag"}}})"}) {
    EXPECT_EQ(Config::FromJson(text).status().code(), StatusCode::kDataLoss) << text;
  }
  std::string deep(100'000, '[');
  EXPECT_EQ(Config::FromJson(deep).status().code(), StatusCode::kDataLoss);
}

TEST_F(ConfigTest, AskingWithTheWrongTypeIsLoggedAndYieldsZero) {
  std::vector<std::string> lines;
  SetLogSink([&lines](LogLevel, std::string_view line) { lines.emplace_back(line); },
             LogLevel::kError);
  EXPECT_EQ(Config::Defaults().GetInt("capture.gradients"), 0);
  EXPECT_EQ(Config::Defaults().GetText("no.such.key"), "");
  EXPECT_EQ(Config::Defaults().GetText("run.name"), "");  // unset is no mistake
  SetLogSink({}, LogLevel::kOff);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_THAT(lines[0], HasSubstr("of another type"));
  EXPECT_THAT(lines[1], HasSubstr("no configuration key"));
}

TEST_F(ConfigTest, ChildrenAreNamedOnceEvenWhenTheySharePrefixes) {
  sources_.flags = {{"rules.a.x", "1", ""}, {"rules.a-b.x", "1", ""}, {"rules.a.y", "1", ""}};
  EXPECT_THAT(Load()->ChildrenOf("rules"), ElementsAre("a", "a-b", "custom", "custom_deadline_s",
                                                       "custom_memory_mb", "ignore", "select"));
}

TEST_F(ConfigTest, TomlAndTextOfAValueReadBackAsTheSame) {
  EXPECT_EQ(ConfigValueToml(0.025, FindConfigKey("budget")), "\"2.5%\"");
  EXPECT_EQ(ConfigValueToml(int64_t{0}, FindConfigKey("capture.every")), "\"auto\"");
  EXPECT_EQ(ConfigValueToml(std::string("a\"b\\"), nullptr), "\"a\\\"b\\\\\"");
  EXPECT_EQ(ConfigValueToml(std::vector<int64_t>{1, 2}, nullptr), "[1, 2]");
  EXPECT_EQ(ConfigValueText(std::vector<int64_t>{1, 2}), "1, 2");
  EXPECT_EQ(ConfigValueText(std::vector<std::string>{"a", "b"}), "a,b");
  EXPECT_EQ(ConfigValueText(std::string("a b")), "a b");
  EXPECT_EQ(ConfigValueText(1e-7), "1e-07");
}

TEST(ConfigKeyTest, PatternsStandForAnyNameAndExactRowsComeFirst) {
  EXPECT_EQ(FindConfigKey("rules.overfit.severity")->name, "rules.<rule>.severity");
  EXPECT_EQ(FindConfigKey("rules.overfit.patience")->name, "rules.<rule>.<parameter>");
  EXPECT_EQ(FindConfigKey("rules.select")->name, "rules.select");
  EXPECT_EQ(FindConfigKey("capture.trian.every"), nullptr);
  EXPECT_EQ(FindConfigKey("rules..x"), nullptr);
  EXPECT_EQ(FindConfigKey(""), nullptr);
}

TEST(ConfigKeyTest, ReferencePageHasEveryKeyAndVariable) {
  const std::string page = ConfigReferenceMarkdown();
  for (const ConfigKey& key : ConfigKeys()) {
    EXPECT_THAT(page, HasSubstr("`" + key.name + "`"));
  }
  for (const ReservedVariable& variable : ReservedVariables()) {
    EXPECT_THAT(page, HasSubstr(std::string(variable.name)));
  }
}

TEST(ConfigKeyTest, ReferencePageInTheTreeIsUpToDate) {
  const std::string path = std::string(WT_SOURCE_DIR) + "/docs/reference/config.md";
  if (GetEnv("WT_UPDATE_REFERENCE")) {
    ASSERT_TRUE(WriteFileAtomically(path, ConfigReferenceMarkdown()).ok());
  }
  EXPECT_EQ(ReadWholeFile(path, 1 << 20).value_or(""), ConfigReferenceMarkdown())
      << path << " differs from the table; run: WT_UPDATE_REFERENCE=1 ./dev test core";
}

TEST_F(ConfigTest, LoadedTolerantlyOnlyMistakesInFlagsAreErrors) {
  WriteProject("budget = \"3%\"\n[capture]\nevrey = 5\nring_mb = \"many\"\n");
  sources_.environment["WHEELTAPPER_BUGDET"] = "1%";
  std::string mistakes;
  const Result<Config> config = Config::LoadTolerantly(sources_, &mistakes);
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(mistakes, LoadError());
  EXPECT_THAT(mistakes, HasSubstr("did you mean \"capture.every\""));
  EXPECT_THAT(mistakes, HasSubstr("capture.ring_mb"));
  EXPECT_THAT(mistakes, HasSubstr("WHEELTAPPER_BUGDET"));
  EXPECT_DOUBLE_EQ(config->GetFloat("budget"), 0.03);
  EXPECT_EQ(config->GetInt("capture.ring_mb"), Config::Defaults().GetInt("capture.ring_mb"));

  sources_.flags = {{"no.such.key", "1", "--set no.such.key"}};
  const Result<Config> refused = Config::LoadTolerantly(sources_, &mistakes);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.status().message(), HasSubstr("no.such.key"));
  EXPECT_THAT(refused.status().message(), Not(HasSubstr("evrey")));

  sources_.flags.clear();
  sources_.file = root_ + "/none.toml";
  EXPECT_EQ(Config::LoadTolerantly(sources_, &mistakes).status().code(), StatusCode::kNotFound);
  WriteProject("not toml");
  sources_.file.reset();
  sources_.environment.erase("WHEELTAPPER_BUGDET");
  ASSERT_TRUE(Config::LoadTolerantly(sources_, &mistakes).ok());
  EXPECT_THAT(mistakes, HasSubstr("not valid TOML"));
  WriteProject("");
  ASSERT_TRUE(Config::LoadTolerantly(sources_, &mistakes).ok());
  EXPECT_EQ(mistakes, "");
}

TEST_F(ConfigTest, LoadedTolerantlyUnknownRulesAndEmptyCollectionsAreLeftOut) {
  sources_.rule_keys = {{.name = "rules.overfit.patience", .type = ConfigType::kInt}};
  WriteProject(
      "[rules.overfitt]\nseverity = \"error\"\n[rules.overfit]\nseverity = \"error\"\n"
      "[capture.collections.heads]\nevery = 5\n"
      "[capture.collections.tails]\ninclude = [\"tail\"]\n");
  std::string mistakes;
  const Result<Config> config = Config::LoadTolerantly(sources_, &mistakes);
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_THAT(mistakes, HasSubstr("unknown rule \"overfitt\""));
  EXPECT_THAT(mistakes, HasSubstr("collection \"heads\" is empty"));
  EXPECT_TRUE(config->ChildrenOf("rules.overfitt").empty());
  EXPECT_EQ(config->GetText("rules.overfit.severity"), "error");
  EXPECT_EQ(config->ChildrenOf("capture.collections"), std::vector<std::string>{"tails"});
}

TEST_F(ConfigTest, LoadedTolerantlyAFlagUnderAWrongTableOfAFileIsAnError) {
  sources_.rule_keys = {{.name = "rules.overfit.patience", .type = ConfigType::kInt}};
  WriteProject("[rules.overfitt]\naction = [\"none\"]\n[capture.collections.heads]\nevery = 5\n");
  std::string mistakes;
  sources_.flags = {{"rules.overfitt.severity", "error", "--set rules.overfitt.severity"}};
  const Result<Config> rule = Config::LoadTolerantly(sources_, &mistakes);
  ASSERT_FALSE(rule.ok());
  EXPECT_THAT(rule.status().message(), HasSubstr("overfitt"));
  EXPECT_THAT(rule.status().message(), HasSubstr("--set rules.overfitt.severity"));
  sources_.flags = {{"capture.collections.heads.save", "stats", "--set"}};
  const Result<Config> collection = Config::LoadTolerantly(sources_, &mistakes);
  ASSERT_FALSE(collection.ok());
  EXPECT_THAT(collection.status().message(), HasSubstr("heads"));
}

TEST_F(ConfigTest, AnIntervalThatEndsBeforeItBeginsIsAMistakeAndCapturingNothingIsNot) {
  WriteProject("[capture]\nstart = 50\nend = 10\n");
  EXPECT_THAT(LoadError(), AllOf(HasSubstr("nothing would be captured: capture.start is 50"),
                                 HasSubstr("/project/wheeltapper.toml:3")));
  WriteProject("[capture]\nstart = 50\n[capture.eval]\nend = 50\n");
  EXPECT_THAT(LoadError(), HasSubstr("capture.eval.end"));
  WriteProject("[capture]\nstart = 50\n[capture.eval]\nstart = 0\nend = 50\n");
  EXPECT_TRUE(Load().ok()) << LoadError();
  WriteProject("[capture]\nend = 0\n");
  EXPECT_TRUE(Load().ok()) << LoadError();
}

}  // namespace
}  // namespace wheeltapper
