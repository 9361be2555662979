// Steps that the script itself ends, and what it adds to a step that has ended.
#include <gmock/gmock.h>

#include "recorder_fixture.h"

namespace wheeltapper::capture {
namespace {

using format::GapReason;
using format::GapWhat;
using format::RecordType;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(RecorderTest, AMarkedStepIsCommittedWhateverIsRecordedOfIt) {
  Make(ConfigOf({{"capture.every", "1000", ""}}), OnFull::kDegrade);
  const CaptureId id = Tensor("x", 10);
  ReadAll();
  const Vector x(10);
  const TensorItem item = x.item(id);
  for (const bool is_captured : {true, false}) {
    recorder_->Record({&item, 1});
    recorder_->MarkStep();
    recorder_->FinishStep(Mode::kTrain, {});
    const auto seen = ReadAll();
    ASSERT_FALSE(seen.empty());
    ASSERT_EQ(seen.back().header.type, RecordType::kCommit);
    const auto commit = Payload<format::CommitPayload>(seen.back());
    EXPECT_EQ(commit.first_seq, seen.front().header.seq);
    EXPECT_EQ(commit.record_count, seen.size() - 1);
    EXPECT_EQ(seen.size() > 1, is_captured);
  }
  recorder_->FinishStep(Mode::kTrain, {});
  EXPECT_THAT(ReadAll(), IsEmpty()) << "the mark is of one step";
}

TEST_F(RecorderTest, WhatAmendsAStepIsCommittedUnderItAndCountsNone) {
  Make(EveryStep(), OnFull::kDegrade);
  const CaptureId id = Tensor("x", 10);
  ReadAll();
  const Vector x(10);
  const TensorItem item = x.item(id);
  Step({&item, 1});
  recorder_->FinishStep(Mode::kEval, {});
  Step({&item, 1});
  ReadAll();
  recorder_->Record({&item, 1});
  recorder_->AmendStep(Mode::kTrain);
  const auto seen = ReadAll();
  ASSERT_FALSE(seen.empty());
  ASSERT_EQ(seen.back().header.type, RecordType::kCommit);
  EXPECT_EQ(seen.back().header.step, 2);
  EXPECT_EQ(seen.back().header.mode_step, 1);
  EXPECT_EQ(recorder_->global_step(), 3);
  recorder_->AmendStep(Mode::kTrain);
  EXPECT_THAT(ReadAll(), IsEmpty());
}

TEST_F(RecorderTest, WhatAmendsAStepBelongsToTheLastOneOfItsModeWhateverCameBetween) {
  Make(EveryStep(), OnFull::kDegrade);
  const CaptureId id = Tensor("x", 10);
  const Vector x(10);
  const TensorItem item = x.item(id);
  recorder_->FinishStep(Mode::kEval, {});
  recorder_->Record({&item, 1});
  recorder_->AmendStep(Mode::kTrain);
  ReadAll();
  recorder_->FinishStep(Mode::kTrain, {});
  recorder_->SetModeStep(Mode::kTrain, 50);
  recorder_->FinishStep(Mode::kTrain, {});
  for (int step = 0; step < 3; ++step) {
    recorder_->FinishStep(Mode::kEval, {});
  }
  recorder_->SetGlobalStep(100);
  ReadAll();
  recorder_->Record({&item, 1});
  recorder_->AmendStep(Mode::kTrain);
  const auto seen = ReadAll();
  ASSERT_FALSE(seen.empty());
  ASSERT_EQ(seen.back().header.type, RecordType::kCommit);
  EXPECT_EQ(seen.back().header.step, 2);
  EXPECT_EQ(seen.back().header.mode_step, 50);
  EXPECT_EQ(recorder_->global_step(), 100);
}

TEST_F(RecorderTest, AMarkedStepThatMeetsAFullRingIsMissingOnce) {
  Make(ConfigOf({{"capture.every", "1000", ""}}), OnFull::kDegrade, 16'384, 0);
  SessionCounters counters;
  int steps = 0;
  while (counters.gaps == 0 && steps < 1000) {
    recorder_->MarkStep();
    recorder_->FinishStep(Mode::kTrain, {});
    recorder_->Count(&counters);
    ++steps;
  }
  EXPECT_EQ(counters.gaps, 1) << "of one step without room";
  const auto seen = ReadAll();
  EXPECT_EQ(std::count_if(seen.begin(), seen.end(),
                          [](const Seen& one) { return one.header.type == RecordType::kCommit; }),
            steps - 1);
  auto gaps = Gaps(seen);
  recorder_->FinishStep(Mode::kTrain, {});
  const auto later = Gaps(ReadAll());
  gaps.insert(gaps.end(), later.begin(), later.end());
  ASSERT_EQ(gaps.size(), 1U);
  EXPECT_EQ(gaps[0].what, GapWhat::kWholeStep);
  EXPECT_EQ(gaps[0].first_step, steps - 1);
  EXPECT_EQ(gaps[0].last_step, steps - 1);
}

}  // namespace
}  // namespace wheeltapper::capture
