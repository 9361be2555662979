// What becomes of messages that could not be delivered while their run was watched.
#include "leftovers.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/log.h"

#include "support/scratch_folder.h"

namespace wheeltapper::actions {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr TimeNs kSecond = 1'000'000'000;
constexpr const char* kRefuses = "exit 75";  // a receiver that is down for now

rules::Finding MakeFinding(const std::string& id) {
  rules::Finding finding;
  finding.id = id;
  finding.rule = "nonfinite";
  finding.severity = rules::Severity::kCritical;
  finding.message = "NaN in \"loss\"";
  return finding;
}

class LeftoversTest : public testing::Test {
 protected:
  void TearDown() override { SetLogSink({}, LogLevel::kOff); }

  std::string RunDir(const std::string& name) {
    const std::string path = storage_ + "/" + name;
    EXPECT_TRUE(MakeDirectories(path).ok());
    return path;
  }
  [[nodiscard]] Config ConfigFor(const std::string& script) const {
    ConfigSources sources;
    sources.flags = {{"storage.path", storage_, "--set"}};
    if (!script.empty()) {
      sources.flags.push_back({"actions.command.argv", "sh,-c," + script, "--set"});
    }
    return Config::Load(sources).value();
  }
  [[nodiscard]] std::unique_ptr<ActionRouter> Route(const std::string& run_dir,
                                                    const std::string& script) const {
    return ActionRouter::Create(ConfigFor(script), run_dir, nullptr, SystemClock()).value();
  }
  // A run whose receiver is down. Returns what is said at its end.
  std::string LeaveMessage(const std::string& run_dir) const {
    const auto router = Route(run_dir, kRefuses);
    router->Opened(MakeFinding("nonfinite-1"));
    const Status left = router->Drain(kSecond / 10);
    EXPECT_EQ(left.code(), StatusCode::kDeadlineExceeded);
    return left.message();
  }
  [[nodiscard]] std::string Received() const { return ReadWholeFile(out_, 1 << 20).value_or(""); }

  ScratchFolder folder_;
  std::string storage_ = folder_.file("runs");
  std::string out_ = folder_.file("received");
  std::string receives_ = "cat >> " + out_;
};

TEST_F(LeftoversTest, TheEndOfARunSaysWhatWasNotDeliveredAndWhoSendsIt) {
  const std::string run = RunDir("a");
  EXPECT_EQ(LeaveMessage(run),
            "1 message not delivered (command): kept in " + run +
                "/actions, and sent by the next `wheeltapper run` with storage.path \"" + storage_ +
                "\", for 7 days");
}

TEST_F(LeftoversTest, WhatWaitsIsToldWithItsActionAndTheReasonAndChangesNothing) {
  const std::string run = RunDir("a");
  EXPECT_THAT(ReadWaiting(run).value(), IsEmpty());
  LeaveMessage(run);
  ASSERT_TRUE(WriteFileAtomically(run + "/actions/000099.json", "no message").ok());
  for (int again = 0; again < 2; ++again) {
    const std::vector<WaitingMessages> waiting = ReadWaiting(run).value();
    ASSERT_THAT(waiting, SizeIs(1));
    EXPECT_EQ(waiting[0].action, "command");
    EXPECT_EQ(waiting[0].count, 1);
    EXPECT_THAT(waiting[0].why, HasSubstr("75"));
  }
  EXPECT_TRUE(PathExists(run + "/actions/000099.json"));
  ASSERT_TRUE(Route(RunDir("b"), receives_)->Drain(20 * kSecond).ok());
  EXPECT_THAT(ReadWaiting(run).value(), IsEmpty());
}

TEST_F(LeftoversTest, ARunElsewhereIsNotPromisedALaterDelivery) {
  RunDir("a");
  const std::string elsewhere = folder_.file("elsewhere");
  ASSERT_TRUE(MakeDirectories(elsewhere).ok());
  EXPECT_THAT(LeaveMessage(elsewhere), HasSubstr("not sent by any later run"));
}

TEST_F(LeftoversTest, TheNextRunDeliversWhatAnEndedOneLeft) {
  const std::string ended = RunDir("a");
  LeaveMessage(ended);
  ASSERT_TRUE(Spool::HoldsMessages(ended + "/actions"));
  {
    const auto router = Route(RunDir("b"), receives_);
    const Status drained = router->Drain(20 * kSecond);
    ASSERT_TRUE(drained.ok()) << drained.message();
  }
  EXPECT_THAT(Received(), HasSubstr("\"id\":\"nonfinite-1\""));
  EXPECT_FALSE(Spool::HoldsMessages(ended + "/actions"));
  const auto records = ReadActions(ended).value();
  ASSERT_FALSE(records.empty());
  EXPECT_EQ(records.back().outcome, "done");
  EXPECT_THAT(ReadActions(RunDir("b")).value(), IsEmpty());
  // Once: a third run has nothing to send.
  const std::string before = Received();
  ASSERT_TRUE(Route(RunDir("c"), receives_)->Drain(20 * kSecond).ok());
  EXPECT_EQ(Received(), before);
}

TEST_F(LeftoversTest, AReceiverThatIsStillDownDoesNotHoldUpTheEndOfTheNextRun) {
  LeaveMessage(RunDir("a"));
  const auto router = Route(RunDir("b"), kRefuses);
  // One try, and no waiting for more.
  const Status left = router->Drain(1000 * kSecond);
  EXPECT_EQ(left.message(),
            "1 message of earlier runs not delivered either: kept for the next run");
}

TEST_F(LeftoversTest, ARunThatIsStillWatchedKeepsItsMessages) {
  const auto alive = Route(RunDir("a"), kRefuses);
  alive->Opened(MakeFinding("nonfinite-1"));
  ASSERT_TRUE(Spool::HoldsMessages(RunDir("a") + "/actions"));
  EXPECT_THAT(FindLeftovers(storage_, {"command"}, SystemClock()).messages, IsEmpty());
}

TEST_F(LeftoversTest, TwoWatchersDoNotTakeTheSameMessage) {
  LeaveMessage(RunDir("a"));
  {
    const Leftovers first = FindLeftovers(storage_, {"command"}, SystemClock());
    EXPECT_THAT(first.messages, SizeIs(1));
    EXPECT_THAT(FindLeftovers(storage_, {"command"}, SystemClock()).messages, IsEmpty());
  }
  EXPECT_THAT(FindLeftovers(storage_, {"command"}, SystemClock()).messages, SizeIs(1));
}

TEST_F(LeftoversTest, AMessageForAnActionThatIsNoLongerConfiguredIsKeptAndSaid) {
  const std::string ended = RunDir("a");
  LeaveMessage(ended);
  std::vector<std::string> lines;
  SetLogSink([&lines](LogLevel, std::string_view line) { lines.emplace_back(line); },
             LogLevel::kWarning);
  const auto router = Route(RunDir("b"), "");
  ASSERT_TRUE(router->Drain(20 * kSecond).ok());
  EXPECT_THAT(lines, ElementsAre("1 message of run a kept in " + ended +
                                 "/actions: actions.command is not configured any more; configure "
                                 "it, or remove the files"));
  EXPECT_TRUE(Spool::HoldsMessages(ended + "/actions"));
}

TEST_F(LeftoversTest, AMessageOlderThanAWeekIsSetAsideAndRecorded) {
  const std::string ended = RunDir("a");
  LeaveMessage(ended);
  const std::string file = ended + "/actions/000001.json";
  const timespec old{(SystemClock().WallNs() - kLongestKeptNs) / kSecond - 60, 0};
  const timespec times[] = {old, old};
  ASSERT_EQ(utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  ASSERT_TRUE(Route(RunDir("b"), receives_)->Drain(20 * kSecond).ok());
  EXPECT_EQ(Received(), "");
  EXPECT_TRUE(PathExists(file + ".expired"));
  EXPECT_THAT(ReadActions(ended).value().back().detail, HasSubstr("not delivered for too long"));
}

TEST_F(LeftoversTest, AFolderThatIsALinkIsNotFollowed) {
  const std::string ended = RunDir("a");
  LeaveMessage(ended);
  const std::string elsewhere = folder_.file("elsewhere");
  ASSERT_TRUE(RenameFile(ended + "/actions", elsewhere).ok());
  ASSERT_EQ(symlink(elsewhere.c_str(), (ended + "/actions").c_str()), 0);
  EXPECT_THAT(FindLeftovers(storage_, {"command"}, SystemClock()).messages, IsEmpty());
}

}  // namespace
}  // namespace wheeltapper::actions
