// The kernels beside the moments: widening, zero and special counts, product, streaming copy.
#include "simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels_elements.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "wheeltapper/tensor/stats.h"

#include "kernels.h"
#include "load_f32-inl.h"
#include "widen.h"

HWY_BEFORE_NAMESPACE();
namespace wheeltapper::tensor {
namespace HWY_NAMESPACE {
namespace {

using DD = hn::ScalableTag<double>;
using DI64 = hn::ScalableTag<int64_t>;
using DU8 = hn::ScalableTag<uint8_t>;
using VD = hn::Vec<DD>;

// The last elements are loaded from a padded copy, so that every element goes through the same
// instructions.
template <typename T>
void WidenVectors(const void* from, size_t count, float* to) {
  const auto* values = static_cast<const T*>(from);
  const size_t lanes = hn::Lanes(DF());
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(LoadAsF32(values + i), DF(), to + i);
  }
  if (i < count) {
    HWY_ALIGN T padded[HWY_MAX_BYTES / sizeof(float)] = {};
    HWY_ALIGN float widened[HWY_MAX_BYTES / sizeof(float)];
    std::memcpy(padded, values + i, (count - i) * sizeof(T));
    hn::Store(LoadAsF32(padded), DF(), widened);
    std::memcpy(to + i, widened, (count - i) * sizeof(float));
  }
}

void WidenByTable(const void* from, size_t count, const float* table, float* to) {
  const auto* bytes = static_cast<const uint8_t*>(from);
  for (size_t i = 0; i < count; ++i) {
    to[i] = table[bytes[i]];
  }
}

void WidenBools(const void* from, size_t count, float* to) {
  const auto* bytes = static_cast<const uint8_t*>(from);
  for (size_t i = 0; i < count; ++i) {
    to[i] = bytes[i] != 0 ? 1.0F : 0.0F;
  }
}

void WidenToF32Here(const void* from, DType dtype, size_t count, float* to) {
  switch (dtype) {
    case DType::kBool:
      return WidenBools(from, count, to);
    case DType::kU8:
      return WidenVectors<uint8_t>(from, count, to);
    case DType::kI8:
      return WidenVectors<int8_t>(from, count, to);
    case DType::kU16:
      return WidenVectors<uint16_t>(from, count, to);
    case DType::kI16:
      return WidenVectors<int16_t>(from, count, to);
    case DType::kF16:
      return WidenVectors<hwy::float16_t>(from, count, to);
    case DType::kBF16:
      return WidenVectors<hwy::bfloat16_t>(from, count, to);
    case DType::kF8E4M3:
      return WidenByTable(from, count, F8E4M3Table(), to);
    case DType::kF8E5M2:
      return WidenByTable(from, count, F8E5M2Table(), to);
    default:
      std::memcpy(to, from, count * sizeof(float));
      return;
  }
}

void WidenF32ToF64Here(const float* from, size_t count, double* to) {
  const hn::Rebind<float, DD> half;
  const size_t lanes = hn::Lanes(DD());
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(hn::PromoteTo(DD(), hn::LoadU(half, from + i)), DD(), to + i);
  }
  for (; i < count; ++i) {
    to[i] = static_cast<double>(from[i]);
  }
}

// Counts in the lanes of an integer vector; a lane takes 2^31 additions.
template <class D>
class LaneCounter {
 public:
  HWY_INLINE LaneCounter() : counts_(hn::Zero(D())) {}
  HWY_INLINE void Add(hn::Mask<D> mask) { counts_ = hn::Sub(counts_, hn::VecFromMask(D(), mask)); }
  [[nodiscard]] HWY_INLINE int64_t total() const {
    return int64_t{hn::GetLane(hn::SumOfLanes(D(), counts_))};
  }

 private:
  hn::Vec<D> counts_;
};

// 16-bit and 32-bit floats alike: zero is a pattern of all zero bits but the sign.
template <typename T>
ZeroCounts CountZeroPatterns(const void* from, size_t count) {
  const hn::ScalableTag<T> tag;
  const auto* values = static_cast<const T*>(from);
  constexpr T kNegativeZero = std::numeric_limits<T>::min();
  size_t positive = 0;
  size_t negative = 0;
  size_t i = 0;
  for (; i + hn::Lanes(tag) <= count; i += hn::Lanes(tag)) {
    const auto x = hn::LoadU(tag, values + i);
    positive += hn::CountTrue(tag, hn::Eq(x, hn::Zero(tag)));
    negative += hn::CountTrue(tag, hn::Eq(x, hn::Set(tag, kNegativeZero)));
  }
  for (; i < count; ++i) {
    positive += values[i] == 0 ? 1U : 0U;
    negative += values[i] == kNegativeZero ? 1U : 0U;
  }
  return {static_cast<int64_t>(positive + negative), static_cast<int64_t>(negative)};
}

ZeroCounts CountZerosHere(const void* from, DType dtype, size_t count) {
  return dtype == DType::kF32 ? CountZeroPatterns<int32_t>(from, count)
                              : CountZeroPatterns<int16_t>(from, count);
}

// Factors of a lane, split into mantissa and exponent before they can leave the range of f64.
class LaneProduct {
 public:
  HWY_INLINE LaneProduct() : product_(hn::Set(DD(), 1.0)), power_(hn::Zero(DI64())) {}
  HWY_INLINE void Multiply(VD factor) { product_ = hn::Mul(product_, factor); }
  HWY_INLINE void Split() {
    const auto bits = hn::And(hn::BitCast(DI64(), product_), hn::Set(DI64(), INT64_MAX));
    power_ = hn::Add(power_, hn::Sub(hn::ShiftRight<52>(bits), hn::Set(DI64(), 1023)));
    const auto mantissa = hn::And(bits, hn::Set(DI64(), 0xfffffffffffffLL));
    product_ = hn::BitCast(DD(), hn::Or(mantissa, hn::Set(DI64(), 0x3ff0000000000000LL)));
  }
  // Both have been split; so must this be, before it is multiplied again.
  HWY_INLINE void Join(const LaneProduct& other) {
    product_ = hn::Mul(product_, other.product_);
    power_ = hn::Add(power_, other.power_);
  }
  [[nodiscard]] HWY_INLINE ScaledProduct Total() const {
    HWY_ALIGN double products[HWY_MAX_BYTES / sizeof(double)];
    hn::Store(product_, DD(), products);
    double product = 1;
    for (size_t lane = 0; lane < hn::Lanes(DD()); ++lane) {
      product *= products[lane];
    }
    const auto bits = std::bit_cast<uint64_t>(product);
    return {std::bit_cast<double>((bits & 0xfffffffffffffULL) | 0x3ff0000000000000ULL),
            int64_t{hn::GetLane(hn::SumOfLanes(DI64(), power_))} +
                static_cast<int64_t>(bits >> 52) - 1023};
  }

 private:
  VD product_;
  hn::Vec<DI64> power_;
};

// f64 has room for the exponents of many f32, so that one conversion and one multiplication per
// vector do. The sign goes when the product is split.
ScaledProduct AbsProductHere(const float* values, size_t count, int max_power) {
  const hn::Rebind<float, DD> half;
  const size_t lanes = hn::Lanes(DD());
  // 1021 = 1022 less the [1, 2) that a lane starts with.
  const size_t run = static_cast<size_t>(1021 / max_power) * 4 * lanes;
  const auto load = [&](size_t i)
                        HWY_ATTR { return hn::PromoteTo(DD(), hn::LoadU(half, values + i)); };
  LaneProduct a;
  LaneProduct b;
  LaneProduct c;
  LaneProduct d;
  for (size_t i = 0; i < count;) {
    for (const size_t end = std::min(count, i + run); i < end; i += 4 * lanes) {
      a.Multiply(load(i));
      b.Multiply(load(i + lanes));
      c.Multiply(load(i + 2 * lanes));
      d.Multiply(load(i + 3 * lanes));
    }
    a.Split();
    b.Split();
    c.Split();
    d.Split();
  }
  a.Join(b);
  c.Join(d);
  a.Join(c);
  return a.Total();
}

SpecialCounts CountSpecialsHere(const float* values, size_t count) {
  const auto tiny = hn::Set(DI(), 0x00080000);
  const auto posinf = hn::Set(DI(), 0x7f800000);
  const auto neginf = hn::BitCast(DI(), hn::Set(hn::ScalableTag<uint32_t>(), 0xff800000U));
  const auto sign = hn::Set(DI(), std::numeric_limits<int32_t>::min());
  const auto zero = hn::Zero(DI());
  LaneCounter<DI> positive_tiny;
  LaneCounter<DI> negative_tiny;
  LaneCounter<DI> posinfs;
  LaneCounter<DI> neginfs;
  const auto add = [&](hn::Vec<DI> bits) HWY_ATTR {
    positive_tiny.Add(hn::And(hn::Gt(bits, zero), hn::Lt(bits, tiny)));
    const auto flipped = hn::Xor(bits, sign);
    negative_tiny.Add(hn::And(hn::Gt(flipped, zero), hn::Lt(flipped, tiny)));
    posinfs.Add(hn::Eq(bits, posinf));
    neginfs.Add(hn::Eq(bits, neginf));
  };
  size_t i = 0;
  for (; i + hn::Lanes(DF()) <= count; i += hn::Lanes(DF())) {
    add(hn::BitCast(DI(), hn::LoadU(DF(), values + i)));
  }
  if (i < count) {
    HWY_ALIGN float padded[HWY_MAX_BYTES / sizeof(float)] = {};
    std::memcpy(padded, values + i, (count - i) * sizeof(float));
    add(hn::BitCast(DI(), hn::Load(DF(), padded)));
  }
  return {positive_tiny.total(), negative_tiny.total(), posinfs.total(), neginfs.total()};
}

size_t KeepMatchingHere(const float* values, size_t count, uint32_t top, uint32_t* matches) {
  using DU = hn::ScalableTag<uint32_t>;
  const auto wanted = hn::Set(DU(), top);
  size_t kept = 0;
  size_t i = 0;
  for (; i + hn::Lanes(DU()) <= count; i += hn::Lanes(DU())) {
    const auto bits = hn::BitCast(DU(), hn::LoadU(DF(), values + i));
    const auto match = hn::Eq(hn::ShiftRight<16>(bits), wanted);
    if (!hn::AllFalse(DU(), match)) {
      kept += hn::CompressStore(bits, match, DU(), matches + kept);
    }
  }
  for (; i < count; ++i) {
    const auto bits = std::bit_cast<uint32_t>(values[i]);
    if (bits >> 16 == top) {
      matches[kept++] = bits;
    }
  }
  return kept;
}

template <typename T>
T SmallestAboveOf(const T* values, size_t count, T bound) {
  const hn::ScalableTag<T> tag;
  const auto limit = hn::Set(tag, bound);
  const auto inf = hn::Set(tag, std::numeric_limits<T>::infinity());
  auto smallest = inf;
  size_t i = 0;
  for (; i + hn::Lanes(tag) <= count; i += hn::Lanes(tag)) {
    const auto x = hn::LoadU(tag, values + i);
    smallest = hn::Min(smallest, hn::IfThenElse(hn::Gt(x, limit), x, inf));
  }
  T result = hn::GetLane(hn::MinOfLanes(tag, smallest));
  for (; i < count; ++i) {
    result = values[i] > bound ? std::min(result, values[i]) : result;
  }
  return result;
}

float SmallestAboveF32(const float* values, size_t count, float bound) {
  return SmallestAboveOf(values, count, bound);
}

double SmallestAboveF64(const double* values, size_t count, double bound) {
  return SmallestAboveOf(values, count, bound);
}

void StreamCopyHere(const uint8_t* from, uint8_t* to, size_t nbytes) {
  const size_t lanes = hn::Lanes(DU8());
  size_t i = 0;
  for (; i + 4 * lanes <= nbytes; i += 4 * lanes) {
    const auto v0 = hn::LoadU(DU8(), from + i);
    const auto v1 = hn::LoadU(DU8(), from + i + lanes);
    const auto v2 = hn::LoadU(DU8(), from + i + 2 * lanes);
    const auto v3 = hn::LoadU(DU8(), from + i + 3 * lanes);
    hn::Stream(v0, DU8(), to + i);
    hn::Stream(v1, DU8(), to + i + lanes);
    hn::Stream(v2, DU8(), to + i + 2 * lanes);
    hn::Stream(v3, DU8(), to + i + 3 * lanes);
  }
  std::memcpy(to + i, from + i, nbytes - i);
}

const char* TargetNameHere() { return hwy::TargetName(HWY_TARGET); }

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace wheeltapper::tensor
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace wheeltapper::tensor {
namespace {
HWY_EXPORT(WidenToF32Here);
HWY_EXPORT(WidenF32ToF64Here);
HWY_EXPORT(CountZerosHere);
HWY_EXPORT(AbsProductHere);
HWY_EXPORT(CountSpecialsHere);
HWY_EXPORT(KeepMatchingHere);
HWY_EXPORT(SmallestAboveF32);
HWY_EXPORT(SmallestAboveF64);
HWY_EXPORT(StreamCopyHere);
HWY_EXPORT(TargetNameHere);
}  // namespace

void WidenToF32(const void* from, DType dtype, size_t count, float* to) noexcept {
  HWY_DYNAMIC_DISPATCH(WidenToF32Here)(from, dtype, count, to);
}

void WidenF32ToF64(const float* from, size_t count, double* to) noexcept {
  HWY_DYNAMIC_DISPATCH(WidenF32ToF64Here)(from, count, to);
}

ZeroCounts CountZeros(const void* from, DType dtype, size_t count) noexcept {
  return HWY_DYNAMIC_DISPATCH(CountZerosHere)(from, dtype, count);
}

ScaledProduct AbsProduct(const float* values, size_t count, int max_power) noexcept {
  return HWY_DYNAMIC_DISPATCH(AbsProductHere)(values, count, max_power);
}

SpecialCounts CountSpecials(const float* values, size_t count) noexcept {
  return HWY_DYNAMIC_DISPATCH(CountSpecialsHere)(values, count);
}

size_t KeepMatching(const float* values, size_t count, uint32_t top, uint32_t* matches) noexcept {
  return HWY_DYNAMIC_DISPATCH(KeepMatchingHere)(values, count, top, matches);
}

float SmallestAbove(const float* values, size_t count, float bound) noexcept {
  return HWY_DYNAMIC_DISPATCH(SmallestAboveF32)(values, count, bound);
}

double SmallestAbove(const double* values, size_t count, double bound) noexcept {
  return HWY_DYNAMIC_DISPATCH(SmallestAboveF64)(values, count, bound);
}

void StreamCopy(const void* from, void* to, size_t nbytes) noexcept {
  HWY_DYNAMIC_DISPATCH(StreamCopyHere)
  (static_cast<const uint8_t*>(from), static_cast<uint8_t*>(to), nbytes);
}

void FlushStreams() noexcept { hwy::FlushStream(); }

const char* KernelTarget() noexcept { return HWY_DYNAMIC_DISPATCH(TargetNameHere)(); }

}  // namespace wheeltapper::tensor
#endif  // HWY_ONCE
