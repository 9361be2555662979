// Forks, exits and signals: a session is never in the way of how a process ends.
#include <csignal>
#include <cstdlib>

#include "fork_guard.h"
#include "session_fixture.h"

namespace wheeltapper::capture {
namespace {

TEST(SessionForkTest, AForkedChildIsInertAndTheParentGoesOn) {
  const TemporaryRun run;
  auto session = StartIn(run.dir(), EveryStep());
  const CaptureId id = *session->RegisterTensor({.name = "a", .shape = {100}});
  const Vector x(100);
  const TensorItem item = x.item(id);
#ifdef __SANITIZE_ADDRESS__
  // Its allocator's locks do not survive a fork as those of the C library do: with the drain thread
  // inside one, the child would wait for ever. After a flush the thread rests.
  ASSERT_TRUE(session->Flush(20 * kSecond).ok());
#endif
  (void)session->armed(Mode::kTrain);
  session->Record({&item, 1});  // fork in the middle of a step
  const pid_t child = fork();
  if (child == 0) {
    bool quiet = session->inert() && !session->armed(Mode::kTrain);
    session->Record({&item, 1});
    session->FinishStep(Mode::kTrain, {});
    session->Meta("{}");
    quiet = quiet && session->global_step() == 0 && session->Stop(kSecond).ok() &&
            session->Flush(kSecond).ok() && !session->RegisterTensor({.name = "b"}).ok();
    session.reset();
    std::exit(quiet ? 0 : 1);  // NOLINT: exit handlers must run, that is the point
  }
  session->FinishStep(Mode::kTrain, {});
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  ASSERT_TRUE(session->Stop(20 * kSecond).ok());
  EXPECT_EQ(StepsIn(ReadRun(run.dir())), 1);
}

TEST(SessionForkTest, EndedSessionsAreForgotten) {
  for (size_t i = 0; i <= kMaxGuardedRecorders; ++i) {
    const TemporaryRun run;
    const auto session = StartIn(run.dir(), EveryStep());
    ASSERT_NE(session, nullptr) << "session " << i;
  }
  const pid_t child = fork();  // its fork handler must not touch what is gone
  if (child == 0) {
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(SessionExitTest, ExitWithoutAStopKeepsItsExitCode) {
  const TemporaryRun run;
  const int status = InChild([&] {
    // Leaked: nobody stops it, as when a script ends through sys.exit in a library.
    auto* session = StartIn(run.dir(), EveryStep()).release();
    session->FinishStep(Mode::kTrain, {});
    std::exit(3);  // NOLINT
  });
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 3);
}

TEST(SessionExitTest, ASignalKillsAsItWouldWithoutCapture) {
  const TemporaryRun run;
  const int status = InChild([&] {
    const auto session = StartIn(run.dir(), EveryStep());
    session->FinishStep(Mode::kTrain, {});
    raise(SIGTERM);
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
}

}  // namespace
}  // namespace wheeltapper::capture
