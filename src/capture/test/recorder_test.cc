// The recorder against a rank segment without a drain: the test reads the rings itself, so that
// rings are full exactly when it says so.
#include "recorder.h"

#include <cstring>

#include <gmock/gmock.h>

#include "recorder_fixture.h"

namespace wheeltapper::capture {
namespace {

using format::GapReason;
using format::GapWhat;
using format::RecordType;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(RecorderTest, UnderBlockALargeStepGoesToTheDrainPieceByPiece) {
  constexpr int64_t kElements = 1 << 20;
  for (const OnFull on_full : {OnFull::kBlock, OnFull::kDegrade}) {
    Make(EveryStep(), on_full, 1 << 20, 32 << 20);
    next_seq_ = 1;
    constexpr int kTensors = 5;
    std::vector<TensorItem> items;
    items.reserve(kTensors);
    const Vector x(static_cast<size_t>(kElements), 2.0F);
    for (int i = 0; i < kTensors; ++i) {
      items.push_back(x.item(Tensor("x" + std::to_string(i), kElements)));
    }
    (void)ReadAll();
    (void)recorder_->armed(Mode::kTrain);
    recorder_->Record(items);
    const uint64_t early = segment_->blob_ring().Readable().size();
    if (on_full == OnFull::kDegrade) {
      EXPECT_EQ(early, 0U) << "it may still be degraded as a whole";
      continue;
    }
    EXPECT_EQ(early, uint64_t{16} << 20);
    const auto pieces = ReadAll();
    EXPECT_THAT(Types(pieces),
                ElementsAre(RecordType::kStats, RecordType::kStats, RecordType::kBlobRef,
                            RecordType::kStats, RecordType::kStats, RecordType::kBlobRef));
    recorder_->FinishStep(Mode::kTrain, {});
    const auto rest = ReadAll();
    ASSERT_THAT(Types(rest),
                ElementsAre(RecordType::kStats, RecordType::kBlobRef, RecordType::kCommit));
    const auto commit = Payload<format::CommitPayload>(rest[2]);
    EXPECT_EQ(commit.first_seq, pieces[0].header.seq);
    EXPECT_EQ(commit.record_count, 8U);
  }
}

TEST_F(RecorderTest, AStepIsInvisibleUntilItIsFinished) {
  Make(EveryStep(), OnFull::kDegrade);
  const CaptureId id = Tensor("x", 100);
  EXPECT_THAT(Types(ReadAll()), ElementsAre(RecordType::kDesc));
  const Vector x(100, 2.0F);
  (void)recorder_->armed(Mode::kTrain);
  const TensorItem item = x.item(id);
  recorder_->Record({&item, 1});
  EXPECT_THAT(ReadAll(), IsEmpty());
  recorder_->FinishStep(Mode::kTrain, {77});
  const auto seen = ReadAll();
  ASSERT_THAT(Types(seen), ElementsAre(RecordType::kStats, RecordType::kRaw, RecordType::kCommit));
  const auto entry = Payload<format::StatsEntry>(seen[0], sizeof(format::CountHeader));
  EXPECT_EQ(entry.stats.mean, 2.0);
  EXPECT_EQ(Payload<format::RawEntry>(seen[1], 8).nbytes, 400U);
  EXPECT_EQ(Payload<float>(seen[1], 16 + 99 * 4), 2.0F);
  const auto commit = Payload<format::CommitPayload>(seen[2]);
  EXPECT_EQ(commit.first_seq, seen[0].header.seq);
  EXPECT_EQ(commit.record_count, 2U);
  EXPECT_EQ(commit.data_wait_ns, 77);
}

TEST_F(RecorderTest, LargeTensorsGoToTheBlobRingOnACacheLine) {
  Make(EveryStep(), OnFull::kDegrade);
  const CaptureId id = Tensor("x", 20'001);
  ReadAll();
  const Vector x(20'001, 3.0F);
  (void)recorder_->armed(Mode::kTrain);
  const TensorItem item = x.item(id);
  recorder_->Record({&item, 1});
  recorder_->FinishStep(Mode::kTrain, {});
  const auto blob = segment_->blob_ring().Readable();
  ASSERT_EQ(blob.size(), AlignUp(80'004, 64));
  float last = 0;
  std::memcpy(&last, &blob[80'000], sizeof(last));
  EXPECT_EQ(last, 3.0F);
  const auto seen = ReadAll();
  ASSERT_THAT(Types(seen),
              ElementsAre(RecordType::kStats, RecordType::kBlobRef, RecordType::kCommit));
  EXPECT_EQ(Payload<format::BlobRefEntry>(seen[1], 8).nbytes, 80'004U);
}

TEST_F(RecorderTest, UnarmedStepsWithoutScalarsWriteNothingButCount) {
  Make(ConfigOf({{"capture.every", "1000", ""}}), OnFull::kDegrade);
  const CaptureId id = Tensor("x", 10);
  const CaptureId loss = Scalar("loss");
  const Vector x(10);
  const TensorItem item = x.item(id);
  Step({&item, 1});
  ReadAll();
  for (int i = 0; i < 5; ++i) {
    EXPECT_FALSE(recorder_->armed(Mode::kTrain));
    Step({&item, 1});
  }
  EXPECT_THAT(ReadAll(), IsEmpty());
  EXPECT_EQ(recorder_->global_step(), 6);
  const ScalarItem scalar{loss, 0.5};
  recorder_->RecordScalars({&scalar, 1});
  recorder_->FinishStep(Mode::kTrain, {});
  EXPECT_THAT(Types(ReadAll()), ElementsAre(RecordType::kScalars, RecordType::kCommit));
  EXPECT_EQ(segment_->page().step.load(), 6);
}

TEST_F(RecorderTest, LogIsVisibleAtOnceInTheMiddleOfAStep) {
  Make(EveryStep(), OnFull::kDegrade);
  const CaptureId id = Tensor("x", 10);
  const CaptureId metric = Scalar("metric");
  ReadAll();
  const Vector x(10);
  (void)recorder_->armed(Mode::kTrain);
  const TensorItem item = x.item(id);
  recorder_->Record({&item, 1});
  const ScalarItem scalar{metric, 4.0};
  recorder_->Log({&scalar, 1}, 123, Mode::kEval);
  const auto seen = ReadAll();
  ASSERT_THAT(Types(seen), ElementsAre(RecordType::kStats, RecordType::kRaw, RecordType::kScalars));
  EXPECT_EQ(seen[2].header.flags, format::kSelfCommitted);
  EXPECT_EQ(seen[2].header.step, 123);
  recorder_->FinishStep(Mode::kTrain, {});
  const auto rest = ReadAll();
  ASSERT_THAT(Types(rest), ElementsAre(RecordType::kCommit));
  EXPECT_EQ(Payload<format::CommitPayload>(rest[0]).record_count, 2U);
  EXPECT_EQ(Payload<format::CommitPayload>(rest[0]).first_seq, seen[0].header.seq);
}

TEST_F(RecorderTest, DegradeDropsTheRawTensorsOfTheWholeStepAndSaysSo) {
  Make(EveryStep(), OnFull::kDegrade, 1 << 20, 1 << 20);
  const CaptureId a = Tensor("a", 150'000);
  const CaptureId b = Tensor("b", 150'000);
  ReadAll();
  const Vector x(150'000);
  const std::vector<TensorItem> items{x.item(a), x.item(b)};
  Step(items);
  EXPECT_EQ(segment_->blob_ring().Readable().size(), 0U);
  const auto seen = ReadAll();
  ASSERT_THAT(Types(seen), ElementsAre(RecordType::kStats, RecordType::kCommit, RecordType::kGap));
  const auto gap = Gaps(seen)[0];
  EXPECT_EQ(gap.reason, GapReason::kRingFull);
  EXPECT_EQ(gap.what, GapWhat::kRawTensors);
  EXPECT_EQ(gap.tensors_dropped, 2U);
}

TEST_F(RecorderTest, RawReturnsWhenTheRingHasRoomAgain) {
  Make(EveryStep(), OnFull::kDegrade);
  const CaptureId id = Tensor("a", 150'000);
  const Vector x(150'000);
  const TensorItem item = x.item(id);
  Step({&item, 1});
  Step({&item, 1});  // no room: the first is not drained
  EXPECT_EQ(Gaps(ReadAll()).size(), 1U);
  Step({&item, 1});
  EXPECT_THAT(Types(ReadAll()),
              ElementsAre(RecordType::kStats, RecordType::kBlobRef, RecordType::kCommit));
}

TEST_F(RecorderTest, SkipDropsTheTensorsButKeepsTheScalars) {
  Make(EveryStep(), OnFull::kSkip);
  const CaptureId id = Tensor("a", 400'000);
  const CaptureId tensor = Tensor("b", 200'000);
  const CaptureId loss = Scalar("loss");
  ReadAll();
  const Vector x(400'000);
  const Vector y(200'000);
  (void)recorder_->armed(Mode::kTrain);
  const std::vector<TensorItem> items{x.item(id), y.item(tensor)};
  const ScalarItem scalar{loss, 1.0};
  // "a" alone is larger than the ring and counts for nothing; "b" fills it in the first step.
  recorder_->Record(items);
  recorder_->FinishStep(Mode::kTrain, {});
  (void)recorder_->armed(Mode::kTrain);
  recorder_->Record(items);
  recorder_->RecordScalars({&scalar, 1});
  recorder_->FinishStep(Mode::kTrain, {});
  const auto seen = ReadAll();
  const auto gaps = Gaps(seen);
  ASSERT_EQ(gaps.size(), 2U);
  EXPECT_EQ(gaps[0].reason, GapReason::kTooLarge);
  EXPECT_EQ(gaps[1].what, GapWhat::kWholeStep);
  EXPECT_THAT(Types(seen), ElementsAre(RecordType::kStats, RecordType::kBlobRef,
                                       RecordType::kCommit, RecordType::kGap, RecordType::kScalars,
                                       RecordType::kCommit, RecordType::kGap));
}

TEST_F(RecorderTest, ThinDoublesTheInterval) {
  Make(ConfigOf({}), OnFull::kThin);
  const CaptureId id = Tensor("a", 150'000);
  const Vector x(150'000);
  const TensorItem item = x.item(id);
  Step({&item, 1});
  Step({&item, 1});
  EXPECT_EQ(recorder_->governor().multiplier(), 2);
}

TEST_F(RecorderTest, AFullJournalRingLosesWholeStepsOnlyAndTheGapIsWrittenLater) {
  Make(EveryStep(), OnFull::kDegrade, 16'384, 0);
  const CaptureId loss = Scalar("loss");
  constexpr int kTensors = 20;
  std::vector<CaptureId> ids;
  ids.reserve(kTensors);
  for (int i = 0; i < kTensors; ++i) {
    ids.push_back(Tensor("w" + std::to_string(i), 16, Role::kWeight));
  }
  ReadAll();
  const Vector x(16);
  std::vector<TensorItem> items;
  items.reserve(ids.size());
  for (const CaptureId id : ids) {
    items.push_back(x.item(id));
  }
  const ScalarItem scalar{loss, 1.0};
  for (int step = 0; step < 40; ++step) {
    recorder_->RecordScalars({&scalar, 1});
    Step(items);
  }
  size_t commits = 0;
  for (const Seen& one : ReadAll()) {
    commits += one.header.type == RecordType::kCommit ? 1 : 0;
  }
  EXPECT_GT(commits, 3U);
  EXPECT_LT(commits, 40U);
  Step(items);
  const auto gaps = Gaps(ReadAll());
  ASSERT_FALSE(gaps.empty());
  EXPECT_EQ(gaps.back().what, GapWhat::kWholeStep);
  EXPECT_EQ(gaps.back().last_step, 39);
}

TEST_F(RecorderTest, AChangedShapeIsDescribedBeforeItsData) {
  Make(EveryStep(), OnFull::kDegrade);
  const CaptureId id = Tensor("x", 32);
  ReadAll();
  const Vector last_batch(7);
  const TensorItem item = last_batch.item(id);
  Step({&item, 1});
  const auto seen = ReadAll();
  ASSERT_THAT(Types(seen), ElementsAre(RecordType::kDesc, RecordType::kStats, RecordType::kRaw,
                                       RecordType::kCommit));
  EXPECT_EQ(Payload<int64_t>(seen[0], 8 + sizeof(format::DescEntry)), 7);
  EXPECT_EQ(Payload<format::CommitPayload>(seen[3]).record_count, 2U);
}

TEST_F(RecorderTest, HistogramsFollowTheirEntryAndScaleWithIt) {
  Make(ConfigOf({{"capture.every", "1", ""}, {"capture.weights", "hist", ""}}), OnFull::kDegrade);
  const CaptureId id = Tensor("w", 1000, Role::kWeight);
  ReadAll();
  Vector x(1000, 4.0F);
  x.values[0] = std::numeric_limits<float>::quiet_NaN();
  const TensorItem item = x.item(id, 0.5);
  Step({&item, 1});
  const auto seen = ReadAll();
  const auto entry = Payload<format::StatsEntry>(seen[0], 8);
  EXPECT_EQ(entry.stats.mean, 2.0);
  EXPECT_EQ(entry.stats.nan_count, 1);
  ASSERT_EQ(entry.histogram_bins, 2U);
  const auto bin = Payload<format::HistogramEntry>(seen[0], 8 + sizeof(entry));
  EXPECT_EQ(bin.count, 999);
  EXPECT_EQ(tensor::BinLow(bin.bin), 2.0);
}

TEST_F(RecorderTest, ScaledRawTensorsAreRecordedAtTheirTrueSize) {
  Make(EveryStep(), OnFull::kDegrade);
  const CaptureId id = Tensor("g", 10);
  ReadAll();
  const Vector x(10, 1024.0F);
  const TensorItem item = x.item(id, 1.0 / 1024);
  Step({&item, 1});
  EXPECT_EQ(Payload<float>(ReadAll()[1], 16), 1.0F);
  EXPECT_EQ(x.values[0], 1024.0F);
}

TEST_F(RecorderTest, ErrorsBlowTheFuseAndTrainingGoesOnCounting) {
  Make(EveryStep(), OnFull::kDegrade);
  Tensor("good", 4);
  const Vector x(4);
  const TensorItem bad = x.item(999);
  for (int i = 0; i < 20; ++i) {
    Step({&bad, 1});
  }
  EXPECT_TRUE(recorder_->fuse().blown());
  EXPECT_FALSE(recorder_->live());
  EXPECT_FALSE(recorder_->armed(Mode::kTrain));
  EXPECT_EQ(recorder_->global_step(), 20);
  EXPECT_EQ(segment_->page().fuse_blown.load(), 1U);
  ASSERT_TRUE(recorder_->RecordFuse(kNow).ok());
  const auto seen = ReadAll();
  ASSERT_GE(seen.size(), 2U);
  EXPECT_EQ(Gaps(seen).back().reason, GapReason::kFuse);
  EXPECT_EQ(seen.back().header.type, RecordType::kMeta);
}

TEST_F(RecorderTest, AJobThatEndsRightAfterTheFuseBlewTellsOnceWhatWasLost) {
  for (const bool drain_comes_round : {false, true}) {
    Make(EveryStep(), OnFull::kDegrade);
    next_seq_ = 1;
    const Vector x(4);
    const TensorItem item = x.item(Tensor("x", 4));
    Step({&item, 1});
    (void)recorder_->armed(Mode::kTrain);
    recorder_->Record({&item, 1});
    (void)ReadAll();
    recorder_->fuse().Blow(StatusCode::kInternal, "hooks of the framework");
    recorder_->ObeyFuse();
    if (drain_comes_round) {
      ASSERT_TRUE(recorder_->RecordFuse(kNow).ok());
    }
    ASSERT_TRUE(recorder_->Close({}, kNow).ok());
    const auto seen = ReadAll();
    ASSERT_THAT(Types(seen), ElementsAre(RecordType::kGap, RecordType::kMeta));
    const format::GapPayload gap = Gaps(seen)[0];
    EXPECT_EQ(gap.reason, GapReason::kFuse);
    EXPECT_EQ(gap.what, GapWhat::kWholeStep);
    EXPECT_EQ(gap.first_step, 1);
    const std::string why(seen[1].payload.begin(), seen[1].payload.end());
    EXPECT_THAT(why, testing::HasSubstr("hooks of the framework"));
  }
}

TEST_F(RecorderTest, UnsupportedTensorsAreOneGapEach) {
  Make(EveryStep(), OnFull::kDegrade);
  const CaptureId id = Tensor("sparse", 4);
  ReadAll();
  for (int i = 0; i < 5; ++i) {
    recorder_->RecordUnsupported(id);
    recorder_->FinishStep(Mode::kTrain, {});
  }
  const auto gaps = Gaps(ReadAll());
  ASSERT_EQ(gaps.size(), 1U);
  EXPECT_EQ(gaps[0].reason, GapReason::kUnsupported);
}

TEST_F(RecorderTest, CloseCommitsTheOpenStepAndEndsEverything) {
  Make(EveryStep(), OnFull::kDegrade);
  const CaptureId loss = Scalar("loss");
  ReadAll();
  const ScalarItem scalar{loss, 9.0};
  recorder_->RecordScalars({&scalar, 1});
  const std::vector<std::string> last_words{R"({"kind":"x"})"};
  ASSERT_TRUE(recorder_->Close(last_words, kNow).ok());
  EXPECT_THAT(Types(ReadAll()),
              ElementsAre(RecordType::kScalars, RecordType::kCommit, RecordType::kMeta));
  recorder_->Log({&scalar, 1}, -1, Mode::kTrain);
  recorder_->FinishStep(Mode::kTrain, {});
  EXPECT_THAT(ReadAll(), IsEmpty());
}

TEST_F(RecorderTest, ResumeGoesOnAtTheGivenStep) {
  Make(ConfigOf({{"capture.every", "10", ""}}), OnFull::kDegrade);
  recorder_->SetGlobalStep(1234);
  EXPECT_EQ(recorder_->global_step(), 1234);
  EXPECT_EQ(recorder_->mode_step(Mode::kTrain), 1234);
  EXPECT_FALSE(recorder_->armed(Mode::kTrain));
  recorder_->SetModeStep(Mode::kTrain, 40);
  EXPECT_TRUE(recorder_->armed(Mode::kTrain));
}

}  // namespace
}  // namespace wheeltapper::capture
