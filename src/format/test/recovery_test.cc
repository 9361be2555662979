// Killed at any moment: nothing that was committed is lost, nothing is there twice.
#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <random>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/host.h"
#include "wheeltapper/core/thread.h"
#include "wheeltapper/format/watcher_lock.h"

#include "disk_journal_writer.h"
#include "recover_run.h"
#include "run_names.h"
#include "test/test_run.h"

namespace wheeltapper::format {
namespace {

using testing::ElementsAreArray;
using testing::IsEmpty;

// What a job does: two files, the first sealed, the second left for recovery.
void LiveShortly(const std::string& run, const Clock& clock) {
  auto attempt = Attempt::Start(TestWriterOptions(run), 1, clock, 1 << 16, 1 << 16);
  if (attempt == nullptr) {
    _exit(3);
  }
  attempt->WriteNames();
  for (int64_t step = 0; step < 4; ++step) {
    attempt->WriteStep(step);
  }
  bool ok = attempt->writer->Drain(*attempt->segment).ok();
  ok = ok && attempt->writer->RotateIfDue(true).ok();
  attempt->WriteStep(4);
  ok = ok && attempt->writer->Drain(*attempt->segment).ok();
  ok = ok && attempt->writer->SealNext().ok();
  attempt->WriteStep(5);
  ok = ok && attempt->writer->Drain(*attempt->segment).ok();
  attempt->WriteStep(6);  // stays in the ring
  _exit(ok ? 0 : 3);
}

// Runs `body` in a child that is killed when it enters its n-th system call. True when it got so
// far.
bool RunKilledAt(int n, const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    raise(SIGSTOP);
    body();
    _exit(0);
  }
  int state = 0;
  waitpid(child, &state, 0);
  ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_EXITKILL);
  for (int stop = 0; stop < 2 * n; ++stop) {  // each call stops on entry and on return
    ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    waitpid(child, &state, 0);
    if (WIFEXITED(state) || WIFSIGNALED(state)) {
      return false;
    }
  }
  kill(child, SIGKILL);
  waitpid(child, &state, 0);
  return true;
}

bool CanTrace() {
  const pid_t child = fork();
  if (child == 0) {
    _exit(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0 ? 0 : 1);
  }
  int state = 0;
  waitpid(child, &state, 0);
  return WIFEXITED(state) && WEXITSTATUS(state) == 0;
}

// The steps that the lines of a run hold must be a prefix, whole and in order.
void ExpectWholePrefix(const RunText& text, size_t at_least) {
  EXPECT_THAT(text.gaps, IsEmpty());
  const std::vector<std::string> all = ExpectedLines(0, 6);
  ASSERT_LE(text.lines.size(), all.size());
  ASSERT_GE(text.lines.size(), at_least);
  EXPECT_TRUE(std::equal(text.lines.begin(), text.lines.end(), all.begin()));
}

TEST(RecoveryTest, TheRingOfAKilledJobIsReplayed) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  ASSERT_TRUE(MakeTestRun(run).ok());
  const ManualClock clock;
  const pid_t child = fork();
  if (child == 0) {
    LiveShortly(run, clock);
  }
  int state = 0;
  waitpid(child, &state, 0);
  ASSERT_EQ(state, 0);
  const RecoveryReport report = RecoverRun(run).value();
  EXPECT_EQ(report.ranks_recovered, 1);
  EXPECT_GT(report.records_replayed, 3U);
  EXPECT_EQ(report.steps_discarded, 0U);
  EXPECT_THAT(report.skipped, IsEmpty());
  EXPECT_THAT(ReadRun(run).lines, ElementsAreArray(ExpectedLines(0, 6)));
  EXPECT_THAT(CheckRun(run)->problems, testing::SizeIs(0));
  EXPECT_EQ(RecoverRun(run)->ranks_recovered, 0) << "idempotent";
}

TEST(RecoveryTest, AJobKilledAtAnySystemCallLosesNoCommittedStep) {
  if (!CanTrace()) {
    GTEST_SKIP() << "ptrace is not permitted here: the kill matrix did not run";
  }
  const ManualClock clock;
  int n = 1;
  // Every call while files are made and sealed; the stride keeps the test short on a slow machine.
  for (bool killed = true; killed; n += 3) {
    const ScratchFolder folder;
    const std::string run = folder.file("run");
    ASSERT_TRUE(MakeTestRun(run).ok());
    killed = RunKilledAt(n, [&] { LiveShortly(run, clock); });
    const RunText before = ReadRun(run);
    ExpectWholePrefix(before, 0);
    const auto report = RecoverRun(run);
    ASSERT_TRUE(report.ok()) << "call " << n << ": " << report.status().ToString();
    const RunText after = ReadRun(run);
    ExpectWholePrefix(after, before.lines.size());
    EXPECT_THAT(CheckRun(run)->problems, testing::SizeIs(0)) << "call " << n;
    if (testing::Test::HasFailure()) {
      FAIL() << "killed at system call " << n;
    }
  }
  RecordProperty("system_calls", n);
  EXPECT_GT(n, 60);
}

TEST(RecoveryTest, ARecoveryKilledAtAnySystemCallIsFinishedByTheNext) {
  if (!CanTrace()) {
    GTEST_SKIP() << "ptrace is not permitted here: the kill matrix did not run";
  }
  const ManualClock clock;
  for (int n = 1;; n += 5) {
    const ScratchFolder folder;
    const std::string run = folder.file("run");
    ASSERT_TRUE(MakeTestRun(run).ok());
    ASSERT_FALSE(RunKilledAt(100'000, [&] { LiveShortly(run, clock); }));
    const bool killed = RunKilledAt(n, [&] { _exit(RecoverRun(run).ok() ? 0 : 1); });
    ASSERT_TRUE(RecoverRun(run).ok()) << "call " << n;
    ASSERT_THAT(ReadRun(run).lines, ElementsAreArray(ExpectedLines(0, 6))) << "call " << n;
    ASSERT_THAT(CheckRun(run)->problems, testing::SizeIs(0)) << "call " << n;
    if (!killed) {
      break;
    }
  }
}

TEST(RecoveryTest, SealingStoppedAfterAnyStepIsFinishedLater) {
  const ManualClock clock;
  for (int stop = 1;; ++stop) {
    const ScratchFolder folder;
    const std::string run = folder.file("run");
    ASSERT_TRUE(MakeTestRun(run).ok());
    int steps = 0;
    {
      const WriterOptions options = TestWriterOptions(run);
      auto attempt = Attempt::Start(options, 1, clock, 1 << 16, 1 << 16);
      attempt->WriteNames();
      for (int64_t step = 0; step < 4; ++step) {
        attempt->WriteStep(step);
      }
      ASSERT_TRUE(attempt->writer->Drain(*attempt->segment).ok());
      ASSERT_TRUE(attempt->writer->RotateIfDue(true).ok());
      auto& writer = static_cast<DiskJournalWriter&>(*attempt->writer);
      writer.SetSealProbeForTesting([&](std::string_view) {
        return ++steps == stop ? CancelledError("stopped here") : Status();
      });
      const Result<bool> sealed = writer.SealNext();
      EXPECT_EQ(sealed.ok(), steps < stop);
      EXPECT_THAT(ReadRun(run).lines, ElementsAreArray(ExpectedLines(0, 3))) << "step " << stop;
    }
    ASSERT_TRUE(RecoverRun(run).ok());
    EXPECT_THAT(ReadRun(run).lines, ElementsAreArray(ExpectedLines(0, 3))) << "step " << stop;
    if (steps < stop) {
      EXPECT_GT(stop, 9);
      break;
    }
  }
}

TEST(RecoveryTest, ALiveRankIsLeftAlone) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  ASSERT_TRUE(MakeTestRun(run).ok());
  const ManualClock clock;
  auto attempt = Attempt::Start(TestWriterOptions(run), 1, clock);
  attempt->WriteNames();
  attempt->WriteStep(0);
  ASSERT_TRUE(attempt->writer->Drain(*attempt->segment).ok());
  const RecoveryReport report = RecoverRun(run).value();
  EXPECT_EQ(report.ranks_alive, 1);
  EXPECT_EQ(report.ranks_recovered, 0);
  attempt->WriteStep(1);
  ASSERT_TRUE(attempt->writer->Drain(*attempt->segment).ok());
  EXPECT_THAT(ReadRun(run).lines, ElementsAreArray(ExpectedLines(0, 1)));
}

TEST(RecoveryTest, AFullDiskKeepsEverythingRetryable) {
  const ScratchFolder folder;
  const std::string small = folder.file("small");
  ASSERT_TRUE(MakeDirectories(small).ok());
  if (geteuid() != 0 || mount("tmpfs", small.c_str(), "tmpfs", 0, "size=2m") != 0) {
    GTEST_SKIP() << "mounting a tmpfs is not permitted here: the full disk was not tested";
  }
  const std::string run = small + "/run";
  {
    const ManualClock clock;
    ASSERT_TRUE(MakeTestRun(run).ok());
    WriterOptions options = TestWriterOptions(run);
    auto attempt = Attempt::Start(options, 1, clock, 1 << 18, 1 << 16);
    ASSERT_NE(attempt, nullptr);
    attempt->WriteNames();
    attempt->WriteStep(0);
    ASSERT_TRUE(attempt->writer->Drain(*attempt->segment).ok());
    // All the room there is.
    const std::string ballast = small + "/ballast";
    {
      const FileDescriptor file = OpenFile(ballast, O_WRONLY | O_CREAT).value();
      const std::vector<uint8_t> page(4096);
      while (WriteAll(file, page).ok()) {
      }
    }
    for (int64_t step = 1; step <= 30; ++step) {
      attempt->WriteStep(step);
    }
    EXPECT_FALSE(attempt->producer->full());
    for (int round = 0; round < 3; ++round) {
      const auto drained = attempt->writer->Drain(*attempt->segment);
      EXPECT_EQ(drained.status().code(), StatusCode::kResourceExhausted);
      EXPECT_THAT(ReadRun(run).gaps, IsEmpty());
    }
    ASSERT_TRUE(RemoveFile(ballast).ok());
    const auto drained = attempt->writer->Drain(*attempt->segment);
    ASSERT_TRUE(drained.ok()) << drained.status().ToString();
    EXPECT_THAT(ReadRun(run).lines, ElementsAreArray(ExpectedLines(0, 30)));
    EXPECT_TRUE(attempt->writer->Close().ok());
    EXPECT_THAT(ReadRun(run).lines, ElementsAreArray(ExpectedLines(0, 30)));
  }
  umount(small.c_str());
}

TEST(RecoveryTest, AReaderFollowsWhileOneThreadWritesAndAnotherSeals) {
  constexpr int64_t kSteps = 300;
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  ASSERT_TRUE(MakeTestRun(run).ok());
  const ManualClock clock;
  auto attempt = Attempt::Start(TestWriterOptions(run), 1, clock, 1 << 20, 1 << 20);
  std::atomic<bool> written = false;
  std::atomic<bool> failed = false;
  Thread sealer;
  Thread writer;
  ASSERT_TRUE(sealer
                  .Start("wt-test-seal",
                         [&] {
                           while (!written) {
                             failed = failed || !attempt->writer->SealNext().ok();
                           }
                         })
                  .ok());
  ASSERT_TRUE(writer
                  .Start("wt-test-write",
                         [&] {
                           attempt->WriteNames();
                           for (int64_t step = 0; step < kSteps; ++step) {
                             attempt->WriteStep(step);
                             failed = failed || !attempt->writer->Drain(*attempt->segment).ok();
                             if (step % 25 == 24) {
                               failed = failed || !attempt->writer->RotateIfDue(true).ok();
                             }
                           }
                           written = true;
                         })
                  .ok());
  auto reader = RunReader::Open(run).value();
  std::vector<std::string> lines;
  const auto poll = [&] {
    ASSERT_TRUE(reader
                    ->Poll([&](StepBatch&& batch) {
                      EXPECT_THAT(batch.gaps, testing::SizeIs(0));
                      for (std::string& line : BatchLines(batch, *reader)) {
                        lines.push_back(std::move(line));
                      }
                    })
                    .ok());
  };
  while (!written) {
    poll();
  }
  writer.Join();
  sealer.Join();
  ASSERT_TRUE(attempt->writer->Close().ok());
  EndInfo end;
  end.state = "finished";
  ASSERT_TRUE(WriteEnd(run, end).ok());
  EXPECT_FALSE(reader->end().has_value());
  poll();
  EXPECT_TRUE(reader->end().has_value());
  EXPECT_FALSE(failed);
  EXPECT_TRUE(lines == ExpectedLines(0, kSteps - 1)) << lines.size();
  EXPECT_THAT(reader->skipped(), testing::SizeIs(0));
  EXPECT_TRUE(ReadRun(run).lines == ExpectedLines(0, kSteps - 1));
}

// A segment that a killed writer of `run_dir` left at `path`, its last heartbeat at `clock`'s time.
void LeaveSegment(const std::string& path, const std::string& run_dir, const Clock& clock,
                  uint64_t run_id = kTestRunId) {
  SegmentOptions options;
  options.path = path;
  options.run_dir = run_dir;
  options.run_id = run_id;
  options.journal_ring_bytes = 1 << 16;
  auto segment = RankSegment::Create(options);
  ASSERT_TRUE(segment.ok()) << segment.status().ToString();
  (*segment)->page().heartbeat_ns.store(clock.MonotonicNs());
}

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
    ASSERT_FALSE(RunKilledAt(100'000, [&] { LiveShortly(run, clock); }));
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

// Moves on by a second and calls `look` whenever it is read.
class WatchedClock final : public Clock {
 public:
  explicit WatchedClock(std::function<void(int)> look) : look_(std::move(look)) {}
  [[nodiscard]] TimeNs WallNs() const override { return 0; }
  [[nodiscard]] TimeNs MonotonicNs() const override {
    look_(++reads_);
    return reads_ * TimeNs{1'000'000'000};
  }

 private:
  std::function<void(int)> look_;
  mutable int reads_ = 0;
};

TEST(RecoveryTest, ARankWhoseLockIsHeldForAMomentIsRecoveredAtTheEndOfItsJob) {
  constexpr TimeNs kPatienceNs = 10'000'000'000;
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  ASSERT_TRUE(MakeTestRun(run).ok());
  const ManualClock clock;
  const std::string path = SegmentPathInRun(run, Rank{0}, 1);
  LeaveSegment(path, run, clock);
  std::unique_ptr<RankSegment> other = RankSegment::Attach(path, true).value();
  ASSERT_TRUE(other->LockWriter().ok());
  const WatchedClock never([](int /*reads*/) {});
  EXPECT_EQ(RecoverEndedRun(run, never, kPatienceNs)->ranks_alive, 1);
  const WatchedClock in_time([&other](int reads) {
    if (reads == 4) {
      other.reset();
    }
  });
  const Result<RecoveryReport> report = RecoverEndedRun(run, in_time, kPatienceNs);
  EXPECT_EQ(report->ranks_alive, 0);
  EXPECT_EQ(report->ranks_recovered, 1);
  EXPECT_FALSE(PathExists(path));
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
