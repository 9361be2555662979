#include "ending_threads.h"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

namespace wheeltapper::cli {
namespace {

void Await(const std::atomic<bool>& what) {
  while (!what) {
    std::this_thread::yield();
  }
}

TEST(EndingThreadsTest, ThreadsThatHaveEndedAreJoinedWhileOthersGoOn) {
  std::atomic<bool> go_on = false;
  std::atomic<int> ended = 0;
  EndingThreads threads;
  threads.Start([&] {
    Await(go_on);
    ++ended;
  });
  for (int i = 0; i < 20; ++i) {
    threads.Start([&] { ++ended; });
  }
  // A body returns a moment before its thread is marked.
  constexpr int kManyLooks = 1'000'000;
  for (int i = 0; i < kManyLooks && threads.count() > 1; ++i) {
    threads.JoinEnded();
    std::this_thread::yield();
  }
  EXPECT_EQ(threads.count(), 1U) << "the one that goes on";
  EXPECT_EQ(ended, 20);
  go_on = true;
  threads.JoinAll();
  EXPECT_EQ(threads.count(), 0U);
  EXPECT_EQ(ended, 21);
}

}  // namespace
}  // namespace wheeltapper::cli
