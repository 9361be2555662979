// What of the journal is forced to the disk, and when: by counting the system's own call.
#include <array>
#include <atomic>

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wheeltapper/core/clock.h"

#include "test/test_run.h"

namespace {
// Counted by a function with C's signature, which no fixture reaches.
std::atomic<int> syncs{0};  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
}  // namespace

// Takes the place of the C library's in this program, by its symbol.
int CountedFdatasync(int fd) __asm__("fdatasync");
int CountedFdatasync(int fd) {
  syncs.fetch_add(1);
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}

namespace wheeltapper::format {
namespace {

constexpr TimeNs kSecond = 1'000'000'000;

// Syncs while 3 steps are drained one second apart, then 3 after the five seconds have passed.
std::array<int, 2> SyncsOf(Durability durability) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  EXPECT_TRUE(MakeTestRun(run).ok());
  ManualClock clock;
  WriterOptions options = TestWriterOptions(run);
  options.durability = durability;
  const auto attempt = Attempt::Start(options, 1, clock);
  attempt->WriteNames();
  EXPECT_TRUE(attempt->writer->Drain(*attempt->segment).ok());
  std::array<int, 2> counts{};
  int64_t step = 0;
  for (int& count : counts) {
    const int before = syncs.load();
    for (int i = 0; i < 3; ++i) {
      attempt->WriteStep(++step);
      EXPECT_TRUE(attempt->writer->Drain(*attempt->segment).ok());
      clock.Advance(kSecond);
    }
    count = syncs.load() - before;
    clock.Advance(5 * kSecond);
  }
  return counts;
}

TEST(DurabilityTest, ProcessNeverWaitsForTheDisk) {
  const auto [first, second] = SyncsOf(Durability::kProcess);
  EXPECT_EQ(first, 0);
  EXPECT_EQ(second, 0);
}

TEST(DurabilityTest, StepSyncsEveryDrain) {
  const auto [first, second] = SyncsOf(Durability::kStep);
  EXPECT_GE(first, 3);
  EXPECT_GE(second, 3);
}

TEST(DurabilityTest, IntervalSyncsOnceEveryFiveSeconds) {
  const auto [first, second] = SyncsOf(Durability::kInterval);
  EXPECT_EQ(first, 0) << "within five seconds of the start";
  EXPECT_GE(second, 1) << "the journal, and the blobs when there are any";
  EXPECT_LE(second, 2);
}

}  // namespace
}  // namespace wheeltapper::format
