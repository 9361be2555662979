// Jobs that are killed, and what they leave: rings that nobody drains any more.
#pragma once

#include <functional>
#include <string>

#include "wheeltapper/core/clock.h"

#include "test/test_run.h"

namespace wheeltapper::format {

// What a job of MakeTestRun's run does: two files, the first sealed, the second left for recovery,
// and a step that stays in the ring. Ends the process: 0 when all went well.
[[noreturn]] void LiveShortly(const std::string& run, const Clock& clock);
// The same in a child, which is gone when this returns. Of its steps 0 … 6 all are committed.
void LiveAndDie(const std::string& run, const Clock& clock);

// Runs `body` in a child that is killed when it enters its n-th system call. True when it got so
// far. Only where CanTrace().
bool RunKilledAt(int n, const std::function<void()>& body);
bool CanTrace();

// The steps that the lines of a run hold must be a prefix of LiveAndDie's, whole and in order.
void ExpectWholePrefix(const RunText& text, size_t at_least);

// A segment that a killed writer of `run_dir` left at `path`, its last heartbeat at `clock`'s time.
void LeaveSegment(const std::string& path, const std::string& run_dir, const Clock& clock,
                  uint64_t run_id = kTestRunId);

}  // namespace wheeltapper::format
