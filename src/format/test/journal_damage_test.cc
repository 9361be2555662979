// Damaged journals: never a wrong value, never a crash, and what is lost is said.
#include <algorithm>
#include <set>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wheeltapper/core/file.h"

#include "journal_scanner.h"
#include "run_names.h"
#include "test/test_run.h"

namespace wheeltapper::format {
namespace {

constexpr int64_t kLastStep = 3;

// A run with one small journal file that was never sealed.
class JournalDamageTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(MakeTestRun(run_).ok());
    const ManualClock clock;
    auto attempt = Attempt::Start(TestWriterOptions(run_), 1, clock, 1 << 16, 1 << 16);
    attempt->producer->Tensor(1, "w", tensor::DType::kF32, {10, 10}, {"weights"});
    attempt->producer->Scalar(5, "loss", {});
    for (int64_t step = 0; step <= kLastStep; ++step) {
      attempt->producer->AddScalars({{5, 0.5 + static_cast<double>(step)}});
      attempt->producer->AddStats(1, SomeStats(step), 0.25, {{16, 100}});
      attempt->producer->Commit(step);
    }
    ASSERT_TRUE(attempt->writer->Drain(*attempt->segment).ok());
    ASSERT_TRUE(attempt->segment->Remove().ok());
    path_ = JournalPath(run_, Rank{0}, 1);
    good_ = ReadWholeFile(path_, 1 << 20).value();
    expected_ = ReadRun(run_).lines;
    ASSERT_EQ(expected_.size(), 3U * (kLastStep + 1));
  }

  void Store(const std::string& content) {
    const FileDescriptor file = OpenFile(path_, O_WRONLY | O_TRUNC).value();
    ASSERT_TRUE(WriteAll(file, AsBytes(content)).ok());
  }
  // Every line that is shown must be a line of the undamaged run, in its order.
  void ExpectNoWrongValue(const std::vector<std::string>& lines) const {
    auto at = expected_.begin();
    for (const std::string& line : lines) {
      at = std::find(at, expected_.end(), line);
      ASSERT_NE(at, expected_.end()) << line;
      ++at;
    }
  }

  ScratchFolder folder_;
  std::string run_ = folder_.file("run");
  std::string path_;
  std::string good_;
  std::vector<std::string> expected_;
};

// What a scan of bytes says: one text per batch, and how often it reported damage.
class TextSink final : public ScanSink {
 public:
  void OnBatch(ScannedBatch&& batch) override {
    gaps_ += batch.gaps.size();
    for (const ScannedScalar& row : batch.scalars) {
      rows_.push_back(std::to_string(batch.key.step.value) + " " + row.desc->name + " " +
                      std::to_string(row.value));
    }
    for (const ScannedStats& row : batch.stats) {
      rows_.push_back(std::to_string(batch.key.step.value) + " " + row.desc->name + " " +
                      std::to_string(row.stats.min) + " " + std::to_string(row.stats.l1));
    }
  }
  void OnSkipped(uint64_t /*offset*/, uint64_t /*nbytes*/, const std::string& /*reason*/) override {
    ++skipped_;
  }
  [[nodiscard]] const std::vector<std::string>& rows() const { return rows_; }
  [[nodiscard]] size_t gaps() const { return gaps_; }
  [[nodiscard]] size_t skipped() const { return skipped_; }

 private:
  std::vector<std::string> rows_;
  size_t gaps_ = 0;
  size_t skipped_ = 0;
};

TEST_F(JournalDamageTest, AFlippedBitAnywhereIsNeverAWrongValueAndLossIsSaid) {
  TextSink good;
  JournalScanner(Rank{0}, kTestRunId, 0).Scan(AsBytes(good_), true, good);
  ASSERT_EQ(good.rows().size(), 8U);
  for (size_t at = 0; at < good_.size(); ++at) {
    for (const unsigned bit : {0U, 3U, 7U}) {
      std::string bad = good_;
      bad[at] = static_cast<char>(static_cast<unsigned char>(bad[at]) ^ (1U << bit));
      TextSink sink;
      JournalScanner(Rank{0}, kTestRunId, 0).Scan(AsBytes(bad), true, sink);
      auto next = good.rows().begin();
      for (const std::string& row : sink.rows()) {
        next = std::find(next, good.rows().end(), row);
        ASSERT_NE(next, good.rows().end()) << "byte " << at << ": " << row;
        ++next;
      }
      if (sink.rows().size() < good.rows().size()) {
        ASSERT_GT(sink.skipped(), 0U) << "byte " << at;
        ASSERT_GT(sink.gaps(), 0U) << "byte " << at;
      }
    }
  }
}

TEST_F(JournalDamageTest, ATornTailAtEveryByteShowsWholeStepsOnly) {
  size_t shown = 0;
  for (size_t size = 0; size <= good_.size(); ++size) {
    TextSink sink;
    JournalScanner scanner(Rank{0}, kTestRunId, 0);
    const uint64_t consumed = scanner.Scan(AsBytes(good_).first(size), false, sink);
    ASSERT_LE(consumed, size);
    ASSERT_EQ(sink.skipped(), 0U) << "a live tail is not damage: " << size;
    ASSERT_EQ(sink.rows().size() % 2, 0U) << size;
    ASSERT_GE(sink.rows().size(), shown);
    shown = sink.rows().size();
    // The rest comes later: the same scanner must end where an undisturbed one does.
    scanner.Scan(AsBytes(good_).subspan(consumed), true, sink);
    ASSERT_EQ(sink.rows().size(), 8U) << size;
    ASSERT_EQ(sink.skipped(), 0U) << size;
  }
}

TEST_F(JournalDamageTest, ALiveReaderWaitsAtATornTailAndGoesOn) {
  auto reader = RunReader::Open(run_).value();
  std::vector<std::string> lines;
  for (size_t size = 64; size <= good_.size(); size += 37) {
    Store(good_.substr(0, size));
    ASSERT_TRUE(reader
                    ->Poll([&](StepBatch&& batch) {
                      for (std::string& line : BatchLines(batch, *reader)) {
                        lines.push_back(std::move(line));
                      }
                    })
                    .ok());
    ASSERT_THAT(reader->skipped(), testing::SizeIs(0)) << size;
  }
  Store(good_);
  ASSERT_TRUE(reader
                  ->Poll([&](StepBatch&& batch) {
                    for (std::string& line : BatchLines(batch, *reader)) {
                      lines.push_back(std::move(line));
                    }
                  })
                  .ok());
  EXPECT_EQ(lines, expected_);
}

TEST_F(JournalDamageTest, ADamagedMiddleIsPassedOverLiveAndInTheSealedRun) {
  std::string bad = good_;
  const size_t middle = bad.size() / 2;
  std::fill_n(bad.begin() + static_cast<std::ptrdiff_t>(middle), 100, '\0');
  Store(bad);
  const RunText live = ReadRun(run_);
  ExpectNoWrongValue(live.lines);
  EXPECT_LT(live.lines.size(), expected_.size());
  EXPECT_GT(live.lines.size(), 0U);
  EXPECT_THAT(live.gaps, testing::Not(testing::IsEmpty()));
  EXPECT_THAT(live.skipped, testing::Not(testing::IsEmpty()));
  const FsckReport before = CheckRun(run_).value();
  EXPECT_TRUE(std::any_of(before.problems.begin(), before.problems.end(),
                          [](const FsckProblem& problem) { return problem.data_lost; }));
  const RecoveryReport report = RecoverRun(run_).value();
  EXPECT_GT(report.skipped.size(), 0U);
  const RunText sealed = ReadRun(run_);
  EXPECT_EQ(sealed.lines, live.lines);
  EXPECT_EQ(sealed.gaps, live.gaps);
  EXPECT_THAT(CheckRun(run_)->problems, testing::SizeIs(0));
}

TEST_F(JournalDamageTest, ADamagedFileHeaderCostsNoRow) {
  std::string bad = good_;
  bad[40] = static_cast<char>(bad[40] ^ 0x10);
  Store(bad);
  const RunText text = ReadRun(run_);
  EXPECT_EQ(text.lines, expected_);
  EXPECT_THAT(text.skipped, testing::SizeIs(1));
}

TEST_F(JournalDamageTest, ASealedFileWithAFlippedBitIsReportedNotMisread) {
  ASSERT_TRUE(RecoverRun(run_).ok());
  const std::vector<SealedFile> files = ListSealed(run_, true).value();
  ASSERT_EQ(files.size(), 3U);
  for (const SealedFile& file : files) {
    EXPECT_GT(file.rows, 0) << file.path;
    const std::string good = ReadWholeFile(file.path, 1 << 20).value();
    for (size_t at = 0; at < good.size(); at += 11) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ 0x04);
      ASSERT_TRUE(WriteFileAtomically(file.path, bad).ok());
      const RunText text = ReadRun(run_);
      if (text.lines != expected_) {
        EXPECT_THAT(text.skipped, testing::Not(testing::IsEmpty())) << file.path << " byte " << at;
      }
    }
    ASSERT_TRUE(WriteFileAtomically(file.path, good).ok());
  }
}

TEST_F(JournalDamageTest, ASealedFileThatIsGoneIsReportedAndHidesNoOther) {
  ASSERT_TRUE(RecoverRun(run_).ok());
  ASSERT_TRUE(CheckRun(run_)->problems.empty());
  const std::vector<SealedFile> files = ListSealed(run_).value();
  for (const SealedFile& file : files) {
    if (file.table == "steps") {
      continue;  // stands for its set
    }
    const std::string good = ReadWholeFile(file.path, 1 << 20).value();
    ASSERT_TRUE(RemoveFile(file.path).ok());
    const FsckReport report = CheckRun(run_).value();
    ASSERT_EQ(report.problems.size(), 1U) << file.path;
    EXPECT_EQ(report.problems[0].what, "the file is gone");
    EXPECT_TRUE(report.problems[0].data_lost);
    const RunText text = ReadRun(run_);
    EXPECT_THAT(text.skipped, testing::SizeIs(1));
    EXPECT_FALSE(text.lines.empty()) << "the other tables";
    ASSERT_TRUE(WriteFileAtomically(file.path, good).ok());
  }
}

}  // namespace
}  // namespace wheeltapper::format
