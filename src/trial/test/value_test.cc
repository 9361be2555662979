// Raw tensors come back as they were written, wherever they lie.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trial_fixture.h"

// Filters are written with the fields that matter; the others are empty by construction.
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

namespace wheeltapper::trial {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::vector<float> Floats(const TensorValue& value) {
  std::vector<float> floats(value.bytes.size() / sizeof(float));
  std::memcpy(floats.data(), value.bytes.data(), value.bytes.size());
  return floats;
}

TEST_F(TrialTest, RawValuesComeBackInlineFromOpenBlobsAndFromSealedOnes) {
  RankBuilderOptions options;
  options.blob_ring_bytes = 4 << 20;
  RankBuilder rank(run(), Rank{0}, clock_, options);
  const std::vector<float> small{1, 2, 3};
  const std::vector<float> large(100'000, 0.25F);
  rank.Begin(7, Mode::kTrain, 7);
  rank.Raw("small", small);
  rank.Blob("large", large);
  rank.Commit();
  rank.Drain();
  const auto live = Open();
  const auto check = [&](Trial* trial) {
    const auto a = trial->Value("small", Step{7}, Mode::kTrain, Rank{0});
    ASSERT_TRUE(a.ok()) << a.status().ToString();
    EXPECT_EQ(Floats(*a), small);
    EXPECT_THAT(a->shape, ElementsAre(3));
    const auto b = trial->Value("large", Step{7}, Mode::kTrain, Rank{0});
    ASSERT_TRUE(b.ok()) << b.status().ToString();
    EXPECT_EQ(Floats(*b), large);
    EXPECT_THAT(trial->Value("large", Step{8}, Mode::kTrain, Rank{0}).status().message(),
                HasSubstr("though it was at other steps"));
    EXPECT_EQ(trial->Value("large", Step{7}, Mode::kEval, Rank{0}).status().code(),
              StatusCode::kNotFound);
  };
  check(live.get());
  rank.Rotate();
  rank.Seal();
  check(live.get());  // not refreshed: its rows point into files that are gone or renamed
  ASSERT_TRUE(live->Refresh().ok());
  check(live.get());
  check(Open().get());
}

// What Values says, as Value would: step → floats.
std::map<int64_t, std::vector<float>> FloatsByStep(const std::vector<ValueRun>& runs) {
  std::map<int64_t, std::vector<float>> out;
  for (const ValueRun& run : runs) {
    for (size_t i = 0; i < run.steps.size(); ++i) {
      TensorValue value = run.first;
      value.bytes = {run.first.bytes.data() + i * run.stride_bytes, run.first.bytes.size()};
      out[run.steps[i]] = Floats(value);
    }
  }
  return out;
}

TEST_F(TrialTest, AllValuesOfATensorAreWhatValueSaysOfEach) {
  RankBuilderOptions options;
  options.blob_ring_bytes = 4 << 20;
  RankBuilder rank(run(), Rank{0}, clock_, options);
  const auto write = [&](int64_t first, int64_t last) {
    for (int64_t step = first; step <= last; ++step) {
      const Mode mode = step % 5 == 4 ? Mode::kEval : Mode::kTrain;
      rank.Begin(step, mode, step);
      rank.Raw("small", std::vector<float>(3, static_cast<float>(step)));
      if (step % 3 == 0) {
        rank.Blob("large", std::vector<float>(20'000, static_cast<float>(-step)));
      }
      rank.Commit();
    }
    rank.Drain();
  };
  const auto check = [](Trial* trial) {
    for (const char* name : {"small", "large"}) {
      for (const Mode mode : {Mode::kTrain, Mode::kEval}) {
        const auto values = trial->Values(name, mode, Rank{0});
        ASSERT_TRUE(values.ok()) << values.status().ToString();
        const auto one_by_one = trial->Trial::Values(name, mode, Rank{0});
        ASSERT_TRUE(one_by_one.ok()) << one_by_one.status().ToString();
        EXPECT_EQ(FloatsByStep(*values), FloatsByStep(*one_by_one)) << name;
      }
    }
  };
  write(0, 9);
  rank.Rotate();
  rank.Seal();
  write(10, 19);
  rank.Rotate();
  write(20, 24);
  const auto live = Open();
  check(live.get());
  rank.Seal();
  check(live.get());  // not refreshed
  const auto trial = Open();
  check(trial.get());
  EXPECT_EQ(FloatsByStep(*trial->Values("small", Mode::kTrain, Rank{0})).size(), 20U);
  EXPECT_EQ(FloatsByStep(*trial->Values("large", Mode::kTrain, Rank{0}))[21],
            std::vector<float>(20'000, -21.0F));
  EXPECT_THAT(*trial->Values("small", Mode::kTrain, Rank{1}), IsEmpty());
  EXPECT_EQ(trial->Values("smal", Mode::kTrain, Rank{0}).status().code(), StatusCode::kNotFound);
}

TEST_F(TrialTest, ValuesAtEqualDistancesAreOneRun) {
  RankBuilder rank(run(), Rank{0}, clock_);
  for (int64_t step = 0; step < 100; ++step) {
    rank.Begin(step, Mode::kTrain, step);
    rank.Raw("a", std::vector<float>(16, static_cast<float>(step)));
    rank.Raw("b", std::vector<float>(step < 50 ? 3 : 4, static_cast<float>(step)));
    rank.Commit();
  }
  rank.Drain();
  rank.Rotate();
  rank.Seal();
  const auto trial = Open();
  const auto a = *trial->Values("a", Mode::kTrain, Rank{0});
  ASSERT_THAT(a, SizeIs(1));
  EXPECT_EQ(a[0].steps.size(), 100U);
  const auto b = *trial->Values("b", Mode::kTrain, Rank{0});
  ASSERT_THAT(b, SizeIs(2)) << "its shape changed once";
  EXPECT_THAT(b[1].first.shape, ElementsAre(4));
}

TEST_F(TrialTest, ValuesThatRetentionRemovedAreLeftOut) {
  RankBuilderOptions options;
  options.blob_ring_bytes = 4 << 20;
  RankBuilder rank(run(), Rank{0}, clock_, options);
  for (int64_t step = 0; step < 2; ++step) {
    rank.Begin(step, Mode::kTrain, step);
    rank.Blob("large", std::vector<float>(50'000, static_cast<float>(step)));
    rank.Commit();
    rank.Drain();
    rank.Rotate();
  }
  rank.Seal();
  rank.Seal();
  std::filesystem::remove(run() + "/blobs/r00000-b000001.safetensors");
  const auto values = Open()->Values("large", Mode::kTrain, Rank{0});
  ASSERT_TRUE(values.ok()) << values.status().ToString();
  EXPECT_EQ(FloatsByStep(*values),
            (std::map<int64_t, std::vector<float>>{{1, std::vector<float>(50'000, 1.0F)}}));
}

TEST_F(TrialTest, AValueOutlivesItsTrialAndItsFile) {
  RankBuilderOptions options;
  options.blob_ring_bytes = 4 << 20;
  RankBuilder rank(run(), Rank{0}, clock_, options);
  rank.Begin(0, Mode::kTrain, 0);
  rank.Blob("large", std::vector<float>(50'000, 2.5F));
  rank.Commit();
  rank.Drain();
  rank.Rotate();
  rank.Seal();
  auto trial = Open();
  const TensorValue value = *trial->Value("large", Step{0}, Mode::kTrain, Rank{0});
  trial.reset();
  std::filesystem::remove_all(run() + "/blobs");
  EXPECT_EQ(Floats(value), std::vector<float>(50'000, 2.5F));
  EXPECT_THAT(Open()->Value("large", Step{0}, Mode::kTrain, Rank{0}).status().message(),
              HasSubstr("retention"));
}

TEST_F(TrialTest, ADamagedBlobIsDataLossAndNotAWrongValue) {
  RankBuilderOptions options;
  options.blob_ring_bytes = 4 << 20;
  RankBuilder rank(run(), Rank{0}, clock_, options);
  rank.Begin(0, Mode::kTrain, 0);
  rank.Blob("large", std::vector<float>(50'000, 2.5F));
  rank.Commit();
  rank.Drain();
  rank.Rotate();
  rank.Seal();
  for (const auto& entry : std::filesystem::directory_iterator(run() + "/blobs")) {
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1000, std::ios::end);
    file.put('x');
  }
  EXPECT_EQ(Open()->Value("large", Step{0}, Mode::kTrain, Rank{0}).status().code(),
            StatusCode::kDataLoss);
}

}  // namespace
}  // namespace wheeltapper::trial
