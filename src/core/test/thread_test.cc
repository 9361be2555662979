#include "wheeltapper/core/thread.h"

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <limits>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/env.h"
#include "wheeltapper/core/log.h"
#include "wheeltapper/core/mutex.h"

namespace wheeltapper {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A thread as the training job holds one: on the heap, never destroyed, waiting for ever. It waits
// when this returns: a thread that still starts may hold AddressSanitizer's allocator, and a child
// forked then waits for it for ever at its end.
void StartEndlessThread() {
  struct Endless {
    Mutex mutex;
    CondVar wake;
    CondVar begun;
    bool waits = false;
    Thread thread;
  };
  auto* endless = new Endless();  // NOLINT(cppcoreguidelines-owning-memory)
  const Status started = endless->thread.Start("wt-test-wait", [endless] {
    MutexLock lock(endless->mutex);
    endless->waits = true;
    endless->begun.NotifyOne();
    while (true) {
      endless->wake.Wait(endless->mutex);
    }
  });
  if (!started.ok()) {
    std::abort();
  }
  MutexLock lock(endless->mutex);
  while (!endless->waits) {
    endless->begun.Wait(endless->mutex);
  }
}

TEST(ThreadTest, RunsItsBodyUnderItsName) {
  Thread thread;
  std::string name;
  ASSERT_TRUE(thread
                  .Start("wt-core-averylongname",
                         [&name] {
                           std::array<char, 32> text{};
                           pthread_getname_np(pthread_self(), text.data(), text.size());
                           name = text.data();
                         })
                  .ok());
  thread.Join();
  EXPECT_EQ(name, "wt-core-averylo");  // the kernel keeps 15 bytes
}

TEST(ThreadTest, StartsAgainOnlyAfterJoin) {
  Thread thread;
  std::atomic<int> runs{0};
  ASSERT_TRUE(thread.Start("wt-test", [&runs] { ++runs; }).ok());
  EXPECT_EQ(thread.Start("wt-test", [&runs] { ++runs; }).code(), StatusCode::kFailedPrecondition);
  thread.Join();
  thread.Join();
  EXPECT_FALSE(thread.running());
  ASSERT_TRUE(thread.Start("wt-test", [&runs] { ++runs; }).ok());
  thread.Join();
  EXPECT_EQ(runs, 2);
}

TEST(ThreadTest, SignalsGoToTheUsersThreadsButFaultsStayVisible) {
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  Thread thread;
  sigset_t inside;
  ASSERT_TRUE(
      thread.Start("wt-test", [&inside] { pthread_sigmask(SIG_SETMASK, nullptr, &inside); }).ok());
  thread.Join();
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD, SIGALRM, SIGPROF}) {
    EXPECT_EQ(sigismember(&inside, number), 1) << number;
  }
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    EXPECT_EQ(sigismember(&inside, number), 0) << number;
  }
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  EXPECT_EQ(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
}

TEST(ThreadTest, ExceptionEndsTheThreadAndNotTheProcess) {
  std::vector<std::string> lines;
  SetLogSink([&lines](LogLevel, std::string_view line) { lines.emplace_back(line); },
             LogLevel::kError);
  Thread thread;
  ASSERT_TRUE(thread.Start("wt-test-a", [] { throw std::runtime_error("no memory"); }).ok());
  thread.Join();
  ASSERT_TRUE(thread.Start("wt-test-b", [] { throw 3; }).ok());
  thread.Join();
  SetLogSink({}, LogLevel::kOff);
  EXPECT_THAT(lines, ElementsAre("thread \"wt-test-a\" ended early: no memory",
                                 HasSubstr("unknown exception")));
}

TEST(ThreadTest, LoweredPriorityIsTheThreadsOwn) {
  Thread thread;
  int inside = -1;
  ASSERT_TRUE(thread
                  .Start("wt-test",
                         [&inside] {
                           LowerThreadPriority();
                           inside = sched_getscheduler(0);
                         })
                  .ok());
  thread.Join();
  EXPECT_EQ(inside, SCHED_BATCH);
  EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
}

TEST(ThreadDeathTest, ProcessExitsWithItsOwnCodeWhileAnEndlessThreadRuns) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        StartEndlessThread();
        std::exit(3);
      },
      testing::ExitedWithCode(3), "");
}

TEST(ThreadDeathTest, ForkedChildExitsCleanlyBesideAnEndlessThread) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        StartEndlessThread();
        const pid_t child = fork();
        if (child == 0) {
          std::exit(5);
        }
        int status = 0;
        waitpid(child, &status, 0);
        std::exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
      },
      testing::ExitedWithCode(5), "");
}

TEST(ThreadDeathTest, DestroyingAForgottenThreadIsLoud) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Mutex mutex;
        CondVar wake;
        Thread thread;
        (void)thread.Start("wt-test", [&] {
          MutexLock lock(mutex);
          while (true) {
            wake.Wait(mutex);
          }
        });
      },
      "");
}

TEST(MutexTest, GuardsACounterSharedByThreads) {
  Mutex mutex;
  int counter = 0;
  const auto count = [&] {
    for (int i = 0; i < 10'000; ++i) {
      MutexLock lock(mutex);
      ++counter;
    }
  };
  Thread other;
  ASSERT_TRUE(other.Start("wt-test", count).ok());
  count();
  other.Join();
  EXPECT_EQ(counter, 20'000);
}

TEST(CondVarTest, WaitEndsByNotificationOrByTime) {
  Mutex mutex;
  CondVar wake;
  bool ready = false;
  Thread other;
  {
    MutexLock lock(mutex);
    EXPECT_FALSE(wake.WaitFor(mutex, 1));
    ASSERT_TRUE(other
                    .Start("wt-test",
                           [&] {
                             MutexLock inner(mutex);
                             ready = true;
                             wake.NotifyAll();
                           })
                    .ok());
    // "For ever" must neither overflow into the past nor miss the notification.
    while (!ready) {
      wake.WaitFor(mutex, std::numeric_limits<TimeNs>::max());
    }
  }
  other.Join();
  EXPECT_TRUE(ready);
}

TEST(LogTest, SinkGetsEnabledLinesOnly) {
  std::vector<std::string> lines;
  SetLogSink([&lines](LogLevel, std::string_view line) { lines.emplace_back(line); },
             LogLevel::kWarning);
  EXPECT_FALSE(LogEnabled(LogLevel::kInfo));
  EXPECT_TRUE(LogEnabled(LogLevel::kError));
  EXPECT_FALSE(LogEnabled(LogLevel::kOff));
  Log(LogLevel::kInfo, "quiet");
  Log(LogLevel::kWarning, "loud");
  SetLogSink({}, LogLevel::kDebug);
  Log(LogLevel::kError, "into the void");
  EXPECT_FALSE(LogEnabled(LogLevel::kError));
  EXPECT_THAT(lines, ElementsAre("loud"));
}

TEST(LogTest, SinkMayLogItself) {
  int depth = 0;
  SetLogSink(
      [&depth](LogLevel, std::string_view) {
        if (++depth < 3) {
          Log(LogLevel::kError, "again");
        }
      },
      LogLevel::kError);
  Log(LogLevel::kError, "first");
  SetLogSink({}, LogLevel::kOff);
  EXPECT_EQ(depth, 3);
}

TEST(LogTest, SinkMayBeReplacedWhileOthersLog) {
  std::atomic<int> lines{0};
  Thread other;
  ASSERT_TRUE(other
                  .Start("wt-test",
                         [] {
                           for (int i = 0; i < 2'000; ++i) {
                             Log(LogLevel::kError, "line");
                           }
                         })
                  .ok());
  for (int i = 0; i < 200; ++i) {
    SetLogSink([&lines](LogLevel, std::string_view) { ++lines; }, LogLevel::kError);
  }
  other.Join();
  SetLogSink({}, LogLevel::kOff);
  EXPECT_LE(lines, 2'000);
}

TEST(ClockTest, MachineClockMovesForwardAndKnowsTheDate) {
  const Clock& clock = SystemClock();
  const TimeNs before = clock.MonotonicNs();
  EXPECT_GE(clock.MonotonicNs(), before);
  EXPECT_GT(clock.WallNs(), TimeNs{1'700'000'000} * 1'000'000'000);
}

TEST(ClockTest, ManualClockMovesOnlyWhenTold) {
  ManualClock clock;
  const TimeNs wall = clock.WallNs();
  const TimeNs mono = clock.MonotonicNs();
  EXPECT_EQ(clock.MonotonicNs(), mono);
  clock.Advance(5);
  EXPECT_EQ(clock.WallNs(), wall + 5);
  EXPECT_EQ(clock.MonotonicNs(), mono + 5);
}

TEST(EnvTest, ReadsWhatIsSetAndTellsEmptyFromUnset) {
  setenv("WT_ENV_TEST", "", 1);  // NOLINT(concurrency-mt-unsafe): no other thread runs here
  EXPECT_EQ(GetEnv("WT_ENV_TEST"), "");
  EXPECT_EQ(GetEnv("WT_ENV_TEST_UNSET"), std::nullopt);
  setenv("WT_ENV_TEST", "a=b", 1);  // NOLINT(concurrency-mt-unsafe)
  EXPECT_EQ(CurrentEnvironment().at("WT_ENV_TEST"), "a=b");
  unsetenv("WT_ENV_TEST");  // NOLINT(concurrency-mt-unsafe)
}

}  // namespace
}  // namespace wheeltapper
