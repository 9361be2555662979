// Loads one vector's worth of elements as f32, exactly. Included once per target by the kernels,
// between Highway's HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE.
#if defined(WHEELTAPPER_TENSOR_LOAD_F32_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WHEELTAPPER_TENSOR_LOAD_F32_INL_H_
#undef WHEELTAPPER_TENSOR_LOAD_F32_INL_H_
#else
#define WHEELTAPPER_TENSOR_LOAD_F32_INL_H_
#endif

#include <cstdint>
#include <type_traits>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace wheeltapper::tensor {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using DI = hn::ScalableTag<int32_t>;

#if HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
// Highway 1.0.3 turns half-precision NaN and infinities into numbers where the CPU has no
// instruction for it. Shifted into f32's place the exponent is 112 too small, for denormals as
// well, which one exact multiplication mends.
HWY_INLINE hn::Vec<DF> LoadHalf(const hwy::float16_t* from) {
  using DU = hn::ScalableTag<uint32_t>;
  const hn::Rebind<uint16_t, DU> narrow;
  const auto half = hn::PromoteTo(DU(), hn::LoadU(narrow, reinterpret_cast<const uint16_t*>(from)));
  const auto magnitude = hn::And(half, hn::Set(DU(), 0x7fffU));
  const auto sign = hn::ShiftLeft<16>(hn::Xor(half, magnitude));
  const auto number =
      hn::Mul(hn::BitCast(DF(), hn::ShiftLeft<13>(magnitude)), hn::Set(DF(), 0x1p112F));
  const auto nonfinite = hn::Gt(hn::BitCast(DI(), magnitude), hn::Set(DI(), 0x7bff));
  const auto exponent = hn::IfThenElseZero(nonfinite, hn::Set(DI(), 0x7f800000));
  return hn::BitCast(DF(),
                     hn::Or(hn::Or(hn::BitCast(DU(), number), sign), hn::BitCast(DU(), exponent)));
}
#else
HWY_INLINE hn::Vec<DF> LoadHalf(const hwy::float16_t* from) {
  const hn::Rebind<hwy::float16_t, DF> narrow;
  return hn::PromoteTo(DF(), hn::LoadU(narrow, from));
}
#endif

// T: float, hwy::float16_t, hwy::bfloat16_t or an integer of at most 16 bits. `from` is aligned to
// its element.
template <typename T>
HWY_INLINE hn::Vec<DF> LoadAsF32(const T* from) {
  if constexpr (std::is_same_v<T, float>) {
    return hn::LoadU(DF(), from);
  } else if constexpr (std::is_same_v<T, hwy::float16_t>) {
    return LoadHalf(from);
  } else {
    const hn::Rebind<T, DF> narrow;
    if constexpr (std::is_integral_v<T>) {
      return hn::ConvertTo(DF(), hn::PromoteTo(DI(), hn::LoadU(narrow, from)));
    } else {
      return hn::PromoteTo(DF(), hn::LoadU(narrow, from));
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace wheeltapper::tensor
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
