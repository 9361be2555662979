// FastMoments and ExactMoments: see docs/design/numerics.md for what they compute and how exactly.
#include "simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels_moments.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "kernels.h"
#include "load_f32-inl.h"

HWY_BEFORE_NAMESPACE();
namespace wheeltapper::tensor {
namespace HWY_NAMESPACE {
namespace {

using DD = hn::ScalableTag<double>;
using DU8 = hn::ScalableTag<uint8_t>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;
using VD = hn::Vec<DD>;

// Additions per f32 lane before the sums are folded into f64.
constexpr size_t kRunLength = 16;
constexpr size_t kLineBytes = 64;

HWY_INLINE double Total(VD v) { return hn::GetLane(hn::SumOfLanes(DD(), v)); }

// An f64 sum per lane, fed with f32 vectors.
class FoldedSum {
 public:
  HWY_INLINE FoldedSum() : sum_(hn::Zero(DD())) {}
  HWY_INLINE void Add(VF run) {
    const hn::Rebind<float, DD> half;
#if HWY_TARGET == HWY_SCALAR
    sum_ = hn::Add(sum_, hn::PromoteTo(DD(), run));
    (void)half;
#else
    const VD low = hn::PromoteTo(DD(), hn::LowerHalf(half, run));
    sum_ = hn::Add(sum_, hn::Add(low, hn::PromoteTo(DD(), hn::UpperHalf(half, run))));
#endif
  }
  [[nodiscard]] HWY_INLINE double total() const { return Total(sum_); }

 private:
  VD sum_;
};

// The four sums of one run. The constructors of structs of vectors are written out because implicit
// ones are not compiled for the target.
struct Run {
  VF d;
  VF d2;
  VF abs_d;
  VF abs_d2;

  HWY_INLINE Run()
      : d(hn::Zero(DF())), d2(hn::Zero(DF())), abs_d(hn::Zero(DF())), abs_d2(hn::Zero(DF())) {}
  HWY_INLINE void Add(VF x, VF pivot, VF abs_pivot) {
    const VF diff = hn::Sub(x, pivot);
    const VF abs_diff = hn::Sub(hn::Abs(x), abs_pivot);
    d = hn::Add(d, diff);
    d2 = hn::MulAdd(diff, diff, d2);
    abs_d = hn::Add(abs_d, abs_diff);
    abs_d2 = hn::MulAdd(abs_diff, abs_diff, abs_d2);
  }
};

struct Extremes {
  VF min;
  VF max;
  VI abs_min;
  VI abs_max;
  VI minus_sign_bits;

  HWY_INLINE Extremes()
      : min(hn::Set(DF(), std::numeric_limits<float>::infinity())),
        max(hn::Set(DF(), -std::numeric_limits<float>::infinity())),
        abs_min(hn::Set(DI(), 0x7fffffff)),
        abs_max(hn::Zero(DI())),
        minus_sign_bits(hn::Zero(DI())) {}
  HWY_INLINE void Add(VF x) {
    const VI bits = hn::BitCast(DI(), x);
    const VI magnitude = hn::And(bits, hn::Set(DI(), 0x7fffffff));
    min = hn::Min(min, x);
    max = hn::Max(max, x);
    // Patterns of magnitudes order like the magnitudes, and NaN above infinity above all.
    abs_min = hn::Min(abs_min, magnitude);
    abs_max = hn::Max(abs_max, magnitude);
    minus_sign_bits = hn::Add(minus_sign_bits, hn::ShiftRight<31>(bits));
  }
};

template <bool kScaled>
HWY_INLINE VF Scaled(VF x, VF scale) {
  if constexpr (kScaled) {
    return hn::Mul(x, scale);
  } else {
    (void)scale;
    return x;
  }
}

HWY_INLINE void StreamBytes(const uint8_t* from, uint8_t* to, size_t nbytes) {
  for (size_t i = 0; i < nbytes; i += hn::Lanes(DU8())) {
    hn::Stream(hn::LoadU(DU8(), from + i), DU8(), to + i);
  }
}

template <typename T, bool kScaled, bool kStream>
HWY_NOINLINE FastSums FastMomentsOf(const FastInput& input) {
  const size_t lanes = hn::Lanes(DF());
  const auto* from = static_cast<const T*>(input.from);
  auto* to = static_cast<uint8_t*>(input.stream_to);
  const VF pivot = hn::Set(DF(), input.pivot);
  const VF abs_pivot = hn::Set(DF(), input.abs_pivot);
  const VF scale = hn::Set(DF(), input.scale);
  FoldedSum d;
  FoldedSum d2;
  FoldedSum abs_d;
  FoldedSum abs_d2;
  Extremes extremes;
  for (size_t i = 0; i < input.count;) {
    const size_t end = std::min(input.count, i + kRunLength * 2 * lanes);
    Run even;
    Run odd;
    for (; i < end; i += 2 * lanes) {
      const VF x0 = LoadAsF32(from + i);
      const VF x1 = LoadAsF32(from + i + lanes);
      if constexpr (kStream) {
        StreamBytes(reinterpret_cast<const uint8_t*>(from + i), to + i * sizeof(T),
                    2 * lanes * sizeof(T));
      }
      extremes.Add(x0);
      extremes.Add(x1);
      even.Add(Scaled<kScaled>(x0, scale), pivot, abs_pivot);
      odd.Add(Scaled<kScaled>(x1, scale), pivot, abs_pivot);
    }
    d.Add(hn::Add(even.d, odd.d));
    d2.Add(hn::Add(even.d2, odd.d2));
    abs_d.Add(hn::Add(even.abs_d, odd.abs_d));
    abs_d2.Add(hn::Add(even.abs_d2, odd.abs_d2));
  }
  FastSums sums;
  sums.d = d.total();
  sums.d2 = d2.total();
  sums.abs_d = abs_d.total();
  sums.abs_d2 = abs_d2.total();
  sums.min = hn::GetLane(hn::MinOfLanes(DF(), extremes.min));
  sums.max = hn::GetLane(hn::MaxOfLanes(DF(), extremes.max));
  sums.abs_min_bits = static_cast<uint32_t>(hn::GetLane(hn::MinOfLanes(DI(), extremes.abs_min)));
  sums.abs_max_bits = static_cast<uint32_t>(hn::GetLane(hn::MaxOfLanes(DI(), extremes.abs_max)));
  sums.sign_bits = -int64_t{hn::GetLane(hn::SumOfLanes(DI(), extremes.minus_sign_bits))};
  return sums;
}

// Sums about 0, extremes and sign bits, of four vectors at a time: one operation per vector and
// result, and no chain of dependent operations longer than one per four vectors. |x|² is x², the
// largest magnitude is an extreme, and a NaN or an infinity makes Σx² infinite or a NaN: none of
// these costs anything here. (Four named vectors, not arrays of them, which g++ keeps in memory.)
template <typename V>
struct Quad {
  V a;
  V b;
  V c;
  V d;
};

HWY_INLINE VF Sum(const Quad<VF>& v) { return hn::Add(hn::Add(v.a, v.b), hn::Add(v.c, v.d)); }

struct PlainRun {
  VF sum;
  Quad<VF> squares;
  VF abs_sum;

  HWY_INLINE PlainRun()
      : sum(hn::Zero(DF())),
        squares{hn::Zero(DF()), hn::Zero(DF()), hn::Zero(DF()), hn::Zero(DF())},
        abs_sum(hn::Zero(DF())) {}
  HWY_INLINE void Add(const Quad<VF>& x, const Quad<VF>& magnitude) {
    sum = hn::Add(sum, Sum(x));
    abs_sum = hn::Add(abs_sum, Sum(magnitude));
    squares.a = hn::MulAdd(x.a, x.a, squares.a);
    squares.b = hn::MulAdd(x.b, x.b, squares.b);
    squares.c = hn::MulAdd(x.c, x.c, squares.c);
    squares.d = hn::MulAdd(x.d, x.d, squares.d);
  }
};

HWY_INLINE VI SignBit(VF x) { return hn::ShiftRight<31>(hn::BitCast(DI(), x)); }
HWY_INLINE VI LessPattern(VF x, VF y) {
  return hn::Min(hn::BitCast(DI(), x), hn::BitCast(DI(), y));
}

struct PlainExtremes {
  VF min;
  VF max;
  VI abs_min;
  VI minus_sign_bits;

  HWY_INLINE PlainExtremes()
      : min(hn::Set(DF(), std::numeric_limits<float>::infinity())),
        max(hn::Set(DF(), -std::numeric_limits<float>::infinity())),
        abs_min(hn::Set(DI(), 0x7fffffff)),
        minus_sign_bits(hn::Zero(DI())) {}
  HWY_INLINE void Add(const Quad<VF>& x, const Quad<VF>& magnitude) {
    min = hn::Min(min, hn::Min(hn::Min(x.a, x.b), hn::Min(x.c, x.d)));
    max = hn::Max(max, hn::Max(hn::Max(x.a, x.b), hn::Max(x.c, x.d)));
    abs_min = hn::Min(abs_min, hn::Min(LessPattern(magnitude.a, magnitude.b),
                                       LessPattern(magnitude.c, magnitude.d)));
    minus_sign_bits = hn::Add(minus_sign_bits, hn::Add(hn::Add(SignBit(x.a), SignBit(x.b)),
                                                       hn::Add(SignBit(x.c), SignBit(x.d))));
  }
};

HWY_INLINE uint32_t MagnitudeBits(float value) {
  return std::bit_cast<uint32_t>(value) & 0x7fffffffU;
}

struct PlainSums {
  FoldedSum d;
  FoldedSum d2;
  FoldedSum abs_d;

  HWY_INLINE PlainSums() : d(), d2(), abs_d() {}
};

HWY_INLINE FastSums PlainTotals(const PlainSums& folded, const PlainExtremes& extremes) {
  FastSums sums;
  sums.d = folded.d.total();
  sums.d2 = sums.abs_d2 = folded.d2.total();
  sums.abs_d = folded.abs_d.total();
  sums.min = hn::GetLane(hn::MinOfLanes(DF(), extremes.min));
  sums.max = hn::GetLane(hn::MaxOfLanes(DF(), extremes.max));
  sums.abs_min_bits = static_cast<uint32_t>(hn::GetLane(hn::MinOfLanes(DI(), extremes.abs_min)));
  sums.abs_max_bits = std::max(MagnitudeBits(sums.min), MagnitudeBits(sums.max));
  sums.sign_bits = -int64_t{hn::GetLane(hn::SumOfLanes(DI(), extremes.minus_sign_bits))};
  // No sum of squares of finite elements overflows where the largest is this small; a larger one
  // the caller scales, and asks again.
  if (!std::isfinite(sums.d2) && sums.abs_max_bits <= kNoOverflowBits) {
    sums.abs_max_bits = std::bit_cast<uint32_t>(std::numeric_limits<float>::quiet_NaN());
  }
  return sums;
}

// FastMoments for pivots of 0 and a scale of 1.
template <typename T, bool kStream, bool kAhead>
HWY_NOINLINE FastSums PlainMomentsOf(const FastInput& input) {
  const size_t lanes = hn::Lanes(DF());
  const auto* from = static_cast<const T*>(input.from);
  auto* to = static_cast<uint8_t*>(input.stream_to);
  PlainSums folded;
  PlainExtremes extremes;
  for (size_t i = 0; i < input.count;) {
    const size_t end = std::min(input.count, i + kRunLength * 4 * lanes);
    PlainRun run;
    for (; i < end; i += 4 * lanes) {
      if constexpr (kAhead) {
        for (size_t byte = 0; byte < 4 * lanes * sizeof(T); byte += kLineBytes) {
          hwy::Prefetch(reinterpret_cast<const uint8_t*>(from + i) + input.ahead + byte);
        }
      }
      const Quad<VF> x{LoadAsF32(from + i), LoadAsF32(from + i + lanes),
                       LoadAsF32(from + i + 2 * lanes), LoadAsF32(from + i + 3 * lanes)};
      const Quad<VF> magnitude{hn::Abs(x.a), hn::Abs(x.b), hn::Abs(x.c), hn::Abs(x.d)};
      if constexpr (kStream) {
        StreamBytes(reinterpret_cast<const uint8_t*>(from + i), to + i * sizeof(T),
                    4 * lanes * sizeof(T));
      }
      run.Add(x, magnitude);
      extremes.Add(x, magnitude);
    }
    folded.d.Add(run.sum);
    folded.d2.Add(Sum(run.squares));
    folded.abs_d.Add(run.abs_sum);
  }
  return PlainTotals(folded, extremes);
}

template <typename T>
FastSums FastMomentsOfType(const FastInput& input) {
  const bool stream = input.stream_to != nullptr;
  if (input.pivot == 0 && input.abs_pivot == 0 && input.scale == 1) {
    if (input.ahead > 0) {
      return stream ? PlainMomentsOf<T, true, true>(input) : PlainMomentsOf<T, false, true>(input);
    }
    return stream ? PlainMomentsOf<T, true, false>(input) : PlainMomentsOf<T, false, false>(input);
  }
  if (input.scale != 1) {
    return stream ? FastMomentsOf<T, true, true>(input) : FastMomentsOf<T, true, false>(input);
  }
  return stream ? FastMomentsOf<T, false, true>(input) : FastMomentsOf<T, false, false>(input);
}

FastSums FastMomentsHere(const FastInput& input) {
  switch (input.dtype) {
    case DType::kF16:
      return FastMomentsOfType<hwy::float16_t>(input);
    case DType::kBF16:
      return FastMomentsOfType<hwy::bfloat16_t>(input);
    default:
      return FastMomentsOfType<float>(input);
  }
}

HWY_INLINE int64_t Count(hn::Mask<DD> mask) {
  return static_cast<int64_t>(hn::CountTrue(DD(), mask));
}

// A NaN compares false, an infinity is not below itself.
HWY_INLINE hn::Mask<DD> FiniteMask(VD x) {
  return hn::Lt(hn::Abs(x), hn::Set(DD(), std::numeric_limits<double>::infinity()));
}

// First pass. `scale` 1, or a small power of two when the sums overflowed at 1.
void SumFinite(const double* values, size_t count, double scale, ExactSums* sums) {
  const VD inf = hn::Set(DD(), std::numeric_limits<double>::infinity());
  const VD zero = hn::Zero(DD());
  VD sum = zero;
  VD abs_sum = zero;
  VD min = inf;
  VD max = hn::Neg(inf);
  VD abs_min = inf;
  VD abs_max = zero;
  ExactSums counts;
  for (size_t i = 0; i < count; i += hn::Lanes(DD())) {
    const VD x = hn::LoadU(DD(), values + i);
    const auto finite = FiniteMask(x);
    const VD kept = hn::IfThenElseZero(finite, x);
    const VD scaled = hn::Mul(kept, hn::Set(DD(), scale));
    sum = hn::Add(sum, scaled);
    abs_sum = hn::Add(abs_sum, hn::Abs(scaled));
    min = hn::Min(min, hn::IfThenElse(finite, x, inf));
    max = hn::Max(max, hn::IfThenElse(finite, x, hn::Neg(inf)));
    abs_min = hn::Min(abs_min, hn::IfThenElse(finite, hn::Abs(x), inf));
    abs_max = hn::Max(abs_max, hn::Abs(kept));
    counts.finite += Count(finite);
    counts.posinf += Count(hn::Eq(x, inf));
    counts.neginf += Count(hn::Eq(x, hn::Neg(inf)));
    counts.zeros += Count(hn::Eq(x, zero));
    counts.negative += Count(hn::Lt(kept, zero));
  }
  counts.min = hn::GetLane(hn::MinOfLanes(DD(), min));
  counts.max = hn::GetLane(hn::MaxOfLanes(DD(), max));
  counts.abs_min = hn::GetLane(hn::MinOfLanes(DD(), abs_min));
  counts.abs_max = hn::GetLane(hn::MaxOfLanes(DD(), abs_max));
  const auto n = static_cast<double>(std::max(counts.finite, int64_t{1}));
  counts.mean = Total(sum) / n / scale;
  counts.abs_mean = Total(abs_sum) / n / scale;
  *sums = counts;
}

// Second pass: squares of the differences, and the differences' own sum, which takes back what the
// rounding of the mean put in.
void SumSquares(const double* values, size_t count, ExactSums* sums) {
  const VD mean = hn::Set(DD(), sums->mean);
  const VD abs_mean = hn::Set(DD(), sums->abs_mean);
  VD d = hn::Zero(DD());
  VD d2 = hn::Zero(DD());
  VD abs_d = hn::Zero(DD());
  VD abs_d2 = hn::Zero(DD());
  for (size_t i = 0; i < count; i += hn::Lanes(DD())) {
    const VD x = hn::LoadU(DD(), values + i);
    const auto finite = FiniteMask(x);
    const VD diff = hn::IfThenElseZero(finite, hn::Sub(x, mean));
    const VD abs_diff = hn::IfThenElseZero(finite, hn::Sub(hn::Abs(x), abs_mean));
    d = hn::Add(d, diff);
    d2 = hn::MulAdd(diff, diff, d2);
    abs_d = hn::Add(abs_d, abs_diff);
    abs_d2 = hn::MulAdd(abs_diff, abs_diff, abs_d2);
  }
  const auto n = static_cast<double>(sums->finite);
  sums->m2 = Total(d2);
  sums->abs_m2 = Total(abs_d2);
  const double shift = Total(d);
  const double abs_shift = Total(abs_d);
  if (std::isfinite(sums->m2) && std::isfinite(sums->abs_m2)) {
    sums->mean += shift / n;
    sums->m2 = std::max(0.0, sums->m2 - shift * shift / n);
    sums->abs_mean += abs_shift / n;
    sums->abs_m2 = std::max(0.0, sums->abs_m2 - abs_shift * abs_shift / n);
  } else {
    sums->m2 = std::isnan(sums->m2) ? std::numeric_limits<double>::infinity() : sums->m2;
    sums->abs_m2 =
        std::isnan(sums->abs_m2) ? std::numeric_limits<double>::infinity() : sums->abs_m2;
  }
}

ExactSums ExactMomentsHere(const double* values, size_t count) {
  ExactSums sums;
  SumFinite(values, count, 1.0, &sums);
  if (!std::isfinite(sums.abs_mean)) {
    SumFinite(values, count, 0x1p-64, &sums);
  }
  if (sums.finite > 0) {
    SumSquares(values, count, &sums);
  }
  return sums;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace wheeltapper::tensor
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace wheeltapper::tensor {
namespace {
HWY_EXPORT(FastMomentsHere);
HWY_EXPORT(ExactMomentsHere);
}  // namespace

FastSums FastMoments(const FastInput& input) noexcept {
  return HWY_DYNAMIC_DISPATCH(FastMomentsHere)(input);
}

ExactSums ExactMoments(const double* values, size_t count) noexcept {
  return HWY_DYNAMIC_DISPATCH(ExactMomentsHere)(values, count);
}

}  // namespace wheeltapper::tensor
#endif  // HWY_ONCE
