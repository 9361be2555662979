#include "first_stop.h"

#include <functional>

#include <gtest/gtest.h>

#include "wheeltapper/core/clock.h"

namespace wheeltapper::cli {
namespace {

// Keeps the first reason that it is given, as a job does; something may come in between.
class KeepingJob final : public actions::JobControl {
 public:
  std::function<void()> between;
  std::string reason;

  void RequestStop(const std::string& asked) override {
    if (std::function<void()> once = std::exchange(between, nullptr); once) {
      once();
    }
    reason = reason.empty() ? asked : reason;
  }
};

TEST(FirstStopTest, NotesWhoAskedFirst) {
  KeepingJob job;
  FirstStop first(&job, SystemClock());
  EXPECT_EQ(first.asked().wall_ns, 0);
  StopOfRun(&first, "exp").RequestStop("stopped by rule overfit");
  StopOfRun(&first, "exp-2").RequestStop("stopped by rule nonfinite");
  EXPECT_GT(first.asked().wall_ns, 0);
  EXPECT_EQ(first.asked().run, "exp");
  EXPECT_EQ(first.asked().reason, "stopped by rule overfit");
  EXPECT_EQ(job.reason, "stopped by rule overfit");
}

// Two threads: the second one's call overtakes the first one's.
TEST(FirstStopTest, TheJobsReasonIsThatOfTheRunThatIsNotedWhoeverReachesTheJobFirst) {
  KeepingJob job;
  FirstStop first(&job, SystemClock());
  job.between = [&] { first.Ask("exp-2", "stopped by rule nonfinite"); };
  first.Ask("exp", "stopped by rule overfit");
  EXPECT_EQ(first.asked().run, "exp");
  EXPECT_EQ(job.reason, first.asked().reason);
}

}  // namespace
}  // namespace wheeltapper::cli
