#include "wheeltapper/supervisor/job.h"

#include <csignal>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"

#include "support/scratch_folder.h"

namespace wheeltapper::supervisor {
namespace {

constexpr TimeNs kSecond = 1'000'000'000;

JobExit RunToEnd(Job& job, TimeNs limit_ns = 20 * kSecond) {
  const TimeNs give_up = SystemClock().MonotonicNs() + limit_ns;
  while (SystemClock().MonotonicNs() < give_up) {
    if (job.Poll(kSecond / 10)) {
      return job.exit();
    }
  }
  ADD_FAILURE() << "the job did not end";
  return job.exit();
}

std::unique_ptr<Job> MustStart(std::vector<std::string> argv, TimeNs grace_ns = kSecond) {
  JobOptions options;
  options.argv = std::move(argv);
  options.grace_ns = grace_ns;
  Result<std::unique_ptr<Job>> job = Job::Start(options, SystemClock());
  EXPECT_TRUE(job.ok()) << job.status().ToString();
  return job.ok() ? std::move(job).value() : nullptr;
}

// Waits until the shell under test says that it is ready.
void WaitForFile(const std::string& path) {
  const TimeNs give_up = SystemClock().MonotonicNs() + 10 * kSecond;
  while (!PathExists(path) && SystemClock().MonotonicNs() < give_up) {
    sched_yield();
  }
  ASSERT_TRUE(PathExists(path));
}

void WaitUntilStopped(const Job& job) {
  const std::string path = "/proc/" + std::to_string(job.pid()) + "/stat";
  const TimeNs give_up = SystemClock().MonotonicNs() + 10 * kSecond;
  for (bool stopped = false; !stopped; sched_yield()) {
    ASSERT_LT(SystemClock().MonotonicNs(), give_up);
    const Result<std::string> stat = ReadWholeFile(path, 4096);
    stopped = stat.ok() && stat->find(") T ") != std::string::npos;
  }
}

TEST(JobTest, PassesTheExitCodeThrough) {
  auto job = MustStart({"sh", "-c", "exit 37"});
  const JobExit exit = RunToEnd(*job);
  EXPECT_EQ(exit.exit_code, 37);
  EXPECT_EQ(exit.signal, 0);
  EXPECT_FALSE(exit.stop_requested);
}

TEST(JobTest, ACommandIsWaitedForAlsoWhereTheSystemRefusesToWaitForEvents) {
  auto job = MustStart({"sh", "-c", "sleep 0.2; exit 37"});
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  // UBSan opens a pipe to look at an object of a class that is new to it: from here on neither the
  // clock nor the job is.
  (void)SystemClock().MonotonicNs();
  ASSERT_FALSE(job->Poll(0));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);  // more files in one poll() than this are EINVAL
  const JobExit exit = RunToEnd(*job);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(exit.exit_code, 37);
}

TEST(JobTest, ADeathBySignalIs128PlusTheSignal) {
  auto job = MustStart({"sh", "-c", "kill -SEGV $$"});
  const JobExit exit = RunToEnd(*job);
  EXPECT_EQ(exit.signal, SIGSEGV);
  EXPECT_EQ(exit.exit_code, 128 + SIGSEGV);
}

TEST(JobTest, AMissingCommandIsAnErrorThatNamesIt) {
  JobOptions options;
  options.argv = {"no-such-command-wt"};
  const Result<std::unique_ptr<Job>> job = Job::Start(options, SystemClock());
  ASSERT_FALSE(job.ok());
  EXPECT_EQ(job.status().code(), StatusCode::kNotFound);
  EXPECT_NE(job.status().message().find("no-such-command-wt"), std::string::npos);
}

TEST(JobTest, AFileThatIsNotExecutableIsAnError) {
  const ScratchFolder folder;
  const std::string path = folder.file("path");
  ASSERT_TRUE(WriteFileAtomically(path, "not a program").ok());
  JobOptions options;
  options.argv = {path};
  const Result<std::unique_ptr<Job>> job = Job::Start(options, SystemClock());
  ASSERT_FALSE(job.ok());
  EXPECT_EQ(job.status().code(), StatusCode::kFailedPrecondition);
}

TEST(JobTest, AddsToTheEnvironmentAndReplacesWhatWasThere) {
  setenv("WT_JOB_TEST", "old", 1);  // NOLINT(concurrency-mt-unsafe): one thread
  JobOptions options;
  options.argv = {"sh", "-c", "test \"$WT_JOB_TEST\" = new && test -n \"$PATH\""};
  options.environment = {{"WT_JOB_TEST", "new"}};
  Result<std::unique_ptr<Job>> job = Job::Start(options, SystemClock());
  ASSERT_TRUE(job.ok());
  EXPECT_EQ(RunToEnd(**job).exit_code, 0);
}

TEST(JobTest, ForwardsASignalToTheCommandAndRemembersTheInterruption) {
  const ScratchFolder folder;
  const std::string ready = folder.file("ready");
  auto job = MustStart(
      {"sh", "-c", "trap 'exit 55' TERM; : > " + ready + "; while :; do sleep 0.02; done"});
  WaitForFile(ready);
  ASSERT_EQ(kill(getpid(), SIGTERM),
            0);  // to the watcher: this process, which has it blocked and reads a signalfd
  const JobExit exit = RunToEnd(*job);
  EXPECT_EQ(exit.exit_code, 55);
  EXPECT_EQ(exit.interrupted_by, SIGTERM);
  EXPECT_FALSE(exit.stop_requested);
}

TEST(JobTest, AStopIsSigtermFirstAndRecordsTheFirstReason) {
  const ScratchFolder folder;
  const std::string ready = folder.file("ready");
  auto job = MustStart(
      {"sh", "-c", "trap 'exit 0' TERM; : > " + ready + "; while :; do sleep 0.02; done"});
  WaitForFile(ready);
  job->RequestStop("stopped by rule nonfinite");
  job->RequestStop("a later reason");
  const JobExit exit = RunToEnd(*job);
  EXPECT_TRUE(exit.stop_requested);
  EXPECT_EQ(exit.stop_reason, "stopped by rule nonfinite");
  EXPECT_EQ(exit.exit_code, 0);
}

TEST(JobTest, AStopKillsTheWholeGroupAfterTheGrace) {
  const ScratchFolder folder;
  const std::string ready = folder.file("ready");
  // Neither the command nor its child honours SIGTERM.
  auto job = MustStart({"sh", "-c",
                        "trap '' TERM; sleep 1000 & echo $! > " + ready + ".part; mv " + ready +
                            ".part " + ready + "; while :; do sleep 0.02; done"},
                       kSecond / 5);
  WaitForFile(ready);
  const Result<std::string> child = ReadWholeFile(ready, 100);
  ASSERT_TRUE(child.ok());
  job->RequestStop("test");
  const JobExit exit = RunToEnd(*job);
  EXPECT_EQ(exit.signal, SIGKILL);
  EXPECT_EQ(kill(-static_cast<pid_t>(job->pid()), 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

// SIGSTOP: the others would stop this process too where the tests run on a terminal.
TEST(JobTest, AForwardedSignalEndsAStoppedCommand) {
  auto job = MustStart({"sh", "-c", "kill -STOP $$; exit 5"});
  ASSERT_NO_FATAL_FAILURE(WaitUntilStopped(*job));
  ASSERT_EQ(kill(getpid(), SIGTERM), 0);
  const JobExit exit = RunToEnd(*job);
  EXPECT_EQ(exit.signal, SIGTERM);
  EXPECT_EQ(exit.exit_code, 143);
  EXPECT_EQ(exit.interrupted_by, SIGTERM);
}

TEST(JobTest, ContinuingTheWatcherContinuesTheCommand) {
  auto job = MustStart({"sh", "-c", "kill -STOP $$; exit 5"});
  ASSERT_NO_FATAL_FAILURE(WaitUntilStopped(*job));
  ASSERT_EQ(kill(getpid(), SIGCONT), 0);
  EXPECT_EQ(RunToEnd(*job).exit_code, 5);
}

TEST(JobTest, AStopEndsAStoppedCommand) {
  auto job = MustStart({"sh", "-c", "kill -STOP $$; exit 5"}, 10 * kSecond);
  ASSERT_NO_FATAL_FAILURE(WaitUntilStopped(*job));
  job->RequestStop("test");
  EXPECT_EQ(RunToEnd(*job).signal, SIGTERM);
}

TEST(JobTest, AStopKillsACommandThatStopsAgainAfterTheGrace) {
  auto job = MustStart({"sh", "-c", "trap '' TERM; while :; do kill -STOP $$; done"}, kSecond / 5);
  ASSERT_NO_FATAL_FAILURE(WaitUntilStopped(*job));
  job->RequestStop("test");
  EXPECT_EQ(RunToEnd(*job).signal, SIGKILL);
}

TEST(JobTest, WhatTheCallerIgnoresStaysIgnoredAsUnderNohup) {
  (void)signal(SIGHUP, SIG_IGN);
  auto job = MustStart({"sh", "-c", "kill -HUP $$; exit 5"});
  EXPECT_EQ(RunToEnd(*job).exit_code, 5);
  (void)signal(SIGHUP, SIG_DFL);
}

TEST(JobTest, TheCommandHasTheCallersDispositionOfSigpipe) {
  auto job = MustStart({"sh", "-c", "kill -PIPE $$; exit 5"});
  EXPECT_EQ(RunToEnd(*job).signal, SIGPIPE);
}

TEST(JobTest, TheSignalMaskOfTheCommandIsTheOneTheWatcherHad) {
  auto job = MustStart({"sh", "-c", "grep -q '^SigBlk:.*0000000000000000$' /proc/self/status"});
  EXPECT_EQ(RunToEnd(*job).exit_code, 0);
}

}  // namespace
}  // namespace wheeltapper::supervisor
