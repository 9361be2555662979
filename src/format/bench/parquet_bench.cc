// Rows per second and bytes per row of tables like a sealed `stats` file, on one core.
#include <filesystem>
#include <string>

#include <benchmark/benchmark.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/parquet.h"

#include "support/scratch_folder.h"
#include "test/sample_tables.h"

namespace wheeltapper::format {
namespace {

// One file per process, in a folder that is removed when it exits.
std::string BenchPath() {
  static const ScratchFolder kFolder;
  return kFolder.file("bench.parquet");
}

const Table& StatsTable() {
  static const Table& table = *new Table(StatsLikeTable(300, 1000));
  return table;
}

void WriteStats(benchmark::State& state) {
  const Table& table = StatsTable();
  const std::string path = BenchPath();
  ParquetOptions options;
  options.zstd_level = static_cast<int>(state.range(0));
  for (auto _ : state) {
    if (!WriteParquet(path, table, options).ok()) {
      state.SkipWithError("cannot write");
      break;
    }
  }
  state.SetItemsProcessed(state.iterations() * table.rows());
  state.counters["B/row"] =
      static_cast<double>(std::filesystem::file_size(path)) / static_cast<double>(table.rows());
  std::filesystem::remove(path);
}
BENCHMARK(WriteStats)->Arg(1)->Arg(3)->Arg(-5)->Unit(benchmark::kMillisecond)->UseRealTime();

// One column at a time, to see which kind costs what.
void WriteOneColumn(benchmark::State& state, const char* name) {
  Table table;
  table.columns.push_back(*StatsTable().Find(name));
  const std::string path = BenchPath();
  for (auto _ : state) {
    if (!WriteParquet(path, table, {}).ok()) {
      state.SkipWithError("cannot write");
      break;
    }
  }
  state.SetItemsProcessed(state.iterations() * table.rows());
  state.counters["B/row"] =
      static_cast<double>(std::filesystem::file_size(path)) / static_cast<double>(table.rows());
  std::filesystem::remove(path);
}
BENCHMARK_CAPTURE(WriteOneColumn, strings, "tensor")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(WriteOneColumn, steps, "step")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(WriteOneColumn, times, "time")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(WriteOneColumn, counts, "count3")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(WriteOneColumn, doubles, "value1")->Unit(benchmark::kMillisecond);

void ReadStats(benchmark::State& state) {
  const std::string path = BenchPath();
  if (!WriteParquet(path, StatsTable(), {}).ok()) {
    state.SkipWithError("cannot write");
    return;
  }
  for (auto _ : state) {
    auto file = ParquetFile::Open(path);
    for (const Column& column : StatsTable().columns) {
      auto data = (*file)->ReadColumn(column.name);
      benchmark::DoNotOptimize(data);
    }
  }
  state.SetItemsProcessed(state.iterations() * StatsTable().rows());
  std::filesystem::remove(path);
}
BENCHMARK(ReadStats)->Unit(benchmark::kMillisecond);

// 1000 consecutive rows of two columns, as for one tensor's series.
void ReadSeries(benchmark::State& state) {
  const std::string path = BenchPath();
  ParquetOptions options;
  options.page_rows = state.range(0);
  if (!WriteParquet(path, StatsTable(), options).ok()) {
    state.SkipWithError("cannot write");
    return;
  }
  const auto file = ParquetFile::Open(path);
  for (auto _ : state) {
    auto steps = (*file)->ReadColumnRows("step", 150'000, 1000);
    auto values = (*file)->ReadColumnRows("value3", 150'000, 1000);
    benchmark::DoNotOptimize(steps);
    benchmark::DoNotOptimize(values);
  }
  std::filesystem::remove(path);
}
BENCHMARK(ReadSeries)->Arg(1 << 16)->Arg(1 << 13)->Unit(benchmark::kMicrosecond);

void OpenFooter(benchmark::State& state) {
  const std::string path = BenchPath();
  if (!WriteParquet(path, StatsTable(), {}).ok()) {
    state.SkipWithError("cannot write");
    return;
  }
  for (auto _ : state) {
    auto file = ParquetFile::Open(path);
    benchmark::DoNotOptimize(file);
  }
  std::filesystem::remove(path);
}
BENCHMARK(OpenFooter)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace wheeltapper::format
