#include "wheeltapper/core/process.h"

#include <array>

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/host.h"

namespace wheeltapper {
namespace {

TEST(ProcessTest, AChildThatHasExitedCanStillBeWaitedFor) {
  std::array<int, 2> hold{};
  ASSERT_EQ(pipe(hold.data()), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(hold[1]);
    char end = 0;
    (void)!read(hold[0], &end, 1);
    _exit(7);
  }
  close(hold[0]);
  EXPECT_FALSE(HasExited(child));
  close(hold[1]);
  while (!HasExited(child)) {
    sched_yield();
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_TRUE(HasExited(child));
}

TEST(ProcessTest, AProcessIsKnownByItsStartUntilItHasEnded) {
  std::array<int, 2> hold{};
  ASSERT_EQ(pipe(hold.data()), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(hold[1]);
    char end = 0;
    (void)!read(hold[0], &end, 1);
    _exit(0);
  }
  close(hold[0]);
  const std::optional<uint64_t> start = ProcessStart(child);
  ASSERT_TRUE(start);
  EXPECT_GE(*start, ProcessStart(getpid()).value());
  EXPECT_EQ(ProcessStart(child), start);
  close(hold[1]);
  while (!HasExited(child)) {
    sched_yield();
  }
  EXPECT_FALSE(ProcessStart(child)) << "nobody has asked for its exit status yet";
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(ProcessStart(child));
}

TEST(HostTest, TheMachineAndItsStartHaveNames) {
  EXPECT_FALSE(HostName().empty());
  EXPECT_EQ(BootId().size(), 36U) << "a UUID, without its newline";
  EXPECT_EQ(BootId(), BootId());
}

}  // namespace
}  // namespace wheeltapper
