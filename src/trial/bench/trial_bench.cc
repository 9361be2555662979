// Opening, raw values and series of a large finished run.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "wheeltapper/core/crc32c.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/format/journal.h"
#include "wheeltapper/format/parquet.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/trial/trial.h"

#include "support/scratch_folder.h"

namespace wheeltapper::trial {
namespace {

constexpr int64_t kNames = 1000;
constexpr int64_t kSteps = 1000;
constexpr size_t kSmallFloats = 64;
constexpr size_t kLargeFloats = 1'000'000;

struct Keys {
  format::StringColumn name;
  format::StringColumn collection{{"weights"}, {}};
  format::Int64Column step;
  format::StringColumn mode{{"train"}, {}};
  format::Int64Column mode_step;
  format::Int32Column rank;
  format::TimestampColumn time;
  format::Int64Column seq;
};

std::string NameOf(int64_t i) { return "layer" + std::to_string(1000 + i) + ".weight"; }

// One row per (name, step), sorted so.
Keys MakeKeys() {
  Keys keys;
  for (int64_t name = 0; name < kNames; ++name) {
    keys.name.dictionary.push_back(NameOf(name));
    for (int64_t step = 0; step < kSteps; ++step) {
      keys.name.codes.push_back(static_cast<uint32_t>(name));
      keys.collection.codes.push_back(0);
      keys.step.values.push_back(step);
      keys.mode.codes.push_back(0);
      keys.mode_step.values.push_back(step);
      keys.rank.values.push_back(0);
      keys.time.values.push_back(1'700'000'000'000'000 + step * 1000);
      keys.seq.values.push_back(step + 1);
    }
  }
  return keys;
}

format::Table TableOf(const Keys& keys) {
  format::Table table;
  table.columns.push_back({"tensor", keys.name});
  table.columns.push_back({"collection", keys.collection});
  table.columns.push_back({"step", keys.step});
  table.columns.push_back({"mode", keys.mode});
  table.columns.push_back({"mode_step", keys.mode_step});
  table.columns.push_back({"rank", keys.rank});
  table.columns.push_back({"time", keys.time});
  table.columns.push_back({"seq", keys.seq});
  return table;
}

std::string NameList() {
  std::string json = "[";
  for (int64_t i = 0; i < kNames; ++i) {
    json += std::string(i == 0 ? "" : ",") + R"({"name":")" + NameOf(i) +
            R"(","kind":"tensor","dtype":"float32","shape":[64],"collections":["weights"]})";
  }
  return json + "]";
}

bool WriteTable(const std::string& run, const std::string& name, const format::Table& table) {
  format::ParquetOptions options;
  options.metadata = {{"names", NameList()}};
  const std::string path = format::SealedPath(run, name, Rank{0}, 1, kSteps);
  return MakeDirectories(JoinPath(run, name)).ok() &&
         format::WriteParquet(path, table, options).ok();
}

void AddTensorColumns(format::Table* table) {
  const size_t rows = static_cast<size_t>(kNames * kSteps);
  const std::vector<float> small(kSmallFloats, 0.5F);
  const std::vector<float> large(kLargeFloats, 0.5F);
  const auto bytes = [](const std::vector<float>& v) {
    return ByteSpan(reinterpret_cast<const uint8_t*>(v.data()), v.size() * sizeof(float));
  };
  const int64_t small_crc = Crc32c(bytes(small));
  format::StringColumn file{{"blobs/r00000-b000001.safetensors"}, std::vector<uint32_t>(rows, 0)};
  format::StringColumn shape{{"64", "1000000"}, std::vector<uint32_t>(rows, 0)};
  format::Int64Column offset{std::vector<int64_t>(rows)};
  format::Int64Column nbytes{std::vector<int64_t>(rows, kSmallFloats * sizeof(float))};
  format::Int64Column crc{std::vector<int64_t>(rows, small_crc)};
  for (size_t i = 0; i < rows; ++i) {
    offset.values[i] = static_cast<int64_t>((i % 1000) * kSmallFloats * sizeof(float));
  }
  offset.values[0] = 1 << 20;  // the first row is the large one
  nbytes.values[0] = kLargeFloats * sizeof(float);
  shape.codes[0] = 1;
  crc.values[0] = Crc32c(bytes(large));
  table->columns.push_back(
      {"dtype", format::StringColumn{{"float32"}, std::vector<uint32_t>(rows, 0)}});
  table->columns.push_back({"shape", std::move(shape)});
  table->columns.push_back({"file", std::move(file)});
  table->columns.push_back({"offset", std::move(offset)});
  table->columns.push_back({"nbytes", std::move(nbytes)});
  table->columns.push_back(
      {"codec", format::StringColumn{{"raw"}, std::vector<uint32_t>(rows, 0)}});
  table->columns.push_back({"crc32c", std::move(crc)});
}

format::Table StepsTable() {
  Keys keys;
  format::Int64Column is_step;
  format::Int64Column times;
  for (int64_t step = 0; step < kSteps; ++step) {
    keys.step.values.push_back(step);
    keys.mode.codes.push_back(0);
    keys.mode_step.values.push_back(step);
    keys.rank.values.push_back(0);
    keys.time.values.push_back(1'700'000'000'000'000 + step * 1000);
    keys.seq.values.push_back(step + 1);
    is_step.values.push_back(1);
    times.values.push_back(1000);
  }
  format::Table table;
  table.columns = {{"step", keys.step},     {"mode", keys.mode},   {"mode_step", keys.mode_step},
                   {"rank", keys.rank},     {"time", keys.time},   {"first_seq", keys.seq},
                   {"seq", keys.seq},       {"is_step", is_step},  {"records", times},
                   {"monotonic_ns", times}, {"blocked_ns", times}, {"step_ns", times},
                   {"data_wait_ns", times}};
  return table;
}

// A finished run with 1 M raw tensor records and 1 M rows of statistics; made once per process.
class LargeRun {
 public:
  LargeRun() {
    format::RunInfo info;
    info.format_version = format::kFormatVersion;
    info.min_reader = format::kMinReaderVersion;
    info.name = "bench";
    ok_ = format::CreateRunDirectory(path_, info).ok();
    const Keys keys = MakeKeys();
    format::Table tensors = TableOf(keys);
    AddTensorColumns(&tensors);
    format::Table stats = TableOf(keys);
    format::DoubleColumn l2;
    for (int64_t i = 0; i < kNames * kSteps; ++i) {
      l2.values.push_back(static_cast<double>(static_cast<float>(i) * 0.37F));
      l2.present.push_back(1);
    }
    stats.columns.push_back({"l2", std::move(l2)});
    std::string blob((1 << 20) + kLargeFloats * sizeof(float), '\0');
    auto* floats = reinterpret_cast<float*>(blob.data());
    std::fill(floats, floats + blob.size() / sizeof(float), 0.5F);
    ok_ = ok_ && MakeDirectories(path_ + "/blobs").ok() &&
          WriteFileAtomically(path_ + "/blobs/r00000-b000001.safetensors", blob).ok() &&
          WriteTable(path_, "tensors", tensors) && WriteTable(path_, "stats", stats) &&
          WriteTable(path_, "steps", StepsTable()) &&
          format::WriteEnd(path_, {"finished", 0, "", 1}).ok();
  }

  std::unique_ptr<Trial> Open(benchmark::State& state) const {
    auto trial = Trial::Open(path_);
    if (!ok_ || !trial.ok()) {
      state.SkipWithError("the run cannot be opened");
      return nullptr;
    }
    return std::move(trial).value();
  }

 private:
  ScratchFolder folder_;
  const std::string& path_ = folder_.path();
  bool ok_ = false;
};

const LargeRun& Run() {
  static const LargeRun kRun;
  return kRun;
}

int64_t ResidentKilobytes() {
  const auto text = ReadWholeFile("/proc/self/status", 1 << 16);
  const size_t at = text.ok() ? text->find("VmRSS:") : std::string::npos;
  return at == std::string::npos ? 0 : std::strtoll(text->c_str() + at + 6, nullptr, 10);
}

void BM_OpenOneMillionTensorRecords(benchmark::State& state) {
  (void)Run();
  const int64_t before = ResidentKilobytes();
  int64_t grown = 0;
  for (auto _ : state) {
    const auto trial = Run().Open(state);
    benchmark::DoNotOptimize(trial.get());
    grown = std::max(grown, ResidentKilobytes() - before);
  }
  state.counters["rss_growth_mb"] = static_cast<double>(grown) / 1024;
}
BENCHMARK(BM_OpenOneMillionTensorRecords)->Unit(benchmark::kMillisecond);

void ReadValues(benchmark::State& state, bool large) {
  const auto trial = Run().Open(state);
  uint64_t i = 1;
  for (auto _ : state) {
    i = i * 6364136223846793005U + 1442695040888963407U;
    const std::string name = large ? NameOf(0) : NameOf(static_cast<int64_t>((i >> 33) % kNames));
    const int64_t step = large ? 0 : 1 + static_cast<int64_t>((i >> 43) % (kSteps - 1));
    const auto value = trial->Value(name, Step{step}, Mode::kTrain, Rank{0});
    if (!value.ok()) {
      state.SkipWithError(value.status().ToString().c_str());
      break;
    }
    benchmark::DoNotOptimize(value->bytes.data());
  }
}
void BM_RandomSmallValue(benchmark::State& state) { ReadValues(state, false); }
BENCHMARK(BM_RandomSmallValue)->Unit(benchmark::kMicrosecond);
void BM_ValueOfOneMillionFloats(benchmark::State& state) { ReadValues(state, true); }
BENCHMARK(BM_ValueOfOneMillionFloats)->Unit(benchmark::kMicrosecond);

void BM_SeriesOfOneThousandSteps(benchmark::State& state) {
  const bool cold = state.range(0) == 1;
  auto trial = Run().Open(state);
  for (auto _ : state) {
    if (cold) {
      state.PauseTiming();
      trial = Run().Open(state);
      state.ResumeTiming();
    }
    const auto series = trial->StatSeries(NameOf(500), "l2", {});
    if (!series.ok() || series->size() != static_cast<size_t>(kSteps)) {
      state.SkipWithError("the series is not whole");
      break;
    }
  }
}
BENCHMARK(BM_SeriesOfOneThousandSteps)
    ->ArgName("cold")
    ->Arg(0)
    ->Arg(1)
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace wheeltapper::trial
