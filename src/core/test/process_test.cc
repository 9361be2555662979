#include "wheeltapper/core/process.h"

#include <array>

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/host.h"

namespace wheeltapper {
namespace {

// A child that exits with a status once it is let go of.
class HeldChild {
 public:
  explicit HeldChild(int status) {
    std::array<int, 2> hold{};
    EXPECT_EQ(pipe(hold.data()), 0);
    pid_ = fork();
    if (pid_ == 0) {
      close(hold[1]);
      char end = 0;
      (void)!read(hold[0], &end, 1);
      _exit(status);
    }
    close(hold[0]);
    held_ = hold[1];
  }
  [[nodiscard]] pid_t pid() const { return pid_; }
  // Returns once it has exited; it can still be waited for.
  void LetGo() const {
    close(held_);
    while (!HasExited(pid_)) {
      sched_yield();
    }
  }

 private:
  pid_t pid_ = 0;
  int held_ = -1;
};

TEST(ProcessTest, AChildThatHasExitedCanStillBeWaitedFor) {
  const HeldChild child(7);
  EXPECT_FALSE(HasExited(child.pid()));
  child.LetGo();
  int status = 0;
  ASSERT_EQ(waitpid(child.pid(), &status, 0), child.pid());
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_TRUE(HasExited(child.pid()));
}

TEST(ProcessTest, AProcessIsKnownByItsStartUntilItHasEnded) {
  const HeldChild child(0);
  const std::optional<uint64_t> start = ProcessStart(child.pid());
  ASSERT_TRUE(start);
  EXPECT_GE(*start, ProcessStart(getpid()).value());
  EXPECT_EQ(ProcessStart(child.pid()), start);
  child.LetGo();
  EXPECT_FALSE(ProcessStart(child.pid())) << "nobody has asked for its exit status yet";
  ASSERT_EQ(waitpid(child.pid(), nullptr, 0), child.pid());
  EXPECT_FALSE(ProcessStart(child.pid()));
}

TEST(HostTest, TheMachineAndItsStartHaveNames) {
  EXPECT_FALSE(HostName().empty());
  EXPECT_EQ(BootId().size(), 36U) << "a UUID, without its newline";
  EXPECT_EQ(BootId(), BootId());
}

}  // namespace
}  // namespace wheeltapper
