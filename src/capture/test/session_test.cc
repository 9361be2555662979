#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include <gmock/gmock.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/thread.h"
#include "wheeltapper/format/run_reader.h"

#include "fixture.h"
#include "fork_guard.h"
#include "native_session.h"

namespace wheeltapper::capture {
namespace {

using ::testing::HasSubstr;

constexpr TimeNs kSecond = 1'000'000'000;

std::unique_ptr<Session> StartIn(const std::string& run_dir, const Config& config) {
  SessionOptions options;
  options.run_dir = run_dir;
  auto session = Session::Start(options, config, SystemClock());
  EXPECT_TRUE(session.ok()) << session.status().ToString();
  return session.ok() ? std::move(session).value() : nullptr;
}

std::vector<format::StepBatch> ReadRun(const std::string& run_dir) {
  std::vector<format::StepBatch> batches;
  auto reader = format::RunReader::Open(run_dir);
  EXPECT_TRUE(reader.ok()) << reader.status().ToString();
  if (reader.ok()) {
    const Status polled =
        (*reader)->Poll([&](format::StepBatch&& batch) { batches.push_back(std::move(batch)); });
    EXPECT_TRUE(polled.ok()) << polled.ToString();
    EXPECT_TRUE((*reader)->skipped().empty());
  }
  return batches;
}

int64_t StepsIn(const std::vector<format::StepBatch>& batches) {
  return std::count_if(batches.begin(), batches.end(),
                       [](const format::StepBatch& batch) { return batch.is_step; });
}

// Scheduling policy of the thread of that name in this process; -1 when there is none.
int PolicyOfThread(const std::string& name) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(entry.path() / "comm");
    std::string comm;
    if (std::getline(file, comm) && comm == name) {
      return sched_getscheduler(std::stoi(entry.path().filename().string()));
    }
  }
  return -1;
}

TEST(SessionTest, TheDrainIsBackgroundWorkUnlessTheJobWaitsForIt) {
  for (const auto& [policy, scheduling] :
       {std::pair{"degrade", SCHED_BATCH}, {"block", SCHED_OTHER}}) {
    const TemporaryRun run;
    const auto session = StartIn(run.dir(), EveryStep({{"capture.on_full", policy, ""}}));
    ASSERT_NE(session, nullptr);
    ASSERT_TRUE(session->Flush(10 * kSecond).ok());  // the thread has begun
    EXPECT_EQ(PolicyOfThread("wt-cap-drain"), scheduling) << policy;
    ASSERT_TRUE(session->Stop(20 * kSecond).ok());
  }
}

TEST(SessionTest, UnderBlockAStepLargerThanTheRingIsWholeAndRight) {
  const TemporaryRun run;
  const auto session = StartIn(
      run.dir(), EveryStep({{"capture.on_full", "block", ""}, {"capture.blob_ring_mb", "16", ""}}));
  ASSERT_NE(session, nullptr);
  constexpr size_t kElements = size_t{1} << 20;
  std::vector<CaptureId> ids;
  std::vector<Vector> tensors;
  for (int i = 0; i < 10; ++i) {
    ids.push_back(
        *session->RegisterTensor({.name = "t" + std::to_string(i), .shape = {int64_t{kElements}}}));
    tensors.emplace_back(kElements, static_cast<float>(i));
  }
  for (int step = 0; step < 2; ++step) {
    std::vector<TensorItem> items;
    items.reserve(tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      items.push_back(tensors[i].item(ids[i]));
    }
    ASSERT_TRUE(session->armed(Mode::kTrain));
    session->Record(items);
    session->FinishStep(Mode::kTrain, {});
  }
  ASSERT_TRUE(session->Stop(60 * kSecond).ok());
  auto reader = format::RunReader::Open(run.dir()).value();
  size_t right = 0;
  ASSERT_TRUE(reader
                  ->Poll([&](format::StepBatch&& batch) {
                    for (const format::TensorRow& row : batch.tensors) {
                      const auto bytes = reader->ReadTensor(row);
                      const char digit = reader->names().info(row.name).name[1];
                      const Vector expected(kElements, static_cast<float>(digit - '0'));
                      const bool same =
                          bytes.ok() &&
                          std::memcmp(bytes->data(), expected.values.data(), bytes->size()) == 0;
                      right += same ? 1U : 0U;
                    }
                  })
                  .ok());
  EXPECT_EQ(right, 20U);
}

TEST(SessionTest, StepsAreReadableAfterAFlushAndAfterTheStop) {
  const TemporaryRun run;
  const auto session = StartIn(run.dir(), EveryStep());
  ASSERT_NE(session, nullptr);
  const CaptureId small = *session->RegisterTensor({.name = "a", .shape = {100}});
  const CaptureId large = *session->RegisterTensor({.name = "b", .shape = {50'000}});
  const CaptureId loss = *session->RegisterScalar("loss/total", Role::kLoss);
  const CaptureId metric = *session->RegisterScalar("accuracy", Role::kMetric);
  for (int step = 0; step < 20; ++step) {
    ASSERT_TRUE(session->armed(Mode::kTrain));
    const Vector x(100, static_cast<float>(step));
    const Vector y(50'000, static_cast<float>(-step));
    const std::vector<TensorItem> items{x.item(small), y.item(large)};
    session->Record(items);
    const ScalarItem logged{metric, 0.5};
    session->Log({&logged, 1}, -1, Mode::kTrain);
    const ScalarItem scalar{loss, 1.0 * step};
    session->RecordScalars({&scalar, 1});
    session->FinishStep(Mode::kTrain, {});
  }
  ASSERT_TRUE(session->Flush(10 * kSecond).ok());
  EXPECT_EQ(StepsIn(ReadRun(run.dir())), 20);
  session->Meta(R"({"kind":"note"})");
  ASSERT_TRUE(session->Stop(20 * kSecond).ok());
  const auto batches = ReadRun(run.dir());
  EXPECT_EQ(StepsIn(batches), 20);
  size_t logs = 0;
  size_t metas = 0;
  for (const auto& batch : batches) {
    metas += batch.metas.size();
    if (!batch.is_step) {
      logs += batch.scalars.size();
      continue;
    }
    EXPECT_EQ(batch.stats.size(), 2U);
    EXPECT_EQ(batch.tensors.size(), 2U);
    ASSERT_EQ(batch.scalars.size(), 1U);
    EXPECT_EQ(batch.scalars[0].value, static_cast<double>(batch.key.step.value));
    EXPECT_EQ(batch.stats[0].stats.mean, static_cast<double>(batch.key.step.value));
  }
  EXPECT_EQ(logs, 20U);
  EXPECT_EQ(metas, 1U);
  EXPECT_EQ(session->counters().gaps, 0);
  EXPECT_TRUE(session->last_error().ok()) << session->last_error().ToString();
}

TEST(SessionTest, ASecondAttemptGoesOnAfterTheFirst) {
  const TemporaryRun run;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto session = StartIn(run.dir(), EveryStep());
    ASSERT_NE(session, nullptr);
    const CaptureId id = *session->RegisterTensor({.name = "a", .shape = {4}});
    session->SetGlobalStep(attempt * 5);
    for (int step = 0; step < 5; ++step) {
      const Vector x(4);
      const TensorItem item = x.item(id);
      (void)session->armed(Mode::kTrain);
      session->Record({&item, 1});
      session->FinishStep(Mode::kTrain, {});
    }
    ASSERT_TRUE(session->Stop(20 * kSecond).ok());
  }
  EXPECT_EQ(format::ReadRankInfo(run.dir(), Rank{0})->incarnation, 2U);
  EXPECT_EQ(StepsIn(ReadRun(run.dir())), 10);
}

TEST(SessionTest, RegisteringANameAgainGivesTheSameId) {
  const TemporaryRun run;
  const auto session = StartIn(run.dir(), EveryStep());
  const CaptureId id = *session->RegisterTensor({.name = "a", .role = Role::kWeight, .shape = {4}});
  EXPECT_EQ(*session->RegisterTensor({.name = "a", .role = Role::kWeight, .shape = {9}}), id);
  EXPECT_EQ(session->take(id, Mode::kTrain), uint32_t{kTakeStats});
  EXPECT_EQ(session->take(12345, Mode::kTrain), uint32_t{kTakeNothing});
  EXPECT_EQ(session->RegisterTensor({.name = ""}).status().code(), StatusCode::kInvalidArgument);
}

TEST(SessionTest, StartSaysWhatIsWrong) {
  SessionOptions options;
  options.run_dir = "/nonexistent";
  EXPECT_FALSE(Session::Start(options, Config::Defaults(), SystemClock()).ok());
}

TEST(SessionTest, StopIsIdempotentAndEverythingAfterItDoesNothing) {
  const TemporaryRun run;
  const auto session = StartIn(run.dir(), EveryStep());
  const CaptureId id = *session->RegisterScalar("s", Role::kMetric);
  ASSERT_TRUE(session->Stop(20 * kSecond).ok());
  ASSERT_TRUE(session->Stop(0).ok());
  const ScalarItem scalar{id, 1.0};
  session->Log({&scalar, 1}, -1, Mode::kTrain);
  session->FinishStep(Mode::kTrain, {});
  session->Meta("{}");
  EXPECT_FALSE(session->RegisterScalar("t", Role::kMetric).ok());
  EXPECT_FALSE(session->armed(Mode::kTrain));
}

TEST(SessionTest, ManyThreadsMayLogWhileOneTrains) {
  const TemporaryRun run;
  const auto session = StartIn(run.dir(), EveryStep());
  const CaptureId id = *session->RegisterTensor({.name = "a", .shape = {1000}});
  const CaptureId metric = *session->RegisterScalar("m", Role::kMetric);
  std::atomic<bool> stop{false};
  Thread others[2];
  for (Thread& other : others) {
    ASSERT_TRUE(other
                    .Start("wt-test-log",
                           [&] {
                             while (!stop.load()) {
                               const ScalarItem scalar{metric, 1.0};
                               session->Log({&scalar, 1}, -1, Mode::kTrain);
                               (void)session->counters();
                             }
                           })
                    .ok());
  }
  const Vector x(1000);
  const TensorItem item = x.item(id);
  for (int step = 0; step < 300; ++step) {
    (void)session->armed(Mode::kTrain);
    session->Record({&item, 1});
    session->FinishStep(Mode::kTrain, {});
  }
  stop.store(true);
  for (Thread& other : others) {
    other.Join();
  }
  EXPECT_EQ(session->global_step(), 300);
  ASSERT_TRUE(session->Stop(30 * kSecond).ok());
  EXPECT_EQ(session->counters().errors, 0);
}

TEST(SessionForkTest, AForkedChildIsInertAndTheParentGoesOn) {
  const TemporaryRun run;
  auto session = StartIn(run.dir(), EveryStep());
  const CaptureId id = *session->RegisterTensor({.name = "a", .shape = {100}});
  const Vector x(100);
  const TensorItem item = x.item(id);
#ifdef __SANITIZE_ADDRESS__
  // Its allocator's locks do not survive a fork as those of the C library do: with the drain thread
  // inside one, the child would wait for ever. After a flush the thread rests.
  ASSERT_TRUE(session->Flush(20 * kSecond).ok());
#endif
  (void)session->armed(Mode::kTrain);
  session->Record({&item, 1});  // fork in the middle of a step
  const pid_t child = fork();
  if (child == 0) {
    bool quiet = session->inert() && !session->armed(Mode::kTrain);
    session->Record({&item, 1});
    session->FinishStep(Mode::kTrain, {});
    session->Meta("{}");
    quiet = quiet && session->global_step() == 0 && session->Stop(kSecond).ok() &&
            session->Flush(kSecond).ok() && !session->RegisterTensor({.name = "b"}).ok();
    session.reset();
    std::exit(quiet ? 0 : 1);  // NOLINT: exit handlers must run, that is the point
  }
  session->FinishStep(Mode::kTrain, {});
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  ASSERT_TRUE(session->Stop(20 * kSecond).ok());
  EXPECT_EQ(StepsIn(ReadRun(run.dir())), 1);
}

TEST(SessionForkTest, EndedSessionsAreForgotten) {
  for (size_t i = 0; i <= kMaxGuardedRecorders; ++i) {
    const TemporaryRun run;
    const auto session = StartIn(run.dir(), EveryStep());
    ASSERT_NE(session, nullptr) << "session " << i;
  }
  const pid_t child = fork();  // its fork handler must not touch what is gone
  if (child == 0) {
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// Runs `body` in a child and returns its wait status.
template <typename Body>
int InChild(Body&& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(99);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

TEST(SessionExitTest, ExitWithoutAStopKeepsItsExitCode) {
  const TemporaryRun run;
  const int status = InChild([&] {
    // Leaked: nobody stops it, as when a script ends through sys.exit in a library.
    auto* session = StartIn(run.dir(), EveryStep()).release();
    session->FinishStep(Mode::kTrain, {});
    std::exit(3);  // NOLINT
  });
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 3);
}

TEST(SessionExitTest, ASignalKillsAsItWouldWithoutCapture) {
  const TemporaryRun run;
  const int status = InChild([&] {
    const auto session = StartIn(run.dir(), EveryStep());
    session->FinishStep(Mode::kTrain, {});
    raise(SIGTERM);
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
}

TEST(SmallSharedMemoryTest, TheRingsMoveIntoTheRunDirectory) {
  constexpr int kNotPermitted = 77;
  const TemporaryRun run;
  const int status = InChild([&] {
    // As a container's /dev/shm, seen by this process alone.
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, "") != 0 ||
        mount("wheeltapper-test", "/dev/shm", "tmpfs", 0, "size=1m") != 0) {
      _exit(kNotPermitted);
    }
    const auto session = StartIn(run.dir(), EveryStep());
    const Result<CaptureId> id = session->RegisterTensor({.name = "a", .shape = {250'000}});
    const Vector x(250'000);
    const TensorItem item = x.item(*id);
    (void)session->armed(Mode::kTrain);
    session->Record({&item, 1});
    session->FinishStep(Mode::kTrain, {});
    const auto rank = format::ReadRankInfo(run.dir(), Rank{0});
    const bool moved = rank.ok() && rank->segment_path.starts_with(run.dir());
    _exit(moved && session->Stop(20 * kSecond).ok() ? 0 : 1);
  });
  ASSERT_TRUE(WIFEXITED(status)) << status;
  if (WEXITSTATUS(status) == kNotPermitted) {
    GTEST_SKIP() << "mounting a small /dev/shm is not permitted here";
  }
  EXPECT_EQ(WEXITSTATUS(status), 0);
  const auto batches = ReadRun(run.dir());
  ASSERT_EQ(StepsIn(batches), 1);
  EXPECT_EQ(batches.back().tensors.size(), 1U);
}

// A writer whose disk does what the test says.
class FakeWriter final : public format::JournalWriter {
 public:
  struct Disk {
    std::atomic<bool> full{false};
    std::atomic<bool> broken{false};
    std::atomic<bool> hangs{false};
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

TEST(SessionTest, ASessionWhoseRunWasDeletedLeavesNoSharedMemory) {
  const TemporaryRun run;
  const auto session = StartIn(run.dir(), EveryStep());
  ASSERT_NE(session, nullptr);
  const auto rank = format::ReadRankInfo(run.dir(), Rank{0});
  ASSERT_TRUE(rank.ok());
  ASSERT_TRUE(PathExists(rank->segment_path));
  const ScalarItem scalar{*session->RegisterScalar("loss", Role::kMetric), 1.0};
  session->Log({&scalar, 1}, -1, Mode::kTrain);
  std::filesystem::remove_all(run.dir());
  EXPECT_FALSE(session->Stop(20 * kSecond).ok());
  EXPECT_FALSE(PathExists(rank->segment_path));
}

TEST(SessionTest, TheSegmentNamesItsRunWithoutLinks) {
  const TemporaryRun run;
  const std::string real = std::filesystem::canonical(run.dir()).string();
  const std::string link = run.dir() + "/link";
  std::filesystem::create_directories(run.dir() + "/deep/deeper");
  std::filesystem::create_directory_symlink(run.dir() + "/deep/deeper", link);
  // As text, "link/../.." is the run's parent; as a path, it is the run.
  const auto session = StartIn(link + "/../..", EveryStep());
  ASSERT_NE(session, nullptr);
  const auto rank = format::ReadRankInfo(run.dir(), Rank{0});
  const auto segment = format::RankSegment::Attach(rank->segment_path, false);
  ASSERT_TRUE(segment.ok()) << segment.status().ToString();
  EXPECT_EQ(std::string((*segment)->page().run_dir), real);
  EXPECT_TRUE(session->Stop(20 * kSecond).ok());
}

TEST(SessionTest, ASessionWhoseRunWasMovedLeavesWhatRecoveryNeeds) {
  const TemporaryRun run;
  const std::string elsewhere = run.dir() + "-moved";
  std::string segment;
  {
    const auto session = StartIn(run.dir(), EveryStep());
    ASSERT_NE(session, nullptr);
    segment = format::ReadRankInfo(run.dir(), Rank{0})->segment_path;
    const ScalarItem scalar{*session->RegisterScalar("loss", Role::kMetric), 1.0};
    session->Log({&scalar, 1}, -1, Mode::kTrain);
    std::filesystem::rename(run.dir(), elsewhere);
    EXPECT_FALSE(session->Stop(20 * kSecond).ok());
  }
  EXPECT_TRUE(PathExists(segment));
  ASSERT_TRUE(format::RecoverRun(elsewhere).ok());
  EXPECT_FALSE(PathExists(segment));
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
