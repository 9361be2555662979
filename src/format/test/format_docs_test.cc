// The worked example of docs/format/journal.md is what the code writes.
#include <cctype>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "wheeltapper/core/file.h"

#include "test/test_run.h"

namespace wheeltapper::format {
namespace {

// "0010  ee ff …  |……|" lines, as in the document.
std::string HexDump(const std::string& bytes) {
  std::string dump;
  for (size_t at = 0; at < bytes.size(); at += 16) {
    std::string text;
    dump += fmt::format("{:04x} ", at);
    for (size_t i = at; i < std::min(at + 16, bytes.size()); ++i) {
      const auto byte = static_cast<unsigned char>(bytes[i]);
      dump += fmt::format(" {:02x}", byte);
      text += byte >= 32 && byte < 127 ? bytes[i] : '.';
    }
    dump += fmt::format("  |{}|\n", text);
  }
  return dump;
}

TEST(FormatDocsTest, TheWorkedExampleIsWhatTheWriterWrites) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  ASSERT_TRUE(MakeTestRun(run).ok());
  const ManualClock clock;
  auto attempt = Attempt::Start(TestWriterOptions(run), 1, clock, 4096, 0);
  attempt->producer->LogMeta(7, R"({"kind":"hi"})");
  ASSERT_TRUE(attempt->writer->Drain(*attempt->segment).ok());
  const std::string bytes = ReadWholeFile(JournalPath(run, Rank{0}, 1), 1 << 20).value();
  const std::string page =
      ReadWholeFile(std::string(WT_SOURCE_DIR) + "/docs/format/journal.md", 1 << 20).value();
  EXPECT_NE(page.find(HexDump(bytes)), std::string::npos) << HexDump(bytes);
}

}  // namespace
}  // namespace wheeltapper::format
