// Kernel speed in bytes read per second, beside the machine's own copy for scale.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include <benchmark/benchmark.h>

#include "wheeltapper/tensor/sketch.h"
#include "wheeltapper/tensor/stats.h"

namespace wheeltapper::tensor {
namespace {

struct FreeDeleter {
  // NOLINTNEXTLINE(cppcoreguidelines-no-malloc): pairs with aligned_alloc
  void operator()(uint8_t* block) const { std::free(block); }
};
using AlignedBytes = std::unique_ptr<uint8_t, FreeDeleter>;

AlignedBytes MakeAligned(size_t nbytes) {
  const size_t rounded = (nbytes + 4095) / 4096 * 4096;
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory,cppcoreguidelines-no-malloc)
  AlignedBytes block(static_cast<uint8_t*>(std::aligned_alloc(4096, rounded)));
  std::memset(block.get(), 0, rounded);
  return block;
}

enum class Content { kNormal, kRelu, kConstant, kSomeNaN, kTiny };

// f32 or (from its upper half) bf16; other dtypes get small integers.
class BenchTensor {
 public:
  BenchTensor(DType dtype, int64_t count, Content content)
      : shape_(count), data_(MakeAligned(static_cast<size_t>(count) * ItemSize(dtype))) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal(0, 1);
    for (int64_t i = 0; i < count; ++i) {
      float value = normal(random);
      switch (content) {
        case Content::kRelu:
          value = std::max(value, 0.0F);
          break;
        case Content::kConstant:
          value = 0.5F;
          break;
        case Content::kSomeNaN:
          value = i % 1000 == 0 ? std::numeric_limits<float>::quiet_NaN() : value;
          break;
        case Content::kTiny:
          value *= 1e-20F;
          break;
        case Content::kNormal:
          break;
      }
      Put(dtype, static_cast<size_t>(i), value);
    }
    view_ = {data_.get(), dtype, 1, &shape_, nullptr};
  }
  [[nodiscard]] const TensorView& view() const { return view_; }

 private:
  template <typename T>
  void Store(size_t index, T value) {
    std::memcpy(data_.get() + index * sizeof(T), &value, sizeof(T));
  }
  void Put(DType dtype, size_t index, float value) {
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    if (dtype == DType::kF32) {
      Store(index, value);
    } else if (dtype == DType::kF64) {
      Store(index, static_cast<double>(value));
    } else if (dtype == DType::kBF16) {
      Store(index, static_cast<uint16_t>(bits >> 16));
    } else if (dtype == DType::kF16) {
      Store(index, static_cast<uint16_t>(0x3c00 | (bits & 0x83ff)));
    } else if (dtype == DType::kC64) {
      Store(index, (uint64_t{bits} << 32) | bits);
    } else if (dtype == DType::kI64) {
      Store(index, static_cast<int64_t>(value * 1000));
    } else {
      std::memset(data_.get() + index * ItemSize(dtype), static_cast<int>(bits >> 16) & 0x7f,
                  ItemSize(dtype));
    }
  }

  int64_t shape_;
  AlignedBytes data_;
  TensorView view_;
};

void Report(benchmark::State& state, const TensorView& view) {
  state.SetBytesProcessed(state.iterations() * view.nbytes());
  state.SetItemsProcessed(state.iterations() * view.numel());
  state.SetLabel(KernelTarget());
}

void BM_Stats(benchmark::State& state, DType dtype, Content content) {
  const BenchTensor tensor(dtype, state.range(0), content);
  for (auto _ : state) {
    benchmark::DoNotOptimize(ComputeStats(tensor.view(), {}));
  }
  Report(state, tensor.view());
}
BENCHMARK_CAPTURE(BM_Stats, f32, DType::kF32, Content::kNormal)
    ->Arg(64)
    ->Arg(256)
    ->Arg(4096)
    ->Arg(1 << 14)
    ->Arg(1 << 20)
    ->Arg(1 << 24);
BENCHMARK_CAPTURE(BM_Stats, f32_relu, DType::kF32, Content::kRelu)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Stats, f32_nan, DType::kF32, Content::kSomeNaN)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Stats, f32_tiny, DType::kF32, Content::kTiny)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Stats, bf16, DType::kBF16, Content::kNormal)->Arg(256)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Stats, f16, DType::kF16, Content::kNormal)->Arg(256)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Stats, f8e4m3, DType::kF8E4M3, Content::kNormal)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Stats, bool, DType::kBool, Content::kNormal)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Stats, i8, DType::kI8, Content::kNormal)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Stats, i32, DType::kI32, Content::kNormal)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Stats, i64, DType::kI64, Content::kNormal)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Stats, f64, DType::kF64, Content::kNormal)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Stats, c64, DType::kC64, Content::kNormal)->Arg(1 << 20);

void BM_StatsWithProduct(benchmark::State& state) {
  const BenchTensor tensor(DType::kF32, state.range(0), Content::kNormal);
  for (auto _ : state) {
    benchmark::DoNotOptimize(ComputeStats(tensor.view(), {.product = true}));
  }
  Report(state, tensor.view());
}
BENCHMARK(BM_StatsWithProduct)->Arg(256)->Arg(1 << 14)->Arg(1 << 20)->Arg(1 << 24);

void BM_StatsOfTransposed(benchmark::State& state) {
  const BenchTensor tensor(DType::kF32, 1 << 20, Content::kNormal);
  const int64_t shape[] = {1024, 1024};
  const int64_t strides[] = {1, 1024};
  const TensorView view{tensor.view().data, DType::kF32, 2, shape, strides};
  for (auto _ : state) {
    benchmark::DoNotOptimize(ComputeStats(view, {}));
  }
  Report(state, view);
}
BENCHMARK(BM_StatsOfTransposed);

void BM_Memcpy(benchmark::State& state) {
  const BenchTensor tensor(DType::kF32, state.range(0), Content::kNormal);
  const auto to = MakeAligned(static_cast<size_t>(tensor.view().nbytes()));
  for (auto _ : state) {
    std::memcpy(to.get(), tensor.view().data, static_cast<size_t>(tensor.view().nbytes()));
    benchmark::ClobberMemory();
  }
  Report(state, tensor.view());
}
BENCHMARK(BM_Memcpy)->Arg(1 << 14)->Arg(1 << 20)->Arg(1 << 24);

void BM_Copy(benchmark::State& state) {
  const BenchTensor tensor(DType::kF32, state.range(0), Content::kNormal);
  const auto to = MakeAligned(static_cast<size_t>(tensor.view().nbytes()));
  for (auto _ : state) {
    CopyTensor(tensor.view(), to.get());
    benchmark::ClobberMemory();
  }
  Report(state, tensor.view());
}
BENCHMARK(BM_Copy)->Arg(256)->Arg(1 << 14)->Arg(1 << 20)->Arg(1 << 24);

void BM_CopyAndStats(benchmark::State& state, DType dtype) {
  const BenchTensor tensor(dtype, state.range(0), Content::kNormal);
  const auto to = MakeAligned(static_cast<size_t>(tensor.view().nbytes()));
  for (auto _ : state) {
    benchmark::DoNotOptimize(CopyAndComputeStats(tensor.view(), to.get(), {}));
  }
  Report(state, tensor.view());
}
BENCHMARK_CAPTURE(BM_CopyAndStats, f32, DType::kF32)
    ->Arg(256)
    ->Arg(1 << 14)
    ->Arg(1 << 20)
    ->Arg(1 << 24);
BENCHMARK_CAPTURE(BM_CopyAndStats, bf16, DType::kBF16)->Arg(1 << 20)->Arg(1 << 24);
BENCHMARK_CAPTURE(BM_CopyAndStats, f64, DType::kF64)->Arg(1 << 20);

void BM_Histogram(benchmark::State& state, DType dtype, Content content) {
  const BenchTensor tensor(dtype, state.range(0), content);
  const auto histogram = std::make_unique<Histogram>();
  for (auto _ : state) {
    histogram->Clear();
    histogram->Add(tensor.view());
    benchmark::DoNotOptimize(histogram->Quantile(0.5));
  }
  Report(state, tensor.view());
}
BENCHMARK_CAPTURE(BM_Histogram, f32, DType::kF32, Content::kNormal)
    ->Arg(256)
    ->Arg(1 << 14)
    ->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Histogram, f32_relu, DType::kF32, Content::kRelu)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Histogram, f32_constant, DType::kF32, Content::kConstant)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Histogram, bf16, DType::kBF16, Content::kNormal)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Histogram, f64, DType::kF64, Content::kNormal)->Arg(1 << 20);

void BM_ExactMedian(benchmark::State& state, DType dtype, Content content) {
  const BenchTensor tensor(dtype, state.range(0), content);
  std::vector<uint8_t> scratch(MedianScratchBytes(tensor.view()));
  for (auto _ : state) {
    benchmark::DoNotOptimize(ExactMedian(tensor.view(), MedianKind::kMean, scratch));
  }
  Report(state, tensor.view());
}
BENCHMARK_CAPTURE(BM_ExactMedian, f32, DType::kF32, Content::kNormal)
    ->Arg(256)
    ->Arg(4096)
    ->Arg(1 << 14)
    ->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_ExactMedian, f32_relu, DType::kF32, Content::kRelu)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_ExactMedian, f32_constant, DType::kF32, Content::kConstant)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_ExactMedian, f64, DType::kF64, Content::kNormal)->Arg(1 << 20);

}  // namespace
}  // namespace wheeltapper::tensor
