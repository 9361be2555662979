// A run with a damaged table: every verb says what it could not read, and goes on with the rest.
#include <algorithm>
#include <filesystem>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/rules/engine.h"
#include "wheeltapper/rules/finding.h"

#include "answer.h"
#include "support/scratch_folder.h"

namespace wheeltapper::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr const char* kStats = "stats/r00000-000000000001-000000000030.parquet";

int64_t RowsOf(const std::string& csv) { return std::count(csv.begin(), csv.end(), '\n') - 1; }

// The golden run, which the rules are on record to have looked at, once whole and once damaged.
class DamageTest : public testing::Test {
 protected:
  DamageTest() {
    for (const std::string& run : {whole_, damaged_}) {
      std::filesystem::copy(std::string(WT_SOURCE_DIR) + "/tests/golden/v1/run", run,
                            std::filesystem::copy_options::recursive);
      rules::RuleStatus active;
      active.name = "nonfinite";
      active.state = rules::RuleState::kActive;
      EXPECT_TRUE(rules::WriteRuleStates(run, {active}).ok());
      EXPECT_TRUE(format::WriteEnd(run, {.state = "finished",
                                         .exit_code = 0,
                                         .reason = "",
                                         .ended_wall_ns = 1'700'000'060'000'000'000})
                      .ok());
    }
    std::filesystem::resize_file(JoinPath(damaged_, kStats), 500);
  }

  const ScratchFolder scratch_;
  const std::string runs_ = scratch_.file("runs");
  const std::string whole_ = [this] {
    std::filesystem::create_directories(runs_);
    return JoinPath(runs_, "whole");
  }();
  const std::string damaged_ = JoinPath(runs_, "damaged");
};

TEST_F(DamageTest, LsMarksTheRowAndSaysNothingElse) {
  const Answer told = AnswerTo({"ls", runs_});
  EXPECT_EQ(told.code, kExitOk);
  EXPECT_THAT(told.err, IsEmpty());
  std::istringstream lines(told.out);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_EQ(line.find("(damaged)") != std::string::npos, line.rfind("damaged", 0) == 0) << line;
  }
  const auto rows = nlohmann::json::parse(AnswerTo({"ls", runs_, "--json"}).out);
  ASSERT_EQ(rows.size(), 2U);
  for (const nlohmann::json& row : rows) {
    EXPECT_EQ(row["damaged"], row["name"] == "damaged" ? 1 : 0);
  }
}

TEST_F(DamageTest, ShowSaysWhatCouldNotBeReadAndNotThatItIsHealthy) {
  EXPECT_THAT(AnswerTo({"show", whole_}).out, HasSubstr("Healthy"));
  const Answer told = AnswerTo({"show", damaged_});
  EXPECT_EQ(told.code, kExitOk);
  EXPECT_THAT(told.err, IsEmpty());
  EXPECT_THAT(told.out, AllOf(Not(HasSubstr("Healthy")), HasSubstr("Not fully checked"),
                              HasSubstr("1 damaged place"), HasSubstr(kStats),
                              HasSubstr("wheeltapper fsck")));
  const auto json = nlohmann::json::parse(AnswerTo({"show", damaged_, "--json"}).out);
  ASSERT_EQ(json["damaged"].size(), 1U);
  EXPECT_EQ(json["damaged"][0]["file"], kStats);
  EXPECT_NE(json["damaged"][0]["what"], "");
  EXPECT_EQ(json["level"], "warning");
  EXPECT_THAT(nlohmann::json::parse(AnswerTo({"show", whole_, "--json"}).out)["damaged"],
              IsEmpty());
}

TEST_F(DamageTest, TheReportSaysSoToo) {
  const std::string path = scratch_.file("report.html");
  EXPECT_THAT(AnswerTo({"report", damaged_, "-o", path}).err, IsEmpty());
  const std::string html = *ReadWholeFile(path, 10 << 20);
  EXPECT_THAT(html, AllOf(HasSubstr("Not fully checked"), HasSubstr(kStats)));
  EXPECT_THAT(html, Not(HasSubstr("None: no rule found anything wrong")));
}

TEST_F(DamageTest, ExportKeepsWhatItCouldReadAndEndsWith1) {
  const int64_t all = RowsOf(AnswerTo({"export", whole_}).out);
  const Answer told = AnswerTo({"export", damaged_});
  EXPECT_EQ(told.code, kExitFindings);
  EXPECT_GT(RowsOf(told.out), 0);
  EXPECT_LT(RowsOf(told.out), all);
  EXPECT_THAT(told.err, AllOf(HasSubstr(kStats), HasSubstr("missing")));

  const std::string path = scratch_.file("out.csv");
  const Answer written = AnswerTo({"export", damaged_, "-o", path, "--json"});
  EXPECT_EQ(written.code, kExitFindings);
  EXPECT_EQ(RowsOf(*ReadWholeFile(path, 10 << 20)), RowsOf(told.out));
  const auto json = nlohmann::json::parse(written.out);
  ASSERT_EQ(json["damaged"].size(), 1U);
  EXPECT_EQ(json["damaged"][0]["file"], kStats);
  EXPECT_EQ(json["rows"], RowsOf(told.out));
}

TEST_F(DamageTest, ExportOfAnotherTableIsWhole) {
  const Answer told = AnswerTo({"export", damaged_, "--table", "scalars"});
  EXPECT_EQ(told.code, kExitOk);
  EXPECT_THAT(told.err, IsEmpty());
  EXPECT_EQ(told.out, AnswerTo({"export", whole_, "--table", "scalars"}).out);
}

// The footer is sound here, so that only reading the column finds it.
TEST_F(DamageTest, ExportAlsoGoesOnBehindADamagedPage) {
  std::filesystem::copy_file(JoinPath(whole_, kStats), JoinPath(damaged_, kStats),
                             std::filesystem::copy_options::overwrite_existing);
  std::string bytes = *ReadWholeFile(JoinPath(damaged_, kStats), 10 << 20);
  bytes[40] = static_cast<char>(bytes[40] ^ 0x10);  // in the first page
  ASSERT_TRUE(WriteFileAtomically(JoinPath(damaged_, kStats), bytes).ok());
  const Answer told = AnswerTo({"export", damaged_});
  EXPECT_EQ(told.code, kExitFindings);
  EXPECT_GT(RowsOf(told.out), 0);
  EXPECT_THAT(told.err, HasSubstr(kStats));
}

TEST_F(DamageTest, ExportOfRawTensorsKeepsThoseThatAreSound) {
  const std::string path = scratch_.file("out.npz");
  const auto exported = [&] {
    return AnswerTo({"export", damaged_, "--table", "tensors", "--format", "npz", "-o", path});
  };
  EXPECT_EQ(exported().code, kExitOk);
  const std::string whole = *ReadWholeFile(path, 10 << 20);
  const std::string blob = JoinPath(damaged_, "blobs/r00000-b000001.safetensors");
  std::string bytes = *ReadWholeFile(blob, 10 << 20);
  bytes.back() = static_cast<char>(bytes.back() ^ 0x10);
  ASSERT_TRUE(WriteFileAtomically(blob, bytes).ok());
  const Answer told = exported();
  EXPECT_EQ(told.code, kExitFindings);
  EXPECT_THAT(told.err, HasSubstr("/train/"));
  const std::string rest = *ReadWholeFile(path, 10 << 20);
  EXPECT_LT(rest.size(), whole.size());
  EXPECT_GT(rest.size(), 100U);
}

TEST_F(DamageTest, CheckNamesThePlace) {
  const Answer told = AnswerTo({"check", damaged_});
  EXPECT_EQ(told.code, kExitFindings);
  EXPECT_THAT(told.out, HasSubstr("not fully checked, 1 damaged place"));
  EXPECT_THAT(told.err, HasSubstr(kStats));
}

TEST_F(DamageTest, ADamagedEndHidesNothingThatWasRecorded) {
  ASSERT_TRUE(WriteFileAtomically(format::EndPath(whole_), "x").ok());
  const Answer shown = AnswerTo({"show", whole_});
  EXPECT_EQ(shown.code, kExitOk);
  EXPECT_THAT(shown.out, AllOf(HasSubstr("state     abandoned"), HasSubstr("steps     "),
                               HasSubstr("damaged   END: ")));
  EXPECT_THAT(shown.out, Not(HasSubstr("Healthy")));
  EXPECT_EQ(AnswerTo({"report", whole_}).code, kExitOk);
  EXPECT_THAT(AnswerTo({"check", whole_}).err, HasSubstr("not read: END: "));
}

TEST_F(DamageTest, ARuleSaysThatWhatItNeedsMayBeInTheDamage) {
  for (const auto& entry : std::filesystem::directory_iterator(JoinPath(damaged_, "stats"))) {
    std::filesystem::resize_file(entry.path(), 20);
  }
  ASSERT_TRUE(RemoveFile(JoinPath(damaged_, "journal/r00000-000002.wtj")).ok());
  EXPECT_THAT(AnswerTo({"check", damaged_}).err,
              HasSubstr("none captured so far; it may lie in what cannot be read"));
}

TEST_F(DamageTest, ADamagedLineOfFindingsHidesNoOther) {
  rules::Finding finding;
  finding.id = "overfit-1";
  finding.rule = "overfit";
  finding.message = "val_loss rises";
  ASSERT_TRUE(WriteFileAtomically(format::FindingsPath(whole_),
                                  "{\"broken\n" + rules::FindingToJson(finding) + "\n")
                  .ok());
  const Answer listed = AnswerTo({"findings", whole_});
  EXPECT_EQ(listed.code, kExitFindings);
  EXPECT_THAT(listed.out, HasSubstr("val_loss rises"));
  EXPECT_THAT(listed.err, HasSubstr("findings.jsonl: line 1 is no finding"));
  EXPECT_THAT(AnswerTo({"show", whole_}).out,
              AllOf(HasSubstr("val_loss rises"), HasSubstr("damaged   findings.jsonl: line 1")));
  EXPECT_EQ(AnswerTo({"report", whole_}).code, kExitOk);
  EXPECT_THAT(AnswerTo({"ls", runs_}).out, HasSubstr("finished (damaged)"));
}

}  // namespace
}  // namespace wheeltapper::cli
