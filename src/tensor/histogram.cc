#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/tensor/sketch.h"

#include "bins.h"
#include "float_blocks.h"
#include "float_environment.h"
#include "kernels.h"

namespace wheeltapper::tensor {
namespace {

// Below this many elements clearing and folding the raw counts costs more than it saves.
constexpr int64_t kRawFrom = 8192;
// Before a 32-bit raw count can overflow.
constexpr int64_t kFoldEvery = int64_t{1} << 31;
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

size_t SlotOf(int bin) { return static_cast<size_t>(bin) + kBinOffset; }

// Raw counts: kRawLanes counters per raw index side by side, so that equal neighbours do not wait
// for one another's increment. (Separate tables a power of two apart would alias in the cache;
// interleaved they cannot.)
constexpr size_t kRawLanes = 4;

// One store per element is the limit: CPUs finish one a cycle.
inline void CountFour(const uint8_t* values, uint32_t* raw) {
  constexpr uint64_t kIndexMask = 0x1fff;
  const auto first = LoadUnaligned<uint64_t>(values);
  const auto second = LoadUnaligned<uint64_t>(values + 2 * sizeof(float));
  ++raw[((first >> kBinShift) & kIndexMask) * kRawLanes];
  ++raw[(first >> (kBinShift + 32)) * kRawLanes + 1];
  ++raw[((second >> kBinShift) & kIndexMask) * kRawLanes + 2];
  ++raw[(second >> (kBinShift + 32)) * kRawLanes + 3];
}

// Not inlined, and 16 elements at a time, so that its speed does not hang on where the loop starts
// (measured: 10 %).
[[gnu::noinline]] void CountRaw(const float* values, size_t count, uint32_t* raw) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(values);
  constexpr size_t kStep = 4 * sizeof(float);
  size_t i = 0;
  for (; i + 16 <= count; i += 16, bytes += 4 * kStep) {
    CountFour(bytes, raw);
    CountFour(bytes + kStep, raw);
    CountFour(bytes + 2 * kStep, raw);
    CountFour(bytes + 3 * kStep, raw);
  }
  for (; i < count; ++i, bytes += sizeof(float)) {
    ++raw[(LoadUnaligned<uint32_t>(bytes) >> kBinShift) * kRawLanes];
  }
}

template <typename Raw>
int64_t RawCount(const Raw& raw, int index) {
  const size_t first = static_cast<size_t>(index) * kRawLanes;
  int64_t count = 0;
  for (size_t lane = 0; lane < kRawLanes; ++lane) {
    count += raw[first + lane];
  }
  return count;
}

// Raw counts in which different kinds of elements share an index: zeros with the smallest
// denormals, infinities with NaN.
struct RawSpecials {
  int64_t around_positive_zero = 0;
  int64_t around_negative_zero = 0;
  int64_t nonfinite = 0;
  bool operator==(const RawSpecials&) const = default;
};

template <typename Raw>
RawSpecials SpecialsIn(const Raw& raw) {
  RawSpecials specials;
  specials.around_positive_zero = RawCount(raw, 0);
  specials.around_negative_zero = RawCount(raw, kMagnitudeBins);
  for (int index = kInfBin; index < kMagnitudeBins; ++index) {
    specials.nonfinite += RawCount(raw, index) + RawCount(raw, index + kMagnitudeBins);
  }
  return specials;
}

template <typename Counts>
void SplitSpecials(const RawSpecials& now, const RawSpecials& seen, const SpecialCounts& special,
                   Counts* counts) {
  const int64_t around_zero = now.around_positive_zero - seen.around_positive_zero +
                              now.around_negative_zero - seen.around_negative_zero;
  const int64_t nonfinite = now.nonfinite - seen.nonfinite;
  (*counts)[SlotOf(0)] += around_zero - special.positive_tiny - special.negative_tiny;
  (*counts)[SlotOf(kDenormalBin)] += special.positive_tiny;
  (*counts)[SlotOf(-kDenormalBin)] += special.negative_tiny;
  (*counts)[SlotOf(kInfBin)] += special.posinf;
  (*counts)[SlotOf(-kInfBin)] += special.neginf;
  (*counts)[SlotOf(kNaNBin)] += nonfinite - special.posinf - special.neginf;
}

// Lower edge of a bin of positive numbers.
double MagnitudeEdge(int magnitude) {
  if (magnitude > kLastNormalBin) {
    return 0x1p128;
  }
  return static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(magnitude) << kBinShift));
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
  const DefaultFloatEnvironment environment;
  FloatBlocks<float> blocks(view);
  const float* values = nullptr;
  if (view.numel() < kRawFrom) {
    while (const size_t count = blocks.Next(&values)) {
      for (size_t i = 0; i < count; ++i) {
        ++counts_[SlotOf(BinOfF32(values[i]))];
      }
    }
    return;
  }
  int64_t unfolded = 0;
  RawSpecials seen{};
  while (const size_t count = blocks.Next(&values)) {
    CountRaw(values, count, raw_.data());
    const RawSpecials now = SpecialsIn(raw_);
    if (now != seen) {
      SplitSpecials(now, seen, CountSpecials(values, count), &counts_);
      seen = now;
    }
    unfolded += static_cast<int64_t>(count);
    if (unfolded >= kFoldEvery) {
      FoldRaw();
      unfolded = 0;
      seen = {};
    }
  }
  FoldRaw();
}

// The raw bins that hold ordinary numbers go to their bins; SplitSpecials has dealt with the
// others. Leaves raw_ all 0, as it finds it.
void Histogram::FoldRaw() noexcept {
  for (int index = 0; index < 2 * kMagnitudeBins; ++index) {
    const int64_t count = RawCount(raw_, index);
    if (count == 0) {
      continue;
    }
    std::fill_n(raw_.data() + static_cast<size_t>(index) * kRawLanes, kRawLanes, 0U);
    const int magnitude = index % kMagnitudeBins;
    if (magnitude > 0 && magnitude < kInfBin) {
      const int bin = magnitude < kFirstNormalBin ? kDenormalBin : magnitude;
      counts_[SlotOf(index < kMagnitudeBins ? bin : -bin)] += count;
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
