#include "wide_integers.h"

#include <algorithm>

#include "wheeltapper/core/bytes.h"

namespace wheeltapper::tensor {
namespace {

constexpr uint64_t kLargestExact = uint64_t{1} << 53;

uint64_t Magnitude(uint64_t value) { return value; }
uint64_t Magnitude(int64_t value) {
  const auto bits = static_cast<uint64_t>(value);
  return value < 0 ? ~bits + 1 : bits;
}

template <typename T>
bool HasWide(const uint8_t* block, size_t count) {
  uint64_t largest = 0;
  for (size_t i = 0; i < count; ++i) {
    largest = std::max(largest, Magnitude(LoadUnaligned<T>(block + i * sizeof(T))));
  }
  return largest > kLargestExact;
}

double Round(long double value) { return static_cast<double>(value); }

}  // namespace

bool HasWideIntegers(const uint8_t* block, DType dtype, size_t count) noexcept {
  return dtype == DType::kI64 ? HasWide<int64_t>(block, count) : HasWide<uint64_t>(block, count);
}

void WideIntegers::Add(const uint8_t* block, DType dtype, size_t count) noexcept {
  if (dtype == DType::kI64) {
    AddEach<int64_t>(block, count);
  } else {
    AddEach<uint64_t>(block, count);
  }
}

template <typename T>
void WideIntegers::AddEach(const uint8_t* block, size_t count) noexcept {
  for (size_t i = 0; i < count; ++i) {
    const T value = LoadUnaligned<T>(block + i * sizeof(T));
    const auto x = static_cast<long double>(value);
    const auto magnitude = static_cast<long double>(Magnitude(value));
    if (count_ == 0) {
      pivot_ = min_ = max_ = x;
      abs_pivot_ = abs_min_ = abs_max_ = magnitude;
    }
    const long double d = x - pivot_;
    const long double abs_d = magnitude - abs_pivot_;
    d_ += d;
    d2_ += d * d;
    abs_d_ += abs_d;
    abs_d2_ += abs_d * abs_d;
    min_ = std::min(min_, x);
    max_ = std::max(max_, x);
    abs_min_ = std::min(abs_min_, magnitude);
    abs_max_ = std::max(abs_max_, magnitude);
    zeros_ += value == 0 ? 1 : 0;
    negative_ += x < 0 ? 1 : 0;
    ++count_;
  }
}

TensorStats WideIntegers::Finish() const noexcept {
  TensorStats stats;
  if (count_ == 0) {
    return stats;
  }
  const auto n = static_cast<long double>(count_);
  stats.numel = count_;
  stats.zero_count = zeros_;
  stats.negative_count = negative_;
  stats.min = Round(min_);
  stats.max = Round(max_);
  stats.abs_min = Round(abs_min_);
  stats.abs_max = Round(abs_max_);
  stats.mean = Round(pivot_ + d_ / n);
  stats.m2 = Round(std::max(0.0L, d2_ - d_ * d_ / n));
  stats.l1 = Round(abs_pivot_ * n + abs_d_);
  stats.abs_m2 = Round(std::max(0.0L, abs_d2_ - abs_d_ * abs_d_ / n));
  return stats;
}

}  // namespace wheeltapper::tensor
