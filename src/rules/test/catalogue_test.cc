#include "wheeltapper/rules/catalogue.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wheeltapper/core/env.h"
#include "wheeltapper/core/file.h"

namespace wheeltapper::rules {
namespace {

TEST(CatalogueTest, TheReferencePageIsWhatTheTablesGenerate) {
  const std::string path = WT_SOURCE_DIR "/docs/reference/rules.md";
  if (GetEnv("WT_UPDATE_REFERENCE")) {
    ASSERT_TRUE(WriteFileAtomically(path, RulesReferenceMarkdown()).ok());
  }
  EXPECT_EQ(ReadWholeFile(path, 1 << 20).value_or(""), RulesReferenceMarkdown())
      << path << " differs from the tables; run: WT_UPDATE_REFERENCE=1 ./dev test rules";
}

TEST(CatalogueTest, EveryRuleSaysAllItMust) {
  std::set<std::string> names;
  for (const RuleType& type : BuiltinRules()) {
    const RuleInfo& info = *type.info;
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    for (const char* text : {info.name, info.title, info.summary, info.what_it_means,
                             info.false_alarms, info.how_to_fix}) {
      EXPECT_STRNE(text, "") << info.name;
    }
    EXPECT_TRUE(Parameters::Make(info, {}).ok()) << info.name;
    std::map<std::string, std::string> defaults;
    for (const ParameterSpec& spec : info.parameters) {
      defaults[spec.name] = spec.default_value;
    }
    EXPECT_TRUE(Parameters::Make(info, defaults).ok()) << info.name;
    EXPECT_THAT(ExplainRule(info), testing::HasSubstr("## How to fix it"));
  }
  EXPECT_EQ(names.size(), 13U);
}

TEST(CatalogueTest, TheConfigurationTakesItsKeysWithTheirDefaults) {
  ConfigSources sources;
  sources.rule_keys = RuleConfigKeys();
  sources.flags = {{"rules.dead_relu.patience", "4", "--set"}};
  const auto config = Config::Load(sources);
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->GetInt("rules.dead_relu.patience"), 4);
  EXPECT_EQ(config->GetFloat("rules.vanishing_gradient.threshold"), 1e-7);
  sources.flags = {{"rules.dead_relu.patience", "many", "--set"}};
  EXPECT_FALSE(Config::Load(sources).ok());
}

TEST(CatalogueTest, TheSeverityOfEveryRuleMayBeSetAndNothingElseOfOneWithoutParameters) {
  for (const RuleType& type : BuiltinRules()) {
    ConfigSources sources;
    sources.rule_keys = RuleConfigKeys();
    const std::string table = std::string("rules.") + type.info->name;
    sources.flags = {{table + ".severity", "info", "--set"}};
    const auto config = Config::Load(sources);
    ASSERT_TRUE(config.ok()) << config.status().message();
    EXPECT_EQ(config->GetText(table + ".severity"), "info");
    sources.flags = {{table + ".no_such", "1", "--set"}};
    EXPECT_THAT(Config::Load(sources).status().message(), testing::HasSubstr("unknown conf"));
  }
}

}  // namespace
}  // namespace wheeltapper::rules
