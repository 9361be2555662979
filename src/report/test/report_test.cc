#include "wheeltapper/report/report.h"

#include <cmath>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/json_lines.h"
#include "wheeltapper/format/trainings.h"
#include "wheeltapper/rules/engine.h"

#include "fake_trial.h"
#include "support/scratch_folder.h"

namespace wheeltapper::report {
namespace {

using nlohmann::json;

class ReportTest : public testing::Test {
 protected:
  void SetUp() override {
    trial_.folder = scratch_.path();
    trial_.run.name = "swift-otter-12";
    trial_.run.argv = {"python", "train.py"};
    trial_.run.started_wall_ns = 1'700'000'000'000'000'000;
    trial_.run_end = format::EndInfo{.state = "finished",
                                     .exit_code = 0,
                                     .reason = "",
                                     .ended_wall_ns = 1'700'000'060'000'000'000};
    rules::RuleStatus active;
    active.name = "nonfinite";
    active.state = rules::RuleState::kActive;
    ASSERT_TRUE(rules::WriteRuleStates(trial_.folder, {active}).ok());
    trial_.overhead = {.fraction = 0.0042, .blocked_ns = 42, .elapsed_ns = 10'000};
    for (int64_t step = 0; step < 10; ++step) {
      trial_.AddStep(step);
      trial_.AddScalar("loss/CrossEntropyLoss", "losses", step,
                       2.5 / static_cast<double>(step + 1));
      tensor::TensorStats stats;
      stats.numel = 100;
      stats.mean = 0.1;
      stats.m2 = 4;
      stats.abs_max = 2;
      trial_.AddStats("gradient/conv1.weight", "gradients", step, stats);
    }
  }
  void WriteFinding(const rules::Finding& finding) const {
    ASSERT_TRUE(
        AppendJsonLine(format::FindingsPath(trial_.folder), rules::FindingToJson(finding)).ok());
  }
  [[nodiscard]] json Summary() { return SummaryJson(trial_).value(); }
  static rules::Finding MakeFinding() {
    rules::Finding finding;
    finding.id = "nonfinite-1";
    finding.rule = "nonfinite";
    finding.severity = rules::Severity::kCritical;
    finding.tensor = "gradient/<b>conv1</b>.weight";
    finding.module = "conv1";
    finding.step = 7;
    finding.last_step = 9;
    finding.count = 3;
    finding.message = "NaN first in gradient/<b>conv1</b>.weight at step 7";
    finding.cause = "the learning rate is too high";
    finding.try_ = "a learning rate ten times smaller";
    finding.evidence.push_back(
        {.label = "max |x|", .points = {{5, 1}, {6, 100}, {7, std::nan("")}}, .threshold = 1000});
    return finding;
  }
  ScratchFolder scratch_;
  FakeTrial trial_;
};

TEST_F(ReportTest, TheOtherTrainingsOfTheCommandAreNamed) {
  EXPECT_EQ(Summary()["further_runs"], json::array());
  EXPECT_EQ(Summary()["first_run"], json());
  EXPECT_EQ(FindOtherRuns(trial_).text(), "");
  for (const char* line :
       {R"({"event":"began","training":1,"attempt":1,"rank":0,"run":"exp"})",
        R"({"event":"began","training":2,"attempt":1,"rank":0,"run":"exp-2"})",
        R"({"event":"began","training":3,"attempt":1,"rank":0,"run":"exp-<3>"})"}) {
    ASSERT_TRUE(AppendJsonLine(format::TrainingsPath(trial_.folder), line).ok());
  }
  EXPECT_EQ(Summary()["further_runs"], json::array({"exp-2", "exp-<3>"}));
  EXPECT_EQ(FindOtherRuns(trial_).text(),
            "exp-2 and exp-<3> are further trainings of this command");
  EXPECT_NE(ReportHtml(trial_)->find("exp-&lt;3&gt; are further trainings"), std::string::npos);
  for (int i = 4; i <= 9; ++i) {
    const std::string line =
        R"({"event":"began","attempt":1,"rank":0,"training":)" + std::to_string(i) + R"(,"run":"r)";
    ASSERT_TRUE(
        AppendJsonLine(format::TrainingsPath(trial_.folder), line + std::to_string(i) + "\"}")
            .ok());
  }
  EXPECT_EQ(FindOtherRuns(trial_).text(),
            "exp-2, exp-<3>, r4, r5, r6 and 3 more are further trainings of this command");
  trial_.run.first_run = "exp";
  EXPECT_EQ(Summary()["first_run"], "exp");
  EXPECT_EQ(FindOtherRuns(trial_).text(), "a further training of the command of run exp");
}

TEST_F(ReportTest, TheVerdictOfASilentRunSaysSoWithStepsAndLoss) {
  const Verdict verdict = MakeVerdict(trial_, {});
  EXPECT_EQ(verdict.level, Level::kHealthy);
  EXPECT_EQ(verdict.sentence,
            "Healthy: no findings in 10 steps; loss/CrossEntropyLoss 2.5 → 0.25.");
}

TEST_F(ReportTest, TheVerdictIsTheWorstOpenFinding) {
  rules::Finding warning = MakeFinding();
  warning.severity = rules::Severity::kWarning;
  rules::Finding resolved = MakeFinding();
  resolved.state = rules::FindingState::kResolved;
  resolved.severity = rules::Severity::kCritical;
  const Verdict verdict = MakeVerdict(trial_, {resolved, warning});
  EXPECT_EQ(verdict.level, Level::kWarning);
  EXPECT_NE(verdict.sentence.find("(and 1 more finding)"), std::string::npos) << verdict.sentence;
}

TEST_F(ReportTest, ARunWhoseRuleFailedIsNotCalledHealthy) {
  rules::RuleStatus failed;
  failed.name = "small_weights";
  failed.state = rules::RuleState::kErrored;
  ASSERT_TRUE(rules::WriteRuleStates(trial_.folder, {failed, rules::RuleStatus()}).ok());
  const Verdict verdict = MakeVerdict(trial_, {});
  EXPECT_EQ(verdict.level, Level::kWarning);
  EXPECT_NE(verdict.sentence.find("rule small_weights failed"), std::string::npos);
}

TEST_F(ReportTest, ARunThatNoRuleLookedAtIsNotCalledHealthy) {
  RemoveFile(trial_.folder + "/rules.json").IgnoreError("SetUp wrote it");
  const Verdict verdict = MakeVerdict(trial_, {});
  EXPECT_EQ(verdict.level, Level::kNotChecked);
  EXPECT_EQ(verdict.sentence,
            "Not checked: no rules ran over it; run `wheeltapper check " + trial_.folder + "`");
  EXPECT_NE(ReportHtml(trial_).value_or("").find("class='verdict not-checked'"), std::string::npos);
}

TEST_F(ReportTest, AJobThatFailedIsNotCalledHealthyAndSaysHowItEnded) {
  trial_.run_state = trial::RunState::kFailed;
  trial_.run_end->state = "failed";
  trial_.run_end->exit_code = 1;
  Verdict verdict = MakeVerdict(trial_, {});
  EXPECT_EQ(verdict.level, Level::kFailed);
  EXPECT_EQ(verdict.sentence,
            "Failed with exit code 1 after 10 steps; the rules found nothing in what was "
            "recorded.");
  trial_.run_end->state = "killed";
  trial_.run_end->exit_code = 137;
  verdict = MakeVerdict(trial_, {MakeFinding()});
  EXPECT_EQ(verdict.level, Level::kCritical);
  EXPECT_EQ(verdict.sentence.rfind("Killed by signal 9 after 10 steps; critical: NaN first", 0), 0U)
      << verdict.sentence;
  trial_.run_state = trial::RunState::kAbandoned;
  trial_.run_end.reset();
  EXPECT_EQ(MakeVerdict(trial_, {}).sentence,
            "10 steps were recorded, but not how the run ended (killed, its watcher killed, or no "
            "room on disk); the rules found nothing in what was recorded.");
}

// As the watcher writes it of a training whose process said nothing.
TEST_F(ReportTest, AJobThatEndedWithoutAWordIsNotGivenASignalThatNobodyKnows) {
  trial_.run_state = trial::RunState::kFailed;
  trial_.run_end->state = "killed";
  trial_.run_end->exit_code = format::kUnknownExit;
  trial_.run_end->reason = "its process ended without a word: killed, or by os._exit";
  EXPECT_EQ(MakeVerdict(trial_, {}).sentence,
            "After 10 steps its process ended without a word: killed, or by os._exit; the rules "
            "found nothing in what was recorded.");
  trial_.run_end->reason = "";
  EXPECT_EQ(MakeVerdict(trial_, {MakeFinding()}).sentence,
            "After 10 steps it ended in a way that nobody knows; critical: NaN first in "
            "gradient/<b>conv1</b>.weight at step 7");
}

TEST_F(ReportTest, AnInterruptedRunSaysWhereAndByWhomAndWhatWasFoundUntilThen) {
  trial_.run_state = trial::RunState::kInterrupted;
  trial_.run_end = format::EndInfo{.state = "interrupted",
                                   .exit_code = 130,
                                   .reason = "interrupted by the user (SIGINT)",
                                   .ended_wall_ns = 1'700'000'060'000'000'000};
  EXPECT_EQ(MakeVerdict(trial_, {}).sentence,
            "Interrupted by the user (SIGINT) at step 9; no findings until then; "
            "loss/CrossEntropyLoss 2.5 → 0.25.");
  EXPECT_EQ(MakeVerdict(trial_, {}).level, Level::kInterrupted);
  EXPECT_EQ(MakeVerdict(trial_, {MakeFinding()}).sentence,
            "Interrupted by the user (SIGINT) at step 9; critical: NaN first in "
            "gradient/<b>conv1</b>.weight at step 7");
  EXPECT_EQ(MakeVerdict(trial_, {MakeFinding()}).level, Level::kCritical);
  trial_.run_end->reason = "";
  EXPECT_EQ(MakeVerdict(trial_, {}).sentence.rfind("Interrupted at step 9; ", 0), 0U);
  trial_.times.clear();
  EXPECT_EQ(MakeVerdict(trial_, {}).sentence.rfind("Interrupted before the first step; ", 0), 0U);
}

TEST_F(ReportTest, ARunThatCannotBeReadWholeIsNotCalledHealthy) {
  format::GapPayload gap{};
  gap.reason = format::GapReason::kCorruption;
  trial_.gap_rows.push_back({gap});
  EXPECT_EQ(MakeVerdict(trial_, {}).level, Level::kWarning);
  EXPECT_EQ(MakeVerdict(trial_, {}).sentence,
            "Not fully checked: 1 damaged place could not be read (`wheeltapper fsck` looks "
            "closer); no findings in the rest of 10 steps.");
  EXPECT_EQ(MakeVerdict(trial_, {MakeFinding()}).sentence,
            "Critical: NaN first in gradient/<b>conv1</b>.weight at step 7; 1 damaged place could "
            "not be read (`wheeltapper fsck` looks closer)");
}

TEST_F(ReportTest, AFindingThatAnotherOneHasTakenOverIsNotCountedAgain) {
  rules::Finding cause = MakeFinding();
  cause.severity = rules::Severity::kWarning;
  rules::Finding part = MakeFinding();
  part.part_of = cause.id;
  part.state = rules::FindingState::kResolved;
  const Verdict verdict = MakeVerdict(trial_, {part, cause});
  EXPECT_EQ(verdict.level, Level::kWarning);
  EXPECT_EQ(verdict.sentence.find("more finding"), std::string::npos) << verdict.sentence;
}

TEST_F(ReportTest, SaysWhichRulesHadNothingToJudgeAndWhy) {
  rules::RuleStatus waiting;
  waiting.batches = 10;
  waiting.detail = "no validation loss was seen; log it";
  rules::RuleStatus confined;
  confined.name = "mine";
  confined.state = rules::RuleState::kActive;
  confined.sandbox_note = "this kernel has no Landlock";
  std::vector<rules::RuleStatus> states = {confined};
  for (const char* name : {"overfit", "overtraining"}) {
    waiting.name = name;
    states.push_back(waiting);
  }
  EXPECT_EQ(
      RuleNotes(states),
      (std::vector<std::string>{
          "mine runs in a sandbox that is not whole: this kernel has no Landlock",
          "overfit, overtraining had nothing to judge: no validation loss was seen; log it"}));
  ASSERT_TRUE(rules::WriteRuleStates(trial_.folder, states).ok());
  EXPECT_NE(ReportHtml(trial_).value_or("").find("no validation loss was seen; log it"),
            std::string::npos);
  const json summary = SummaryJson(trial_).value_or(json());
  EXPECT_EQ(summary["rules"][1]["name"], "overfit");
  EXPECT_EQ(summary["rules"][1]["state"], "waiting");
  EXPECT_EQ(summary["rules"][1]["detail"], waiting.detail);
}

TEST_F(ReportTest, SaysWhatARuleLeavesOut) {
  rules::RuleStatus status;
  status.name = "loss_not_decreasing";
  status.state = rules::RuleState::kActive;
  status.left_out = "no loss is called flat";
  rules::RuleStatus newer = status;
  newer.name = "built_into_a_later_version";
  EXPECT_EQ(RuleNotes({status, newer}),
            (std::vector<std::string>{"loss_not_decreasing: no loss is called flat",
                                      "built_into_a_later_version: no loss is called flat"}));
}

TEST_F(ReportTest, SaysNothingOfRulesThatHaveNotLookedYet) {
  rules::RuleStatus waiting;
  waiting.name = "overfit";
  waiting.detail = "needs a loss, none captured so far";
  ASSERT_TRUE(rules::WriteRuleStates(trial_.folder, {waiting}).ok());
  const auto states = rules::ReadRuleStates(trial_.folder);
  ASSERT_TRUE(states.ok());
  EXPECT_TRUE(RuleNotes(*states).empty());
  const json summary = SummaryJson(trial_).value_or(json());
  EXPECT_EQ(summary["rules"][0]["state"], "waiting");
  EXPECT_TRUE(summary["rules"][0]["detail"].is_null());
}

TEST_F(ReportTest, TellsAtHowManyStepsTensorsWereCaptured) {
  trial_.AddStep(10);  // without any tensor
  const json summary = SummaryJson(trial_).value_or(json());
  EXPECT_EQ(summary["steps"], 11);
  EXPECT_EQ(summary["captured_steps"], 10);
}

TEST_F(ReportTest, OneRankIsNotCalledRanks) {
  const std::string html = ReportHtml(trial_).value_or("");
  EXPECT_NE(html.find("<b>1</b><span>rank</span>"), std::string::npos);
}

TEST_F(ReportTest, ARunWithoutStepsIsNotCalledHealthy) {
  trial_.times.clear();
  EXPECT_EQ(MakeVerdict(trial_, {}).level, Level::kNoData);
}

TEST_F(ReportTest, ACommandThatFailedBeforeItsFirstStepIsNotAskedWhetherItTrains) {
  trial_.times.clear();
  trial_.run_state = trial::RunState::kFailed;
  trial_.run_end->state = "failed";
  trial_.run_end->exit_code = 2;
  Verdict verdict = MakeVerdict(trial_, {});
  EXPECT_EQ(verdict.level, Level::kNoData);
  EXPECT_EQ(verdict.sentence,
            "Failed with exit code 2 before the first step; nothing was recorded.");
  trial_.run_end->exit_code = 127;
  trial_.run_end->reason = "starting the command \"pyhton\": No such file or directory";
  verdict = MakeVerdict(trial_, {});
  EXPECT_EQ(verdict.sentence,
            "Starting the command \"pyhton\": No such file or directory; nothing was recorded.");
}

TEST_F(ReportTest, ForwardPassesAloneAreNoHealth) {
  EXPECT_TRUE(HasRecords(trial_, 10));
  EXPECT_FALSE(HasRecords(trial_, 0));
  trial_.table = format::NameTable();
  EXPECT_FALSE(HasRecords(trial_, 10));
  trial_.table.info(trial_.table.Intern("output/fc")).collections = {"activations"};
  EXPECT_FALSE(HasRecords(trial_, 10));
  const Verdict verdict = MakeVerdict(trial_, {});
  EXPECT_EQ(verdict.level, Level::kNoData);
  EXPECT_NE(verdict.sentence.find("optimizer.step()"), std::string::npos) << verdict.sentence;
}

TEST_F(ReportTest, HtmlIsOneFileThatFetchesAndRunsNothing) {
  WriteFinding(MakeFinding());
  const Result<std::string> html = ReportHtml(trial_);
  ASSERT_TRUE(html.ok()) << html.status().ToString();
  for (const char* part : {"<script", "http://", "https://", "src=", "@import", "url("}) {
    EXPECT_EQ(html->find(part), std::string::npos) << part;
  }
  EXPECT_EQ(html->find("<b>conv1</b>"), std::string::npos)
      << "a tensor's name must not become markup";
  EXPECT_NE(html->find("&lt;b&gt;conv1&lt;/b&gt;"), std::string::npos);
}

TEST_F(ReportTest, HtmlHoldsFindingCauseAdviceEvidenceLayersAndTimes) {
  WriteFinding(MakeFinding());
  const Result<std::string> html = ReportHtml(trial_);
  ASSERT_TRUE(html.ok());
  for (const char* part :
       {"the learning rate is too high", "a learning rate ten times smaller",
        "first seen at step 7", "gradient/conv1.weight", "Median step 4.0 ms",
        "25.00 % waiting for data", "0.42 %", "prefers-color-scheme:dark", "@media print"}) {
    EXPECT_NE(html->find(part), std::string::npos) << part;
  }
}

TEST_F(ReportTest, AListOfTensorsThatIsCutSaysHowManyAreLeftOut) {
  rules::Finding finding = MakeFinding();
  finding.tensors.assign(20, "fc.weight");
  finding.tensors_total = 26;
  WriteFinding(finding);
  EXPECT_NE(ReportHtml(trial_)->find("<code>fc.weight</code>, and 6 more</dd>"), std::string::npos);
}

TEST_F(ReportTest, ValuesThatAreNotFiniteAreCountedPerStepBesideTheElements) {
  tensor::TensorStats stats;
  stats.numel = 100;
  for (const int64_t nans : {30, 60, 50}) {
    stats.nan_count = nans;
    trial_.AddStats("conv1.weight", "weights", nans, stats);
  }
  const std::string html = *ReportHtml(trial_);
  EXPECT_NE(html.find("<td><b>60</b>, at 3 steps</td>"), std::string::npos);
  for (const char* column : {"last RMS", "largest finite |x| of the run"}) {
    EXPECT_NE(html.find(column), std::string::npos) << column;
  }
  const json report = json::parse(*ReportJson(trial_));
  for (const json& tensor : report["tensors"]) {
    if (tensor["name"] == "conv1.weight") {
      EXPECT_EQ(tensor["nonfinite"], 140);
      EXPECT_EQ(tensor["nonfinite_steps"], 3);
      EXPECT_EQ(tensor["nonfinite_most"], 60);
    }
  }
}

TEST_F(ReportTest, SharesOfTheTimeAreThoseOfAllStepsAndNotOfAMedianOne) {
  trial_.times.front().blocked_ns = 3'999'000;  // one captured step, and nine that cost nothing
  for (size_t i = 1; i < trial_.times.size(); ++i) {
    trial_.times[i].blocked_ns = 0;
  }
  EXPECT_NE(ReportHtml(trial_)->find("10.00 % watched by Wheeltapper"), std::string::npos);
  const json time = json::parse(*ReportJson(trial_))["step_time"];
  EXPECT_DOUBLE_EQ(time["median_blocked_ms"].get<double>(), 0);
  EXPECT_DOUBLE_EQ(time["total_blocked_ms"].get<double>(), 3.999);
  EXPECT_DOUBLE_EQ(time["total_step_ms"].get<double>(), 40);
}

TEST_F(ReportTest, JsonHoldsTheSameAndKeepsNan) {
  WriteFinding(MakeFinding());
  trial_.AddScalar("loss/CrossEntropyLoss", "losses", 10, std::nan(""));
  const Result<std::string> text = ReportJson(trial_);
  ASSERT_TRUE(text.ok());
  const json report = json::parse(*text);
  EXPECT_EQ(report["findings"].size(), 1U);
  EXPECT_EQ(report["losses"][0]["values"].back(), "NaN");
  EXPECT_EQ(report["tensors"][0]["name"], "gradient/conv1.weight");
  EXPECT_DOUBLE_EQ(report["step_time"]["median_step_ms"].get<double>(), 4.0);
}

TEST_F(ReportTest, JsonOfALongRunIsNotLongButTellsHowLong) {
  for (int64_t step = 10; step < 20'000; ++step) {
    trial_.AddScalar("loss/CrossEntropyLoss", "losses", step, step == 12'345 ? 99 : 1);
  }
  const json loss = json::parse(*ReportJson(trial_))["losses"][0];
  EXPECT_EQ(loss["total"], 20'000);
  EXPECT_EQ(loss["steps"].size(), loss["values"].size());
  EXPECT_LE(loss["steps"].size(), 722U);
  EXPECT_EQ(loss["steps"].back(), 19'999);
  EXPECT_EQ(std::count(loss["values"].begin(), loss["values"].end(), 99), 1);
}

TEST_F(ReportTest, SummaryHasTheKeysOfTheContract) {
  const Result<json> found = SummaryJson(trial_);
  ASSERT_TRUE(found.ok());
  const json& summary = *found;
  for (const char* key : {"name", "state", "exit_code", "steps", "verdict", "overhead", "gaps"}) {
    EXPECT_TRUE(summary.contains(key)) << key;
  }
  EXPECT_EQ(summary["steps"], 10);
  EXPECT_EQ(summary["exit_code"], 0);
}

TEST_F(ReportTest, WritesBothFilesIntoTheRun) {
  const Result<std::string> path = WriteReport(trial_);
  ASSERT_TRUE(path.ok()) << path.status().ToString();
  EXPECT_EQ(*path, JoinPath(trial_.folder, "report/report.html"));
  EXPECT_TRUE(PathExists(JoinPath(trial_.folder, "report/report.json")));
}

TEST_F(ReportTest, AHugeModelIsCutToTheNotableTensorsAndSaysSo) {
  for (int i = 0; i < 1000; ++i) {
    tensor::TensorStats stats;
    stats.numel = 10;
    stats.nan_count = i == 500 ? 1 : 0;
    stats.abs_max = static_cast<double>(i) / 1000;
    trial_.AddStats("layer" + std::to_string(i) + ".weight", "weights", 0, stats);
  }
  const Result<std::string> html = ReportHtml(trial_);
  ASSERT_TRUE(html.ok());
  EXPECT_NE(html->find("300 of 1001 tensors are shown"), std::string::npos);
  EXPECT_NE(html->find("layer500.weight"), std::string::npos)
      << "the one with a NaN must be among them";
}

}  // namespace
}  // namespace wheeltapper::report
