// What the tests of sessions share: one that has started, what it left, and a process of its own.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/format/run_reader.h"

#include "fixture.h"

namespace wheeltapper::capture {

inline constexpr TimeNs kSecond = 1'000'000'000;

inline std::unique_ptr<Session> StartIn(const std::string& run_dir, const Config& config) {
  SessionOptions options;
  options.run_dir = run_dir;
  auto session = Session::Start(options, config, SystemClock());
  EXPECT_TRUE(session.ok()) << session.status().ToString();
  return session.ok() ? std::move(session).value() : nullptr;
}

inline std::vector<format::StepBatch> ReadRun(const std::string& run_dir) {
  std::vector<format::StepBatch> batches;
  auto reader = format::RunReader::Open(run_dir);
  EXPECT_TRUE(reader.ok()) << reader.status().ToString();
  if (reader.ok()) {
    const Status polled =
        (*reader)->Poll([&](format::StepBatch&& batch) { batches.push_back(std::move(batch)); });
    EXPECT_TRUE(polled.ok()) << polled.ToString();
    EXPECT_TRUE((*reader)->skipped().empty());
  }
  return batches;
}

inline int64_t StepsIn(const std::vector<format::StepBatch>& batches) {
  return std::count_if(batches.begin(), batches.end(),
                       [](const format::StepBatch& batch) { return batch.is_step; });
}

// Runs `body` in a child and returns its wait status.
template <typename Body>
int InChild(Body&& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(99);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

}  // namespace wheeltapper::capture
