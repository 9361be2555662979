#include "wheeltapper/format/journal_writer.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/safetensors.h"

#include "run_names.h"
#include "test/test_run.h"

namespace wheeltapper::format {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class JournalWriterTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(MakeTestRun(run_).ok()); }

  std::unique_ptr<Attempt> Start(uint64_t incarnation = 1) {
    return Attempt::Start(TestWriterOptions(run_), incarnation, clock_);
  }
  static void WriteSteps(Attempt& attempt, int64_t first, int64_t last) {
    if (first == 0) {
      attempt.WriteNames();
    }
    for (int64_t step = first; step <= last; ++step) {
      attempt.WriteStep(step);
    }
  }
  void Drain(Attempt& attempt) {
    const Result<uint64_t> drained = attempt.writer->Drain(*attempt.segment);
    ASSERT_TRUE(drained.ok()) << drained.status().ToString();
  }
  void SealAll(Attempt& attempt) {
    for (;;) {
      const Result<bool> sealed = attempt.writer->SealNext();
      ASSERT_TRUE(sealed.ok()) << sealed.status().ToString();
      if (!*sealed) {
        return;
      }
    }
  }
  std::vector<std::string> Names(const std::string& folder) {
    return ListFolder(run_, folder).value();
  }

  ScratchFolder folder_;
  std::string run_ = folder_.file("run");
  ManualClock clock_;
};

TEST_F(JournalWriterTest, WhatWasDrainedIsReadBackFromTheJournal) {
  auto attempt = Start();
  WriteSteps(*attempt, 0, 9);
  Drain(*attempt);
  const RunText text = ReadRun(run_);
  EXPECT_THAT(text.lines, ElementsAreArray(ExpectedLines(0, 9)));
  EXPECT_THAT(text.gaps, IsEmpty());
  EXPECT_THAT(text.skipped, IsEmpty());
  EXPECT_EQ(attempt->segment->page().drained_seq.load(), attempt->producer->next_seq() - 1);
}

TEST_F(JournalWriterTest, WhatWasSealedReadsExactlyAsBefore) {
  auto attempt = Start();
  WriteSteps(*attempt, 0, 9);
  Drain(*attempt);
  ASSERT_TRUE(attempt->writer->RotateIfDue(true).ok());
  SealAll(*attempt);
  EXPECT_THAT(ReadRun(run_).lines, ElementsAreArray(ExpectedLines(0, 9)));
  for (const char* table : {"scalars", "stats", "tensors", "steps", "metas"}) {
    EXPECT_THAT(Names(table), SizeIs(1)) << table;
  }
  EXPECT_THAT(Names("gaps"), IsEmpty()) << "a table without rows has no file";
}

TEST_F(JournalWriterTest, SealedAndLiveRowsComeInOneOrderOverManyFiles) {
  auto attempt = Start();
  for (int64_t step = 0; step < 20; ++step) {
    WriteSteps(*attempt, step, step);
    Drain(*attempt);
    if (step % 3 == 2) {
      ASSERT_TRUE(attempt->writer->RotateIfDue(true).ok());
    }
    if (step == 10) {
      SealAll(*attempt);
    }
  }
  EXPECT_THAT(ReadRun(run_).lines, ElementsAreArray(ExpectedLines(0, 19)));
}

TEST_F(JournalWriterTest, ACleanEndLeavesOnlyOpenFormats) {
  auto attempt = Start();
  WriteSteps(*attempt, 0, 6);
  Drain(*attempt);
  const Status closed = attempt->writer->Close();
  ASSERT_TRUE(closed.ok()) << closed.ToString();
  ASSERT_TRUE(attempt->segment->Remove().ok());
  EXPECT_THAT(Names("journal"), testing::ElementsAre("r00000.lock"));
  EXPECT_THAT(Names("blobs"), testing::Each(HasSubstr(".safetensors")));
  EXPECT_THAT(ReadRun(run_).lines, ElementsAreArray(ExpectedLines(0, 6)));
  EXPECT_EQ(attempt->writer->Drain(*attempt->segment).status().code(),
            StatusCode::kFailedPrecondition);
}

TEST_F(JournalWriterTest, BlobsAreValidSafetensorsWithTellingKeys) {
  auto attempt = Start();
  WriteSteps(*attempt, 0, 6);
  Drain(*attempt);
  ASSERT_TRUE(attempt->writer->Close().ok());
  std::vector<std::string> keys;
  for (const std::string& name : Names("blobs")) {
    const MappedFile mapped = MappedFile::OpenReadOnly(run_ + "/blobs/" + name).value();
    const auto index = ParseSafetensors(mapped.bytes());
    ASSERT_TRUE(index.ok()) << name << ": " << index.status().ToString();
    for (const SafetensorsEntry& entry : index->entries) {
      EXPECT_EQ(entry.begin % 64, 0U) << entry.name;
      keys.push_back(entry.name);
    }
  }
  EXPECT_THAT(keys, testing::IsSupersetOf(
                        {"000000003/train/0/embedding", "000000005/train/0/output/relu"}));
  EXPECT_THAT(keys, SizeIs(7 + 3));
}

TEST_F(JournalWriterTest, ATensorNamedTwiceInAStepKeepsBoth) {
  auto attempt = Start();
  attempt->producer->Tensor(1, "x", tensor::DType::kU8, {2});
  attempt->producer->AddRaw(1, {1, 2});
  attempt->producer->AddRaw(1, {3, 4});
  attempt->producer->Commit(0);
  Drain(*attempt);
  ASSERT_TRUE(attempt->writer->Close().ok());
  const MappedFile mapped = MappedFile::OpenReadOnly(run_ + "/blobs/" + Names("blobs")[0]).value();
  const SafetensorsIndex index = ParseSafetensors(mapped.bytes()).value();
  ASSERT_THAT(index.entries, SizeIs(2));
  EXPECT_EQ(index.entries[0].name, "000000000/train/0/x");
  EXPECT_EQ(index.entries[1].name, "000000000/train/0/x#2");
}

TEST_F(JournalWriterTest, ANewAttemptGoesOnAfterTheLast) {
  uint64_t next = 0;
  {
    auto first = Start(1);
    WriteSteps(*first, 0, 4);
    Drain(*first);
    next = first->producer->next_seq();
  }
  auto second = Start(2);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->writer->next_seq(), next);
  second->WriteNames();
  for (int64_t step = 5; step < 9; ++step) {
    second->WriteStep(step);
  }
  Drain(*second);
  SealAll(*second);
  EXPECT_THAT(ReadRun(run_).lines, ElementsAreArray(ExpectedLines(0, 8)));
}

TEST_F(JournalWriterTest, NumbersAreNotReusedWhenAllFilesAreGone) {
  uint64_t next = 0;
  {
    auto first = Start(1);
    first->producer->Tensor(1, "x", tensor::DType::kU8, {2});
    first->producer->PublishUnfinished();
    Drain(*first);
    next = first->producer->next_seq();
  }
  ASSERT_TRUE(RecoverRun(run_).ok());
  EXPECT_THAT(Names("journal"), testing::ElementsAre("r00000.lock"));
  auto second = Start(2);
  EXPECT_GE(second->writer->next_seq(), next);
}

TEST_F(JournalWriterTest, TwoWritersOfOneRankAreRefused) {
  auto first = Start(1);
  const auto second = JournalWriter::Open(TestWriterOptions(run_), clock_);
  EXPECT_EQ(second.status().code(), StatusCode::kUnavailable);
}

TEST_F(JournalWriterTest, AnOpenTransactionIsNotRotatedApart) {
  auto attempt = Start();
  attempt->WriteNames();
  attempt->producer->AddScalars({{5, 1.0}});
  attempt->producer->PublishUnfinished();
  Drain(*attempt);
  ASSERT_TRUE(attempt->writer->RotateIfDue(true).ok());
  EXPECT_THAT(Names("journal"), testing::Contains("r00000-000001.wtj"));
  EXPECT_THAT(Names("journal"), testing::Not(testing::Contains("r00000-000002.wtj")));
  EXPECT_THAT(ReadRun(run_).lines, IsEmpty());
  EXPECT_EQ(attempt->writer->Close().code(), StatusCode::kFailedPrecondition);
  attempt->producer->Commit(0);
  Drain(*attempt);
  ASSERT_TRUE(attempt->writer->RotateIfDue(true).ok());
  EXPECT_THAT(ReadRun(run_).lines, SizeIs(2));
}

TEST_F(JournalWriterTest, FilesRotateBySizeAndByAge) {
  WriterOptions options = TestWriterOptions(run_);
  options.rotate_bytes = 4096;
  options.rotate_age_ns = 1'000'000'000;
  auto attempt = Attempt::Start(options, 1, clock_);
  WriteSteps(*attempt, 0, 0);
  Drain(*attempt);
  ASSERT_TRUE(attempt->writer->RotateIfDue(false).ok());
  EXPECT_THAT(Names("journal"), testing::Not(testing::Contains("r00000-000002.wtj")));
  WriteSteps(*attempt, 1, 3);
  Drain(*attempt);
  ASSERT_TRUE(attempt->writer->RotateIfDue(false).ok());
  EXPECT_THAT(Names("journal"), testing::Contains("r00000-000002.wtj"));
  WriteSteps(*attempt, 4, 4);
  Drain(*attempt);
  clock_.Advance(2'000'000'000);
  ASSERT_TRUE(attempt->writer->RotateIfDue(false).ok());
  EXPECT_THAT(Names("journal"), testing::Contains("r00000-000003.wtj"));
  clock_.Advance(2'000'000'000);
  ASSERT_TRUE(attempt->writer->RotateIfDue(false).ok());
  EXPECT_THAT(Names("journal"), testing::Not(testing::Contains("r00000-000004.wtj")))
      << "nothing to seal";
}

TEST_F(JournalWriterTest, DiscardedBlobsBecomeGapsAndTheStatisticsStay) {
  auto attempt = Start();
  WriteSteps(*attempt, 0, 2);
  ASSERT_TRUE(attempt->writer->DiscardBlobs(*attempt->segment).ok());
  Drain(*attempt);
  std::vector<std::string> expected = ExpectedLines(0, 2);
  std::erase_if(expected, [](const std::string& line) {
    return line.find("embedding") != std::string::npos;
  });
  RunText text = ReadRun(run_);
  EXPECT_THAT(text.lines, ElementsAreArray(expected));
  EXPECT_THAT(text.gaps, testing::ElementsAre("gap 0-0 reason 2 what 1 tensors 1 bytes 4000"));
  ASSERT_TRUE(attempt->writer->Close().ok());
  text = ReadRun(run_);
  EXPECT_THAT(text.lines, ElementsAreArray(expected));
  EXPECT_THAT(text.gaps, testing::ElementsAre("gap 0-0 reason 2 what 1 tensors 1 bytes 4000"));
}

TEST_F(JournalWriterTest, RetentionRemovesOldRawTensorsAndNothingElse) {
  WriterOptions options = TestWriterOptions(run_);
  options.retain_raw_steps = 5;
  auto attempt = Attempt::Start(options, 1, clock_);
  for (int64_t step = 0; step < 20; ++step) {
    WriteSteps(*attempt, step, step);
    Drain(*attempt);
    ASSERT_TRUE(attempt->writer->RotateIfDue(true).ok());
    SealAll(*attempt);
  }
  // Newest step 19: steps 14 … 19 stay; inline tensors of each, large ones of 15 and 18.
  EXPECT_THAT(Names("blobs"), SizeIs(6 + 2));
  auto reader = RunReader::Open(run_).value();
  int missing = 0;
  int there = 0;
  ASSERT_TRUE(reader
                  ->Poll([&](StepBatch&& batch) {
                    for (const TensorRow& row : batch.tensors) {
                      const auto bytes = reader->ReadTensor(row);
                      missing += bytes.status().code() == StatusCode::kNotFound ? 1 : 0;
                      there += bytes.ok() ? 1 : 0;
                    }
                  })
                  .ok());
  EXPECT_EQ(there, 8);
  EXPECT_EQ(missing, 14 + 5);
  EXPECT_THAT(CheckRun(run_)->problems, SizeIs(0));
}

TEST_F(JournalWriterTest, ABlobThatCannotBeLetGoIsToldOnceAndHoldsUpNoSealing) {
  WriterOptions options = TestWriterOptions(run_);
  options.retain_raw_steps = 5;
  auto attempt = Attempt::Start(options, 1, clock_);
  // A folder with something in it in a blob's place: what unlink refuses for root, too.
  const auto replace = [&](const std::string& blob) {
    const std::string path = JoinPath(JoinPath(run_, "blobs"), blob);
    ASSERT_TRUE(RenameFile(path, folder_.file("away")).ok());
    ASSERT_TRUE(MakeDirectories(JoinPath(path, "inside")).ok());
  };
  std::string stuck;
  int failures = 0;
  for (int64_t step = 0; step < 20; ++step) {
    WriteSteps(*attempt, step, step);
    Drain(*attempt);
    ASSERT_TRUE(attempt->writer->RotateIfDue(true).ok());
    const Result<bool> sealed = attempt->writer->SealNext();
    failures += sealed.ok() ? 0 : 1;
    if (!sealed.ok()) {
      EXPECT_THAT(sealed.status().message(), HasSubstr(stuck));
    }
    if (step == 0) {
      stuck = Names("blobs").front();
      replace(stuck);
    }
  }
  EXPECT_EQ(failures, 1);
  EXPECT_FALSE(attempt->writer->SealNext().value()) << "everything is sealed";
  EXPECT_THAT(Names("blobs"), testing::Contains(stuck));
  EXPECT_LE(Names("blobs").size(), 1U + 1U + 6U + 2U) << "the others were let go of";
  // Once it can go, the next seal lets it go.
  const std::string path = JoinPath(JoinPath(run_, "blobs"), stuck);
  ASSERT_EQ(rmdir(JoinPath(path, "inside").c_str()), 0);
  ASSERT_EQ(rmdir(path.c_str()), 0);
  ASSERT_TRUE(RenameFile(folder_.file("away"), path).ok());
  WriteSteps(*attempt, 20, 20);
  Drain(*attempt);
  const Status closed = attempt->writer->Close();
  EXPECT_TRUE(closed.ok()) << closed.ToString();
  EXPECT_THAT(Names("blobs"), testing::Not(testing::Contains(stuck)));
}

TEST_F(JournalWriterTest, ABlobThatCannotBeLetGoDoesNotKeepTheWriterFromClosing) {
  WriterOptions options = TestWriterOptions(run_);
  options.retain_raw_steps = 1;
  auto attempt = Attempt::Start(options, 1, clock_);
  WriteSteps(*attempt, 0, 0);
  Drain(*attempt);
  ASSERT_TRUE(attempt->writer->RotateIfDue(true).ok());
  SealAll(*attempt);
  const std::string path = JoinPath(JoinPath(run_, "blobs"), Names("blobs").front());
  ASSERT_TRUE(RemoveFile(path).ok());
  ASSERT_TRUE(MakeDirectories(JoinPath(path, "inside")).ok());
  WriteSteps(*attempt, 1, 6);
  Drain(*attempt);
  const Status closed = attempt->writer->Close();
  ASSERT_TRUE(closed.ok()) << closed.ToString();
  EXPECT_THAT(Names("journal"), testing::Each(testing::Not(HasSubstr(".wtj"))));
}

TEST_F(JournalWriterTest, TheBlobRingIsGivenBackAsItIsDrained) {
  auto attempt = Start();
  const uint64_t capacity = attempt->segment->blob_ring().capacity();
  attempt->producer->Tensor(1, "large", tensor::DType::kU8, {100'000});
  uint64_t written = 0;
  for (int64_t step = 0; written < 3 * capacity; ++step) {
    attempt->producer->AddBlob(1, std::vector<uint8_t>(100'000, static_cast<uint8_t>(step)));
    attempt->producer->Commit(step);
    ASSERT_FALSE(attempt->producer->full()) << "at step " << step;
    Drain(*attempt);
    EXPECT_EQ(attempt->segment->blob_ring().fill(), 0.0);
    written += 100'000;
  }
  EXPECT_TRUE(ReadRun(run_).gaps.empty());
}

TEST_F(JournalWriterTest, ABacklogIsGivenBackPieceByPiece) {
  constexpr uint64_t kTensorBytes = 9 << 20;
  WriterOptions options = TestWriterOptions(run_);
  options.blob_rotate_bytes = kTensorBytes + (1 << 20);  // a file per tensor
  auto attempt = Attempt::Start(options, 1, clock_, 1 << 20, 4 * kTensorBytes);
  attempt->producer->Tensor(1, "large", tensor::DType::kU8, {kTensorBytes});
  for (int64_t step = 0; step < 4; ++step) {
    attempt->producer->AddBlob(1, SomeBytes(step, kTensorBytes));
    attempt->producer->Commit(step);
  }
  ASSERT_FALSE(attempt->producer->full());
  // The third tensor cannot be written: the first two make a piece and are done with.
  const std::string in_the_way = BlobPath(run_, Rank{0}, 3, true);
  ASSERT_TRUE(MakeDirectories(in_the_way).ok());
  EXPECT_FALSE(attempt->writer->Drain(*attempt->segment).ok());
  EXPECT_EQ(attempt->segment->blob_ring().offset(), 2 * kTensorBytes);
  EXPECT_THAT(ReadRun(run_).lines, SizeIs(4)) << "two steps of a head and a tensor";
  ASSERT_EQ(rmdir(in_the_way.c_str()), 0);
  Drain(*attempt);
  EXPECT_EQ(attempt->segment->blob_ring().fill(), 0.0);
  auto reader = RunReader::Open(run_).value();
  std::vector<bool> right;
  ASSERT_TRUE(reader
                  ->Poll([&](StepBatch&& batch) {
                    for (const TensorRow& row : batch.tensors) {
                      const auto bytes = reader->ReadTensor(row);
                      right.push_back(bytes.ok() &&
                                      *bytes == SomeBytes(batch.key.step.value, kTensorBytes));
                    }
                  })
                  .ok());
  EXPECT_THAT(right, testing::ElementsAre(true, true, true, true));
}

TEST_F(JournalWriterTest, TensorsAcrossTheSlicesOfAWriteKeepTheirChecksums) {
  // Slices end every 4 MiB: inside a tensor, once and often, and exactly behind one.
  const std::vector<size_t> sizes{70'001, (9 << 20) + 123, 64, (17 << 20) - 5, 8 << 20, 300'000};
  auto attempt = Attempt::Start(TestWriterOptions(run_), 1, clock_, 1 << 20, 64 << 20);
  for (uint32_t i = 0; i < sizes.size(); ++i) {
    attempt->producer->Tensor(i + 1, "t" + std::to_string(i), tensor::DType::kU8,
                              {static_cast<int64_t>(sizes[i])});
    attempt->producer->AddBlob(i + 1, SomeBytes(i, sizes[i]));
  }
  attempt->producer->Commit(0);
  ASSERT_FALSE(attempt->producer->full());
  Drain(*attempt);
  auto reader = RunReader::Open(run_).value();
  size_t right = 0;
  ASSERT_TRUE(reader
                  ->Poll([&](StepBatch&& batch) {
                    for (size_t i = 0; i < batch.tensors.size(); ++i) {
                      const auto bytes = reader->ReadTensor(batch.tensors[i]);
                      ASSERT_TRUE(bytes.ok()) << i << ": " << bytes.status().ToString();
                      right += *bytes == SomeBytes(static_cast<int64_t>(i), sizes[i]) ? 1U : 0U;
                    }
                  })
                  .ok());
  EXPECT_EQ(right, sizes.size());
  ASSERT_TRUE(attempt->writer->Close().ok());
  EXPECT_THAT(CheckRun(run_)->problems, IsEmpty());
}

TEST_F(JournalWriterTest, ManyLargeTensorsFillSeveralBlobFiles) {
  WriterOptions options = TestWriterOptions(run_);
  options.blob_rotate_bytes = 256 * 1024 + 9000;
  options.durability = Durability::kStep;
  auto attempt = Attempt::Start(options, 1, clock_);
  attempt->WriteNames();
  for (int64_t step = 0; step < 30; step += 3) {
    attempt->WriteStep(step);
  }
  Drain(*attempt);
  EXPECT_GT(Names("blobs").size(), 2U);
  auto reader = RunReader::Open(run_).value();
  int read = 0;
  ASSERT_TRUE(reader
                  ->Poll([&](StepBatch&& batch) {
                    for (const TensorRow& row : batch.tensors) {
                      read += reader->ReadTensor(row).ok() ? 1 : 0;
                    }
                  })
                  .ok());
  EXPECT_EQ(read, 20);
  ASSERT_TRUE(attempt->writer->Close().ok());
  EXPECT_THAT(CheckRun(run_)->problems, IsEmpty());
}

TEST_F(JournalWriterTest, ARecordThatIsNoneIsPassedOverAndSaid) {
  auto attempt = Start();
  WriteSteps(*attempt, 0, 0);
  uint8_t* junk = attempt->segment->journal_ring().Reserve(256);
  std::fill_n(junk, 256, uint8_t{0xFF});
  attempt->segment->journal_ring().Publish();
  EXPECT_EQ(attempt->writer->Drain(*attempt->segment).status().code(), StatusCode::kDataLoss);
  WriteSteps(*attempt, 1, 1);
  Drain(*attempt);
  EXPECT_THAT(ReadRun(run_).lines, ElementsAreArray(ExpectedLines(0, 1)));
}

}  // namespace
}  // namespace wheeltapper::format
