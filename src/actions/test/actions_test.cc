#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_directory.h"

#include "address_guard.h"
#include "delivery.h"
#include "routing.h"
#include "spool.h"
#include "support/scratch_folder.h"

namespace wheeltapper::actions {
namespace {

constexpr TimeNs kSecond = 1'000'000'000;

Config MustLoad(std::vector<ConfigFlag> flags) {
  ConfigSources sources;
  sources.flags = std::move(flags);
  Result<Config> config = Config::Load(sources);
  EXPECT_TRUE(config.ok()) << config.status().ToString();
  return config.ok() ? *config : Config::Defaults();
}

rules::Finding MakeFinding(rules::Severity severity = rules::Severity::kError) {
  rules::Finding finding;
  finding.id = "exploding_tensor-1";
  finding.rule = "exploding_tensor";
  finding.severity = severity;
  finding.tensor = "gradient/conv1.weight";
  finding.message = "gradients grew";
  return finding;
}

class CountingJob final : public JobControl {
 public:
  void RequestStop(const std::string& reason) override {
    ++stops;
    last_reason = reason;
  }
  int stops = 0;
  std::string last_reason;
};

TEST(HmacTest, MatchesTestCase2OfRfc4231) {
  EXPECT_EQ(HmacSha256Hex("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

bool PublicText(const char* text) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  sockaddr_storage any{};
  if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
    std::memcpy(&any, &v4, sizeof(v4));
  } else {
    EXPECT_EQ(inet_pton(AF_INET6, text, &v6.sin6_addr), 1) << text;
    std::memcpy(&any, &v6, sizeof(v6));
  }
  return IsPublicAddress(reinterpret_cast<const sockaddr*>(&any));
}

TEST(AddressGuardTest, RefusesEveryKindOfInternalAddress) {
  for (const char* text : {"127.0.0.1",
                           "127.255.255.255",
                           "10.1.2.3",
                           "172.16.0.1",
                           "172.31.255.255",
                           "192.168.1.1",
                           "169.254.169.254",
                           "100.64.0.1",
                           "0.0.0.0",
                           "224.0.0.1",
                           "255.255.255.255",
                           "198.18.0.1",
                           "::1",
                           "::",
                           "fe80::1",
                           "fc00::1",
                           "fd12::1",
                           "ff02::1",
                           "::ffff:127.0.0.1",
                           "::ffff:10.0.0.1",
                           "64:ff9b::7f00:1",
                           "2002:7f00:1::",
                           "2001::1",
                           "2001:db8::1"}) {
    EXPECT_FALSE(PublicText(text)) << text;
  }
}

TEST(AddressGuardTest, AdmitsPublicAddresses) {
  for (const char* text :
       {"1.1.1.1", "172.15.255.255", "172.32.0.1", "100.128.0.1", "11.0.0.1", "223.255.255.254",
        "2606:4700::1111", "::ffff:8.8.8.8", "2002:0808:0808::"}) {
    EXPECT_TRUE(PublicText(text)) << text;
  }
}

TEST(AddressGuardTest, RefusesWhatIsNotIp) {
  sockaddr_storage unix_socket{};
  unix_socket.ss_family = AF_UNIX;
  EXPECT_FALSE(IsPublicAddress(reinterpret_cast<const sockaddr*>(&unix_socket)));
}

std::string ActionsOf(const Routing& routing, const rules::Finding& finding) {
  std::string text;
  for (const Routing::Wanted& wanted : routing.ActionsFor(finding)) {
    text += (text.empty() ? "" : " ") + wanted.action;
  }
  return text;
}

TEST(RoutingTest, AStopIsForNamedRulesAndForSeveritiesAndAbove) {
  const Result<Routing> by_level =
      Routing::FromConfig(MustLoad({{"actions.stop.on", "error", "--stop-on"}}));
  ASSERT_TRUE(by_level.ok());
  EXPECT_EQ(ActionsOf(*by_level, MakeFinding(rules::Severity::kCritical)), "stop");
  EXPECT_TRUE(by_level->ActionsFor(MakeFinding(rules::Severity::kWarning)).empty());
  const Result<Routing> by_rule =
      Routing::FromConfig(MustLoad({{"actions.stop.on", "exploding_tensor", "--stop-on"}}));
  ASSERT_TRUE(by_rule.ok());
  EXPECT_EQ(ActionsOf(*by_rule, MakeFinding(rules::Severity::kInfo)), "stop");
}

TEST(RoutingTest, AMistypedRuleIsAnErrorWithASuggestion) {
  const Result<Routing> routing =
      Routing::FromConfig(MustLoad({{"actions.stop.on", "exploding_tensr", "--stop-on"}}));
  ASSERT_FALSE(routing.ok());
  EXPECT_EQ(routing.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(routing.status().message().find("did you mean \"exploding_tensor\""), std::string::npos)
      << routing.status().message();
}

std::string StopProblem(const std::vector<ConfigFlag>& flags) {
  return Routing::FromConfig(MustLoad(flags)).status().message();
}

TEST(RoutingTest, ARuleThatIsNotEvaluatedCannotStop) {
  const ConfigFlag stop = {"actions.stop.on", "dead_relu", "--stop-on"};
  for (const ConfigFlag& choice : {ConfigFlag{"rules.ignore", "dead_relu", "--ignore"},
                                   ConfigFlag{"rules.select", "nonfinite", "--rules"}}) {
    const std::string problem = StopProblem({stop, choice});
    EXPECT_NE(problem.find("(--stop-on): the rule \"dead_relu\" is not evaluated"),
              std::string::npos)
        << problem;
  }
  EXPECT_EQ(StopProblem({stop, {"rules.select", "nonfinite,dead_relu", "--rules"}}), "");
}

// The file's name, where it is given without a class: docs/guide/custom-rules.md.
TEST(RoutingTest, ARuleOfTheUsersIsKnownByTheNameThatItsFindingsHave) {
  const auto problem_of = [](const char* rule, const char* file) {
    return StopProblem({{"actions.stop.on", rule, "--stop-on"}, {"rules.custom", file, "--rule"}});
  };
  EXPECT_EQ(problem_of("large_weights", "mine.py:LargeWeights"), "");
  EXPECT_EQ(problem_of("mine", "mine.py"), "");
  for (const char* file : {"mine.py", "mine.py:SmallWeights"}) {
    EXPECT_NE(problem_of("large_weights", file).find("neither a rule nor a severity"),
              std::string::npos)
        << file;
  }
  EXPECT_NE(StopProblem({{"actions.stop.on", "large_weights", "--stop-on"},
                         {"rules.custom", "mine.py:LargeWeights", "--rule"},
                         {"rules.ignore", "large_weights", "--ignore"}})
                .find("not evaluated"),
            std::string::npos);
}

TEST(RoutingTest, ARulesOwnActionsReplaceTheGeneralOnes) {
  const Result<Routing> routing =
      Routing::FromConfig(MustLoad({{"actions.stop.on", "info", "--stop-on"},
                                    {"rules.exploding_tensor.action", "none", "--set"}}));
  ASSERT_TRUE(routing.ok()) << routing.status().ToString();
  EXPECT_TRUE(routing->ActionsFor(MakeFinding()).empty());
}

TEST(RoutingTest, ARuleCannotAskForAnActionThatIsNotSetUp) {
  const Result<Routing> routing =
      Routing::FromConfig(MustLoad({{"rules.exploding_tensor.action", "webhook", "--set"}}));
  ASSERT_FALSE(routing.ok());
  EXPECT_NE(routing.status().message().find("actions.webhook.url"), std::string::npos);
}

TEST(CooldownTest, TheSameCauseIsToldOncePerCooldownAndResolvedOnlyWhenTold) {
  Cooldown cooldown(300 * kSecond);
  rules::Finding first = MakeFinding();
  rules::Finding again = MakeFinding();
  again.id = "exploding_tensor-2";
  rules::Finding elsewhere = MakeFinding();
  elsewhere.id = "exploding_tensor-3";
  elsewhere.tensor = "gradient/conv2.weight";
  using Answer = Cooldown::Answer;
  const auto ask = [&](const rules::Finding& finding, TimeNs now_ns,
                       rules::Severity severity = rules::Severity::kError) {
    return cooldown.Ask({.action = "webhook", .rule = finding.rule, .severity = severity}, finding,
                        now_ns);
  };
  EXPECT_EQ(ask(first, 0), Answer::kTell);
  EXPECT_EQ(ask(first, 500 * kSecond), Answer::kSettled);
  EXPECT_EQ(ask(again, 299 * kSecond), Answer::kSuppressed);
  EXPECT_EQ(ask(again, 400 * kSecond), Answer::kSettled);
  EXPECT_EQ(ask(elsewhere, 299 * kSecond), Answer::kTell);
  EXPECT_EQ(ask(elsewhere, 300 * kSecond, rules::Severity::kCritical), Answer::kTellAgain);
  EXPECT_EQ(cooldown.Resolve(first), std::vector<std::string>{"webhook"});
  EXPECT_TRUE(cooldown.Resolve(first).empty());
  EXPECT_TRUE(cooldown.Resolve(again).empty());
  EXPECT_EQ(ask(again, 300 * kSecond), Answer::kTell);
}

TEST(SpoolTest, KeepsMessagesOverARestartInOrderAndSetsDamagedOnesAside) {
  const ScratchFolder scratch;
  const std::string& folder = scratch.path();
  Spool before(folder);
  for (const char* body : {"a", "b", "c"}) {
    ASSERT_TRUE(
        before.Add({.action = "webhook", .event = "opened", .finding_id = "x-1", .body = body})
            .ok());
  }
  ASSERT_TRUE(before.Remove(2).ok());
  ASSERT_TRUE(WriteFileAtomically(JoinPath(folder, "000004.json"), "{\"action\":\"web").ok());
  Spool after(folder);
  std::vector<std::string> damaged;
  const auto left = after.Load(&damaged);
  ASSERT_TRUE(left.ok());
  ASSERT_EQ(left->size(), 2U);
  EXPECT_EQ((*left)[0].second.body, "a");
  EXPECT_EQ((*left)[1].second.body, "c");
  EXPECT_EQ(damaged.size(), 1U);
  EXPECT_TRUE(PathExists(JoinPath(folder, "000004.json.damaged")));
  const Result<uint64_t> next =
      after.Add({.action = "webhook", .event = "", .finding_id = "", .body = "d"});
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(*next, 5U);  // a number is never used twice
}

TEST(CommandDeliveryTest, GetsTheBodyOnStandardInput) {
  const ScratchFolder scratch;
  const std::string path = scratch.file("got.json");
  const auto command = MakeCommandDelivery({.argv = {"sh", "-c", "cat > " + path}}, SystemClock());
  ASSERT_TRUE(
      command
          ->Deliver(
              {.action = "command", .event = "opened", .finding_id = "x", .body = "{\"a\":1}"})
          .status.ok());
  EXPECT_EQ(*ReadWholeFile(path, 1000), "{\"a\":1}");
}

TEST(CommandDeliveryTest, AFailureIsFinalATemporaryFailureIsNot) {
  const Message message{.action = "command", .event = "opened", .finding_id = "x", .body = "{}"};
  const auto code = [&](const char* script) {
    return MakeCommandDelivery({.argv = {"sh", "-c", script}}, SystemClock())
        ->Deliver(message)
        .status.code();
  };
  EXPECT_EQ(code("exit 3"), StatusCode::kFailedPrecondition);
  EXPECT_EQ(code("exit 75"), StatusCode::kUnavailable);
  EXPECT_EQ(MakeCommandDelivery({.argv = {"no-such-command-wt"}}, SystemClock())
                ->Deliver(message)
                .status.code(),
            StatusCode::kNotFound);
}

TEST(CommandDeliveryTest, AHangingCommandIsKilledWithItsChildren) {
  const auto command = MakeCommandDelivery(
      {.argv = {"sh", "-c", "sleep 1000 & wait"}, .timeout_ns = kSecond / 10}, SystemClock());
  EXPECT_EQ(command->Deliver({.action = "command", .event = "", .finding_id = "", .body = "{}"})
                .status.code(),
            StatusCode::kDeadlineExceeded);
}

// As on a kernel before 5.3, or in a container whose seccomp profile does not know the call.
void ForbidPidfd() {
  std::array<sock_filter, 4> code = {{
      {.code = BPF_LD | BPF_W | BPF_ABS, .jt = 0, .jf = 0, .k = offsetof(seccomp_data, nr)},
      {.code = BPF_JMP | BPF_JEQ | BPF_K, .jt = 0, .jf = 1, .k = SYS_pidfd_open},
      {.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = SECCOMP_RET_ERRNO | ENOSYS},
      {.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = SECCOMP_RET_ALLOW},
  }};
  sock_fprog program = {.len = code.size(), .filter = code.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0) {
    _exit(1);
  }
}

// What a delivery says, in a child process that `prepare` has changed.
StatusCode DeliveredInAChild(const CommandOptions& options, void (*prepare)()) {
  const pid_t pid = fork();
  if (pid == 0) {
    prepare();
    const Status status =
        MakeCommandDelivery(options, SystemClock())
            ->Deliver({.action = "command", .event = "", .finding_id = "", .body = "{}"})
            .status;
    _exit(100 + static_cast<int>(status.code()));
  }
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) >= 100) << status;
  return static_cast<StatusCode>(WEXITSTATUS(status) - 100);
}

TEST(CommandDeliveryTest, SeesTheEndOfACommandWhereThereIsNoPidfd) {
  const auto code = [](const char* script, TimeNs timeout_ns) {
    return DeliveredInAChild({.argv = {"sh", "-c", script}, .timeout_ns = timeout_ns}, ForbidPidfd);
  };
  EXPECT_EQ(code("exit 0", 20 * kSecond), StatusCode::kOk);
  EXPECT_EQ(code("exit 75", 20 * kSecond), StatusCode::kUnavailable);
  EXPECT_EQ(code("sleep 1000 & wait", kSecond / 10), StatusCode::kDeadlineExceeded);
}

TEST(CommandDeliveryTest, AnEndThatTheKernelCollectedIsNotCalledASuccess) {
  EXPECT_EQ(DeliveredInAChild({.argv = {"sh", "-c", "exit 3"}, .timeout_ns = 20 * kSecond},
                              [] { (void)signal(SIGCHLD, SIG_IGN); }),
            StatusCode::kFailedPrecondition);
}

TEST(ActionRouterTest, StopsTheJobOnceAndRecordsIt) {
  const ScratchFolder scratch;
  const std::string& run = scratch.path();
  CountingJob job;
  auto router = ActionRouter::Create(MustLoad({{"actions.stop.on", "error", "--stop-on"}}), run,
                                     &job, SystemClock());
  ASSERT_TRUE(router.ok()) << router.status().ToString();
  rules::Finding finding = MakeFinding();
  (*router)->Opened(finding);
  finding.id = "exploding_tensor-2";
  (*router)->Opened(finding);
  EXPECT_EQ(job.stops, 1);
  EXPECT_EQ(job.last_reason, "stopped by rule exploding_tensor");
  const auto records = ReadActions(run);
  ASSERT_TRUE(records.ok());
  ASSERT_EQ(records->size(), 2U);
  EXPECT_EQ((*records)[0].outcome, "done");
  EXPECT_EQ((*records)[1].outcome, "suppressed");
}

// The finding of MakeFinding that a diverged loss, an error, has gone into.
rules::Finding WithDivergedLoss() {
  rules::Finding finding = MakeFinding();
  finding.also = {{.rule = "loss_not_decreasing",
                   .severity = rules::Severity::kError,
                   .message = "loss/ce rises from 2 to 900"}};
  return finding;
}

TEST(ActionRouterTest, StopsForARuleThatAnothersFindingTells) {
  for (const bool from_the_start : {true, false}) {
    const ScratchFolder scratch;
    CountingJob job;
    auto router =
        ActionRouter::Create(MustLoad({{"actions.stop.on", "loss_not_decreasing", "--stop-on"}}),
                             scratch.path(), &job, SystemClock());
    ASSERT_TRUE(router.ok()) << router.status().ToString();
    (*router)->Opened(from_the_start ? WithDivergedLoss() : MakeFinding());
    EXPECT_EQ(job.stops, from_the_start ? 1 : 0);
    (*router)->Updated(WithDivergedLoss());
    (*router)->Updated(WithDivergedLoss());
    EXPECT_EQ(job.stops, 1);
    EXPECT_EQ(job.last_reason,
              "stopped by rule loss_not_decreasing (loss/ce rises from 2 to 900), told in the "
              "finding of exploding_tensor");
  }
}

TEST(ActionRouterTest, AMutedRuleDoesNotMuteWhatItsFindingTellsOfOthers) {
  const ScratchFolder scratch;
  CountingJob job;
  auto router = ActionRouter::Create(MustLoad({{"actions.stop.on", "error", "--stop-on"},
                                               {"rules.exploding_tensor.action", "none", "--set"}}),
                                     scratch.path(), &job, SystemClock());
  ASSERT_TRUE(router.ok()) << router.status().ToString();
  (*router)->Opened(MakeFinding());
  EXPECT_EQ(job.stops, 0);
  (*router)->Updated(WithDivergedLoss());
  EXPECT_EQ(job.stops, 1);
}

TEST(ActionRouterTest, AFindingThatBecomesMoreSevereIsActedOn) {
  const ScratchFolder scratch;
  const std::string out = scratch.file("out");
  CountingJob job;
  auto router =
      ActionRouter::Create(MustLoad({{"actions.stop.on", "error", "--stop-on"},
                                     {"actions.command.argv", "sh,-c,cat >> " + out, "--set"},
                                     {"actions.command.on", "warning", "--set"}}),
                           scratch.path(), &job, SystemClock());
  ASSERT_TRUE(router.ok()) << router.status().ToString();
  (*router)->Opened(MakeFinding(rules::Severity::kWarning));
  (*router)->Updated(MakeFinding(rules::Severity::kWarning));
  EXPECT_EQ(job.stops, 0);
  (*router)->Updated(MakeFinding(rules::Severity::kError));
  (*router)->Updated(MakeFinding(rules::Severity::kError));
  EXPECT_EQ(job.stops, 1);
  ASSERT_TRUE((*router)->Drain(20 * kSecond).ok());
  const std::string text = *ReadWholeFile(out, 100000);
  const size_t first = text.find("\"severity\":\"warning\"");
  const size_t second = text.find("\"severity\":\"error\"");
  EXPECT_LT(first, second);
  EXPECT_NE(second, std::string::npos);
  EXPECT_EQ(text.find("\"event\":\"opened\"", second + 1), std::string::npos) << text;
}

TEST(ActionRouterTest, RunsTheCommandForOpenedAndResolved) {
  const ScratchFolder scratch;
  const std::string& run = scratch.path();
  const std::string out = JoinPath(run, "out");
  auto router =
      ActionRouter::Create(MustLoad({{"actions.command.argv", "sh,-c,cat >> " + out, "--set"}}),
                           run, nullptr, SystemClock());
  ASSERT_TRUE(router.ok()) << router.status().ToString();
  (*router)->Opened(MakeFinding());
  (*router)->Resolved(MakeFinding());
  ASSERT_TRUE((*router)->Drain(20 * kSecond).ok());
  const std::string text = *ReadWholeFile(out, 100000);
  EXPECT_NE(text.find("\"event\":\"opened\""), std::string::npos);
  EXPECT_NE(text.find("\"event\":\"resolved\""), std::string::npos);
  EXPECT_NE(text.find("\"rule\":\"exploding_tensor\""), std::string::npos);
}

TEST(ActionRecordTest, ATornLastLineIsLeftOutAndADamagedMiddleIsAnError) {
  const ScratchFolder scratch;
  const std::string& run = scratch.path();
  const std::string line = ActionRecordToJson({.action = "stop", .outcome = "done"});
  ASSERT_TRUE(WriteFileAtomically(format::ActionsPath(run), line + "\n{\"action\":\"we").ok());
  ASSERT_TRUE(ReadActions(run).ok());
  EXPECT_EQ(ReadActions(run)->size(), 1U);
  ASSERT_TRUE(WriteFileAtomically(format::ActionsPath(run), "garbage\n" + line + "\n").ok());
  EXPECT_EQ(ReadActions(run).status().code(), StatusCode::kDataLoss);
}

TEST(ActionRecordTest, ATornLineDoesNotBecomeDamageWhenTheNextIsWritten) {
  const ScratchFolder scratch;
  const std::string& run = scratch.path();
  const std::string line = ActionRecordToJson({.action = "stop", .outcome = "done"});
  ASSERT_TRUE(WriteFileAtomically(format::ActionsPath(run), line + "\n{\"action\":\"we").ok());
  CountingJob job;
  auto router = ActionRouter::Create(MustLoad({{"actions.stop.on", "error", "--stop-on"}}), run,
                                     &job, SystemClock());
  ASSERT_TRUE(router.ok()) << router.status().ToString();
  (*router)->Opened(MakeFinding());
  ASSERT_TRUE(ReadActions(run).ok()) << ReadActions(run).status().ToString();
  EXPECT_EQ(ReadActions(run)->size(), 2U);
}

}  // namespace
}  // namespace wheeltapper::actions
