#include "finding_printer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wheeltapper::cli {
namespace {

using rules::Severity;
using testing::HasSubstr;

class FindingPrinterTest : public testing::Test {
 protected:
  FindingPrinterTest() {
    finding_.id = "exploding_tensor-1";
    finding_.rule = "exploding_tensor";
    finding_.severity = Severity::kError;
    finding_.message = "gradients grew";
    (void)Output(&rules::FindingSink::Opened);
  }
  std::string Output(void (rules::FindingSink::*what)(const rules::Finding&)) {
    testing::internal::CaptureStderr();
    (printer_.*what)(finding_);
    return testing::internal::GetCapturedStderr();
  }
  std::string Update() { return Output(&rules::FindingSink::Updated); }

  rules::Finding finding_;
  FindingPrinter printer_{false, false};
};

TEST_F(FindingPrinterTest, TellsWhatAnotherRuleComesToSeeOnceAndWhenItIsMoreSevere) {
  EXPECT_EQ(Update(), "");
  finding_.also = {{.rule = "loss_not_decreasing", .message = "loss/ce rises at step 12"}};
  EXPECT_EQ(Update(),
            "wheeltapper: error[exploding_tensor], also: loss_not_decreasing: loss/ce rises at "
            "step 12\n");
  finding_.also[0].message = "loss/ce rises at step 13";
  EXPECT_EQ(Update(), "");
  finding_.also[0].severity = Severity::kError;
  EXPECT_THAT(Update(), HasSubstr("rises at step 13"));
  finding_.also.clear();
  EXPECT_EQ(Update(), "");
  finding_.also = {{.rule = "loss_not_decreasing", .message = "loss/ce rises at step 40"}};
  EXPECT_THAT(Update(), HasSubstr("rises at step 40"));
}

TEST_F(FindingPrinterTest, QuietIsLeftWithWhatOpensOrBecomesMoreSevere) {
  FindingPrinter quiet(false, true);
  testing::internal::CaptureStderr();
  quiet.Opened(finding_);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("gradients grew"));
  testing::internal::CaptureStderr();
  finding_.also = {{.rule = "loss_not_decreasing", .message = "loss/ce rises at step 12"}};
  quiet.Updated(finding_);
  quiet.Resolved(finding_);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  testing::internal::CaptureStderr();
  finding_.severity = Severity::kCritical;
  quiet.Updated(finding_);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("critical[exploding_tensor]"));
}

TEST_F(FindingPrinterTest, TellsTheFindingAgainWhenItsOriginComesToLight) {
  finding_.tensor = "output/conv1";
  finding_.step = 7;
  finding_.message = "output/conv1 holds 8 NaN at step 7 on rank 1";
  EXPECT_THAT(Update(), HasSubstr("traced further back: error[exploding_tensor]"));
  EXPECT_EQ(Update(), "");
  finding_.message = "of the same place";
  EXPECT_EQ(Update(), "");
}

TEST_F(FindingPrinterTest, BeginsWithTheRunWhenThereAreSeveral) {
  printer_.NameRun("exp-2");
  EXPECT_THAT(Output(&rules::FindingSink::Opened),
              testing::StartsWith("wheeltapper: run exp-2: error[exploding_tensor]"));
}

TEST_F(FindingPrinterTest, NamesTheRuleWhoseFindingGoesOn) {
  finding_.part_of = "weight_update_ratio-2";
  EXPECT_EQ(Output(&rules::FindingSink::Resolved),
            "wheeltapper: error[exploding_tensor] goes on as part of the finding of "
            "weight_update_ratio\n");
}

}  // namespace
}  // namespace wheeltapper::cli
