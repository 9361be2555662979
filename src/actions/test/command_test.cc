// What a command writes is kept where it fails, bounded, and delays nobody.
#include <csignal>
#include <functional>
#include <utility>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_directory.h"

#include "command_output.h"
#include "delivery.h"
#include "support/scratch_folder.h"

namespace wheeltapper::actions {
namespace {

constexpr TimeNs kMillisecond = 1'000'000;
constexpr TimeNs kSecond = 1000 * kMillisecond;

// Moves on by a millisecond with each look at it, and says so before.
class LookedAtClock final : public Clock {
 public:
  explicit LookedAtClock(std::function<void(int look)> on_look = {})
      : on_look_(std::move(on_look)) {}
  [[nodiscard]] TimeNs WallNs() const override { return 0; }
  [[nodiscard]] TimeNs MonotonicNs() const override {
    ++looks_;
    if (on_look_) {
      on_look_(looks_);
    }
    return looks_ * kMillisecond;
  }
  [[nodiscard]] int looks() const { return looks_; }

 private:
  std::function<void(int look)> on_look_;
  mutable int looks_ = 0;
};

const Message kMessage{.action = "command", .event = "", .finding_id = "", .body = "{}"};

Delivered RunCommand(const std::string& script, TimeNs timeout_ns = 60 * kSecond,
                     const Clock& clock = SystemClock()) {
  return MakeCommandDelivery({.argv = {"sh", "-c", script}, .timeout_ns = timeout_ns}, clock)
      ->Deliver(kMessage);
}

TEST(CommandOutputTest, BothStreamsAreKeptAndTheLastLineIsTold) {
  const Delivered failed = RunCommand("echo one; echo two >&2; echo; exit 3");
  EXPECT_EQ(failed.output, "one\ntwo\n\n");
  EXPECT_EQ(failed.status.message(), "running the command: exit code 3; it wrote: two");
  const Delivered again = RunCommand("echo later; exit 75");
  EXPECT_EQ(again.status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(again.output, "later\n");
  EXPECT_EQ(RunCommand("exit 3").status.message(), "running the command: exit code 3");
  EXPECT_TRUE(RunCommand("echo fine").status.ok());
}

TEST(CommandOutputTest, OnlyTheEndOfMuchIsKept) {
  const Delivered failed =
      RunCommand("i=0; while [ $i -lt 40000 ]; do echo $i; i=$((i+1)); done; exit 1");
  EXPECT_LE(failed.output.size(), CommandOutput::kMaxBytes);
  EXPECT_GT(failed.output.size(), CommandOutput::kMaxBytes - 10);
  EXPECT_TRUE(failed.output.ends_with("\n39998\n39999\n")) << failed.output.substr(4000);
}

TEST(CommandOutputTest, WhatIsNoUtf8IsReplacedAndNoCharacterIsCutInTwo) {
  EXPECT_EQ(RunCommand("printf 'a\\377b'; exit 1").output, "a\uFFFDb");
  const Delivered many =
      RunCommand("i=0; while [ $i -lt 3000 ]; do printf 'ä'; i=$((i+1)); done; printf x; exit 1");
  EXPECT_EQ(many.output.find("\uFFFD"), std::string::npos);
  EXPECT_TRUE(many.output.starts_with("ä"));
}

TEST(CommandOutputTest, ACommandThatWritesForEverIsKilledInTime) {
  const LookedAtClock clock;
  const Delivered killed = RunCommand("yes", 50 * kMillisecond, clock);
  EXPECT_EQ(killed.status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_LE(killed.output.size(), CommandOutput::kMaxBytes);
  EXPECT_GE(clock.looks(), 51);
  EXPECT_LE(clock.looks(), 52) << "it went on behind the deadline";
}

TEST(CommandOutputTest, AChildThatIsLeftBehindIsNotWaitedFor) {
  const TimeNs begin = SystemClock().MonotonicNs();
  const Delivered failed = RunCommand("sleep 20 & echo $! >&2; exit 1");
  EXPECT_LT(SystemClock().MonotonicNs() - begin, 10 * kSecond);
  ASSERT_FALSE(failed.output.empty());
  EXPECT_EQ(kill(std::stoi(failed.output), SIGKILL), 0);
}

TEST(CommandOutputTest, ACommandThatClosesItsOutputIsStillAwaited) {
  const ScratchFolder scratch;
  const std::string path = scratch.file("done");
  const std::string gate = scratch.file("gate");
  ASSERT_EQ(mkfifo(gate.c_str(), 0600), 0);
  // The first three looks come before anything was read. At the next one the output is at its end,
  // and only then may the command go on to its own.
  const LookedAtClock clock([&gate](int look) {
    if (look == 4) {
      const FileDescriptor opened(open(gate.c_str(), O_WRONLY | O_CLOEXEC));
      EXPECT_TRUE(opened.valid());
    }
  });
  const Delivered delivered =
      RunCommand("exec >&- 2>&-; read x < " + gate + "; : > " + path, 60 * kSecond, clock);
  EXPECT_TRUE(delivered.status.ok()) << delivered.status.ToString();
  EXPECT_TRUE(PathExists(path));
}

TEST(CommandOutputTest, OfACommandThatCouldNotStartItIsNotThatOfTheLastOne) {
  const auto command =
      MakeCommandDelivery({.argv = {"sh", "-c", "echo old; exit 1"}}, SystemClock());
  EXPECT_EQ(command->Deliver(kMessage).output, "old\n");
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const Delivered failed = command->Deliver(kMessage);
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(failed.status.message().rfind("running the command: memfd", 0), 0U)
      << failed.status.ToString();
  EXPECT_EQ(failed.output, "");
}

TEST(CommandOutputTest, OfAFailureItIsOnRecord) {
  const ScratchFolder scratch;
  const ActionRecord failed{.action = "command", .outcome = "failed", .output = "no\nroute"};
  const std::string lines = ActionRecordToJson(failed) + "\n" +
                            ActionRecordToJson({.action = "stop", .outcome = "done"}) + "\n";
  EXPECT_EQ(lines.find("output"), lines.rfind("output"));
  ASSERT_TRUE(WriteFileAtomically(format::ActionsPath(scratch.path()), lines).ok());
  const auto records = ReadActions(scratch.path());
  ASSERT_TRUE(records.ok());
  EXPECT_EQ(records->at(0).output, "no\nroute");
  EXPECT_EQ(records->at(1).output, "");
}

}  // namespace
}  // namespace wheeltapper::actions
