// A run directory that a test writes, on a clock of its own, and the trial over it.
#pragma once

#include <memory>

#include <gtest/gtest.h>

#include "wheeltapper/trial/trial.h"

#include "run_builder.h"
#include "trial_options.h"

namespace wheeltapper::trial {

inline constexpr TimeNs kSecond = 1'000'000'000;

class TrialTest : public testing::Test {
 protected:
  void SetUp() override { MakeRun(run(), clock_); }
  [[nodiscard]] const std::string& run() const { return folder_.path(); }
  std::unique_ptr<Trial> Open() {
    TrialOptions options;
    options.clock = &clock_;
    options.pause = [this](TimeNs ns) { clock_.Advance(ns); };
    auto trial = OpenTrial(run(), options);
    EXPECT_TRUE(trial.ok()) << trial.status().ToString();
    return std::move(trial).value();
  }
  void WriteSteps(RankBuilder* rank, int64_t first, int64_t last) {
    for (int64_t step = first; step <= last; ++step) {
      rank->Begin(step, Mode::kTrain, step);
      rank->Scalar("loss/main", 1.0 / static_cast<double>(step + 1), {"losses"});
      rank->Stats("layer.weight", {1, 2, static_cast<float>(step)}, {"weights"});
      rank->Commit();
      clock_.Advance(kSecond / 1000);
    }
    rank->Drain();
  }

  ScratchFolder folder_;
  ManualClock clock_;
};

}  // namespace wheeltapper::trial
