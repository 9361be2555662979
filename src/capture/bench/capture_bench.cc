// How long capture holds the training thread. The rings are drained by the session's own thread.
#include <functional>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "wheeltapper/capture/session.h"
#include "wheeltapper/format/run_directory.h"

#include "support/scratch_folder.h"

namespace wheeltapper::capture {
namespace {

constexpr size_t kTensors = 1000;
constexpr int64_t kElements = 256;
constexpr TimeNs kDeadlineNs = 60'000'000'000;

class Bench {
 public:
  explicit Bench(std::vector<ConfigFlag> flags) {
    format::RunInfo info;
    info.format_version = 1;
    info.min_reader = 1;
    info.run_id = std::hash<std::string>{}(folder_.path()) | 1;  // names the ring in memory
    ConfigSources sources;
    sources.flags = std::move(flags);
    const auto config = Config::Load(sources);
    if (!config.ok() || !format::CreateRunDirectory(folder_.path(), info).ok()) {
      return;
    }
    SessionOptions options;
    options.run_dir = folder_.path();
    auto started = Session::Start(options, *config, SystemClock());
    session = started.ok() ? std::move(started).value() : nullptr;
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;
  ~Bench() {
    if (session != nullptr) {
      session->Stop(kDeadlineNs).IgnoreError("the time is measured already");
    }
    session.reset();
  }
  void AddTensors(size_t count, int64_t elements) {
    shape_ = elements;
    values_.assign(count * static_cast<size_t>(elements), 1.25F);
    for (size_t i = 0; i < count; ++i) {
      const auto id = session->RegisterTensor(
          {.name = "t" + std::to_string(i), .role = Role::kWeight, .shape = {elements}});
      items.push_back(
          {id.value_or(0),
           {&values_[i * static_cast<size_t>(elements)], tensor::DType::kF32, 1, &shape_, nullptr},
           1.0});
    }
  }

  std::unique_ptr<Session> session;
  std::vector<TensorItem> items;

 private:
  ScratchFolder folder_;
  std::vector<float> values_;
  int64_t shape_ = 0;
};

void RunSteps(benchmark::State& state, Bench* bench, int64_t bytes_per_step) {
  if (bench->session == nullptr) {
    state.SkipWithError("no session");
    return;
  }
  for (auto _ : state) {
    if (bench->session->armed(Mode::kTrain)) {
      bench->session->Record(bench->items);
    }
    bench->session->FinishStep(Mode::kTrain, {});
    state.PauseTiming();
    // The drain gets the time that a training step would give it.
    bench->session->Flush(kDeadlineNs).IgnoreError("a benchmark of the training thread");
    state.ResumeTiming();
  }
  state.SetBytesProcessed(state.iterations() * bytes_per_step);
  const SessionCounters counters = bench->session->counters();
  state.counters["blocked_ns"] = static_cast<double>(counters.blocked_ns) /
                                 static_cast<double>(std::max<int64_t>(counters.steps, 1));
  state.counters["gaps"] = static_cast<double>(counters.gaps);
}

void BM_SmallTensorsStats(benchmark::State& state) {
  Bench bench({{"capture.every", "1", ""}});
  bench.AddTensors(kTensors, kElements);
  RunSteps(state, &bench, 0);
}
BENCHMARK(BM_SmallTensorsStats)->Unit(benchmark::kMicrosecond);

void BM_SmallTensorsRaw(benchmark::State& state) {
  Bench bench({{"capture.every", "1", ""}, {"capture.weights", "raw", ""}});
  bench.AddTensors(kTensors, kElements);
  RunSteps(state, &bench, kTensors * kElements * 4);
}
BENCHMARK(BM_SmallTensorsRaw)->Unit(benchmark::kMicrosecond);

void BM_LargeTensorsRaw(benchmark::State& state) {
  Bench bench({{"capture.every", "1", ""}, {"capture.weights", "raw", ""}});
  bench.AddTensors(16, 1 << 20);
  RunSteps(state, &bench, 16 * 4 * (1 << 20));
}
BENCHMARK(BM_LargeTensorsRaw)->Unit(benchmark::kMicrosecond);

void BM_UnarmedStep(benchmark::State& state) {
  Bench bench({{"capture.every", "1000000000", ""}});
  bench.AddTensors(kTensors, kElements);
  bench.session->FinishStep(Mode::kTrain, {});
  for (auto _ : state) {
    if (bench.session->armed(Mode::kTrain)) {
      bench.session->Record(bench.items);
    }
    bench.session->FinishStep(Mode::kTrain, {});
  }
}
BENCHMARK(BM_UnarmedStep);

void BM_Armed(benchmark::State& state) {
  Bench bench({{"capture.every", "1000000000", ""}});
  bench.session->FinishStep(Mode::kTrain, {});
  for (auto _ : state) {
    benchmark::DoNotOptimize(bench.session->armed(Mode::kTrain));
  }
}
BENCHMARK(BM_Armed);

void BM_LogOneScalar(benchmark::State& state) {
  Bench bench({});
  const CaptureId id = bench.session->RegisterScalar("loss", Role::kMetric).value_or(0);
  const ScalarItem item{id, 1.0};
  for (auto _ : state) {
    bench.session->Log({&item, 1}, -1, Mode::kTrain);
  }
  state.counters["gaps"] = static_cast<double>(bench.session->counters().gaps);
}
BENCHMARK(BM_LogOneScalar);

void BM_LogThousandScalars(benchmark::State& state) {
  Bench bench({});
  constexpr int kScalars = 1000;
  std::vector<ScalarItem> items;
  items.reserve(kScalars);
  for (int i = 0; i < kScalars; ++i) {
    items.push_back(
        {bench.session->RegisterScalar("s" + std::to_string(i), Role::kMetric).value_or(0), 1.0});
  }
  for (auto _ : state) {
    bench.session->Log(items, -1, Mode::kTrain);
  }
  state.SetItemsProcessed(state.iterations() * kScalars);
}
BENCHMARK(BM_LogThousandScalars);

}  // namespace
}  // namespace wheeltapper::capture
