// Runs written by every released version are read for ever, value by value.
#include <filesystem>
#include <map>
#include <tuple>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/safetensors.h"

#include "run_names.h"
#include "test/test_run.h"

namespace wheeltapper::format {
namespace {

const std::string kGolden = std::string(WT_SOURCE_DIR) + "/tests/golden/v1";

TEST(GoldenRunTest, VersionOneReadsAsItWasWritten) {
  const RunText text = ReadRun(kGolden + "/run");
  EXPECT_EQ(fmt::format("{}\n", fmt::join(text.lines, "\n")),
            ReadWholeFile(kGolden + "/expected.txt", 1 << 20).value());
  EXPECT_EQ(text.lines, ExpectedLines(0, 6));
  EXPECT_THAT(text.skipped, testing::SizeIs(0));
  EXPECT_THAT(text.gaps, testing::SizeIs(0));
}

TEST(GoldenRunTest, VersionOneIsRecoveredIntoASealedRun) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  std::filesystem::copy(kGolden + "/run", run, std::filesystem::copy_options::recursive);
  ASSERT_TRUE(RecoverRun(run).ok());
  EXPECT_EQ(ReadRun(run).lines, ExpectedLines(0, 6));
  EXPECT_THAT(CheckRun(run)->problems, testing::SizeIs(0));
}

// What both runs hold in `folder`: name → bytes.
using Files = std::map<std::string, std::string>;
Files FilesOf(const std::string& run, const char* folder) {
  Files files;
  const std::vector<std::string> names = ListFolder(run, folder).value();
  for (const std::string& name : names) {
    files[name] = ReadWholeFile(JoinPath(JoinPath(run, folder), name), 1 << 24).value();
  }
  return files;
}

TEST(GoldenRunTest, TodaysWriterWritesTheSameJournal) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  const Status written = WriteGoldenRun(run);
  ASSERT_TRUE(written.ok()) << written.ToString();
  EXPECT_TRUE(FilesOf(run, "journal") == FilesOf(kGolden + "/run", "journal"));
}

auto Places(const SafetensorsIndex& index) {
  std::vector<std::tuple<std::string, tensor::DType, std::vector<int64_t>, uint64_t, uint64_t>> all;
  for (const SafetensorsEntry& entry : index.entries) {
    all.emplace_back(entry.name, entry.dtype, entry.shape, entry.begin, entry.end);
  }
  return all;
}

// The same tensors at the same places, and the metadata of old among today's.
void ExpectOnlyAdditions(const std::string& name, const std::string& now, const std::string& old) {
  const Result<SafetensorsIndex> today = ParseSafetensors(AsBytes(now));
  const Result<SafetensorsIndex> golden = ParseSafetensors(AsBytes(old));
  ASSERT_TRUE(today.ok() && golden.ok()) << name;
  ASSERT_FALSE(golden->entries.empty()) << name;
  EXPECT_EQ(Places(*today), Places(*golden)) << name;
  EXPECT_THAT(today->metadata, testing::IsSupersetOf(golden->metadata)) << name;
  const uint64_t data = golden->entries.front().begin;
  EXPECT_TRUE(now.substr(data) == old.substr(data)) << name;
}

TEST(GoldenRunTest, TodaysWriterOnlyAddsToTheBlobs) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  ASSERT_TRUE(WriteGoldenRun(run).ok());
  const Files today = FilesOf(run, "blobs");
  const Files golden = FilesOf(kGolden + "/run", "blobs");
  ASSERT_EQ(today.size(), golden.size());
  for (const auto& [name, bytes] : golden) {
    ASSERT_TRUE(today.contains(name)) << name;
    if (name.ends_with(".open")) {
      EXPECT_TRUE(today.at(name) == bytes) << name;
    } else {
      ExpectOnlyAdditions(name, today.at(name), bytes);
    }
  }
}

}  // namespace
}  // namespace wheeltapper::format
