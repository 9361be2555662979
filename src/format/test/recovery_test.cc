// Killed at any moment: nothing that was committed is lost, nothing is there twice.
#include <atomic>
#include <functional>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/host.h"
#include "wheeltapper/core/thread.h"

#include "disk_journal_writer.h"
#include "test/killed_job.h"
#include "test/test_run.h"

namespace wheeltapper::format {
namespace {

using testing::ElementsAreArray;
using testing::IsEmpty;

TEST(RecoveryTest, TheRingOfAKilledJobIsReplayed) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  ASSERT_TRUE(MakeTestRun(run).ok());
  const ManualClock clock;
  LiveAndDie(run, clock);
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
    LiveAndDie(run, clock);
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
  for (const int kind : {LOCK_EX, LOCK_SH}) {  // of who recovers it, and of who looks at it
    LeaveSegment(path, run, clock);
    FileDescriptor other = OpenFile(path, O_RDWR).value();
    ASSERT_EQ(flock(other.get(), kind), 0);
    const WatchedClock never([](int /*reads*/) {});
    EXPECT_EQ(RecoverEndedRun(run, never, kPatienceNs)->ranks_alive, 1);
    EXPECT_TRUE(PathExists(path));
    const WatchedClock in_time([&other](int reads) {
      if (reads == 4) {
        other.Close();
      }
    });
    const Result<RecoveryReport> report = RecoverEndedRun(run, in_time, kPatienceNs);
    EXPECT_EQ(report->ranks_alive, 0);
    EXPECT_EQ(report->ranks_recovered, 1);
    EXPECT_FALSE(PathExists(path));
  }
}

TEST(RecoveryTest, WhoWaitsForARankAtTheEndOfItsJobWaitsNoLongerThanItSays) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  ASSERT_TRUE(MakeTestRun(run).ok());
  const ManualClock stands_still;
  const std::string path = SegmentPathInRun(run, Rank{0}, 1);
  LeaveSegment(path, run, stands_still);
  const FileDescriptor alive = OpenFile(path, O_RDWR).value();
  ASSERT_EQ(flock(alive.get(), LOCK_EX), 0);
  EXPECT_EQ(RecoverEndedRun(run, stands_still, 50'000'000)->ranks_alive, 1);
}

TEST(RecoveryTest, RanksOfOtherMachinesAreLeftToThemAtTheEndOfTheJob) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  ASSERT_TRUE(MakeTestRun(run).ok());
  const ManualClock clock;
  LiveAndDie(run, clock);  // or so it looks, where the locks of other machines do not reach
  const std::string ring = SegmentPathInRun(run, Rank{0}, 1);
  const auto say = [&run](const std::string& host, const std::string& boot_id) {
    RankInfo info;
    info.host = host;
    info.boot_id = boot_id;
    return WriteRankInfo(run, info);
  };
  for (const auto& [host, boot_id] :
       {std::pair<std::string, std::string>{"another", ""}, {HostName(), "another"}}) {
    ASSERT_TRUE(say(host, boot_id).ok());
    const RecoveryReport report = RecoverEndedRun(run, clock, 0).value();
    EXPECT_EQ(report.ranks_alive, 1);
    EXPECT_EQ(report.ranks_recovered, 0);
    EXPECT_TRUE(PathExists(ring));
  }
  // Who does not say where it ran is taken for one from here.
  ASSERT_TRUE(say("", "").ok());
  EXPECT_EQ(RecoverEndedRun(run, clock, 0)->ranks_recovered, 1);
  EXPECT_THAT(ReadRun(run).lines, ElementsAreArray(ExpectedLines(0, 6)));
  // A rank that has ended cleanly is waited for nowhere.
  ASSERT_TRUE(say("another", "another").ok());
  EXPECT_EQ(RecoverEndedRun(run, clock, 0)->ranks_alive, 0);
}

TEST(RecoveryTest, ARankInAContainerOfThisMachineIsOneFromHere) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  ASSERT_TRUE(MakeTestRun(run).ok());
  const ManualClock clock;
  LiveAndDie(run, clock);
  RankInfo info;
  info.host = "3f9a1c0b7d2e";
  info.boot_id = BootId();
  ASSERT_TRUE(WriteRankInfo(run, info).ok());
  EXPECT_EQ(RecoverEndedRun(run, clock, 0)->ranks_recovered, 1);
}

TEST(RecoveryTest, StepsInARingThatSomeoneLooksAtWaitForTheNextTry) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  ASSERT_TRUE(MakeTestRun(run).ok());
  const ManualClock clock;
  LiveAndDie(run, clock);
  FileDescriptor look = OpenFile(SegmentPathInRun(run, Rank{0}, 1), O_RDONLY).value();
  ASSERT_EQ(flock(look.get(), LOCK_SH), 0);
  const RecoveryReport report = RecoverRun(run).value();
  EXPECT_EQ(report.ranks_alive, 1);
  EXPECT_EQ(report.ranks_recovered, 0);
  EXPECT_EQ(report.files_sealed, 0U);
  EXPECT_EQ(JournalWriter::Open(TestWriterOptions(run), clock).status().code(),
            StatusCode::kUnavailable)
      << "nor may the next attempt of the rank begin without them";
  look.Close();
  EXPECT_EQ(RecoverRun(run)->ranks_recovered, 1);
  EXPECT_THAT(ReadRun(run).lines, ElementsAreArray(ExpectedLines(0, 6)));
  EXPECT_THAT(CheckRun(run)->problems, testing::SizeIs(0));
}

TEST(RecoveryTest, ARingIsKeptUntilItsRunIsSealed) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  ASSERT_TRUE(MakeTestRun(run).ok());
  const ManualClock clock;
  LiveAndDie(run, clock);
  const std::string ring = SegmentPathInRun(run, Rank{0}, 1);
  // A table that cannot be written, as on a full disk.
  const std::string steps = folder.file("run/steps");
  ASSERT_TRUE(RenameFile(steps, steps + "-aside").ok());
  ASSERT_TRUE(WriteFileAtomically(steps, "").ok());
  EXPECT_FALSE(RecoverRun(run).ok());
  EXPECT_TRUE(PathExists(ring)) << "else nobody finds the run again";
  ASSERT_TRUE(RemoveFile(steps).ok());
  ASSERT_TRUE(RenameFile(steps + "-aside", steps).ok());
  EXPECT_EQ(RecoverRun(run)->ranks_recovered, 1);
  EXPECT_FALSE(PathExists(ring));
  EXPECT_THAT(ReadRun(run).lines, ElementsAreArray(ExpectedLines(0, 6)));
  EXPECT_THAT(CheckRun(run)->problems, testing::SizeIs(0));
}

TEST(RecoveryTest, TheNextAttemptOfARankKeepsNoRingOfTheOneBefore) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  ASSERT_TRUE(MakeTestRun(run).ok());
  const ManualClock clock;
  LiveAndDie(run, clock);
  auto next = Attempt::Start(TestWriterOptions(run), 2, clock);
  ASSERT_NE(next, nullptr);
  EXPECT_FALSE(PathExists(SegmentPathInRun(run, Rank{0}, 1))) << "training may go on for days";
  EXPECT_TRUE(PathExists(SegmentPathInRun(run, Rank{0}, 2)));
  EXPECT_THAT(ReadRun(run).lines, ElementsAreArray(ExpectedLines(0, 6)));
}

}  // namespace
}  // namespace wheeltapper::format
