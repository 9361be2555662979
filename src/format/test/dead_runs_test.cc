// What jobs leave that were killed together with their watcher, and what the next run makes of it.
#include <array>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <random>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/host.h"
#include "wheeltapper/format/rank_segment.h"
#include "wheeltapper/format/watcher_lock.h"

#include "run_names.h"
#include "test/killed_job.h"
#include "test/test_run.h"

namespace wheeltapper::format {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::IsEmpty;

constexpr uint64_t kOtherDevice = 1;

// A run in the folder that is searched, with a number of its own, for segments in shared memory are
// where all builds look.
class DeadRunsTest : public testing::Test {
 protected:
  DeadRunsTest() {
    RunInfo info;
    info.run_id = run_id_ = std::random_device()() | uint64_t{1} << 63;
    EXPECT_TRUE(MakeDirectories(folder_.file("runs")).ok());
    EXPECT_TRUE(CreateRunDirectory(run_, info).ok());
    EXPECT_TRUE(WriteRankInfo(run_, HereIs(Rank{0})).ok());
    EXPECT_TRUE(MakeDirectories(memory_).ok());
  }
  void TearDown() override { RemoveFile(InMemory()).IgnoreError("most tests leave none"); }

  static RankInfo HereIs(Rank rank) {
    RankInfo info;
    info.rank = rank;
    info.host = HostName();
    info.boot_id = BootId();
    return info;
  }
  // Where recovery looks for the run's segments: in real shared memory, where there is room.
  [[nodiscard]] std::string InMemory() const {
    return SegmentPath(run_, run_id_, Rank{0}, 1, 1 << 16);
  }
  [[nodiscard]] std::string InRun() const { return SegmentPathInRun(run_, Rank{0}, 1); }
  void Leave(const std::string& path) const { LeaveSegment(path, run_, clock_, run_id_); }
  // Another disk or folder than those which page 0 names at first.
  void Put(size_t offset, uint64_t value) const {
    const FileDescriptor segment = OpenFile(segment_, O_RDWR).value();
    ASSERT_TRUE(
        WriteAt(segment, offset, {reinterpret_cast<const uint8_t*>(&value), sizeof(value)}).ok());
  }
  void PutDevice(uint64_t device) const { Put(offsetof(RankPage, run_device), device); }
  // The next run in the same folder, with shared memory of this test's own.
  [[nodiscard]] DeadRunsReport Next() const { return RecoverDeadRuns(storage_, clock_, memory_); }
  // The same with the memory of the machine.
  [[nodiscard]] DeadRunsReport NextInMemory() const {
    return RecoverDeadRuns(storage_, clock_, kSegmentFolder);
  }
  // A run somewhere else.
  [[nodiscard]] DeadRunsReport Elsewhere() const { return RecoverDeadRuns("", clock_, memory_); }

  const ScratchFolder folder_;
  const std::string storage_ = folder_.file("runs");
  const std::string run_ = folder_.file("runs/run");
  const std::string memory_ = folder_.file("memory");
  // Nobody recovers from here: it is only looked at.
  const std::string segment_ = folder_.file("memory/wheeltapper-00c0ffee00c0ffee-r00000-1");
  uint64_t run_id_ = 0;
  ManualClock clock_;
};

TEST_F(DeadRunsTest, MemoryOfRunsThatAreDeletedIsGivenBackAfterADay) {
  Leave(segment_);
  ASSERT_TRUE(RenameFile(run_, run_ + "-moved").ok());
  clock_.Advance(kForgottenNs);
  EXPECT_THAT(Elsewhere().gone, IsEmpty());
  clock_.Advance(1);
  {
    auto alive = RankSegment::Attach(segment_, true);
    ASSERT_TRUE((*alive)->LockWriter().ok());
    EXPECT_THAT(Elsewhere().gone, IsEmpty());
  }
  ASSERT_TRUE(RenameFile(run_ + "-moved", run_).ok());
  EXPECT_THAT(Elsewhere().gone, IsEmpty());
  std::filesystem::remove_all(run_);
  EXPECT_THAT(Elsewhere().gone, ElementsAre(run_));
  EXPECT_FALSE(PathExists(segment_));
}

TEST_F(DeadRunsTest, MemoryOfARunThatIsOnlyOutOfReachIsKept) {
  Leave(segment_);
  clock_.Advance(2 * kForgottenNs);
  const auto expect_kept = [&](const char* why) {
    const DeadRunsReport report = Elsewhere();
    EXPECT_THAT(report.gone, IsEmpty()) << why;
    ASSERT_THAT(report.missing, testing::SizeIs(1)) << why;
    EXPECT_EQ(report.missing[0].segment, segment_) << why;
    EXPECT_EQ(report.missing[0].run_dir, run_) << why;
    EXPECT_TRUE(PathExists(segment_)) << why;
  };
  const std::string aside = folder_.file("aside");
  ASSERT_TRUE(RenameFile(storage_, aside).ok());
  ASSERT_TRUE(WriteFileAtomically(storage_, "").ok());
  expect_kept("the folder of runs is a file");
  ASSERT_TRUE(RemoveFile(storage_).ok());
  ASSERT_TRUE(MakeDirectories(storage_).ok());
  expect_kept("another container has a folder of runs there");
  std::filesystem::remove_all(storage_);
  ASSERT_TRUE(RenameFile(aside, storage_).ok());
  std::filesystem::remove_all(run_);
  ASSERT_TRUE(MakeDirectories(run_).ok());
  expect_kept("the run is an empty mount point itself");
  std::filesystem::remove_all(run_);
  PutDevice(kOtherDevice);
  expect_kept("the folder of runs is an empty mount point");
  PutDevice(0);
  expect_kept("nobody knows which disk it lay on");
  std::filesystem::remove_all(storage_);
  PutDevice(kOtherDevice);
  expect_kept("the mount point is gone too");
}

TEST_F(DeadRunsTest, MemoryIsGivenBackAlsoWhenTheWholeFolderOfRunsIsDeleted) {
  Leave(segment_);
  clock_.Advance(2 * kForgottenNs);
  std::filesystem::remove_all(storage_);
  EXPECT_THAT(Elsewhere().gone, ElementsAre(run_));
  EXPECT_FALSE(PathExists(segment_));
}

TEST_F(DeadRunsTest, OfAnotherContainersPathTheRootSaysNothing) {
  LeaveSegment(segment_, "/wheeltapper-test-no-such-folder/run", clock_);
  struct stat root{};
  ASSERT_EQ(stat("/", &root), 0);
  PutDevice(root.st_dev);
  Put(offsetof(RankPage, folder_inodes) + sizeof(uint64_t), root.st_ino);
  clock_.Advance(2 * kForgottenNs);
  EXPECT_THAT(Elsewhere().missing, testing::SizeIs(1));
  EXPECT_TRUE(PathExists(segment_));
}

// Whether a file in `folder` is opened while `body` runs.
bool IsTouched(const std::string& folder, const std::function<void()>& body) {
  const FileDescriptor events(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  EXPECT_GE(inotify_add_watch(events.get(), folder.c_str(), IN_OPEN | IN_ACCESS), 0);
  body();
  std::array<char, 4096> buffer{};
  return read(events.get(), buffer.data(), buffer.size()) > 0;
}

TEST_F(DeadRunsTest, ARunElsewhereIsNotAskedAboutWithinItsDay) {
  Leave(segment_);
  clock_.Advance(kForgottenNs);
  EXPECT_FALSE(IsTouched(run_, [this] { (void)Elsewhere(); }))
      << "its file server may be away: the run that asks would never end";
  clock_.Advance(1);
  EXPECT_TRUE(IsTouched(run_, [this] { (void)Elsewhere(); }));
}

TEST_F(DeadRunsTest, ASearchThatIsStoppedAsksAboutNoFurtherRun) {
  for (const char* number : {"1", "2", "3"}) {
    Leave(folder_.file("memory/wheeltapper-0-r00000-") + number);
  }
  std::filesystem::remove_all(run_);
  clock_.Advance(2 * kForgottenNs);
  int asked = 0;
  (void)RecoverDeadRuns("", clock_, memory_, [&asked] { return ++asked > 2; });
  EXPECT_THAT(ListDirectory(memory_).value(), ElementsAre("wheeltapper-0-r00000-3"));
}

TEST_F(DeadRunsTest, AJobKilledBeforeItsFirstHeartbeatHasItsDayToo) {
  SegmentOptions options;
  options.path = segment_;
  options.run_dir = folder_.file("runs/none");
  options.journal_ring_bytes = 1 << 16;
  ASSERT_TRUE(RankSegment::Create(options).ok());
  EXPECT_GT(RankSegment::Attach(segment_, false).value()->page().heartbeat_ns.load(), 0);
  EXPECT_THAT(RecoverDeadRuns("", SystemClock(), memory_).gone, IsEmpty());
  EXPECT_TRUE(PathExists(segment_));
}

TEST_F(DeadRunsTest, ARunInTheSameFolderIsMadeWhole) {
  for (const std::string& path : {InMemory(), InRun()}) {
    Leave(path);
    clock_.Advance(kSettledNs);
    EXPECT_THAT(RecoverDeadRuns("/somewhere/else", clock_, kSegmentFolder).recovered, IsEmpty());
    EXPECT_TRUE(PathExists(path));
    EXPECT_THAT(NextInMemory().recovered, ElementsAre(run_));
    EXPECT_FALSE(PathExists(path));
  }
}

TEST_F(DeadRunsTest, StepsInARingThatLiesInItsRunAreBroughtInAlsoWhereTheRunHasMoved) {
  const std::string run = folder_.file("before");
  ASSERT_TRUE(MakeTestRun(run).ok());
  ASSERT_TRUE(WriteRankInfo(run, HereIs(Rank{0})).ok());
  LiveAndDie(run, clock_);
  const std::string moved = folder_.file("runs/moved");
  ASSERT_TRUE(RenameFile(run, moved).ok());
  EXPECT_TRUE(Next().again) << "its watcher may still be at it";
  clock_.Advance(kSettledNs);
  ASSERT_EQ(symlink(moved.c_str(), folder_.file("runs/latest").c_str()), 0);
  EXPECT_THAT(Next().recovered, ElementsAre(moved)) << "and not again through the link";
  EXPECT_THAT(ReadRun(moved).lines, ElementsAreArray(ExpectedLines(0, 6)));
  EXPECT_THAT(CheckRun(moved)->problems, testing::SizeIs(0));
}

TEST_F(DeadRunsTest, ARingOfAnotherRunIsLeftWhereItLies) {
  LeaveSegment(InRun(), run_, clock_, run_id_ + 1);
  clock_.Advance(2 * kForgottenNs);
  const DeadRunsReport report = Next();
  EXPECT_THAT(report.recovered, IsEmpty());
  EXPECT_THAT(report.gone, IsEmpty());
  EXPECT_THAT(report.missing, IsEmpty());
  EXPECT_TRUE(PathExists(InRun()));
}

TEST_F(DeadRunsTest, ARunThatCannotBeMadeWholeIsTold) {
  Leave(InMemory());
  clock_.Advance(kSettledNs);
  std::filesystem::remove_all(JoinPath(run_, kJournalFolder));
  ASSERT_TRUE(WriteFileAtomically(JoinPath(run_, kJournalFolder), "").ok());
  const DeadRunsReport report = NextInMemory();
  EXPECT_THAT(report.recovered, IsEmpty());
  EXPECT_THAT(report.failed, ElementsAre(testing::StartsWith(run_ + ": ")));
}

TEST_F(DeadRunsTest, ARecoveryThatIsStoppedIsFinishedByTheNext) {
  for (int stop = 1;; ++stop) {
    const ScratchFolder folder;
    const std::string run = folder.file("run");
    ASSERT_TRUE(MakeTestRun(run).ok());
    ASSERT_TRUE(WriteRankInfo(run, HereIs(Rank{0})).ok());
    LiveAndDie(run, clock_);
    clock_.Advance(kSettledNs);
    int asked = 0;
    const DeadRunsReport first =
        RecoverDeadRuns(folder.path(), clock_, memory_, [&] { return ++asked >= stop; });
    const bool stopped = asked >= stop;
    EXPECT_THAT(first.failed, IsEmpty());
    EXPECT_EQ(first.recovered.empty(), stopped) << "stop " << stop;
    ExpectWholePrefix(ReadRun(run), ExpectedLines(0, 5).size());  // step 6 may be in the ring still
    const DeadRunsReport second = RecoverDeadRuns(folder.path(), clock_, memory_);
    EXPECT_EQ(second.recovered.empty(), !stopped) << "stop " << stop;
    EXPECT_THAT(ReadRun(run).lines, ElementsAreArray(ExpectedLines(0, 6))) << "stop " << stop;
    EXPECT_THAT(CheckRun(run)->problems, testing::SizeIs(0)) << "stop " << stop;
    if (!stopped) {
      EXPECT_GT(stop, 2);
      break;
    }
  }
}

TEST_F(DeadRunsTest, RanksOfOtherMachinesAreLeftToThem) {
  // Rank 1 writes on another machine, which holds its locks without our seeing them.
  const std::string journal = JournalPath(run_, Rank{1}, 1);
  ASSERT_TRUE(WriteFileAtomically(journal, "live").ok());
  for (const std::string& path : {InMemory(), InRun()}) {
    Leave(path);
    clock_.Advance(kSettledNs);
    // And rank 0 has come back elsewhere.
    for (const char* boot_id : {"another", ""}) {
      RankInfo moved = HereIs(Rank{0});
      moved.boot_id = boot_id;
      ASSERT_TRUE(WriteRankInfo(run_, moved).ok());
      EXPECT_THAT(NextInMemory().recovered, IsEmpty());
      EXPECT_TRUE(PathExists(path));
    }
    ASSERT_TRUE(WriteRankInfo(run_, HereIs(Rank{0})).ok());
    EXPECT_THAT(NextInMemory().recovered, ElementsAre(run_));
    EXPECT_FALSE(PathExists(path));
    EXPECT_EQ(*ReadWholeFile(journal, 100), "live");
  }
}

class YoungSegmentTest : public DeadRunsTest {
 protected:
  void ExpectLeftToItsWatcher(const std::string& path) {
    Leave(path);
    clock_.Advance(kSettledNs - 1);
    const DeadRunsReport young = NextInMemory();
    EXPECT_THAT(young.recovered, IsEmpty());
    EXPECT_TRUE(young.again);
    clock_.Advance(kForgottenNs);
    {
      const auto lock = WatcherLock::Take(run_);
      ASSERT_TRUE(lock.ok()) << lock.status().ToString();
      EXPECT_EQ(WatcherLock::Take(run_).status().code(), StatusCode::kUnavailable);
      const DeadRunsReport watched = NextInMemory();
      EXPECT_THAT(watched.recovered, IsEmpty());
      EXPECT_FALSE(watched.again);
      EXPECT_TRUE(PathExists(path));
    }
    EXPECT_THAT(NextInMemory().recovered, ElementsAre(run_));
  }
};

TEST_F(YoungSegmentTest, InMemoryIsLeftToTheWatcherOfItsJob) { ExpectLeftToItsWatcher(InMemory()); }

TEST_F(YoungSegmentTest, InARunIsLeftToTheWatcherOfItsJob) { ExpectLeftToItsWatcher(InRun()); }

// Files that look like segments of runs, which are none: nothing of them is touched or believed.
class StrangeSegmentTest : public DeadRunsTest {
 protected:
  void ExpectLeftAlone() {
    const DeadRunsReport report = Next();
    EXPECT_THAT(report.recovered, IsEmpty());
    EXPECT_THAT(report.gone, IsEmpty());
    EXPECT_THAT(report.missing, IsEmpty());
    EXPECT_TRUE(PathExists(segment_));
  }
  // What a killed job left whose run is missing: it would be told, were it a segment.
  void LeaveMissing(const std::string& path) {
    LeaveSegment(path, folder_.file("unmounted/runs/run"), clock_);
    clock_.Advance(2 * kForgottenNs);
  }
};

TEST_F(StrangeSegmentTest, WhatIsNoFileOfThisUserIsLeftAlone) {
  const std::string elsewhere = folder_.file("elsewhere");
  LeaveMissing(elsewhere);
  ASSERT_EQ(symlink(elsewhere.c_str(), segment_.c_str()), 0);
  ExpectLeftAlone();
  ASSERT_TRUE(RemoveFile(segment_).ok());
  ASSERT_EQ(mkfifo(segment_.c_str(), 0600), 0);
  ExpectLeftAlone();
  ASSERT_TRUE(RemoveFile(segment_).ok());
  constexpr uid_t kNobody = 65534;
  LeaveMissing(segment_);
  EXPECT_THAT(Next().missing, testing::SizeIs(1)) << "as long as it is this user's";
  if (geteuid() != 0 || chown(segment_.c_str(), kNobody, kNobody) != 0 ||
      chmod(segment_.c_str(), 0666) != 0) {
    GTEST_SKIP() << "chown is not permitted here: another user's file was not tested";
  }
  ExpectLeftAlone();
  // Neither as part of the run that it says it is of.
  ASSERT_TRUE(RenameFile(segment_, InRun()).ok());
  EXPECT_THAT(Next().recovered, IsEmpty());
  EXPECT_EQ(RecoverRun(run_)->ranks_recovered, 0);
  EXPECT_TRUE(PathExists(InRun()));
}

TEST_F(StrangeSegmentTest, ASegmentThatWasCutOffIsPassedOver) {
  LeaveMissing(segment_);
  ASSERT_EQ(truncate(segment_.c_str(), 100), 0);
  ExpectLeftAlone();
  ASSERT_EQ(truncate(segment_.c_str(), 0), 0);
  ExpectLeftAlone();
}

}  // namespace
}  // namespace wheeltapper::format
