// SIGKILLs at random moments, 200 while mostly small tensors are recorded and 30 while large ones
// are: no step that FinishStep returned for is lost, none is torn. And 60 while a session starts:
// no shared memory stays behind.
#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <iostream>
#include <random>

#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/rank_segment.h"
#include "wheeltapper/format/run_reader.h"

#include "fixture.h"

namespace wheeltapper::capture {
namespace {

constexpr size_t kSmall = 8;
constexpr size_t kElements = 64;

// What the job that is killed records beside its small tensors.
struct LargeTensor {
  int64_t elements;
  int64_t every;  // steps from one to the next
  const char* blob_ring_mb;
  int64_t bytes_read_every;  // steps from one whose bytes are compared to the next
};
constexpr LargeTensor kNowAndThen = {20'000, 8, "16", 64};
// 6 MB each: several writes past the page cache are under way when the kill comes.
constexpr LargeTensor kEachStep = {1'500'000, 1, "32", 1};

float ValueAt(int64_t step, size_t tensor) {
  return static_cast<float>(step % 4096) + static_cast<float>(tensor) / 16;
}

// Trains until it is killed; `finished` counts the steps whose FinishStep has returned.
[[noreturn]] void TrainForEver(const std::string& run_dir, const LargeTensor& extra,
                               std::atomic<int64_t>* finished) {
  SessionOptions options;
  options.run_dir = run_dir;
  auto session = Session::Start(options,
                                EveryStep({{"capture.ring_mb", "4", ""},
                                           {"capture.blob_ring_mb", extra.blob_ring_mb, ""},
                                           {"capture.on_full", "block", ""}}),
                                SystemClock());
  if (!session.ok()) {
    _exit(98);
  }
  std::vector<CaptureId> ids;
  ids.reserve(kSmall);
  for (size_t i = 0; i < kSmall; ++i) {
    ids.push_back(*(*session)->RegisterTensor(
        {.name = "s" + std::to_string(i), .shape = {int64_t{kElements}}}));
  }
  const CaptureId large = *(*session)->RegisterTensor({.name = "large", .shape = {extra.elements}});
  std::vector<Vector> tensors(kSmall, Vector(kElements));
  Vector big(static_cast<size_t>(extra.elements));
  for (int64_t step = 0;; ++step) {
    std::vector<TensorItem> items;
    for (size_t i = 0; i < kSmall; ++i) {
      std::fill(tensors[i].values.begin(), tensors[i].values.end(), ValueAt(step, i));
      items.push_back(tensors[i].item(ids[i]));
    }
    if (step % extra.every == 0) {
      std::fill(big.values.begin(), big.values.end(), ValueAt(step, kSmall));
      items.push_back(big.item(large));
    }
    (void)(*session)->armed(Mode::kTrain);
    (*session)->Record(items);
    (*session)->FinishStep(Mode::kTrain, {});
    finished->store(step + 1, std::memory_order_release);
  }
}

void CheckBatch(const format::StepBatch& batch, const LargeTensor& extra,
                format::RunReader* reader) {
  const format::NameTable& names = reader->names();
  const int64_t step = batch.key.step.value;
  const size_t expected = kSmall + (step % extra.every == 0 ? 1 : 0);
  ASSERT_EQ(batch.stats.size(), expected) << "torn step " << step;
  ASSERT_EQ(batch.tensors.size(), expected) << "torn step " << step;
  for (const format::StatsRow& row : batch.stats) {
    const std::string& name = names.info(row.name).name;
    const size_t index = name == "large" ? kSmall : static_cast<size_t>(name[1] - '0');
    ASSERT_EQ(row.stats.mean, static_cast<double>(ValueAt(step, index))) << name << " at " << step;
  }
  if (step % extra.bytes_read_every == 0) {
    for (const format::TensorRow& row : batch.tensors) {
      const auto bytes = reader->ReadTensor(row);
      ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
      std::array<float, 2> ends{};
      std::memcpy(&ends[0], bytes->data(), sizeof(float));
      std::memcpy(&ends[1], bytes->data() + bytes->size() - sizeof(float), sizeof(float));
      const std::string& name = names.info(row.name).name;
      const size_t index = name == "large" ? kSmall : static_cast<size_t>(name[1] - '0');
      ASSERT_THAT(ends, testing::Each(ValueAt(step, index)));
    }
  }
}

// One job, one kill, one recovery. Returns how many steps were acknowledged.
int64_t KillOnce(const LargeTensor& extra, useconds_t after_us) {
  const TemporaryRun run;
  void* shared = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* finished = new (shared) std::atomic<int64_t>(0);
  const pid_t child = fork();
  if (child == 0) {
    TrainForEver(run.dir(), extra, finished);
  }
  // The moment counts from the first step: start-up is not what is tested.
  int status = 0;
  while (finished->load(std::memory_order_acquire) == 0 && waitpid(child, &status, WNOHANG) == 0) {
    usleep(100);
  }
  usleep(after_us);
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the job ended by itself: " << status;
  const int64_t acknowledged = finished->load(std::memory_order_acquire);
  munmap(shared, 4096);
  const auto report = format::RecoverRun(run.dir());
  EXPECT_TRUE(report.ok()) << report.status().ToString();
  auto reader = format::RunReader::Open(run.dir());
  EXPECT_TRUE(reader.ok()) << reader.status().ToString();
  if (!reader.ok()) {
    return acknowledged;
  }
  int64_t next = 0;
  std::vector<format::StepBatch> steps;
  const Status polled = (*reader)->Poll([&](format::StepBatch&& batch) {
    EXPECT_TRUE(batch.gaps.empty());
    if (batch.is_step) {
      EXPECT_EQ(batch.key.step.value, next++);
      steps.push_back(std::move(batch));
    }
  });
  EXPECT_TRUE(polled.ok()) << polled.ToString();
  EXPECT_TRUE((*reader)->skipped().empty());
  for (const format::StepBatch& batch : steps) {
    CheckBatch(batch, extra, reader->get());
  }
  EXPECT_GE(next, acknowledged) << "acknowledged steps were lost";
  EXPECT_LE(next, acknowledged + 1);
  return acknowledged;
}

// Returns how many steps were acknowledged before all of the kills.
int64_t KillMany(const LargeTensor& extra, int kills) {
  std::mt19937 random(20261121);
  std::uniform_int_distribution<useconds_t> moment(1'000, 30'000);
  int64_t acknowledged = 0;
  for (int kill = 0; kill < kills && !testing::Test::HasFailure(); ++kill) {
    acknowledged += KillOnce(extra, moment(random));
  }
  std::cout << "acknowledged steps: " << acknowledged << "\n";
  return acknowledged;
}

// Starts a session and is killed somewhere in it. Returns true when that was before the segment had
// its name.
bool KillAtStart(useconds_t after_us) {
  const TemporaryRun run;
  const uint64_t run_id = format::ReadRunInfo(run.dir()).value().run_id;
  const pid_t child = fork();
  if (child == 0) {
    SessionOptions options;
    options.run_dir = run.dir();
    const auto session =
        Session::Start(options, EveryStep({{"capture.ring_mb", "64", ""}}), SystemClock());
    pause();
    _exit(session.ok() ? 0 : 98);
  }
  usleep(after_us);
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the job ended by itself: " << status;
  const std::string prefix = format::SegmentPrefix(run_id, Rank{0});
  const auto segments = [&prefix] {
    std::vector<std::string> names = ListDirectory(format::kSegmentFolder).value();
    std::erase_if(names, [&](const std::string& name) { return !name.starts_with(prefix); });
    return names;
  };
  const bool before = segments().empty();
  const auto report = format::RecoverRun(run.dir());
  EXPECT_TRUE(report.ok()) << report.status().ToString();
  const std::vector<std::string> left = segments();
  EXPECT_THAT(left, testing::IsEmpty());
  for (const std::string& name : left) {
    RemoveFile(JoinPath(format::kSegmentFolder, name)).IgnoreError("the test has failed already");
  }
  return before;
}

TEST(KillTest, SigkillsWhileASegmentIsMadeLeaveNoSharedMemory) {
  std::mt19937 random(20261121);
  std::uniform_int_distribution<useconds_t> moment(0, 150'000);
  int before = 0;
  for (int kill = 0; kill < 60; ++kill) {
    before += KillAtStart(moment(random)) ? 1 : 0;
  }
  std::cout << "killed before the segment had its name: " << before << " of 60\n";
}

TEST(KillTest, TwoHundredSigkillsLoseNoAcknowledgedStepAndTearNone) {
  EXPECT_GT(KillMany(kNowAndThen, 200), 200);
}

TEST(KillTest, SigkillsAmidLargeWritesLoseNoAcknowledgedStepAndTearNone) {
  EXPECT_GT(KillMany(kEachStep, 30), 30);
}

}  // namespace
}  // namespace wheeltapper::capture
