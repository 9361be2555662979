// Trials over real run directories: what was written comes back, live, rotated and sealed alike.
#include "wheeltapper/trial/trial.h"

#include <filesystem>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wheeltapper/core/file.h"

#include "trial_fixture.h"

// Filters are written with the fields that matter; the others are empty by construction.
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

namespace wheeltapper::trial {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

std::vector<int64_t> StepsOf(const std::vector<ScalarPoint>& points) {
  std::vector<int64_t> steps;
  steps.reserve(points.size());
  for (const ScalarPoint& point : points) {
    steps.push_back(point.key.step.value);
  }
  return steps;
}

TEST_F(TrialTest, NamesComeWithTheirCollectionsAndFilters) {
  RankBuilder rank(run(), Rank{0}, clock_);
  WriteSteps(&rank, 0, 2);
  rank.Begin(3, Mode::kEval, 0);
  rank.Scalar("loss/eval", 0.5, {"losses"});
  rank.Commit();
  rank.Drain();
  const auto check = [](Trial* trial) {
    EXPECT_THAT(*trial->Names({}), ElementsAre("layer.weight", "loss/eval", "loss/main"));
    EXPECT_THAT(*trial->Names({.regex = "^loss/"}), ElementsAre("loss/eval", "loss/main"));
    EXPECT_THAT(*trial->Names({.collection = "weights"}), ElementsAre("layer.weight"));
    EXPECT_THAT(*trial->Names({.mode = Mode::kEval}), ElementsAre("loss/eval"));
    EXPECT_THAT(*trial->Names({.step = Step{1}}), ElementsAre("layer.weight", "loss/main"));
    EXPECT_THAT(*trial->Names({.regex = "nothing"}), IsEmpty());
    EXPECT_THAT(*trial->Collections(), ElementsAre("losses", "weights"));
    EXPECT_THAT(*trial->Modes(), ElementsAre(Mode::kTrain, Mode::kEval));
    EXPECT_THAT(*trial->Ranks(), ElementsAre(Rank{0}));
    const format::NameId* id = trial->names().Find("layer.weight");
    ASSERT_NE(id, nullptr);
    EXPECT_THAT(trial->names().info(*id).shape, ElementsAre(3));
  };
  check(Open().get());
  rank.Rotate();
  EXPECT_TRUE(rank.Seal());
  check(Open().get());
}

TEST_F(TrialTest, MistakesAreNamedWithWhatWasProbablyMeant) {
  RankBuilder rank(run(), Rank{0}, clock_);
  WriteSteps(&rank, 0, 2);
  const auto trial = Open();
  const Status unknown = trial->Scalars("los/main", {}).status();
  EXPECT_EQ(unknown.code(), StatusCode::kNotFound);
  EXPECT_THAT(unknown.message(), HasSubstr("did you mean \"loss/main\""));
  EXPECT_EQ(trial->Names({.regex = "la(yer"}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(trial->StatSeries("layer.weight", "l3", {}).status().message(),
              HasSubstr("did you mean"));
  EXPECT_EQ(trial->ReadTable("scalar", {}, {}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(trial->Value("layer.weight", Step{1}, Mode::kTrain, Rank{0}).status().message(),
              HasSubstr("no raw values of this tensor"));
  EXPECT_THAT(trial->Value("loss/main", Step{1}, Mode::kTrain, Rank{0}).status().message(),
              HasSubstr("a number, not a tensor"));
  EXPECT_EQ(Trial::Open(run() + "/nowhere").status().code(), StatusCode::kNotFound);
}

TEST_F(TrialTest, NothingIsSeenBeforeRefreshAndEverythingAfter) {
  RankBuilder rank(run(), Rank{0}, clock_);
  WriteSteps(&rank, 0, 4);
  const auto trial = Open();
  WriteSteps(&rank, 5, 9);
  EXPECT_EQ(trial->Scalars("loss/main", {})->size(), 5U);
  ASSERT_TRUE(trial->Refresh().ok());
  EXPECT_EQ(trial->Scalars("loss/main", {})->size(), 10U);
  EXPECT_THAT(StepsOf(*trial->Scalars("loss/main", {.first_step = 3, .last_step = 6})),
              ElementsAre(3, 4, 5, 6));
}

TEST_F(TrialTest, RowsMoveFromTheTailToSealedFilesWithoutLossOrDuplicates) {
  RankBuilder rank(run(), Rank{0}, clock_);
  const auto trial = Open();
  int64_t next = 0;
  std::vector<int64_t> expected;
  for (int round = 0; round < 6; ++round) {
    WriteSteps(&rank, next, next + 4);
    for (; static_cast<int64_t>(expected.size()) < next + 5;) {
      expected.push_back(static_cast<int64_t>(expected.size()));
    }
    next += 5;
    if (round % 2 == 0) {
      rank.Rotate();
      ASSERT_TRUE(trial->Refresh().ok());
      EXPECT_EQ(StepsOf(*trial->Scalars("loss/main", {})), expected) << "rotated";
      EXPECT_EQ(*trial->CapturedSteps(), expected) << "rotated";
      rank.Seal();
    }
    ASSERT_TRUE(trial->Refresh().ok());
    EXPECT_EQ(StepsOf(*trial->Scalars("loss/main", {})), expected);
    EXPECT_EQ(StepsOf(*trial->StatSeries("layer.weight", "max", {})), expected);
    EXPECT_EQ(*trial->Steps({}), expected);
    EXPECT_EQ(*trial->CapturedSteps(), expected);
    EXPECT_EQ(trial->StepTimes({})->size(), expected.size());
  }
}

TEST_F(TrialTest, AStepWithoutAnyTensorIsNotACapturedOne) {
  RankBuilder rank(run(), Rank{0}, clock_);
  WriteSteps(&rank, 0, 1);
  rank.Begin(2, Mode::kTrain, 2);
  rank.Scalar("loss/main", 1, {"losses"});
  rank.Commit();
  rank.Drain();
  const auto trial = Open();
  EXPECT_THAT(*trial->Steps({}), ElementsAre(0, 1, 2));
  EXPECT_THAT(*trial->CapturedSteps(), ElementsAre(0, 1));
}

TEST_F(TrialTest, ADamagedSealedTableHidesNothingElseAndShowsAsAGap) {
  RankBuilder rank(run(), Rank{0}, clock_);
  WriteSteps(&rank, 0, 4);
  rank.Rotate();
  rank.Seal();
  for (const auto& entry : std::filesystem::directory_iterator(run() + "/stats")) {
    std::filesystem::resize_file(entry.path(), 20);
  }
  const auto trial = Open();
  EXPECT_EQ(trial->Scalars("loss/main", {})->size(), 5U);
  const auto gaps = trial->Gaps();
  ASSERT_EQ(gaps->size(), 1U);
  EXPECT_EQ((*gaps)[0].gap.reason, format::GapReason::kCorruption);
  EXPECT_EQ((*gaps)[0].gap.what, format::GapWhat::kStats);
  const std::vector<Damage> damaged = trial->Damaged();
  ASSERT_EQ(damaged.size(), 1U);
  EXPECT_EQ(damaged[0].table, "stats");
  EXPECT_THAT(damaged[0].file, testing::StartsWith("stats/r00000-"));
  EXPECT_THAT(damaged[0].what, Not(IsEmpty()));
}

TEST_F(TrialTest, ASealedTableWhoseFileIsGoneIsDamageAndNotATableWithoutRows) {
  RankBuilder rank(run(), Rank{0}, clock_);
  WriteSteps(&rank, 0, 4);
  rank.Rotate();
  rank.Seal();
  EXPECT_TRUE(Open()->Damaged().empty());
  std::filesystem::remove_all(run() + "/stats");
  const auto trial = Open();
  EXPECT_EQ(trial->Scalars("loss/main", {})->size(), 5U);
  const std::vector<Damage> damaged = trial->Damaged();
  ASSERT_EQ(damaged.size(), 1U);
  EXPECT_EQ(damaged[0].table, "stats");
  EXPECT_EQ(damaged[0].what, "the file is gone");
  EXPECT_EQ(trial->Gaps()->size(), 1U);
}

// In the first page; the footer is sound.
void FlipBitIn(const std::string& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::string bytes = *ReadWholeFile(entry.path().string(), 1 << 20);
    bytes[40] = static_cast<char>(bytes[40] ^ 0x10);
    ASSERT_TRUE(WriteFileAtomically(entry.path().string(), bytes).ok());
  }
}

TEST_F(TrialTest, ATableIsSalvagedWithoutTheRowsOfADamagedPageAndSaysSo) {
  RankBuilder rank(run(), Rank{0}, clock_);
  WriteSteps(&rank, 0, 4);
  rank.Rotate();
  rank.Seal();
  WriteSteps(&rank, 5, 6);  // in the journal
  for (const char* table : {"stats", "scalars", "steps"}) {
    FlipBitIn(run() + "/" + table);
    const auto trial = Open();
    EXPECT_EQ(trial->ReadTable(table, {}, {}).status().code(), StatusCode::kDataLoss) << table;
    std::vector<Damage> lost;
    const auto salvaged = trial->SalvageTable(table, {}, {}, &lost);
    ASSERT_TRUE(salvaged.ok()) << salvaged.status().ToString();
    EXPECT_EQ(salvaged->rows(), 2) << table;
    for (const format::Column& column : salvaged->columns) {
      const format::Table alone{{column}};
      EXPECT_EQ(alone.rows(), 2) << column.name;
    }
    ASSERT_EQ(lost.size(), 1U) << table;
    EXPECT_EQ(lost[0].table, table);
    EXPECT_THAT(lost[0].file, testing::StartsWith(std::string(table) + "/r00000-"));
  }
}

TEST_F(TrialTest, FollowingHandsOnEveryBatchOnceAcrossSealing) {
  RankBuilder rank(run(), Rank{0}, clock_);
  WriteSteps(&rank, 0, 4);
  rank.Rotate();
  rank.Seal();
  WriteSteps(&rank, 5, 9);
  const auto trial = Open();
  std::vector<int64_t> steps;
  const auto follow = [&] {
    const Status followed = trial->FollowSteps([&](const format::StepBatch& batch) {
      if (!batch.is_step) {
        return;
      }
      steps.push_back(batch.key.step.value);
      ASSERT_EQ(batch.stats.size(), 1U);
      EXPECT_EQ(trial->names().info(batch.stats[0].name).name, "layer.weight");
      EXPECT_EQ(trial
                    ->Scalars("loss/main", {.first_step = batch.key.step.value,
                                            .last_step = batch.key.step.value})
                    ->size(),
                1U)
          << "queries see a batch before the sink does";
    });
    ASSERT_TRUE(followed.ok()) << followed.ToString();
  };
  follow();
  EXPECT_THAT(steps, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
  steps.clear();
  rank.Rotate();
  rank.Seal();
  WriteSteps(&rank, 10, 11);
  ASSERT_TRUE(trial->Refresh().ok());
  follow();
  follow();
  EXPECT_THAT(steps, ElementsAre(10, 11));
}

TEST_F(TrialTest, GapsMetasStepTimesAndOverheadAreKept) {
  RankBuilder rank(run(), Rank{0}, clock_);
  rank.Begin(0, Mode::kTrain, 0);
  rank.Meta(R"({"kind":"model","layers":3})");
  rank.Scalar("loss/main", 1);
  rank.Commit(20'000, 0);
  rank.Begin(1, Mode::kTrain, 1);
  rank.Gap(1, 1);
  rank.Scalar("loss/main", 1);
  rank.Commit(10'000, 2'000'000);
  rank.Drain();
  const auto check = [](Trial* trial) {
    EXPECT_THAT(*trial->Metas(), ElementsAre(R"({"kind":"model","layers":3})"));
    const auto gaps = trial->Gaps();
    ASSERT_EQ(gaps->size(), 1U);
    EXPECT_EQ((*gaps)[0].gap.reason, format::GapReason::kRingFull);
    EXPECT_EQ((*gaps)[0].gap.tensors_dropped, 3U);
    EXPECT_EQ(trial->StepTimes({})->size(), 2U);
    const auto overhead = trial->MeasuredOverhead();
    EXPECT_EQ(overhead->elapsed_ns, 2'000'000);
    EXPECT_DOUBLE_EQ(overhead->fraction, 0.005);
    EXPECT_THAT(*trial->Steps({}), ElementsAre(0, 1));
  };
  check(Open().get());
  rank.Rotate();
  rank.Seal();
  check(Open().get());
}

TEST_F(TrialTest, TheRunStateFollowsTheWriterAndEND) {
  {
    RankBuilder rank(run(), Rank{0}, clock_);
    WriteSteps(&rank, 0, 1);
    EXPECT_EQ(Open()->state(), RunState::kRunning);
    clock_.Advance(60 * kSecond);
    EXPECT_EQ(Open()->state(), RunState::kRunning) << "silent, but its lock is held";
  }
  const auto trial = Open();
  EXPECT_EQ(trial->state(), RunState::kAbandoned);
  EXPECT_EQ(*trial->StateOfStep(9, std::nullopt), StepState::kUnavailable);
  for (const auto& [state, code, expected] : {std::tuple("finished", 0, RunState::kFinished),
                                              {"failed", 1, RunState::kFailed},
                                              {"stopped", 143, RunState::kStopped},
                                              {"killed", 137, RunState::kFailed},
                                              {"interrupted", 130, RunState::kInterrupted}}) {
    ASSERT_TRUE(format::WriteEnd(run(), {state, code, "", clock_.WallNs()}).ok());
    EXPECT_EQ(Open()->state(), expected) << state;
  }
}

TEST_F(TrialTest, ADeadRankStopsHoldingBackTheOthers) {
  RankBuilder zero(run(), Rank{0}, clock_);
  WriteSteps(&zero, 0, 6);
  {
    RankBuilder one(run(), Rank{1}, clock_);
    WriteSteps(&one, 0, 2);
    const auto trial = Open();
    EXPECT_THAT(*trial->Steps({}), ElementsAre(0, 1, 2));
    EXPECT_EQ(*trial->StateOfStep(4, std::nullopt), StepState::kNotYetAvailable);
    EXPECT_THAT(*trial->Steps({.include_incomplete = true}), testing::SizeIs(7));
    EXPECT_THAT(*trial->Steps({.rank = Rank{1}}), ElementsAre(0, 1, 2));
  }
  clock_.Advance(40 * kSecond);  // longer than a heartbeat counts
  const auto trial = Open();
  EXPECT_EQ(trial->state(), RunState::kRunning);
  EXPECT_THAT(*trial->Steps({}), testing::SizeIs(7));
}

TEST_F(TrialTest, WaitingEndsWithTheStepTheDeadlineOrTheRun) {
  RankBuilder rank(run(), Rank{0}, clock_);
  WriteSteps(&rank, 0, 3);
  WriteSteps(&rank, 5, 6);
  const auto trial = Open();
  EXPECT_TRUE(trial->WaitForStep(3, std::nullopt, 0).ok());
  EXPECT_EQ(trial->WaitForStep(4, std::nullopt, kSecond).code(), StatusCode::kNotFound);
  EXPECT_EQ(trial->WaitForStep(7, std::nullopt, kSecond).code(), StatusCode::kDeadlineExceeded);
  ASSERT_TRUE(format::WriteEnd(run(), {"finished", 0, "", clock_.WallNs()}).ok());
  EXPECT_EQ(trial->WaitForStep(7, std::nullopt, kSecond).code(), StatusCode::kOutOfRange);
}

TEST_F(TrialTest, StatisticsOfEveryRankComeBackAndMerge) {
  RankBuilder zero(run(), Rank{0}, clock_);
  RankBuilder one(run(), Rank{1}, clock_);
  WriteSteps(&zero, 0, 3);
  WriteSteps(&one, 0, 3);
  const auto points = Open()->Stats("layer.weight", {});
  ASSERT_EQ(points->size(), 8U);
  EXPECT_EQ((*points)[1].key.rank, Rank{1});
  const auto merged = MergeRanks(*points);
  ASSERT_EQ(merged.size(), 4U);
  EXPECT_EQ(merged[3].stats.numel, 6);
  EXPECT_EQ(merged[3].stats.max, 3);
}

// The value itself: a range-for over a dereferenced temporary Result would dangle.
template <typename T>
T Take(Result<T> result) {
  return std::move(result).value();
}

// The answers to everything that can be asked, as text.
std::string Answers(Trial* trial) {
  std::string out;
  for (const std::string& name : Take(trial->Names({}))) {
    out += name + ":";
    for (const ScalarPoint& p : Take(trial->Scalars(name, {}))) {
      out += " s" + std::to_string(p.key.step.value) + "=" + std::to_string(p.value) + "@" +
             std::to_string(p.wall_ns);
    }
    for (const StatsPoint& p : Take(trial->Stats(name, {}))) {
      for (const char* reduction : {"mean", "std", "min", "max", "l1", "l2", "numel", "median"}) {
        const auto value = ReductionOf(p, {reduction});
        out += std::string(" ") + reduction + "=" +
               (value.ok() ? std::to_string(*value) : value.status().ToString());
      }
    }
    for (const ScalarPoint& p : Take(trial->StatSeries(name, "mean", {}))) {
      out += " m" + std::to_string(p.key.step.value) + "=" + std::to_string(p.value);
    }
    out += "\n";
  }
  for (const int64_t step : Take(trial->Steps({.mode = Mode::kTrain}))) {
    out += std::to_string(step) + " ";
  }
  for (const char* table : {"scalars", "stats", "tensors", "steps"}) {
    const auto read = trial->ReadTable(table, {}, {});
    out += "\n" + std::string(table) + " " +
           (read.ok() ? std::to_string(read->rows()) + "x" + std::to_string(read->columns.size())
                      : read.status().ToString());
  }
  return out;
}

TEST_F(TrialTest, ARandomRunAnswersTheSameLiveRotatedAndSealed) {
  std::mt19937 random(11);
  std::vector<std::unique_ptr<RankBuilder>> ranks;
  for (int32_t rank = 0; rank < 2; ++rank) {
    ranks.push_back(std::make_unique<RankBuilder>(run(), Rank{rank}, clock_));
    for (int64_t step = 0; step < 40; ++step) {
      clock_.Advance(1'234'567);
      ranks.back()->Begin(step, step % 5 == 4 ? Mode::kEval : Mode::kTrain, step / 2);
      for (uint32_t i = 0; i < random() % 4; ++i) {
        ranks.back()->Scalar("loss/" + std::to_string(random() % 3), static_cast<double>(random()));
        std::vector<float> values(random() % 50);
        for (float& value : values) {
          value = static_cast<float>(random() % 1000) - 500;
        }
        ranks.back()->Stats("w" + std::to_string(random() % 5), values, {"weights"},
                            random() % 2 == 0);
        ranks.back()->Raw("w" + std::to_string(random() % 5), values);
      }
      if (step % 7 == 0) {
        ranks.back()->Log("lr", 0.1 * static_cast<double>(step));
      }
      ranks.back()->Commit();
    }
    ranks.back()->Drain();
  }
  const auto followed = Open();
  const std::string live = Answers(followed.get());
  for (const auto& rank : ranks) {
    rank->Rotate();
  }
  EXPECT_EQ(Answers(Open().get()), live);
  for (const auto& rank : ranks) {
    rank->Seal();
  }
  EXPECT_EQ(Answers(Open().get()), live);
  ASSERT_TRUE(followed->Refresh().ok());
  EXPECT_EQ(Answers(followed.get()), live);
}

}  // namespace
}  // namespace wheeltapper::trial
