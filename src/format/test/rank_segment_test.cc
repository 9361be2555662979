#include "wheeltapper/format/rank_segment.h"

#include <cstring>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/thread.h"

#include "nascent_segment.h"
#include "segment_files.h"
#include "support/scratch_folder.h"

namespace wheeltapper::format {
namespace {

SegmentOptions OptionsAt(const std::string& path) {
  SegmentOptions options;
  options.path = path;
  options.rank = Rank{3};
  options.run_id = 0x1234;
  options.journal_ring_bytes = 5000;  // rounded up to 8192
  options.blob_ring_bytes = 4096;
  return options;
}

void Put(ByteRing& ring, uint8_t value, uint64_t nbytes) {
  uint8_t* to = ring.Reserve(nbytes);
  ASSERT_NE(to, nullptr);
  std::memset(to, value, nbytes);
  ring.Publish();
}

TEST(RankSegmentTest, ReservedBytesAreInvisibleUntilPublished) {
  const ScratchFolder folder;
  auto segment = RankSegment::Create(OptionsAt(folder.file("s"))).value();
  ByteRing& ring = segment->journal_ring();
  ASSERT_EQ(ring.capacity(), 8192U);
  ASSERT_NE(ring.Reserve(64), nullptr);
  EXPECT_EQ(ring.pending(), 64U);
  EXPECT_TRUE(ring.Readable().empty());
  ring.Publish();
  EXPECT_EQ(ring.Readable().size(), 64U);
  EXPECT_DOUBLE_EQ(ring.fill(), 64.0 / 8192.0);
}

TEST(RankSegmentTest, AbandonForgetsOnlyWhatWasNotPublished) {
  const ScratchFolder folder;
  auto segment = RankSegment::Create(OptionsAt(folder.file("s"))).value();
  ByteRing& ring = segment->journal_ring();
  Put(ring, 1, 64);
  ASSERT_NE(ring.Reserve(128), nullptr);
  ring.Abandon();
  EXPECT_EQ(ring.pending(), 64U);
  ring.Publish();
  EXPECT_EQ(ring.Readable().size(), 64U);
}

TEST(RankSegmentTest, AFullRingRefusesAndRecoversAfterRelease) {
  const ScratchFolder folder;
  auto segment = RankSegment::Create(OptionsAt(folder.file("s"))).value();
  ByteRing& ring = segment->journal_ring();
  Put(ring, 1, 8192);
  EXPECT_EQ(ring.Reserve(1), nullptr);
  ring.Release(100);
  EXPECT_NE(ring.Reserve(100), nullptr);
  EXPECT_EQ(ring.Reserve(1), nullptr);
  EXPECT_EQ(ring.Reserve(8193), nullptr);
}

TEST(RankSegmentTest, ARecordAcrossTheWrapIsContiguous) {
  const ScratchFolder folder;
  auto segment = RankSegment::Create(OptionsAt(folder.file("s"))).value();
  ByteRing& ring = segment->journal_ring();
  Put(ring, 1, 8000);
  ring.Release(8000);
  Put(ring, 7, 1000);
  const std::span<uint8_t> bytes = ring.Readable();
  ASSERT_EQ(bytes.size(), 1000U);
  EXPECT_EQ(ring.offset(), 8000U);
  EXPECT_THAT(bytes, testing::Each(7));
}

TEST(RankSegmentTest, WhatAProducerPublishedSurvivesInTheFile) {
  const ScratchFolder folder;
  const std::string path = folder.file("s");
  {
    auto segment = RankSegment::Create(OptionsAt(path)).value();
    Put(segment->journal_ring(), 9, 64);
    Put(segment->blob_ring(), 8, 4096);
    segment->page().step.store(41);
  }
  auto attached = RankSegment::Attach(path, true).value();
  EXPECT_EQ(attached->page().rank, 3);
  EXPECT_EQ(attached->page().step.load(), 41);
  EXPECT_EQ(attached->page().run_id, 0x1234U);
  EXPECT_THAT(attached->journal_ring().Readable(), testing::Each(9));
  EXPECT_EQ(attached->blob_ring().Readable().size(), 4096U);
  EXPECT_EQ(attached->journal_ring().pending(), 64U);
}

// Of this process's descriptors for `path`.
std::vector<int> AccessModes(const std::string& path) {
  std::vector<int> modes;
  const std::vector<std::string> numbers = ListDirectory("/proc/self/fd").value();
  for (const std::string& number : numbers) {
    std::string target(path.size() + 1, '\0');
    const ssize_t nbytes =
        readlink(("/proc/self/fd/" + number).c_str(), target.data(), target.size());
    if (nbytes >= 0 && target.substr(0, static_cast<size_t>(nbytes)) == path) {
      modes.push_back(fcntl(std::stoi(number), F_GETFL) & O_ACCMODE);
    }
  }
  return modes;
}

TEST(RankSegmentTest, WhoMayLockASegmentHasItOpenForWriting) {
  const ScratchFolder folder;
  const std::string path = folder.file("segment");
  ASSERT_TRUE(RankSegment::Create(OptionsAt(path)).ok());
  const auto recovering = RankSegment::Attach(path, true).value();
  EXPECT_THAT(AccessModes(path), testing::ElementsAre(O_RDWR, O_RDWR))
      << "NFS gives an exclusive flock for no less";
}

TEST(RankSegmentTest, ALiveSegmentIsLockedAndADeadOneIsNot) {
  const ScratchFolder folder;
  const std::string path = folder.file("s");
  auto segment = RankSegment::Create(OptionsAt(path)).value();
  auto other = RankSegment::Attach(path, true).value();
  EXPECT_TRUE(segment->LockWriter().ok()) << "the holder may ask again";
  EXPECT_EQ(other->LockWriter().code(), StatusCode::kUnavailable);
  segment.reset();
  EXPECT_TRUE(other->LockWriter().ok());
}

TEST(RankSegmentTest, AForkedChildDoesNotKeepTheLockOfItsDeadParent) {
  const ScratchFolder folder;
  const std::string path = folder.file("s");
  auto segment = RankSegment::Create(OptionsAt(path)).value();
  int gate[2] = {};
  int ready[2] = {};
  ASSERT_EQ(pipe(gate), 0);
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(gate[1]);
    char byte = 0;
    (void)!write(ready[1], &byte, 1);
    _exit(read(gate[0], &byte, 1) == 0 ? 0 : 1);  // lives until the parent closes its end
  }
  close(gate[0]);
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  segment.reset();
  auto other = RankSegment::Attach(path, true).value();
  EXPECT_TRUE(other->LockWriter().ok());
  close(gate[1]);
  int state = 0;
  ASSERT_EQ(waitpid(child, &state, 0), child);
  EXPECT_EQ(state, 0);
}

TEST(RankSegmentTest, CreateNeverReplacesASegment) {
  const ScratchFolder folder;
  const std::string path = folder.file("s");
  auto segment = RankSegment::Create(OptionsAt(path)).value();
  EXPECT_EQ(RankSegment::Create(OptionsAt(path)).status().code(), StatusCode::kAlreadyExists);
  EXPECT_TRUE(segment->Remove().ok());
  EXPECT_TRUE(RankSegment::Create(OptionsAt(path)).ok());
}

TEST(RankSegmentTest, DamagedSegmentsAreDataLoss) {
  const ScratchFolder folder;
  const std::string path = folder.file("s");
  RankSegment::Create(OptionsAt(path)).value().reset();
  const std::string good = ReadWholeFile(path, 1 << 20).value();
  const auto attach = [&](const std::string& content) {
    EXPECT_TRUE(WriteFileAtomically(path, content).ok());
    return RankSegment::Attach(path, false).status().code();
  };
  EXPECT_EQ(attach(good), StatusCode::kOk);
  EXPECT_EQ(attach(good.substr(0, good.size() - 1)), StatusCode::kDataLoss);
  EXPECT_EQ(attach(""), StatusCode::kDataLoss);
  std::string bad = good;
  bad[0] ^= 1;
  EXPECT_EQ(attach(bad), StatusCode::kDataLoss);
  bad = good;
  bad[offsetof(RankPage, journal_ring_bytes) + 5] ^= 1;
  EXPECT_EQ(attach(bad), StatusCode::kDataLoss);
}

TEST(RankSegmentTest, PositionsThatContradictEachOtherReadAsEmpty) {
  const ScratchFolder folder;
  auto segment = RankSegment::Create(OptionsAt(folder.file("s"))).value();
  segment->page().journal.head.store(1 << 20);
  EXPECT_TRUE(segment->journal_ring().Readable().empty());
}

TEST(RankSegmentTest, OneProducerAndOneConsumerAgreeOnEveryByte) {
  const ScratchFolder folder;
  auto segment = RankSegment::Create(OptionsAt(folder.file("s"))).value();
  ByteRing& ring = segment->journal_ring();
  constexpr uint64_t kRecords = 20'000;
  Thread producer;
  ASSERT_TRUE(producer
                  .Start("wt-test-produce",
                         [&ring] {
                           for (uint64_t i = 0; i < kRecords; ++i) {
                             const uint64_t nbytes = 8 * (1 + i % 97);
                             uint8_t* to = ring.Reserve(nbytes);
                             while (to == nullptr) {
                               to = ring.Reserve(nbytes);
                             }
                             for (uint64_t at = 0; at < nbytes; at += 8) {
                               std::memcpy(to + at, &i, 8);
                             }
                             ring.Publish();
                           }
                         })
                  .ok());
  uint64_t wrong = 0;
  for (uint64_t next = 0; next < kRecords;) {
    const std::span<uint8_t> bytes = ring.Readable();
    uint64_t at = 0;
    while (at < bytes.size()) {
      const uint64_t nbytes = 8 * (1 + next % 97);
      for (uint64_t word = 0; word < nbytes; word += 8) {
        wrong += LoadUnaligned<uint64_t>(bytes.data() + at + word) == next ? 0U : 1U;
      }
      at += nbytes;
      ++next;
    }
    ring.Release(at);
  }
  producer.Join();
  EXPECT_EQ(wrong, 0U);
}

TEST(RankSegmentTest, TheSegmentGoesToTheRunWhenSharedMemoryIsTooSmall) {
  EXPECT_EQ(SegmentPath("/runs/a", 0xab, Rank{7}, 2, uint64_t{1} << 60),
            "/runs/a/journal/r00007-2.ring");
  EXPECT_EQ(SegmentPath("/runs/a", 0xab, Rank{7}, 2, 4096),
            "/dev/shm/wheeltapper-00000000000000ab-r00007-2");
}

TEST(NascentSegmentTest, HasNoNameUntilItIsFinished) {
  const ScratchFolder folder;
  const std::string path = folder.file("s");
  {
    auto nascent = NascentSegment::Unnamed(path);
    if (nascent.status().code() == StatusCode::kUnimplemented) {
      GTEST_SKIP() << nascent.status().message();
    }
    ASSERT_TRUE(nascent.ok()) << nascent.status().ToString();
    EXPECT_THAT(ListDirectory(folder.path()).value(), testing::IsEmpty());
    ASSERT_TRUE((*nascent)->GiveName().ok());
    EXPECT_THAT(ListDirectory(folder.path()).value(), testing::ElementsAre("s"));
  }
  EXPECT_EQ(NascentSegment::Unnamed(path).value()->GiveName().code(), StatusCode::kAlreadyExists);
}

TEST(NascentSegmentTest, ATemporaryOneBehavesAlikeAndIsRemovedWhenItIsGivenUp) {
  const ScratchFolder folder;
  const std::string path = folder.file("s");
  {
    auto given_up = NascentSegment::Temporary(path).value();
    EXPECT_THAT(ListDirectory(folder.path()).value(),
                testing::ElementsAre("s.new." + std::to_string(getpid())));
  }
  EXPECT_THAT(ListDirectory(folder.path()).value(), testing::IsEmpty());
  {
    auto nascent = NascentSegment::Temporary(path).value();
    ASSERT_TRUE(nascent->GiveName().ok());
  }
  EXPECT_THAT(ListDirectory(folder.path()).value(), testing::ElementsAre("s"));
  EXPECT_EQ(NascentSegment::Temporary(path).value()->GiveName().code(), StatusCode::kAlreadyExists);
  EXPECT_THAT(ListDirectory(folder.path()).value(), testing::ElementsAre("s"));
}

TEST(NascentSegmentTest, ATemporaryOneFollowsNoLinkAndTakesNoLiveFile) {
  const ScratchFolder folder;
  const std::string path = folder.file("s");
  const std::string temporary = path + ".new." + std::to_string(getpid());
  ASSERT_TRUE(WriteFileAtomically(folder.file("victim"), "precious").ok());
  ASSERT_EQ(symlink(folder.file("victim").c_str(), temporary.c_str()), 0);
  EXPECT_FALSE(NascentSegment::Temporary(path).ok());
  EXPECT_EQ(ReadWholeFile(folder.file("victim"), 100).value(), "precious");
  ASSERT_EQ(unlink(temporary.c_str()), 0);
  auto alive = NascentSegment::Temporary(path).value();
  EXPECT_EQ(NascentSegment::Temporary(path).status().code(), StatusCode::kAlreadyExists);
  EXPECT_TRUE(PathExists(temporary));
}

TEST(NascentSegmentTest, WhoLooksForSegmentsRemovesWhatADeadProcessLeft) {
  const ScratchFolder folder;
  constexpr uint64_t kRunId = 0x7e57'0001'7e57'0002;
  const std::string run = folder.file("run");
  ASSERT_TRUE(MakeDirectories(JoinPath(run, "journal")).ok());
  const std::string shared =
      JoinPath(kSegmentFolder, SegmentPrefix(kRunId, Rank{0}) + "1.new.4000000");
  const std::string in_run = SegmentPathInRun(run, Rank{0}, 1) + ".new.4000000";
  for (const std::string& path : {shared, in_run}) {
    ASSERT_TRUE(WriteFileAtomically(path, "half").ok());
  }
  // One whose maker lives stays.
  auto alive = NascentSegment::Temporary(SegmentPathInRun(run, Rank{1}, 1)).value();
  EXPECT_THAT(FindSegments(run, kRunId, Rank{0}), testing::IsEmpty());
  EXPECT_FALSE(PathExists(shared));
  EXPECT_FALSE(PathExists(in_run));
  EXPECT_TRUE(alive->GiveName().ok());
  EXPECT_THAT(FindSegmentRanks(run, kRunId), testing::ElementsAre(Rank{1}));
}

}  // namespace
}  // namespace wheeltapper::format
