#include "wheeltapper/core/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "wheeltapper/core/thread.h"

#include "support/scratch_folder.h"

namespace wheeltapper {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

constexpr uint64_t kMax = 1 << 20;

class FileTest : public testing::Test {
 protected:
  [[nodiscard]] std::string Path(const std::string& name) const { return scratch_.file(name); }

  ScratchFolder scratch_;
  const std::string& folder_ = scratch_.path();
};

TEST_F(FileTest, AtomicWriteReplacesTheWholeFileAndLeavesNothingBehind) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), std::string(100'000, 'x')).ok());
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "short").ok());
  EXPECT_EQ(*ReadWholeFile(Path("a"), kMax), "short");
  EXPECT_THAT(*ListDirectory(folder_), ElementsAre("a"));
}

TEST_F(FileTest, FailedAtomicWriteKeepsTheOldFileAndLeavesNothingBehind) {
  ASSERT_TRUE(MakeDirectories(Path("folder/inner")).ok());
  const Status status = WriteFileAtomically(Path("folder"), "x");
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.message(), HasSubstr("writing \"" + Path("folder") + "\""));
  EXPECT_THAT(*ListDirectory(folder_), ElementsAre("folder"));
  const Status nowhere = WriteFileAtomically(Path("absent/a"), "x");
  EXPECT_EQ(nowhere.code(), StatusCode::kNotFound);
  EXPECT_EQ(nowhere.message(),
            "writing \"" + Path("absent/a") + "\": there is no folder \"" + Path("absent") + "\"");
}

TEST_F(FileTest, FullDiskFailsTheWriteAndKeepsTheOldFile) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "old").ok());
  // A file size limit stands in for the full disk: the same short write, then the same kind of
  // error.
  struct rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit small = before;
  small.rlim_cur = 4096;
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = WriteFileAtomically(Path("a"), std::string(100'000, 'x'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, old_handler);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(*ReadWholeFile(Path("a"), kMax), "old");
  EXPECT_THAT(*ListDirectory(folder_), ElementsAre("a"));
}

TEST_F(FileTest, ConcurrentAtomicWritesLeaveOneOfThemWhole) {
  const std::string a(50'000, 'a');
  const std::string b(60'000, 'b');
  Thread other;
  ASSERT_TRUE(other
                  .Start("wt-test-write",
                         [&] {
                           for (int i = 0; i < 20; ++i) {
                             EXPECT_TRUE(WriteFileAtomically(Path("f"), a).ok());
                           }
                         })
                  .ok());
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(WriteFileAtomically(Path("f"), b).ok());
  }
  other.Join();
  const std::string read = *ReadWholeFile(Path("f"), kMax);
  EXPECT_TRUE(read == a || read == b);
  EXPECT_THAT(*ListDirectory(folder_), SizeIs(1));
}

TEST_F(FileTest, WholeFileIsReadUpToItsLimit) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), std::string(70'000, 'x')).ok());
  EXPECT_THAT(*ReadWholeFile(Path("a"), 70'000), SizeIs(70'000));
  EXPECT_EQ(ReadWholeFile(Path("a"), 69'999).status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(ReadWholeFile(Path("b"), kMax).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadWholeFile(folder_, kMax).status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(FileTest, EmptyFilesReadAndMapAsEmpty) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "").ok());
  EXPECT_EQ(*ReadWholeFile(Path("a"), kMax), "");
  EXPECT_TRUE(MappedFile::OpenReadOnly(Path("a"))->bytes().empty());
}

TEST_F(FileTest, ReadsAndWritesAtOffsets) {
  const Result<FileDescriptor> file = OpenFile(Path("a"), O_RDWR | O_CREAT);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(WriteAt(*file, 10, AsBytes("wheel")).ok());
  EXPECT_EQ(*FileSize(*file), 15U);
  std::string text(5, '\0');
  ASSERT_TRUE(ReadExactly(*file, 10, text.data(), 5).ok());
  EXPECT_EQ(text, "wheel");
  EXPECT_EQ(*ReadSome(*file, 12, text.data(), 5), 3U);
  EXPECT_EQ(*ReadSome(*file, 99, text.data(), 5), 0U);
  const Status early = ReadExactly(*file, 12, text.data(), 5);
  EXPECT_EQ(early.code(), StatusCode::kOutOfRange);
  EXPECT_THAT(early.message(), HasSubstr("2 bytes early"));
}

TEST_F(FileTest, DescriptorsCloseOnceAndMoveTheirFile) {
  Result<FileDescriptor> file = OpenFile(Path("a"), O_RDWR | O_CREAT);
  ASSERT_TRUE(file.ok());
  FileDescriptor first = *std::move(file);
  const int fd = first.get();
  EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
  FileDescriptor second = std::move(first);
  EXPECT_FALSE(first.valid());  // NOLINT(bugprone-use-after-move): what is tested
  second = FileDescriptor();
  EXPECT_EQ(fcntl(fd, F_GETFD), -1);
}

TEST_F(FileTest, FoldersAreMadeWithTheirParentsAndOnce) {
  EXPECT_TRUE(MakeDirectories(Path("x/y/z")).ok());
  EXPECT_TRUE(MakeDirectories(Path("x/y/z")).ok());
  EXPECT_TRUE(MakeDirectories(Path("x/y/z/")).ok());
  EXPECT_TRUE(MakeDirectories("").ok());
  ASSERT_TRUE(WriteFileAtomically(Path("file"), "").ok());
  EXPECT_EQ(MakeDirectories(Path("file")).code(), StatusCode::kAlreadyExists);
  EXPECT_FALSE(MakeDirectories(Path("file/inner")).ok());
}

TEST_F(FileTest, ListingIsSortedAndKnowsAbsence) {
  for (const char* name : {"b", "a", "c"}) {
    ASSERT_TRUE(WriteFileAtomically(Path(name), "").ok());
  }
  EXPECT_THAT(*ListDirectory(folder_), ElementsAre("a", "b", "c"));
  EXPECT_EQ(ListDirectory(Path("none")).status().code(), StatusCode::kNotFound);
}

TEST_F(FileTest, RemovingTwiceIsFine) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "").ok());
  EXPECT_TRUE(PathExists(Path("a")));
  EXPECT_TRUE(RemoveFile(Path("a")).ok());
  EXPECT_TRUE(RemoveFile(Path("a")).ok());
  EXPECT_FALSE(PathExists(Path("a")));
  EXPECT_EQ(RenameFile(Path("a"), Path("b")).code(), StatusCode::kNotFound);
}

TEST_F(FileTest, MappingShowsTheContentAndMoves) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "content").ok());
  Result<MappedFile> mapped = MappedFile::OpenReadOnly(Path("a"));
  ASSERT_TRUE(mapped.ok());
  MappedFile moved = *std::move(mapped);
  EXPECT_EQ(AsText(moved.bytes()), "content");
  MappedFile assigned;
  assigned = std::move(moved);
  EXPECT_EQ(AsText(assigned.bytes()), "content");
  EXPECT_FALSE(MappedFile::OpenReadOnly(Path("none")).ok());
}

TEST(PathTest, JoinsAndSplits) {
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("a/", "b"), "a/b");
  EXPECT_EQ(JoinPath("", "b"), "b");
  EXPECT_EQ(JoinPath("a", "/b"), "/b");
  EXPECT_EQ(BaseName("a/b"), "b");
  EXPECT_EQ(BaseName("a/b//"), "b");
  EXPECT_EQ(BaseName("b"), "b");
  EXPECT_EQ(BaseName("/"), "/");
  EXPECT_EQ(BaseName(""), "");
  EXPECT_EQ(FolderOf("/a/b"), "/a");
  EXPECT_EQ(FolderOf("/a/b//"), "/a");
  EXPECT_EQ(FolderOf("/a"), "/");
  EXPECT_EQ(FolderOf("/"), "/");
  EXPECT_EQ(FolderOf("a/b"), "a");
  EXPECT_EQ(FolderOf("a"), ".");
  EXPECT_EQ(FolderOf(""), ".");
  EXPECT_EQ(RelativeTo("/a", "/a/b/c"), "b/c");
  EXPECT_EQ(RelativeTo("/a/", "/a/b"), "b");
  EXPECT_EQ(RelativeTo("/a", "/ab"), "/ab");
}

}  // namespace
}  // namespace wheeltapper
