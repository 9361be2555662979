#include "wheeltapper/core/json_lines.h"

#include <csignal>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/thread.h"

#include "support/scratch_folder.h"

namespace wheeltapper {
namespace {

class JsonLinesTest : public testing::Test {
 protected:
  void Put(std::string_view text) const { ASSERT_TRUE(WriteFileAtomically(path_, text).ok()); }
  [[nodiscard]] std::string Text() const { return ReadWholeFile(path_, 1 << 20).value(); }

  const ScratchFolder folder_;
  const std::string path_ = folder_.file("lines.jsonl");
};

TEST_F(JsonLinesTest, LinesAreAppended) {
  ASSERT_TRUE(AppendJsonLine(path_, R"({"n":1})").ok());
  ASSERT_TRUE(AppendJsonLine(path_, R"({"n":2})").ok());
  EXPECT_EQ(Text(), "{\"n\":1}\n{\"n\":2}\n");
}

TEST_F(JsonLinesTest, ATornLineIsCutBeforeTheNextSoThatItIsNoDamageInTheMiddle) {
  Put("{\"n\":1}\n{\"n\":");
  ASSERT_TRUE(AppendJsonLine(path_, "{}").ok());
  EXPECT_EQ(Text(), "{\"n\":1}\n{}\n");
  Put("{\"n\":");
  ASSERT_TRUE(AppendJsonLine(path_, "{}").ok());
  EXPECT_EQ(Text(), "{}\n") << "the first line";
  Put("{}\n\"" + std::string(100'000, 'x'));
  ASSERT_TRUE(AppendJsonLine(path_, "{}").ok());
  EXPECT_EQ(Text(), "{}\n{}\n") << "a long line";
}

TEST_F(JsonLinesTest, AWholeLastLineOnlyLacksItsNewline) {
  Put("{\"n\":1}\n{\"n\":2}");
  ASSERT_TRUE(AppendJsonLine(path_, "{}").ok());
  EXPECT_EQ(Text(), "{\"n\":1}\n{\"n\":2}\n{}\n");
}

TEST_F(JsonLinesTest, CuttingLeavesWhatIsWhole) {
  EXPECT_EQ(CutTornLine(path_).status().code(), StatusCode::kNotFound);
  for (const char* whole : {"", "{}\n", "{}", "{}\n{}"}) {
    Put(whole);
    EXPECT_FALSE(*CutTornLine(path_));
    EXPECT_EQ(Text(), whole);
  }
  Put("{}\n{\"n\"");
  EXPECT_TRUE(*CutTornLine(path_));
  EXPECT_EQ(Text(), "{}\n");
}

TEST_F(JsonLinesTest, WholeLinesAreReadAndATornOneIsNot) {
  EXPECT_TRUE(ReadJsonLines(path_, 100)->empty()) << "no file";
  Put("{\"n\":1}\n{\"n\":2}");
  EXPECT_EQ(ReadJsonLines(path_, 100).value(),
            (std::vector<std::string>{R"({"n":1})", R"({"n":2})"}));
  Put("{\"n\":1}\n\n{\"n\":");
  EXPECT_EQ(ReadJsonLines(path_, 100).value(), (std::vector<std::string>{R"({"n":1})", ""}));
  EXPECT_EQ(ReadJsonLines(path_, 5).status().code(), StatusCode::kResourceExhausted);
}

TEST_F(JsonLinesTest, WhoHoldsTheFileAppendsWhatHeMakesOfItsLines) {
  Put("{}\n{\"n\":");
  const FileDescriptor file = OpenFile(path_, O_RDWR | O_APPEND).value();
  ASSERT_EQ(flock(file.get(), LOCK_EX), 0);
  ASSERT_TRUE(AppendJsonLineHeld(file, std::to_string(ReadJsonLines(path_, 100)->size())).ok());
  EXPECT_EQ(Text(), "{}\n1\n");
}

// As a writer does that is killed within its line.
void WriteHalfALine(const std::string& path) {
  const FileDescriptor file = OpenFile(path, O_WRONLY | O_APPEND).value();
  ASSERT_EQ(flock(file.get(), LOCK_EX), 0);
  ASSERT_TRUE(WriteAll(file, AsBytes("{\"torn")).ok());
}

TEST_F(JsonLinesTest, NoLineIsCutThatAnotherWriterAppendsMeanwhile) {
  constexpr int kLines = 300;
  Put("");
  Thread writer;
  ASSERT_TRUE(writer
                  .Start("wt-test-append",
                         [this] {
                           for (int i = 0; i < kLines; ++i) {
                             EXPECT_TRUE(AppendJsonLine(path_, "{}").ok());
                           }
                         })
                  .ok());
  for (int i = 0; i < kLines; ++i) {
    WriteHalfALine(path_);
    ASSERT_TRUE(CutTornLine(path_).ok());
  }
  writer.Join();
  std::string all;
  for (int i = 0; i < kLines; ++i) {
    all += "{}\n";
  }
  EXPECT_EQ(Text(), all);
}

// In a child, where files cannot grow beyond `bytes`.
int AppendWithin(rlim_t bytes, const std::string& path) {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit{bytes, bytes};
    signal(SIGXFSZ, SIG_IGN);
    _exit(setrlimit(RLIMIT_FSIZE, &limit) == 0 && !AppendJsonLine(path, R"({"n":2})").ok() ? 0 : 1);
  }
  int state = 0;
  waitpid(child, &state, 0);
  return state;
}

TEST_F(JsonLinesTest, AFullDiskInTheMiddleOfALineIsNoDamageLater) {
  Put("{\"n\":1}\n");
  ASSERT_EQ(AppendWithin(11, path_), 0);
  EXPECT_EQ(Text(), "{\"n\":1}\n{\"n") << "half a line";
  ASSERT_TRUE(AppendJsonLine(path_, R"({"n":3})").ok());
  EXPECT_EQ(Text(), "{\"n\":1}\n{\"n\":3}\n");
}

}  // namespace
}  // namespace wheeltapper
