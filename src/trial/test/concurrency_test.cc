// A trial reads while a rank writes, rotates and seals.
#include <atomic>
#include <vector>

#include <gtest/gtest.h>

#include "wheeltapper/core/thread.h"
#include "wheeltapper/trial/trial.h"

#include "run_builder.h"
#include "trial_options.h"

namespace wheeltapper::trial {
namespace {

constexpr int64_t kSteps = 400;

void Write(const std::string& run, const Clock* clock, std::atomic<bool>* done) {
  RankBuilder rank(run, Rank{0}, *clock);
  for (int64_t step = 0; step < kSteps; ++step) {
    rank.Begin(step, Mode::kTrain, step);
    rank.Scalar("loss/main", static_cast<double>(step));
    rank.Raw("weight", {static_cast<float>(step), 2});
    rank.Commit();
    if (step % 3 == 0) {
      rank.Drain();
    }
    if (step % 50 == 49) {
      rank.Drain();
      rank.Rotate();
    }
    if (step % 50 == 30) {
      rank.Seal();
    }
  }
  rank.Close();
  done->store(true);
}

// Every step up to the last one, each once.
void ExpectWhole(const std::vector<ScalarPoint>& points) {
  for (size_t i = 0; i < points.size(); ++i) {
    ASSERT_EQ(points[i].key.step.value, static_cast<int64_t>(i));
    ASSERT_EQ(points[i].value, static_cast<double>(i));
  }
}

TEST(ConcurrentTrialTest, RefreshingWhileTheRunIsSealedLosesAndDoublesNothing) {
  const ScratchFolder folder;
  MakeRun(folder.path(), SystemClock());
  std::atomic<bool> done{false};
  Thread writer;
  ASSERT_TRUE(
      writer.Start("wt-trial-write", [&] { Write(folder.path(), &SystemClock(), &done); }).ok());
  auto opened = Trial::Open(folder.path());
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  Trial& trial = **opened;
  std::vector<int64_t> followed;
  size_t seen = 0;
  for (bool last = false; !last;) {
    last = done.load();
    const Status status = trial.FollowSteps([&followed](const format::StepBatch& batch) {
      if (batch.is_step) {
        followed.push_back(batch.key.step.value);
      }
    });
    ASSERT_TRUE(status.ok()) << status.ToString();
    if (trial.names().Find("loss/main") == nullptr) {
      continue;
    }
    const auto points = trial.Scalars("loss/main", {});
    ASSERT_TRUE(points.ok()) << points.status().ToString();
    ASSERT_NO_FATAL_FAILURE(ExpectWhole(*points));
    ASSERT_GE(points->size(), seen) << "what was seen stays";
    seen = points->size();
    const int64_t step = static_cast<int64_t>(seen) - 1;
    const auto value = trial.Value("weight", Step{step}, Mode::kTrain, Rank{0});
    ASSERT_TRUE(value.ok()) << value.status().ToString();
  }
  writer.Join();
  EXPECT_EQ(seen, static_cast<size_t>(kSteps));
  ASSERT_EQ(followed.size(), static_cast<size_t>(kSteps));
  for (size_t i = 0; i < followed.size(); ++i) {
    EXPECT_EQ(followed[i], static_cast<int64_t>(i));
  }
}

}  // namespace
}  // namespace wheeltapper::trial
