#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "wheeltapper/tensor/sketch.h"

#include "bins.h"
#include "block_reader.h"
#include "widen.h"

namespace wheeltapper::tensor {
namespace {

constexpr int64_t kBlock = 2048;
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

size_t SlotOf(int bin) { return static_cast<size_t>(bin + kBinOffset); }

// Rounded to f32, but a finite value stays finite and a non-zero one stays non-zero.
float ToF32(double value) {
  constexpr float kMax = std::numeric_limits<float>::max();
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  if (value == 0 || !std::isfinite(value)) {
    return static_cast<float>(value);
  }
  const double magnitude = std::clamp(std::fabs(value), double{kTiny}, double{kMax});
  return static_cast<float>(std::copysign(magnitude, value));
}

// Lower edge of a bin of positive numbers.
double MagnitudeEdge(int magnitude) {
  if (magnitude > kLastNormalBin) {
    return 0x1p128;
  }
  return std::bit_cast<float>(static_cast<uint32_t>(magnitude) << kBinShift);
}

double LowOfMagnitude(int magnitude) {
  if (magnitude == 0 || magnitude == kDenormalBin) {
    return 0;
  }
  return magnitude == kInfBin ? kInf : MagnitudeEdge(magnitude);
}

double HighOfMagnitude(int magnitude) {
  if (magnitude == 0) {
    return 0;
  }
  if (magnitude == kDenormalBin) {
    return MagnitudeEdge(kFirstNormalBin);
  }
  return magnitude == kInfBin ? kInf : MagnitudeEdge(magnitude + 1);
}

double Representative(int bin) {
  const double low = BinLow(static_cast<int16_t>(bin));
  return std::isinf(low) ? low : (low + BinHigh(static_cast<int16_t>(bin))) / 2;
}

int64_t RankOf(double q, int64_t count) {
  const double clamped = std::clamp(q, 0.0, 1.0);
  const auto rank = static_cast<int64_t>(std::floor(clamped * static_cast<double>(count - 1)));
  return std::clamp(rank, int64_t{0}, count - 1);
}

}  // namespace

double BinLow(int16_t bin) noexcept {
  if (!IsValidBin(bin) || bin == kNaNBin) {
    return kNaN;
  }
  return bin < 0 ? -HighOfMagnitude(-bin) : LowOfMagnitude(bin);
}

double BinHigh(int16_t bin) noexcept {
  if (!IsValidBin(bin) || bin == kNaNBin) {
    return kNaN;
  }
  return bin < 0 ? -LowOfMagnitude(-bin) : HighOfMagnitude(bin);
}

void Histogram::Clear() noexcept { counts_.fill(0); }

void Histogram::Add(const TensorView& view) noexcept {
  BlockReader reader(view);
  std::array<uint8_t, kBlock * 16> buffer;
  std::array<double, kBlock> values;
  while (reader.remaining() > 0) {
    const int64_t count = std::min(kBlock, reader.remaining());
    WidenToF64(view.dtype, reader.Next(count, buffer.data()), count, values.data());
    for (int64_t i = 0; i < count; ++i) {
      ++counts_[SlotOf(BinOfF32(ToF32(values[static_cast<size_t>(i)])))];
    }
  }
}

void Histogram::AddBin(int16_t bin, int64_t count) noexcept {
  if (IsValidBin(bin) && count > 0) {
    counts_[SlotOf(bin)] += count;
  }
}

void Histogram::Merge(const Histogram& other) noexcept {
  for (size_t i = 0; i < counts_.size(); ++i) {
    counts_[i] += other.counts_[i];
  }
}

int64_t Histogram::count(int16_t bin) const noexcept {
  return IsValidBin(bin) ? counts_[SlotOf(bin)] : 0;
}

int64_t Histogram::total() const noexcept {
  int64_t sum = 0;
  for (const int64_t count : counts_) {
    sum += count;
  }
  return sum;
}

int Histogram::bins_used() const noexcept {
  return static_cast<int>(
      std::count_if(counts_.begin(), counts_.end(), [](int64_t count) { return count != 0; }));
}

int Histogram::Sparse(std::span<HistogramBin> out) const noexcept {
  size_t used = 0;
  for (size_t slot = 0; slot < counts_.size(); ++slot) {
    if (counts_[slot] == 0) {
      continue;
    }
    if (used < out.size()) {
      out[used] = {static_cast<int16_t>(static_cast<int>(slot) - kBinOffset), counts_[slot]};
    }
    ++used;
  }
  return static_cast<int>(used);
}

double Histogram::Quantile(double q) const noexcept {
  const int64_t count = total() - counts_[SlotOf(kNaNBin)];
  if (count <= 0 || std::isnan(q)) {
    return kNaN;
  }
  int64_t before = RankOf(q, count);
  for (int bin = -kInfBin; bin <= kInfBin; ++bin) {
    before -= counts_[SlotOf(bin)];
    if (before < 0) {
      return Representative(bin);
    }
  }
  return kNaN;
}

double QuantileOfBins(std::span<const HistogramBin> bins, double q) {
  const auto counts = [](const HistogramBin& entry) {
    return IsValidBin(entry.bin) && entry.bin != kNaNBin && entry.count > 0;
  };
  int64_t count = 0;
  for (const HistogramBin& entry : bins) {
    if (counts(entry) && __builtin_add_overflow(count, entry.count, &count)) {
      return kNaN;
    }
  }
  if (count == 0 || std::isnan(q)) {
    return kNaN;
  }
  int64_t before = RankOf(q, count);
  for (const HistogramBin& entry : bins) {
    if (counts(entry)) {
      before -= entry.count;
      if (before < 0) {
        return Representative(entry.bin);
      }
    }
  }
  return kNaN;
}

}  // namespace wheeltapper::tensor
