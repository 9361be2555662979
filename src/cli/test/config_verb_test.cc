// `wheeltapper config`: every key can be found there, set or not.
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/core/config.h"
#include "wheeltapper/rules/catalogue.h"

#include "answer.h"

namespace wheeltapper::cli {
namespace {

using testing::HasSubstr;

std::string Printed(const std::vector<std::string>& args) {
  const Answer answer = AnswerTo(args);
  EXPECT_EQ(answer.code, kExitOk);
  return answer.out;
}

const std::vector<ConfigKey>& RuleKeys() {
  static const std::vector<ConfigKey> keys = rules::RuleConfigKeys();
  return keys;
}

TEST(ConfigVerbTest, ShowsEveryKeyWithItsValueAndItsOrigin) {
  const std::string text = Printed({"config", "--set", "capture.eval.every=7"});
  for (const ConfigKey& key : ConfigKeys()) {
    EXPECT_THAT("\n" + text, HasSubstr("\n" + key.name + " = "));
  }
  EXPECT_THAT(text, HasSubstr("\ncapture.eval.every = 7  # --set capture.eval.every\n"));
  EXPECT_THAT(text, HasSubstr("\ncapture.every = \"auto\"  # default\n"));
  EXPECT_THAT(text, HasSubstr("\nactions.webhook.url =  # unset\n"));
  EXPECT_THAT(text, HasSubstr("\nrules.<rule>.severity =  # unset\n"));
}

TEST(ConfigVerbTest, SaysOfEveryKeyWhatItMeansAndItsDefault) {
  const std::string text = Printed({"config", "--set", "budget=3%"});
  EXPECT_THAT(text, HasSubstr("# Share of the step time that observing may cost. Above it, capture "
                              "backs off. Default \"1%\".\nbudget = \"3%\"  # --set budget\n\n"));
  EXPECT_THAT(text,
              HasSubstr("# Time between SIGTERM and SIGKILL when a job is stopped. Default 10 "
                        "s.\nrun.grace_s = 10  # default\n"));
  EXPECT_THAT(text, HasSubstr("Unset by default.\nactions.webhook.url =  # unset\n"));
  for (const std::vector<ConfigKey>* keys : {&ConfigKeys(), &RuleKeys()}) {
    for (const ConfigKey& key : *keys) {
      EXPECT_NE(key.meaning, "") << key.name;
      EXPECT_THAT(text, HasSubstr("# " + key.meaning)) << key.name;
    }
  }
}

TEST(ConfigVerbTest, JsonHoldsTheSameWithNullForWhatIsUnset) {
  std::map<std::string, nlohmann::json> rows;
  const auto all =
      nlohmann::json::parse(Printed({"config", "--json", "--set", "capture.eval.every=7"}));
  for (const nlohmann::json& row : all) {
    rows[row["key"].get<std::string>()] = row;
  }
  EXPECT_EQ(rows.size(), all.size());
  for (const ConfigKey& key : ConfigKeys()) {
    ASSERT_TRUE(rows.contains(key.name)) << key.name;
    EXPECT_EQ(rows[key.name]["meaning"], key.meaning);
  }
  for (const ConfigKey& key : rules::RuleConfigKeys()) {
    ASSERT_TRUE(rows.contains(key.name)) << key.name;
  }
  EXPECT_EQ(rows["actions.webhook.url"]["value"], nlohmann::json());
  EXPECT_EQ(rows["actions.webhook.url"]["layer"], "unset");
  EXPECT_EQ(rows["capture.eval.every"]["value"], "7");
  EXPECT_EQ(rows["capture.eval.every"]["layer"], "flag");
  EXPECT_EQ(rows["run.grace_s"]["unit"], "s");
}

}  // namespace
}  // namespace wheeltapper::cli
