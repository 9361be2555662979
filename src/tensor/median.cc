// Exact median by radix selection on the elements' own bits, 16 bits a pass, from the top.
//
// IEEE patterns order like sign-magnitude numbers: walked from the highest pattern down through the
// negative ones, then from zero up through the positive ones, they are sorted, with NaN of either
// sign at the ends. So nothing is converted and NaN are left out by shifting the rank past the
// negative ones.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/tensor/sketch.h"

#include "float_blocks.h"
#include "float_environment.h"
#include "kernels.h"

namespace wheeltapper::tensor {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
// Below this many elements std::nth_element is faster than clearing the table.
constexpr int64_t kRadixFrom = 65536;
constexpr size_t kDigits = 65536;
constexpr size_t kTableBytes = size_t{512} << 10;
constexpr size_t kScratchAlignment = 64;
constexpr int64_t kNarrowCounterLimit = int64_t{1} << 32;

template <typename Float>
using BitsOf = std::conditional_t<std::is_same_v<Float, float>, uint32_t, uint64_t>;

double Midpoint(double low, double high) {
  const double sum = low + high;
  return std::isinf(sum) && std::isfinite(low) && std::isfinite(high) ? low / 2 + high / 2
                                                                      : sum / 2;
}

// The k-th smallest element of a view, and the one after it.
//
// Counter is uint32_t twice per digit, so that equal neighbours do not wait for one another's
// increment, or uint64_t once for tensors whose counts need it.
template <typename Float, typename Counter>
class RadixSelection {
 public:
  // matches_ is filled before it is read, table is counted in.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init,readability-non-const-parameter)
  RadixSelection(const TensorView& view, uint8_t* table)
      : view_(view), table_(reinterpret_cast<Counter*>(table)) {}

  double Median(MedianKind kind) {
    CountTopDigits();
    int64_t negative_nans = 0;
    const int64_t count = view_.numel() - CountNaNs(&negative_nans);
    if (count == 0) {
      return kNaN;
    }
    const double lower = Select(negative_nans + (count - 1) / 2);
    if (kind == MedianKind::kLower || count % 2 != 0) {
      return lower;
    }
    return Midpoint(lower, Successor());
  }

 private:
  using Bits = BitsOf<Float>;
  static constexpr int kWidth = 8 * static_cast<int>(sizeof(Bits));
  static constexpr size_t kLanes = kTableBytes / (kDigits * sizeof(Counter));
  static constexpr size_t kSignDigit = kDigits / 2;
  static constexpr Bits kSignBit = Bits{1} << (kWidth - 1);
  static constexpr Bits kInfinity = std::bit_cast<Bits>(std::numeric_limits<Float>::infinity());

  template <typename Visit>
  void ForEachBlock(Visit visit) const {
    FloatBlocks<Float> blocks(view_);
    const Float* values = nullptr;
    while (const size_t count = blocks.Next(&values)) {
      visit(values, count);
    }
  }

  [[nodiscard]] int64_t CountOf(size_t digit) const {
    int64_t count = 0;
    for (size_t lane = 0; lane < kLanes; ++lane) {
      count += static_cast<int64_t>(table_[digit * kLanes + lane]);
    }
    return count;
  }

  void ClearTable() { std::fill_n(table_, kDigits * kLanes, Counter{0}); }

  void CountTopDigits() {
    ClearTable();
    ForEachBlock([this](const Float* values, size_t count) {
      for (size_t i = 0; i < count; ++i) {
        const Bits bits = std::bit_cast<Bits>(values[i]);
        ++table_[static_cast<size_t>(bits >> (kWidth - 16)) * kLanes + i % kLanes];
      }
    });
  }

  // The top digit tells infinity from NaN only in part, so they are counted one by one when there
  // are any of either.
  int64_t CountNaNs(int64_t* negative) const {
    bool any = false;
    for (auto digit = static_cast<size_t>(kInfinity >> (kWidth - 16)); digit < kSignDigit;
         ++digit) {
      any = any || CountOf(digit) > 0 || CountOf(digit + kSignDigit) > 0;
    }
    int64_t nans = 0;
    if (any) {
      ForEachBlock([&](const Float* values, size_t count) {
        for (size_t i = 0; i < count; ++i) {
          const Bits bits = std::bit_cast<Bits>(values[i]);
          const bool is_nan = (bits & ~kSignBit) > kInfinity;
          nans += is_nan ? 1 : 0;
          *negative += is_nan && (bits & kSignBit) != 0 ? 1 : 0;
        }
      });
    }
    return nans;
  }

  // The element with `rank` others before it, NaN included.
  double Select(int64_t rank) {
    size_t position = 0;
    while (rank >= CountOf(TopDigit(position))) {
      rank -= CountOf(TopDigit(position));
      ++position;
    }
    selected_ = static_cast<Bits>(TopDigit(position));
    for (int known = 16; known < kWidth; known += 16) {
      CountDigitsBelow(known);
      position = 0;
      while (rank >= CountOf(LowerDigit(position))) {
        rank -= CountOf(LowerDigit(position));
        ++position;
      }
      selected_ = static_cast<Bits>((selected_ << 16) | LowerDigit(position));
    }
    last_position_ = position;
    has_equal_successor_ = rank + 1 < CountOf(LowerDigit(position));
    return static_cast<double>(std::bit_cast<Float>(selected_));
  }

  // The element after the selected one; there is one.
  double Successor() {
    if (has_equal_successor_) {
      return static_cast<double>(std::bit_cast<Float>(selected_));
    }
    for (size_t position = last_position_ + 1; position < kDigits; ++position) {
      if (CountOf(LowerDigit(position)) > 0) {
        const auto bits = static_cast<Bits>((selected_ & ~Bits{0xffff}) | LowerDigit(position));
        return static_cast<double>(std::bit_cast<Float>(bits));
      }
    }
    if (selected_ == kSignBit && HasPositiveZero()) {
      return 0;
    }
    const auto selected = std::bit_cast<Float>(selected_);
    Float next = std::numeric_limits<Float>::infinity();
    ForEachBlock([&](const Float* values, size_t count) {
      next = std::min(next, SmallestAbove(values, count, selected));
    });
    return static_cast<double>(next);
  }

  // +0 follows −0 in the order of patterns but is not above it.
  [[nodiscard]] bool HasPositiveZero() const {
    bool found = false;
    ForEachBlock([&](const Float* values, size_t count) {
      for (size_t i = 0; i < count; ++i) {
        found = found || std::bit_cast<Bits>(values[i]) == 0;
      }
    });
    return found;
  }

  // Digits in the order of the values they begin.
  static size_t TopDigit(size_t position) {
    return position < kSignDigit ? kDigits - 1 - position : position - kSignDigit;
  }
  [[nodiscard]] size_t LowerDigit(size_t position) const {
    return negative_ ? kDigits - 1 - position : position;
  }

  // Counts the digit after the `known` top bits among the elements that begin with `selected_`.
  void CountDigitsBelow(int known) {
    negative_ = ((selected_ >> (known - 1)) & 1) != 0;
    ClearTable();
    ForEachBlock([this, known](const Float* values, size_t count) {
      CountBlockDigits(values, count, known);
    });
  }

  void CountBlockDigits(const float* values, size_t count, int /*known*/) {
    const size_t kept = KeepMatching(values, count, selected_, matches_.data());
    for (size_t i = 0; i < kept; ++i) {
      ++table_[static_cast<size_t>(matches_[i] & 0xffff) * kLanes + i % kLanes];
    }
  }

  void CountBlockDigits(const double* values, size_t count, int known) {
    for (size_t i = 0; i < count; ++i) {
      const auto bits = std::bit_cast<uint64_t>(values[i]);
      if (bits >> (64 - known) == selected_) {
        ++table_[((bits >> (48 - known)) & 0xffff) * kLanes + i % kLanes];
      }
    }
  }

  const TensorView& view_;
  Counter* const table_;
  Bits selected_ = 0;  // the digits found so far
  bool negative_ = false;
  size_t last_position_ = 0;
  bool has_equal_successor_ = false;
  std::array<uint32_t, kBlockBytes / sizeof(float) + kMatchPadding> matches_;
};

template <typename Float>
double MedianByPartialSort(const TensorView& view, MedianKind kind, uint8_t* scratch) {
  auto* const begin = reinterpret_cast<Float*>(scratch);
  Float* end = begin;
  FloatBlocks<Float> blocks(view);
  const Float* values = nullptr;
  while (const size_t count = blocks.Next(&values)) {
    end = std::copy_if(values, values + count, end, [](Float value) { return !std::isnan(value); });
  }
  if (end == begin) {
    return kNaN;
  }
  const ptrdiff_t count = end - begin;
  Float* const middle = begin + (count - 1) / 2;
  std::nth_element(begin, middle, end);
  const auto lower = static_cast<double>(*middle);
  if (kind == MedianKind::kLower || count % 2 != 0) {
    return lower;
  }
  return Midpoint(lower, static_cast<double>(*std::min_element(middle + 1, end)));
}

template <typename Float>
double MedianOf(const TensorView& view, MedianKind kind, uint8_t* scratch) {
  const int64_t numel = view.numel();
  if (numel < kRadixFrom) {
    return MedianByPartialSort<Float>(view, kind, scratch);
  }
  if (numel < kNarrowCounterLimit) {
    return RadixSelection<Float, uint32_t>(view, scratch).Median(kind);
  }
  return RadixSelection<Float, uint64_t>(view, scratch).Median(kind);
}

}  // namespace

size_t MedianScratchBytes(const TensorView& view) noexcept {
  const int64_t numel = view.numel();
  if (numel >= kRadixFrom) {
    return kTableBytes + kScratchAlignment;
  }
  const size_t width = FitsF32(view.dtype) ? sizeof(float) : sizeof(double);
  return static_cast<size_t>(numel) * width + kScratchAlignment;
}

double ExactMedian(const TensorView& view, MedianKind kind, std::span<uint8_t> scratch) noexcept {
  if (view.data == nullptr || view.numel() == 0 || scratch.size() < MedianScratchBytes(view)) {
    return kNaN;
  }
  const DefaultFloatEnvironment environment;
  const auto address = reinterpret_cast<uintptr_t>(scratch.data());
  uint8_t* aligned = scratch.data() + (AlignUp(address, kScratchAlignment) - address);
  const double median = FitsF32(view.dtype) ? MedianOf<float>(view, kind, aligned)
                                            : MedianOf<double>(view, kind, aligned);
  return median + 0.0;  // −0 is 0
}

}  // namespace wheeltapper::tensor
