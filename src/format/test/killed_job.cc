#include "test/killed_job.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): SIGSTOP and kill are POSIX
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/format/rank_segment.h"

namespace wheeltapper::format {

void LiveShortly(const std::string& run, const Clock& clock) {
  auto attempt = Attempt::Start(TestWriterOptions(run), 1, clock, 1 << 16, 1 << 16);
  if (attempt == nullptr) {
    _exit(3);
  }
  attempt->WriteNames();
  for (int64_t step = 0; step < 4; ++step) {
    attempt->WriteStep(step);
  }
  bool ok = attempt->writer->Drain(*attempt->segment).ok();
  ok = ok && attempt->writer->RotateIfDue(true).ok();
  attempt->WriteStep(4);
  ok = ok && attempt->writer->Drain(*attempt->segment).ok();
  ok = ok && attempt->writer->SealNext().ok();
  attempt->WriteStep(5);
  ok = ok && attempt->writer->Drain(*attempt->segment).ok();
  attempt->WriteStep(6);  // stays in the ring
  _exit(ok ? 0 : 3);
}

void LiveAndDie(const std::string& run, const Clock& clock) {
  const pid_t child = fork();
  if (child == 0) {
    LiveShortly(run, clock);
  }
  int state = 0;
  waitpid(child, &state, 0);
  ASSERT_EQ(state, 0);
}

bool RunKilledAt(int n, const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    raise(SIGSTOP);
    body();
    _exit(0);
  }
  int state = 0;
  waitpid(child, &state, 0);
  ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_EXITKILL);
  for (int stop = 0; stop < 2 * n; ++stop) {  // each call stops on entry and on return
    ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    waitpid(child, &state, 0);
    if (WIFEXITED(state) || WIFSIGNALED(state)) {
      return false;
    }
  }
  kill(child, SIGKILL);
  waitpid(child, &state, 0);
  return true;
}

bool CanTrace() {
  const pid_t child = fork();
  if (child == 0) {
    _exit(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0 ? 0 : 1);
  }
  int state = 0;
  waitpid(child, &state, 0);
  return WIFEXITED(state) && WEXITSTATUS(state) == 0;
}

void ExpectWholePrefix(const RunText& text, size_t at_least) {
  EXPECT_THAT(text.gaps, testing::IsEmpty());
  const std::vector<std::string> all = ExpectedLines(0, 6);
  ASSERT_LE(text.lines.size(), all.size());
  ASSERT_GE(text.lines.size(), at_least);
  EXPECT_TRUE(std::equal(text.lines.begin(), text.lines.end(), all.begin()));
}

void LeaveSegment(const std::string& path, const std::string& run_dir, const Clock& clock,
                  uint64_t run_id) {
  SegmentOptions options;
  options.path = path;
  options.run_dir = run_dir;
  options.run_id = run_id;
  options.journal_ring_bytes = 1 << 16;
  auto segment = RankSegment::Create(options);
  ASSERT_TRUE(segment.ok()) << segment.status().ToString();
  (*segment)->page().heartbeat_ns.store(clock.MonotonicNs());
}

}  // namespace wheeltapper::format
