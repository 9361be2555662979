// What jobs leave that were killed together with their watcher, and what the next run makes of it.
#include <cstddef>
#include <filesystem>
#include <functional>
#include <random>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/host.h"
#include "wheeltapper/format/rank_segment.h"
#include "wheeltapper/format/watcher_lock.h"

#include "recover_run.h"
#include "run_names.h"
#include "test/killed_job.h"
#include "test/test_run.h"

namespace wheeltapper::format {
namespace {

using testing::ElementsAreArray;
using testing::IsEmpty;

TEST(DeadRunsTest, MemoryOfRunsThatAreDeletedIsGivenBackAfterADay) {
  const ScratchFolder folder;
  ManualClock clock;
  const std::string run = folder.file("runs/run");
  const std::string path = folder.file("wheeltapper-00c0ffee00c0ffee-r00000-1");
  ASSERT_TRUE(MakeDirectories(folder.file("runs")).ok());
  ASSERT_TRUE(MakeTestRun(run).ok());
  LeaveSegment(path, run, clock);
  ASSERT_TRUE(RenameFile(run, run + "-moved").ok());
  clock.Advance(kForgottenNs);
  EXPECT_THAT(RecoverDeadRuns("", clock, folder.path()).gone, IsEmpty());
  clock.Advance(1);
  {
    auto alive = RankSegment::Attach(path, true);
    ASSERT_TRUE((*alive)->LockWriter().ok());
    EXPECT_THAT(RecoverDeadRuns("", clock, folder.path()).gone, IsEmpty());
  }
  ASSERT_TRUE(RenameFile(run + "-moved", run).ok());
  EXPECT_THAT(RecoverDeadRuns("", clock, folder.path()).gone, IsEmpty());
  std::filesystem::remove_all(run);
  EXPECT_THAT(RecoverDeadRuns("", clock, folder.path()).gone, testing::ElementsAre(run));
  EXPECT_FALSE(PathExists(path));
}

TEST(DeadRunsTest, MemoryOfARunThatIsOnlyOutOfReachIsKept) {
  const ScratchFolder folder;
  ManualClock clock;
  const std::string run = folder.file("disk/runs/run");
  const std::string path = folder.file("wheeltapper-00c0ffee00c0ffee-r00000-1");
  ASSERT_TRUE(MakeDirectories(folder.file("disk/runs")).ok());
  ASSERT_TRUE(MakeTestRun(run).ok());
  LeaveSegment(path, run, clock);
  clock.Advance(2 * kForgottenNs);
  const auto expect_kept = [&](const char* why) {
    const DeadRunsReport report = RecoverDeadRuns("", clock, folder.path());
    EXPECT_THAT(report.gone, IsEmpty()) << why;
    EXPECT_THAT(report.missing, testing::ElementsAre(run)) << why;
    EXPECT_TRUE(PathExists(path)) << why;
  };
  ASSERT_TRUE(RenameFile(folder.file("disk"), folder.file("unmounted")).ok());
  expect_kept("nothing is mounted");
  ASSERT_TRUE(MakeDirectories(folder.file("disk")).ok());
  expect_kept("the mount point is empty");
  ASSERT_TRUE(WriteFileAtomically(folder.file("disk/runs"), "").ok());
  expect_kept("the folder of runs is a file");
  ASSERT_TRUE(RemoveFile(folder.file("disk/runs")).ok());
  ASSERT_TRUE(MakeDirectories(run).ok());
  expect_kept("the run is an empty mount point itself");
  std::filesystem::remove_all(run);
  uint64_t other_device = 1;
  const FileDescriptor segment = OpenFile(path, O_RDWR).value();
  ASSERT_TRUE(WriteAt(segment, offsetof(RankPage, run_device),
                      {reinterpret_cast<const uint8_t*>(&other_device), sizeof(other_device)})
                  .ok());
  expect_kept("the folder of runs is on another disk");
}

TEST(DeadRunsTest, AJobKilledBeforeItsFirstHeartbeatHasItsDayToo) {
  const ScratchFolder folder;
  const std::string path = folder.file("wheeltapper-00c0ffee00c0ffee-r00000-1");
  SegmentOptions options;
  options.path = path;
  options.run_dir = folder.file("run");
  options.journal_ring_bytes = 1 << 16;
  ASSERT_TRUE(RankSegment::Create(options).ok());
  EXPECT_GT(RankSegment::Attach(path, false).value()->page().heartbeat_ns.load(), 0);
  EXPECT_THAT(RecoverDeadRuns("", SystemClock(), folder.path()).gone, IsEmpty());
  EXPECT_TRUE(PathExists(path));
}

RankInfo HereIs(Rank rank) {
  RankInfo info;
  info.rank = rank;
  info.host = HostName();
  info.boot_id = BootId();
  return info;
}

// A run in `folder` with a number of its own, for its segments are where all builds look; its path.
std::string MakeOwnRun(const ScratchFolder& folder, uint64_t* run_id) {
  RunInfo info;
  info.run_id = *run_id = std::random_device()() | uint64_t{1} << 63;
  EXPECT_TRUE(CreateRunDirectory(folder.file("run"), info).ok());
  EXPECT_TRUE(WriteRankInfo(folder.file("run"), HereIs(Rank{0})).ok());
  return folder.file("run");
}

TEST(DeadRunsTest, ARunInTheSameFolderIsMadeWhole) {
  const ScratchFolder folder;
  ManualClock clock;
  uint64_t run_id = 0;
  const std::string run = MakeOwnRun(folder, &run_id);
  const std::string path = SegmentPath(run, run_id, Rank{0}, 1, 1 << 16);
  LeaveSegment(path, run, clock, run_id);
  clock.Advance(kSettledNs);
  EXPECT_THAT(RecoverDeadRuns("/somewhere/else", clock, kSegmentFolder).recovered, IsEmpty());
  EXPECT_TRUE(PathExists(path));
  EXPECT_THAT(RecoverDeadRuns(folder.path(), clock, kSegmentFolder).recovered,
              testing::ElementsAre(run));
  EXPECT_FALSE(PathExists(path));
}

TEST(DeadRunsTest, ARunThatCannotBeMadeWholeIsTold) {
  const ScratchFolder folder;
  ManualClock clock;
  uint64_t run_id = 0;
  const std::string run = MakeOwnRun(folder, &run_id);
  const std::string path = SegmentPath(run, run_id, Rank{0}, 1, 1 << 16);
  LeaveSegment(path, run, clock, run_id);
  clock.Advance(kSettledNs);
  std::filesystem::remove_all(JoinPath(run, kJournalFolder));
  ASSERT_TRUE(WriteFileAtomically(JoinPath(run, kJournalFolder), "").ok());
  const DeadRunsReport report = RecoverDeadRuns(folder.path(), clock, kSegmentFolder);
  EXPECT_THAT(report.recovered, IsEmpty());
  EXPECT_THAT(report.failed, testing::ElementsAre(testing::StartsWith(run + ": ")));
  EXPECT_TRUE(RemoveFile(path).ok());
}

TEST(DeadRunsTest, ARecoveryThatIsStoppedIsFinishedByTheNext) {
  const ManualClock clock;
  for (int stop = 1;; ++stop) {
    const ScratchFolder folder;
    const std::string run = folder.file("run");
    ASSERT_TRUE(MakeTestRun(run).ok());
    LiveAndDie(run, clock);
    int asked = 0;
    const RunInfo info = ReadRunInfo(run).value();
    const Result<RecoveryReport> report =
        RecoverRanks(run, info, {Rank{0}}, [&] { return ++asked >= stop; });
    ASSERT_TRUE(report.ok()) << report.status().ToString();
    EXPECT_EQ(report->ranks_recovered, asked < stop ? 1 : 0);
    ExpectWholePrefix(ReadRun(run), ExpectedLines(0, 5).size());  // step 6 may be in the ring still
    ASSERT_TRUE(RecoverRun(run).ok());
    EXPECT_THAT(ReadRun(run).lines, ElementsAreArray(ExpectedLines(0, 6))) << "stop " << stop;
    EXPECT_THAT(CheckRun(run)->problems, testing::SizeIs(0)) << "stop " << stop;
    if (asked < stop) {
      EXPECT_GT(stop, 2);
      break;
    }
  }
}

TEST(DeadRunsTest, RanksOfOtherMachinesAreLeftToThem) {
  const ScratchFolder folder;
  ManualClock clock;
  uint64_t run_id = 0;
  const std::string run = MakeOwnRun(folder, &run_id);
  const std::string path = SegmentPath(run, run_id, Rank{0}, 1, 1 << 16);
  LeaveSegment(path, run, clock, run_id);
  clock.Advance(kSettledNs);
  // Rank 1 writes on another machine, which holds its locks without our seeing them.
  const std::string journal = JournalPath(run, Rank{1}, 1);
  ASSERT_TRUE(WriteFileAtomically(journal, "live").ok());
  // And rank 0 has come back elsewhere.
  for (const auto& [member, value] :
       {std::pair{&RankInfo::host, "another"}, std::pair{&RankInfo::boot_id, "another"},
        std::pair{&RankInfo::boot_id, ""}}) {
    RankInfo moved = HereIs(Rank{0});
    moved.*member = value;
    ASSERT_TRUE(WriteRankInfo(run, moved).ok());
    EXPECT_THAT(RecoverDeadRuns(folder.path(), clock, kSegmentFolder).recovered, IsEmpty());
    EXPECT_TRUE(PathExists(path));
  }
  ASSERT_TRUE(WriteRankInfo(run, HereIs(Rank{0})).ok());
  EXPECT_THAT(RecoverDeadRuns(folder.path(), clock, kSegmentFolder).recovered,
              testing::ElementsAre(run));
  EXPECT_FALSE(PathExists(path));
  EXPECT_EQ(*ReadWholeFile(journal, 100), "live");
}

TEST(DeadRunsTest, AJobThatHasJustDiedIsLeftToItsWatcher) {
  const ScratchFolder folder;
  ManualClock clock;
  uint64_t run_id = 0;
  const std::string run = MakeOwnRun(folder, &run_id);
  const std::string path = SegmentPath(run, run_id, Rank{0}, 1, 1 << 16);
  LeaveSegment(path, run, clock, run_id);
  clock.Advance(kSettledNs - 1);
  const DeadRunsReport young = RecoverDeadRuns(folder.path(), clock, kSegmentFolder);
  EXPECT_THAT(young.recovered, IsEmpty());
  EXPECT_TRUE(young.again);
  clock.Advance(kForgottenNs);
  {
    const auto lock = WatcherLock::Take(run);
    ASSERT_TRUE(lock.ok()) << lock.status().ToString();
    EXPECT_EQ(WatcherLock::Take(run).status().code(), StatusCode::kUnavailable);
    const DeadRunsReport watched = RecoverDeadRuns(folder.path(), clock, kSegmentFolder);
    EXPECT_THAT(watched.recovered, IsEmpty());
    EXPECT_FALSE(watched.again);
    EXPECT_TRUE(PathExists(path));
  }
  EXPECT_THAT(RecoverDeadRuns(folder.path(), clock, kSegmentFolder).recovered,
              testing::ElementsAre(run));
}

// Files that look like segments of `run`, which are none: nothing of them is touched or believed.
void ExpectLeftAlone(const ScratchFolder& folder, const std::string& path) {
  ManualClock clock;
  clock.Advance(2 * kForgottenNs);
  const DeadRunsReport report = RecoverDeadRuns(folder.path(), clock, folder.path());
  EXPECT_THAT(report.recovered, IsEmpty());
  EXPECT_THAT(report.gone, IsEmpty());
  EXPECT_TRUE(PathExists(path));
}

TEST(DeadRunsTest, WhatIsNoFileOfThisUserIsLeftAlone) {
  const ScratchFolder folder;
  const ManualClock clock;
  const std::string run = folder.file("run");
  const std::string elsewhere = folder.file("elsewhere");
  const std::string path = folder.file("wheeltapper-00c0ffee00c0ffee-r00000-1");
  LeaveSegment(elsewhere, run, clock);
  ASSERT_EQ(symlink(elsewhere.c_str(), path.c_str()), 0);
  ExpectLeftAlone(folder, path);
  ASSERT_TRUE(RemoveFile(path).ok());
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  ExpectLeftAlone(folder, path);
  ASSERT_TRUE(RemoveFile(path).ok());
  constexpr uid_t kNobody = 65534;
  LeaveSegment(path, run, clock);
  if (geteuid() != 0 || chown(path.c_str(), kNobody, kNobody) != 0 ||
      chmod(path.c_str(), 0666) != 0) {
    GTEST_SKIP() << "chown is not permitted here: another user's file was not tested";
  }
  ExpectLeftAlone(folder, path);
  // Neither as part of the run that it says it is of.
  ASSERT_TRUE(MakeTestRun(run).ok());
  const std::string ring = SegmentPathInRun(run, Rank{0}, 1);
  ASSERT_TRUE(RenameFile(path, ring).ok());
  EXPECT_EQ(RecoverRun(run)->ranks_recovered, 0);
  EXPECT_TRUE(PathExists(ring));
}

TEST(DeadRunsTest, ASegmentThatWasCutOffIsPassedOver) {
  const ScratchFolder folder;
  const ManualClock clock;
  const std::string run = folder.file("run");
  const std::string path = folder.file("wheeltapper-00c0ffee00c0ffee-r00000-1");
  LeaveSegment(path, run, clock);
  ASSERT_EQ(truncate(path.c_str(), 100), 0);
  ExpectLeftAlone(folder, path);
  ASSERT_EQ(truncate(path.c_str(), 0), 0);
  ExpectLeftAlone(folder, path);
}

}  // namespace
}  // namespace wheeltapper::format
