// The training thread's part of capture takes no lock, allocates nothing and makes no system call:
// counted, not claimed. The interposer is first shown to catch what it must catch.
#include <memory>

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fixture.h"
#include "interposer.h"
#include "native_session.h"

namespace wheeltapper::capture {
namespace {

constexpr TimeNs kSecond = 1'000'000'000;

TEST(InterposerTest, CatchesHeapLockAndSystemCall) {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  const auto count = [&](auto&& body) {
    const HotPathScope scope;
    body();
    return HotPathScope::forbidden();
  };
  EXPECT_EQ(count([] {}), 0);
  std::unique_ptr<int> planted;
  EXPECT_GE(count([&] { planted = std::make_unique<int>(1); }), 1);
  EXPECT_GE(count([&] { planted.reset(); }), 1);
  EXPECT_GE(count([&] {
              pthread_mutex_lock(&mutex);
              pthread_mutex_unlock(&mutex);
            }),
            1);
  EXPECT_GE(count([] { (void)!write(STDERR_FILENO, "", 0); }), 1);
  EXPECT_GE(count([] { sched_yield(); }), 1);
}

#ifdef __x86_64__
// Functions of libc that nobody wraps, and code that calls no function of libc.
TEST(InterposerTest, TheKernelTellsOfSystemCallsThatNoFunctionMakes) {
  if (!HotPathScope::SeesSystemCalls()) {
    GTEST_SKIP() << "this kernel has no syscall user dispatch";
  }
  const HotPathScope scope;
  EXPECT_EQ(HotPathScope::forbidden(), 0);
  int64_t pid = SYS_getpid;
  asm volatile("syscall" : "+a"(pid) : : "rcx", "r11", "memory");
  EXPECT_EQ(HotPathScope::forbidden(), 1);
  EXPECT_STREQ(HotPathScope::first(), "a system call");
  EXPECT_EQ(pid, getpid());  // it was made all the same
}
#endif

class HotPathTest : public ::testing::Test {
 protected:
  void Start(const Config& config) {
    SessionOptions options;
    options.run_dir = run_.dir();
    auto session = Session::Start(options, config, SystemClock());
    ASSERT_TRUE(session.ok()) << session.status().ToString();
    session_ = std::move(session).value();
    loss_ = *session_->RegisterScalar("loss", Role::kLoss);
    for (int i = 0; i < 1000; ++i) {
      Add("small" + std::to_string(i), 256);
    }
    Add("large0", 300'000);
    Add("large1", 70'001);
  }
  void Add(const std::string& name, size_t count) {
    tensors_.push_back(std::make_unique<Vector>(count, 1.5F));
    const auto id = session_->RegisterTensor(
        {.name = name, .role = Role::kWeight, .shape = {static_cast<int64_t>(count)}});
    ASSERT_TRUE(id.ok()) << id.status().ToString();
    items_.push_back(tensors_.back()->item(*id));
  }
  // One training step as the bindings make it; returns the number of forbidden calls.
  int64_t Step() {
    const HotPathScope scope;
    if (session_->armed(Mode::kTrain)) {
      session_->Record(items_);
    }
    const ScalarItem scalar{loss_, 0.25};
    session_->Log({&scalar, 1}, -1, Mode::kTrain);
    session_->RecordScalars({&scalar, 1});
    session_->FinishStep(Mode::kTrain, {});
    return HotPathScope::forbidden();
  }

  TemporaryRun run_;
  std::unique_ptr<Session> session_;
  std::vector<std::unique_ptr<Vector>> tensors_;
  std::vector<TensorItem> items_;
  CaptureId loss_ = 0;
};

TEST_F(HotPathTest, ArmedStepsWithRawTensorsAndStatistics) {
  Start(EveryStep({{"capture.weights", "raw", ""}}));
  for (int step = 0; step < 30; ++step) {
    EXPECT_EQ(Step(), 0) << HotPathScope::first();
  }
  EXPECT_EQ(session_->counters().armed_steps, 30);
  EXPECT_TRUE(session_->Stop(60 * kSecond).ok());
}

TEST_F(HotPathTest, ArmedStepsWithHistogramsMediansAndProducts) {
  Start(EveryStep(
      {{"capture.weights", "hist", ""}, {"capture.reductions", "[\"median\", \"prod\"]", ""}}));
  items_[0].scale = 0.125;
  for (int step = 0; step < 5; ++step) {
    EXPECT_EQ(Step(), 0) << HotPathScope::first();
  }
  EXPECT_TRUE(session_->Stop(60 * kSecond).ok());
}

TEST_F(HotPathTest, StepsThatTheScriptItselfEnds) {
  Start(ConfigOf({{"capture.every", "7", ""}}));
  for (int step = 0; step < 20; ++step) {
    const HotPathScope scope;
    session_->Record(items_);
    if (step % 3 == 0) {
      session_->AmendStep(Mode::kTrain);
    }
    session_->MarkStep();
    session_->FinishStep(Mode::kTrain, {});
    EXPECT_EQ(HotPathScope::forbidden(), 0) << HotPathScope::first();
  }
}

TEST_F(HotPathTest, UnarmedStepsAndChangedShapes) {
  Start(ConfigOf({{"capture.every", "7", ""}}));
  for (int step = 0; step < 50; ++step) {
    tensors_[0]->shape = 100 + step;
    EXPECT_EQ(Step(), 0) << HotPathScope::first();
  }
  EXPECT_EQ(session_->counters().armed_steps, 8);
}

TEST_F(HotPathTest, StepsThatMeetAFullRing) {
  for (const char* policy : {"degrade", "skip", "thin"}) {
    session_.reset();
    items_.clear();
    tensors_.clear();
    Start(EveryStep({{"capture.weights", "raw", ""},
                     {"capture.ring_mb", "1", ""},
                     {"capture.blob_ring_mb", "1", ""},
                     {"capture.on_full", policy, ""}}));
    for (int step = 0; step < 30; ++step) {
      EXPECT_EQ(Step(), 0) << policy << ": " << HotPathScope::first();
    }
    EXPECT_GT(session_->counters().gaps, 0) << policy;
  }
}

TEST_F(HotPathTest, StepsWithErrorsUntilTheFuseBlows) {
  Start(EveryStep());
  items_[3].id = 1'000'000;
  for (int step = 0; step < 20; ++step) {
    EXPECT_EQ(Step(), 0) << HotPathScope::first();
  }
  EXPECT_TRUE(session_->counters().fuse_blown);
}

}  // namespace
}  // namespace wheeltapper::capture
