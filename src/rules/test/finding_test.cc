#include "wheeltapper/rules/finding.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/core/file.h"
#include "wheeltapper/rules/engine.h"

#include "support/scratch_folder.h"

namespace wheeltapper::rules {
namespace {

class FindingsLogTest : public testing::Test {
 protected:
  void Append(const std::string& text) const {
    std::ofstream(folder_ + "/findings.jsonl", std::ios::app) << text;
  }
  ScratchFolder scratch_;
  const std::string& folder_ = scratch_.path();
  std::vector<std::string> damaged_;
};

Finding SampleFinding() {
  Finding finding;
  finding.id = "nonfinite-1";
  finding.rule = "nonfinite";
  finding.severity = Severity::kCritical;
  finding.tensor = "gradient/conv1.weight";
  finding.module = "conv1";
  finding.step = 12;
  finding.last_step = 40;
  finding.mode = Mode::kTrain;
  finding.rank = Rank{3};
  finding.count = 7;
  finding.tensors = {"gradient/conv1.weight", "conv1.weight"};
  finding.message = "gradient/conv1.weight holds 3 NaN of 64 values at step 12";
  finding.cause = "the learning rate (10) is too high";
  finding.wall_ns = 1'700'000'000'250'000'000;
  finding.evidence = {{.label = "l2",
                       .points = {{.step = 1, .value = 2.5},
                                  {.step = 2, .value = std::nan("")},
                                  {.step = 3, .value = std::numeric_limits<double>::infinity()}},
                       .threshold = 100.0}};
  finding.also = {{.rule = "overtraining",
                   .severity = Severity::kInfo,
                   .message = "val_loss: has not improved"}};
  finding.part_of = "nonfinite-2";
  finding.parameters = {{"threshold", "1e-7"}};
  return finding;
}

TEST(FindingJsonTest, HasTheKeysOfTheContractAndNullWhereThereIsNothing) {
  const auto json = nlohmann::json::parse(FindingToJson(SampleFinding()));
  for (const char* key : {"rule", "severity", "tensor", "module", "step", "last_step", "mode",
                          "rank", "state", "count", "message", "cause", "try", "id", "tensors",
                          "wall_time", "evidence", "parameters"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_EQ(json["severity"], "critical");
  EXPECT_EQ(json["state"], "open");
  EXPECT_EQ(json["mode"], "train");
  EXPECT_EQ(json["rank"], 3);
  EXPECT_TRUE(json["try"].is_null());
}

TEST(FindingJsonTest, ReadsBackWhatItWroteIncludingNanAndInfinity) {
  const Finding before = SampleFinding();
  const Result<Finding> after = FindingFromJson(FindingToJson(before));
  ASSERT_TRUE(after.ok()) << after.status().ToString();
  EXPECT_EQ(FindingToJson(*after), FindingToJson(before));
  EXPECT_TRUE(std::isnan(after->evidence[0].points[1].value));
  EXPECT_TRUE(std::isinf(after->evidence[0].points[2].value));
  EXPECT_NEAR(static_cast<double>(after->wall_ns - before.wall_ns), 0, 1000);
  EXPECT_EQ(after->rank, Rank{3});
}

// A line as builds before `also_seen` wrote it.
std::string OldLine(const std::vector<std::string>& severities) {
  auto json = nlohmann::json::parse(FindingToJson(SampleFinding()));
  json.erase("also_seen");
  json["also_severity"] = severities;
  return json.dump();
}

TEST(FindingJsonTest, KeepsWhatOtherRulesSeeWhateverTheyAreCalled) {
  Finding before = SampleFinding();
  before.also[0].rule = "mine: too";
  const Result<Finding> after = FindingFromJson(FindingToJson(before));
  ASSERT_TRUE(after.ok()) << after.status().ToString();
  ASSERT_EQ(after->also.size(), 1U);
  EXPECT_EQ(after->also[0].rule, "mine: too");
  EXPECT_EQ(after->also[0].severity, Severity::kInfo);
  EXPECT_EQ(after->also[0].message, "val_loss: has not improved");
}

TEST(FindingJsonTest, ReadsOldLinesByTheirTexts) {
  const Result<Finding> with = FindingFromJson(OldLine({"info"}));
  ASSERT_TRUE(with.ok()) << with.status().ToString();
  EXPECT_EQ(with->also[0].rule, "overtraining");
  EXPECT_EQ(with->also[0].severity, Severity::kInfo);
  EXPECT_EQ(with->also[0].message, "val_loss: has not improved");
  const Result<Finding> without = FindingFromJson(OldLine({}));
  ASSERT_TRUE(without.ok()) << without.status().ToString();
  EXPECT_EQ(without->also[0].severity, Severity::kWarning);
}

TEST(FindingJsonTest, SeveritiesThatFitNoTextAreDataLoss) {
  for (const std::vector<std::string>& severities :
       {std::vector<std::string>{"info", "info"}, {"much"}}) {
    EXPECT_EQ(FindingFromJson(OldLine(severities)).status().code(), StatusCode::kDataLoss);
  }
}

TEST(FindingJsonTest, StaysOneLineOfValidUtf8WhateverTheNames) {
  Finding finding = SampleFinding();
  finding.tensor = "bad\xff\n\"name\"";
  const std::string line = FindingToJson(finding);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_TRUE(FindingFromJson(line).ok());
}

TEST(FindingJsonTest, MalformedTextIsDataLoss) {
  for (const char* text :
       {"", "null", "[]", "{}", "{\"id\":1}", "{\"id\":\"a\"", R"({"id":"a","rule":"b"})"}) {
    EXPECT_EQ(FindingFromJson(text).status().code(), StatusCode::kDataLoss) << text;
  }
}

TEST_F(FindingsLogTest, TheLatestLineOfEachFindingCounts) {
  const auto log = MakeFindingsLog(folder_);
  Finding first = SampleFinding();
  Finding second = SampleFinding();
  second.id = "overfit-1";
  log->Opened(first);
  log->Opened(second);
  first.count = 99;
  first.state = FindingState::kResolved;
  log->Resolved(first);
  const auto findings = ReadFindings(folder_, &damaged_);
  ASSERT_TRUE(findings.ok()) << findings.status().ToString();
  ASSERT_EQ(findings->size(), 2U);
  EXPECT_EQ((*findings)[0].count, 99);
  EXPECT_EQ((*findings)[0].state, FindingState::kResolved);
  EXPECT_EQ((*findings)[1].id, "overfit-1");
}

TEST_F(FindingsLogTest, ARunWithoutTheFileHasNone) {
  const auto findings = ReadFindings(folder_, &damaged_);
  ASSERT_TRUE(findings.ok());
  EXPECT_TRUE(findings->empty());
}

TEST_F(FindingsLogTest, ATornLastLineIsDroppedAtEveryLengthAndTheLogGoesOn) {
  const std::string line = FindingToJson(SampleFinding());
  Finding other = SampleFinding();
  other.id = "overfit-1";
  for (size_t cut = 0; cut < line.size(); cut += 7) {
    std::filesystem::remove(folder_ + "/findings.jsonl");
    Append(line + "\n" + line.substr(0, cut));
    auto findings = ReadFindings(folder_, &damaged_);
    ASSERT_TRUE(findings.ok()) << cut;
    ASSERT_EQ(findings->size(), 1U);
    MakeFindingsLog(folder_)->Opened(other);
    findings = ReadFindings(folder_, &damaged_);
    ASSERT_TRUE(findings.ok()) << cut << findings.status().ToString();
    ASSERT_EQ(findings->size(), 2U) << cut;
    EXPECT_TRUE(damaged_.empty()) << cut;
  }
}

TEST_F(FindingsLogTest, DamageInTheMiddleIsToldWithItsLineAndHidesNoOtherFinding) {
  const std::string line = FindingToJson(SampleFinding());
  Finding other = SampleFinding();
  other.id = "overfit-1";
  Append(line + "\n" + line.substr(0, 20) + "\n" + FindingToJson(other) + "\n");
  const auto findings = ReadFindings(folder_, &damaged_);
  ASSERT_EQ(findings->size(), 2U);
  EXPECT_THAT(damaged_, testing::ElementsAre(testing::StartsWith("line 2 is no finding: ")));
}

TEST_F(FindingsLogTest, AFindingThatCouldNotBeWrittenIsWrittenWithTheNextChange) {
  const std::string missing = folder_ + "/later";
  const auto log = MakeFindingsLog(missing);
  Finding first = SampleFinding();
  log->Opened(first);
  std::filesystem::create_directories(missing);
  Finding second = SampleFinding();
  second.id = "overfit-1";
  log->Opened(second);
  const auto findings = ReadFindings(missing, &damaged_);
  ASSERT_TRUE(findings.ok());
  EXPECT_EQ(findings->size(), 2U);
}

}  // namespace
}  // namespace wheeltapper::rules
