// What a command writes is kept where it fails, bounded, and delays nobody.
#include <csignal>

#include <gtest/gtest.h>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_directory.h"

#include "command_output.h"
#include "delivery.h"
#include "support/scratch_folder.h"

namespace wheeltapper::actions {
namespace {

constexpr TimeNs kSecond = 1'000'000'000;

struct Delivered {
  Status status;
  std::string output;
};

Delivered RunCommand(const std::string& script, TimeNs timeout_ns = 60 * kSecond) {
  const auto command =
      MakeCommandDelivery({.argv = {"sh", "-c", script}, .timeout_ns = timeout_ns}, SystemClock());
  const Status status =
      command->Deliver({.action = "command", .event = "", .finding_id = "", .body = "{}"});
  return {status, command->output()};
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
  const Delivered killed = RunCommand("yes", kSecond / 5);
  EXPECT_EQ(killed.status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_LE(killed.output.size(), CommandOutput::kMaxBytes);
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
  EXPECT_TRUE(RunCommand("exec >&- 2>&-; sleep 0.2; : > " + path).status.ok());
  EXPECT_TRUE(PathExists(path));
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
