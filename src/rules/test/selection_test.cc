// Which rules a configuration selects, with which parameters.
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_fixture.h"

namespace wheeltapper::rules {
namespace {

using testing::HasSubstr;

Config ConfigOf(const std::vector<ConfigFlag>& flags) {
  ConfigSources sources;
  sources.flags = flags;
  const auto config = Config::Load(sources);
  EXPECT_TRUE(config.ok()) << config.status().ToString();
  return config.ok() ? *config : Config::Defaults();
}

TEST(SelectRulesTest, DefaultsToEveryRuleThatIsOnByDefault) {
  const auto selections = SelectRules(ConfigOf({}));
  ASSERT_TRUE(selections.ok());
  EXPECT_EQ(selections->size(), BuiltinRules().size());
}

TEST(SelectRulesTest, TakesNamesIgnoresParametersAndSeverity) {
  const auto selections =
      SelectRules(ConfigOf({{"rules.select", "overfit,dead_relu,nonfinite", "--set"},
                            {"rules.ignore", "nonfinite", "--set"},
                            {"rules.dead_relu.patience", "7", "--set"},
                            {"rules.dead_relu.severity", "info", "--set"}}));
  ASSERT_TRUE(selections.ok()) << selections.status().ToString();
  ASSERT_EQ(selections->size(), 2U);
  EXPECT_EQ((*selections)[1].name, "dead_relu");
  EXPECT_EQ((*selections)[1].parameters.at("patience"), "7");
  EXPECT_EQ((*selections)[1].severity, Severity::kInfo);
}

TEST(SelectRulesTest, SuggestsForUnknownRulesAndParameters) {
  const auto rule = SelectRules(ConfigOf({{"rules.select", "ded_relu", "--set"}}));
  EXPECT_EQ(rule.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(rule.status().message(), HasSubstr("dead_relu"));
  const auto parameter = SelectRules(ConfigOf({{"rules.dead_relu.patiance", "3", "--set"}}));
  EXPECT_THAT(parameter.status().message(), HasSubstr("did you mean \"patience\"?"));
}

TEST(SelectRulesTest, NamesAPythonRuleAfterItsClass) {
  const auto selections =
      SelectRules(ConfigOf({{"rules.custom", "my/rules.py:LargeGradient", "--set"},
                            {"rules.large_gradient.limit", "3", "--set"}}));
  ASSERT_TRUE(selections.ok()) << selections.status().ToString();
  EXPECT_EQ(selections->back().name, "large_gradient");
  EXPECT_EQ(selections->back().python_file, "my/rules.py:LargeGradient");
  EXPECT_EQ(selections->back().parameters.at("limit"), "3");
  EXPECT_FALSE(SelectRules(ConfigOf({{"rules.custom", "rules.txt", "--set"}})).ok());
}

TEST(SelectRulesTest, AClassWithRunsOfCapitalsIsConfiguredByTheNameInItsFindings) {
  const auto selections = SelectRules(ConfigOf({{"rules.custom", "rules.py:KLDivergence", "--set"},
                                                {"rules.kl_divergence.limit", "3", "--set"}}));
  ASSERT_TRUE(selections.ok()) << selections.status().ToString();
  EXPECT_EQ(selections->back().name, "kl_divergence");
  EXPECT_EQ(selections->back().parameters.at("limit"), "3");
}

TEST(ParametersTest, RejectsWhatIsNotOfTheType) {
  const RuleInfo& info = *FindRule("unchanged_tensor")->info;
  EXPECT_TRUE(Parameters::Make(info, {{"num_steps", "4"}, {"rtol", "1e-3"}}).ok());
  for (const auto& [name, text] : std::map<std::string, std::string>{
           {"num_steps", "3.5"}, {"rtol", "much"}, {"equal_nan", "maybe"}, {"tensor_regex", "("}}) {
    const auto parameters = Parameters::Make(info, {{name, text}});
    EXPECT_EQ(parameters.status().code(), StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(parameters.status().message(), HasSubstr(name));
  }
}

}  // namespace
}  // namespace wheeltapper::rules
