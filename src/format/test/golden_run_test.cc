// Runs written by every released version are read for ever, value by value.
#include <filesystem>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wheeltapper/core/file.h"

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

TEST(GoldenRunTest, TodaysWriterWritesTheSameBytes) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  const Status written = WriteGoldenRun(run);
  ASSERT_TRUE(written.ok()) << written.ToString();
  for (const char* where : {"journal", "blobs"}) {
    const std::vector<std::string> names = ListFolder(kGolden + "/run", where).value();
    EXPECT_EQ(ListFolder(run, where).value(), names);
    for (const std::string& name : names) {
      const std::string path = std::string("/") + where + "/" + name;
      EXPECT_TRUE(ReadWholeFile(run + path, 1 << 24).value_or(std::string()) ==
                  ReadWholeFile(kGolden + "/run" + path, 1 << 24).value_or(std::string("absent")))
          << path;
    }
  }
}

}  // namespace
}  // namespace wheeltapper::format
