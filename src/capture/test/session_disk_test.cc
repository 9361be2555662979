// Disks that are full, nearly full, broken, or hang: training goes on, and what is missing is a
// gap.
#include <atomic>
#include <filesystem>
#include <optional>

#include <gmock/gmock.h>
#include <sys/mount.h>

#include "native_session.h"
#include "session_fixture.h"

namespace wheeltapper::capture {
namespace {

using ::testing::HasSubstr;

// A writer whose disk does what the test says.
class FakeWriter final : public format::JournalWriter {
 public:
  struct Disk {
    std::atomic<bool> full{false};
    std::atomic<bool> broken{false};
    std::atomic<bool> hangs{false};
    std::atomic<bool> holds_a_round{false};  // a round has come in and does not return
    std::atomic<int> discards{0};
    std::atomic<uint64_t> free_bytes{uint64_t{1} << 40};
    std::atomic<bool> knows_room{true};
    std::optional<uint64_t> FreeBytes() const {
      return knows_room.load() ? std::optional<uint64_t>(free_bytes.load()) : std::nullopt;
    }
  };
  explicit FakeWriter(std::shared_ptr<Disk> disk) : disk_(std::move(disk)) {}
  Result<uint64_t> Drain(format::RankSegment& segment) override {
    while (disk_->hangs.load()) {
      disk_->holds_a_round.store(true);
      usleep(1000);
    }
    if (disk_->broken.load()) {
      return InternalError("writing: I/O error");
    }
    if (disk_->full.load()) {
      return ResourceExhaustedError("writing: no space left");
    }
    const uint64_t journal = segment.journal_ring().Readable().size();
    const uint64_t blob = segment.blob_ring().Readable().size();
    segment.journal_ring().Release(journal);
    segment.blob_ring().Release(blob);
    return journal + blob;
  }
  Status DiscardBlobs(format::RankSegment& segment) override {
    disk_->discards.fetch_add(1);
    segment.blob_ring().Release(segment.blob_ring().Readable().size());
    return Status::Ok();
  }
  Status RotateIfDue(bool /*force*/) override { return Status::Ok(); }
  Result<bool> SealNext() override { return false; }
  Status Close() override { return Status::Ok(); }
  [[nodiscard]] uint64_t next_seq() const override { return 1; }
  [[nodiscard]] uint64_t bytes_written() const override { return 0; }

 private:
  std::shared_ptr<Disk> disk_;
};

class DiskTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SessionOptions options;
    options.run_dir = run_.dir();
    options.free_disk_bytes = [disk = disk_] { return disk->FreeBytes(); };
    auto session = NativeSession::Open(options, EveryStep(), SystemClock(),
                                       std::make_unique<FakeWriter>(disk_));
    ASSERT_TRUE(session.ok()) << session.status().ToString();
    session_ = std::move(session).value();
    id_ = *session_->RegisterTensor({.name = "a", .shape = {50'000}});
  }
  void Step() {
    const TensorItem item = x_.item(id_);
    (void)session_->armed(Mode::kTrain);
    session_->Record({&item, 1});
    session_->FinishStep(Mode::kTrain, {});
  }
  TemporaryRun run_;
  std::shared_ptr<FakeWriter::Disk> disk_ = std::make_shared<FakeWriter::Disk>();
  Vector x_{50'000};
  std::unique_ptr<Session> session_;
  CaptureId id_ = 0;
};

TEST_F(DiskTest, AFullDiskStopsRawFirstAndResumesWhenThereIsRoom) {
  Step();
  ASSERT_TRUE(session_->Flush(10 * kSecond).ok());
  disk_->full.store(true);
  Step();
  EXPECT_EQ(session_->Flush(10 * kSecond).code(), StatusCode::kResourceExhausted);
  EXPECT_GE(disk_->discards.load(), 1);
  for (int i = 0; i < 50; ++i) {
    Step();
  }
  EXPECT_GE(session_->counters().gaps, 50);
  EXPECT_EQ(session_->counters().errors, 0);
  disk_->full.store(false);
  ASSERT_TRUE(session_->Flush(10 * kSecond).ok());
  const int64_t gaps = session_->counters().gaps;
  Step();
  EXPECT_EQ(session_->counters().gaps, gaps);
  EXPECT_TRUE(session_->Stop(10 * kSecond).ok());
}

TEST_F(DiskTest, RawTensorsStopBeforeTheDiskIsFull) {
  Step();
  ASSERT_TRUE(session_->Flush(10 * kSecond).ok());
  EXPECT_EQ(disk_->discards.load(), 0);
  disk_->free_bytes.store(uint64_t{64} << 20);  // enough now, but not with what comes
  const int64_t gaps = session_->counters().gaps;
  Step();
  ASSERT_TRUE(session_->Flush(10 * kSecond).ok());
  EXPECT_EQ(disk_->discards.load(), 1);
  EXPECT_EQ(session_->counters().gaps, gaps) << "the step was taken; the writer tells what is lost";
  Step();
  EXPECT_EQ(session_->counters().gaps, gaps + 1);
  disk_->free_bytes.store(uint64_t{256} << 20);
  ASSERT_TRUE(session_->Flush(10 * kSecond).ok());
  Step();
  EXPECT_EQ(session_->counters().gaps, gaps + 1);
  EXPECT_TRUE(session_->Stop(10 * kSecond).ok());
}

TEST(NearlyFullDiskTest, RawTensorsThatAreDiscardedBecomeAGap) {
  const TemporaryRun run;
  std::atomic<uint64_t> free_bytes{uint64_t{1} << 40};
  SessionOptions options;
  options.run_dir = run.dir();
  options.free_disk_bytes = [&free_bytes] { return std::optional(free_bytes.load()); };
  auto session = Session::Start(options, EveryStep(), SystemClock()).value();
  const Vector x(50'000);
  const TensorItem item = x.item(*session->RegisterTensor({.name = "a", .shape = {50'000}}));
  for (int step = 0; step < 2; ++step) {
    (void)session->armed(Mode::kTrain);
    session->Record({&item, 1});
    session->FinishStep(Mode::kTrain, {});
    ASSERT_TRUE(session->Flush(10 * kSecond).ok());
    free_bytes.store(uint64_t{64} << 20);  // enough now, but not with what comes
  }
  ASSERT_TRUE(session->Stop(20 * kSecond).ok());
  std::vector<int64_t> raw;
  std::vector<int64_t> stats;
  std::vector<format::GapReason> gaps;
  for (const format::StepBatch& batch : ReadRun(run.dir())) {
    raw.insert(raw.end(), batch.tensors.size(), batch.key.step.value);
    stats.insert(stats.end(), batch.stats.size(), batch.key.step.value);
    for (const format::GapRow& gap : batch.gaps) {
      gaps.push_back(gap.gap.reason);
    }
  }
  EXPECT_THAT(raw, testing::ElementsAre(0));
  EXPECT_THAT(stats, testing::ElementsAre(0, 1));
  EXPECT_THAT(gaps, testing::ElementsAre(format::GapReason::kDiskFull));
}

TEST_F(DiskTest, RawTensorsAreTakenWhereTheRoomIsUnknown) {
  disk_->knows_room.store(false);
  disk_->free_bytes.store(0);
  for (int i = 0; i < 3; ++i) {
    Step();
    ASSERT_TRUE(session_->Flush(10 * kSecond).ok());
  }
  EXPECT_EQ(disk_->discards.load(), 0);
  EXPECT_EQ(session_->counters().gaps, 0);
}

TEST(UnknownRoomTest, RawTensorsAreTakenOnAFileSystemWithoutASize) {
  const TemporaryRun run;
  const std::string mounted = run.dir() + "/ramfs";
  std::filesystem::create_directories(mounted);
  if (mount("wheeltapper-test", mounted.c_str(), "ramfs", 0, "") != 0) {
    GTEST_SKIP() << "mounting a ramfs is not permitted here";
  }
  format::RunInfo info;
  info.format_version = 1;
  info.min_reader = 1;
  info.run_id = std::hash<std::string>{}(mounted);
  EXPECT_TRUE(format::CreateRunDirectory(mounted + "/run", info).ok());
  if (const auto session = StartIn(mounted + "/run", EveryStep()); session != nullptr) {
    const Vector x(50'000);
    const TensorItem item = x.item(*session->RegisterTensor({.name = "a", .shape = {50'000}}));
    (void)session->armed(Mode::kTrain);
    session->Record({&item, 1});
    session->FinishStep(Mode::kTrain, {});
    EXPECT_TRUE(session->Stop(10 * kSecond).ok());
    EXPECT_EQ(session->counters().gaps, 0);
    size_t tensors = 0;
    for (const format::StepBatch& batch : ReadRun(mounted + "/run")) {
      EXPECT_TRUE(batch.gaps.empty());
      tensors += batch.tensors.size();
    }
    EXPECT_EQ(tensors, 1U);
  }
  umount(mounted.c_str());
}

TEST_F(DiskTest, ABrokenDiskBlowsTheFuseAndTrainingGoesOn) {
  disk_->broken.store(true);
  while (!session_->counters().fuse_blown) {
    Step();
    (void)session_->Flush(kSecond);
  }
  EXPECT_FALSE(session_->armed(Mode::kTrain));
  EXPECT_THAT(session_->last_error().ToString(), HasSubstr("I/O error"));
  Step();
  EXPECT_FALSE(session_->Stop(5 * kSecond).ok());
}

TEST(HangingDiskTest, StopReturnsByItsDeadlineAndTheProcessEnds) {
  const TemporaryRun run;
  // In a process of its own: the threads that are left behind end with it.
  const int status = InChild([&] {
    auto disk = std::make_shared<FakeWriter::Disk>();
    SessionOptions options;
    options.run_dir = run.dir();
    auto session = NativeSession::Open(options, EveryStep(), SystemClock(),
                                       std::make_unique<FakeWriter>(disk));
    if (!session.ok()) {
      _exit(1);
    }
    disk->hangs.store(true);
    // A round that was let in before could still take the step along and end in time.
    while (!disk->holds_a_round.load()) {
      usleep(1000);
    }
    (*session)->FinishStep(Mode::kTrain, {});
    const TimeNs before_ns = SystemClock().MonotonicNs();
    const Status stopped = (*session)->Stop(kSecond / 5);
    const bool in_time = SystemClock().MonotonicNs() - before_ns < 30 * kSecond;
    session->reset();
    _exit(stopped.code() == StatusCode::kDeadlineExceeded && in_time ? 0 : 2);
  });
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(FullDiskTest, ARealFullDiskIsAGapAndTrainingGoesOn) {
  const TemporaryRun run;
  const std::string small = run.dir() + "/small";
  std::filesystem::create_directories(small);
  if (mount("wheeltapper-test", small.c_str(), "tmpfs", 0, "size=6m") != 0) {
    GTEST_SKIP() << "mounting a small tmpfs is not permitted here";
  }
  format::RunInfo info;
  info.format_version = 1;
  info.min_reader = 1;
  info.run_id = 99;
  ASSERT_TRUE(format::CreateRunDirectory(small + "/run", info).ok());
  auto session = StartIn(small + "/run", EveryStep());
  ASSERT_NE(session, nullptr);
  const CaptureId id = *session->RegisterTensor({.name = "a", .shape = {250'000}});
  const Vector x(250'000);
  const TensorItem item = x.item(id);
  for (int step = 0; step < 40; ++step) {
    (void)session->armed(Mode::kTrain);
    session->Record({&item, 1});
    session->FinishStep(Mode::kTrain, {});
    session->Flush(10 * kSecond).IgnoreError("the disk is full, that is the test");
  }
  EXPECT_EQ(session->global_step(), 40);
  EXPECT_GT(session->counters().gaps, 0);
  EXPECT_FALSE(session->counters().fuse_blown);
  session->Stop(10 * kSecond).IgnoreError("the disk is full, that is the test");
  session.reset();
  std::error_code ignored;
  if (const auto rank = format::ReadRankInfo(small + "/run", Rank{0}); rank.ok()) {
    std::filesystem::remove(rank->segment_path, ignored);
  }
  umount(small.c_str());
}

TEST_F(DiskTest, AHangingDiskFillsTheRingsAndTheTrainingThreadNeverWaits) {
  disk_->hangs.store(true);
  for (int i = 0; i < 400; ++i) {
    Step();
  }
  EXPECT_EQ(session_->global_step(), 400);
  EXPECT_GT(session_->counters().gaps, 0);
  disk_->hangs.store(false);
  EXPECT_TRUE(session_->Stop(20 * kSecond).ok());
}

}  // namespace
}  // namespace wheeltapper::capture
