#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/thread.h"
#include "wheeltapper/format/rank_segment.h"
#include "wheeltapper/format/run_reader.h"

#include "session_fixture.h"

namespace wheeltapper::capture {
namespace {

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

}  // namespace
}  // namespace wheeltapper::capture
