// The promises of the training thread: no allocation, and a stack that fits the smallest threads in
// use.
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WT_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WT_SANITIZED 1
#endif

// Sanitizers bring their own allocator and need more stack.
#if !defined(WT_SANITIZED)

#include <gtest/gtest.h>
#include <pthread.h>

#include "wheeltapper/tensor/sketch.h"
#include "wheeltapper/tensor/stats.h"

#include "reference.h"

namespace {
// Operator new has no object that could hold it.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<int64_t> allocations{0};
}  // namespace

// NOLINTBEGIN(cppcoreguidelines-no-malloc,cppcoreguidelines-owning-memory,misc-new-delete-overloads)
// Not inlined: g++ would see free() on what new returned and warn of a mismatch.
[[gnu::noinline]] void* operator new(size_t nbytes) {
  ++allocations;
  if (void* block = std::malloc(nbytes)) {
    return block;
  }
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
// clang 14 declares no sized delete of its own. NOLINTNEXTLINE(readability-redundant-declaration)
void operator delete(void* block, size_t nbytes) noexcept;
[[gnu::noinline]] void operator delete(void* block, size_t /*nbytes*/) noexcept {
  std::free(block);
}
// NOLINTEND(cppcoreguidelines-no-malloc,cppcoreguidelines-owning-memory,misc-new-delete-overloads)

namespace wheeltapper::tensor {
namespace {

struct Work {
  TestTensor tensor;
  std::vector<uint8_t> copy;
  std::vector<uint8_t> scratch;
  Histogram* histogram;
};

void RunAll(Work& work) {
  const TensorView view = work.tensor.view();
  (void)ComputeStats(view, {.product = true});
  (void)CopyAndComputeStats(view, work.copy.data(), {});
  CopyTensor(view, work.copy.data());
  work.histogram->Clear();
  work.histogram->Add(view);
  (void)work.histogram->Quantile(0.5);
  (void)ExactMedian(view, MedianKind::kMean, work.scratch);
}

std::vector<Work> MakeWork(const std::vector<uint8_t>& bytes, Histogram* histogram) {
  std::vector<Work> all;
  for (int raw = 0; raw < kDTypeCount; ++raw) {
    const auto dtype = static_cast<DType>(raw);
    for (const std::vector<int64_t>& strides :
         {std::vector<int64_t>{300, 1}, std::vector<int64_t>{1, 300}}) {
      Work work{{bytes.data(), dtype, {300, 300}, strides}, {}, {}, histogram};
      work.copy.resize(static_cast<size_t>(work.tensor.view().nbytes()));
      work.scratch.resize(MedianScratchBytes(work.tensor.view()));
      all.push_back(std::move(work));
    }
  }
  return all;
}

TEST(HotPathTest, NothingAllocates) {
  const std::vector<uint8_t> bytes(300 * 300 * 16, 0x41);
  const auto histogram = std::make_unique<Histogram>();
  std::vector<Work> all = MakeWork(bytes, histogram.get());
  const int64_t before = allocations.load();
  for (Work& work : all) {
    RunAll(work);
  }
  EXPECT_EQ(allocations.load(), before);
}

TEST(HotPathTest, AQuarterOfAMebibyteOfStackIsEnough) {
  const std::vector<uint8_t> bytes(300 * 300 * 16, 0x41);
  const auto histogram = std::make_unique<Histogram>();
  std::vector<Work> all = MakeWork(bytes, histogram.get());
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, size_t{256} << 10), 0);
  pthread_t thread = 0;
  const auto body = [](void* argument) -> void* {
    for (Work& work : *static_cast<std::vector<Work>*>(argument)) {
      RunAll(work);
    }
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, body, &all), 0);
  EXPECT_EQ(pthread_join(thread, nullptr), 0);
  (void)pthread_attr_destroy(&attributes);
}

}  // namespace
}  // namespace wheeltapper::tensor

#endif  // !defined(WT_SANITIZED)
