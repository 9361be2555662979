#include "direct_queue.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>  // NOLINT: posix_memalign

#include "support/scratch_folder.h"
#include "test/test_run.h"

namespace wheeltapper::format {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kSlice = 16 * kPage;

// Page-aligned bytes.
class AlignedBytes {
 public:
  explicit AlignedBytes(size_t nbytes) : nbytes_(nbytes) {
    void* memory = nullptr;
    EXPECT_EQ(posix_memalign(&memory, kPage, nbytes), 0);
    data_ = static_cast<uint8_t*>(memory);
    const std::vector<uint8_t> some = SomeBytes(7, nbytes);
    std::copy(some.begin(), some.end(), data_);
  }
  AlignedBytes(const AlignedBytes&) = delete;
  AlignedBytes& operator=(const AlignedBytes&) = delete;
  ~AlignedBytes() { free(data_); }  // NOLINT(cppcoreguidelines-no-malloc)
  [[nodiscard]] ByteSpan span() const { return {data_, nbytes_}; }

 private:
  uint8_t* data_ = nullptr;
  size_t nbytes_;
};

class DirectQueueTest : public testing::Test {
 protected:
  void SetUp() override {
    auto file = OpenFile(path_, O_RDWR | O_CREAT | O_DIRECT);
    if (!file.ok()) {
      GTEST_SKIP() << "no O_DIRECT in the folder for temporary files";
    }
    file_ = std::move(file).value();
  }

  ScratchFolder folder_;
  std::string path_ = folder_.file("direct");
  FileDescriptor file_;
  AlignedBytes bytes_{9 * kSlice};
};

TEST_F(DirectQueueTest, EverythingStartedIsWrittenWhenFinishReturns) {
  for (const bool sized : {true, false}) {  // within the file, and behind its end
    ASSERT_EQ(ftruncate(file_.get(), sized ? static_cast<off_t>(bytes_.span().size()) : 0), 0);
    DirectQueue queue;
    for (size_t at = 0; at < bytes_.span().size(); at += kSlice) {
      queue.Start(file_, at, bytes_.span().subspan(at, kSlice));
    }
    const Status finished = queue.Finish();
    ASSERT_TRUE(finished.ok()) << finished.ToString();
    const auto content = ReadWholeFile(path_, 1 << 20);
    ASSERT_TRUE(content.ok());
    EXPECT_TRUE(std::equal(content->begin(), content->end(), bytes_.span().begin(),
                           bytes_.span().end(),
                           [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; }));
  }
}

TEST_F(DirectQueueTest, AnErrorIsToldOnceAndTheQueueGoesOn) {
  const FileDescriptor read_only = OpenFile(path_, O_RDONLY | O_DIRECT).value();
  DirectQueue queue;
  for (size_t at = 0; at < 4 * kSlice; at += kSlice) {
    queue.Start(read_only, at, bytes_.span().subspan(at, kSlice));
  }
  EXPECT_FALSE(queue.Finish().ok());
  queue.Start(file_, 0, bytes_.span().first(kSlice));
  EXPECT_TRUE(queue.Finish().ok());
  EXPECT_TRUE(queue.Finish().ok()) << "nothing is under way";
}

TEST_F(DirectQueueTest, BytesThatAreNotAlignedAreAnError) {
  DirectQueue queue;
  queue.Start(file_, 0, bytes_.span().subspan(1, kPage));
  const Status finished = queue.Finish();
  // Some file systems copy such bytes; then they are there.
  EXPECT_TRUE(finished.ok() || finished.code() == StatusCode::kInvalidArgument)
      << finished.ToString();
}

}  // namespace
}  // namespace wheeltapper::format
