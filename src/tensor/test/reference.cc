#include "reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <sstream>

namespace wheeltapper::tensor {
namespace {

template <typename T>
T Load(const void* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

// mantissa_bits of significand, exponent_bits above them, a sign on top.
long double DecodeBits(uint32_t bits, int exponent_bits, int mantissa_bits, bool has_inf) {
  const auto mantissa = static_cast<int>(bits & ((1U << mantissa_bits) - 1));
  const auto exponent = static_cast<int>((bits >> mantissa_bits) & ((1U << exponent_bits) - 1));
  const int top = (1 << exponent_bits) - 1;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const long double sign = ((bits >> (exponent_bits + mantissa_bits)) & 1) != 0 ? -1 : 1;
  if (exponent == top && (has_inf || mantissa == (1 << mantissa_bits) - 1)) {
    return has_inf && mantissa == 0 ? sign * std::numeric_limits<long double>::infinity()
                                    : std::numeric_limits<long double>::quiet_NaN();
  }
  if (exponent == 0) {
    return sign * std::ldexp(static_cast<long double>(mantissa), 1 - bias - mantissa_bits);
  }
  return sign * std::ldexp(static_cast<long double>(mantissa + (1 << mantissa_bits)),
                           exponent - bias - mantissa_bits);
}

template <typename T>
long double DecodeComplex(const void* at) {
  const auto re = static_cast<long double>(Load<T>(at));
  const auto im = static_cast<long double>(Load<T>(static_cast<const uint8_t*>(at) + sizeof(T)));
  // An element is its modulus rounded to f64, which matters where that is denormal.
  return std::isnan(re) || std::isnan(im)
             ? std::numeric_limits<long double>::quiet_NaN()
             : static_cast<long double>(static_cast<double>(std::hypot(re, im)));
}

long double DecodeInteger(DType dtype, const void* at) {
  switch (dtype) {
    case DType::kBool:
      return Load<uint8_t>(at) != 0 ? 1 : 0;
    case DType::kU8:
      return Load<uint8_t>(at);
    case DType::kI8:
      return Load<int8_t>(at);
    case DType::kU16:
      return Load<uint16_t>(at);
    case DType::kI16:
      return Load<int16_t>(at);
    case DType::kU32:
      return Load<uint32_t>(at);
    case DType::kI32:
      return static_cast<long double>(Load<int32_t>(at));
    case DType::kU64:
      return static_cast<long double>(Load<uint64_t>(at));
    default:
      return static_cast<long double>(Load<int64_t>(at));
  }
}

template <typename Visit>
void ForEachElement(const TensorView& view, Visit visit) {
  const int64_t numel = view.numel();
  const auto item_size = static_cast<int64_t>(ItemSize(view.dtype));
  for (int64_t flat = 0; flat < numel; ++flat) {
    int64_t rest = flat;
    int64_t offset = view.strides == nullptr ? flat : 0;
    for (int32_t dim = view.ndim; view.strides != nullptr && dim-- > 0;) {
      offset += (rest % view.shape[dim]) * view.strides[dim];
      rest /= view.shape[dim];
    }
    visit(static_cast<const uint8_t*>(view.data) + offset * item_size);
  }
}

void Expect(std::ostringstream* out, const char* what, double value, long double expected,
            long double allowed) {
  const auto actual = static_cast<long double>(value);
  const bool both_nan = std::isnan(actual) && std::isnan(expected);
  if (!both_nan && actual != expected && !(std::fabs(actual - expected) <= allowed)) {
    out->precision(20);
    *out << what << " is " << actual << ", not " << expected << " (allowed " << allowed << "); ";
  }
}

void ExpectMoments(std::ostringstream* out, const TensorStats& stats,
                   const ReferenceStats& reference, const Tolerance& tolerance) {
  const auto n = static_cast<long double>(reference.finite);
  const long double abs_mean = reference.l1 / n;
  const auto tiny = static_cast<long double>(std::numeric_limits<double>::denorm_min()) * n;
  const long double moment = tolerance.moment;
  // A variance far below the rounding error of f64 means cannot be resolved.
  const long double floor = n * abs_mean * abs_mean * 1e-30L + tiny;
  Expect(out, "mean", stats.mean, reference.mean, tolerance.mean * abs_mean + tiny);
  // What an f64 cannot hold is infinite, as are the norms made from it; squares below its range
  // vanish from them. A square as small as the reference's own rounding is none.
  const auto held = [](long double value, long double noise) {
    return value > std::max(noise, static_cast<long double>(std::numeric_limits<double>::max()))
               ? std::numeric_limits<long double>::infinity()
               : value;
  };
  const bool l2_is_held = !std::isinf(held(reference.l2 * reference.l2, 0));
  const long double l2 = l2_is_held ? reference.l2 : std::numeric_limits<long double>::infinity();
  Expect(out, "m2", stats.m2, held(reference.m2, floor), moment * reference.m2 + floor);
  Expect(out, "l1", stats.l1, held(reference.l1, 0), tolerance.mean * reference.l1 + tiny);
  Expect(out, "abs_m2", stats.abs_m2, held(reference.abs_m2, floor),
         moment * reference.abs_m2 + floor);
  Expect(out, "l2", stats.l2(), l2, moment * reference.l2 + (l2 < 1e-145L ? l2 : 0));
}

}  // namespace

long double DecodeElement(DType dtype, const void* at) {
  switch (dtype) {
    case DType::kF16:
      return DecodeBits(Load<uint16_t>(at), 5, 10, true);
    case DType::kBF16:
      return DecodeBits(Load<uint16_t>(at), 8, 7, true);
    case DType::kF8E4M3:
      return DecodeBits(Load<uint8_t>(at), 4, 3, false);
    case DType::kF8E5M2:
      return DecodeBits(Load<uint8_t>(at), 5, 2, true);
    case DType::kF32:
      return static_cast<long double>(Load<float>(at));
    case DType::kF64:
      return static_cast<long double>(Load<double>(at));
    case DType::kC64:
      return DecodeComplex<float>(at);
    case DType::kC128:
      return DecodeComplex<double>(at);
    default:
      return DecodeInteger(dtype, at);
  }
}

std::vector<long double> ReferenceValues(const TensorView& view) {
  std::vector<long double> values;
  ForEachElement(view, [&](const uint8_t* at) { values.push_back(DecodeElement(view.dtype, at)); });
  return values;
}

std::vector<uint8_t> ReferenceBytes(const TensorView& view) {
  std::vector<uint8_t> bytes;
  ForEachElement(
      view, [&](const uint8_t* at) { bytes.insert(bytes.end(), at, at + ItemSize(view.dtype)); });
  return bytes;
}

ReferenceStats ReferenceOf(const std::vector<long double>& values) {
  ReferenceStats r;
  r.numel = static_cast<int64_t>(values.size());
  std::vector<long double> finite;
  for (const long double x : values) {
    if (std::isfinite(x)) {
      finite.push_back(x);
    }
    r.nan_count += std::isnan(x) ? 1 : 0;
    r.posinf_count += std::isinf(x) && x > 0 ? 1 : 0;
    r.neginf_count += std::isinf(x) && x < 0 ? 1 : 0;
    r.zero_count += x == 0 ? 1 : 0;
    r.negative_count += std::isfinite(x) && x < 0 ? 1 : 0;
  }
  r.finite = static_cast<int64_t>(finite.size());
  if (finite.empty()) {
    return r;
  }
  const auto n = static_cast<long double>(finite.size());
  r.min = r.max = finite[0];
  r.abs_min = r.abs_max = std::fabs(finite[0]);
  long double sum = 0;
  long double squares = 0;
  for (const long double x : finite) {
    const long double magnitude = std::fabs(x);
    sum += x;
    r.l1 += magnitude;
    squares += x * x;
    r.min = std::min(r.min, x);
    r.max = std::max(r.max, x);
    r.abs_min = std::min(r.abs_min, magnitude);
    r.abs_max = std::max(r.abs_max, magnitude);
    r.log2_abs_prod += std::log2(magnitude);
  }
  r.mean = sum / n;
  r.l2 = std::sqrt(squares);
  for (const long double x : finite) {
    r.m2 += (x - r.mean) * (x - r.mean);
    r.abs_m2 += (std::fabs(x) - r.l1 / n) * (std::fabs(x) - r.l1 / n);
  }
  return r;
}

long double RoundingError(long double relative, long double value) {
  // Below the smallest normal f64, neighbours lie one smallest subnormal apart.
  const auto subnormal = static_cast<long double>(std::numeric_limits<double>::denorm_min());
  return relative == 0 ? 0 : std::max(relative * std::fabs(value), subnormal);
}

std::string Disagreement(const TensorStats& stats, const ReferenceStats& reference,
                         const Tolerance& tolerance) {
  std::ostringstream out;
  const auto count = [&](const char* what, int64_t actual, int64_t expected) {
    if (actual != expected) {
      out << what << " is " << actual << ", not " << expected << "; ";
    }
  };
  count("numel", stats.numel, reference.numel);
  count("nan_count", stats.nan_count, reference.nan_count);
  count("posinf_count", stats.posinf_count, reference.posinf_count);
  count("neginf_count", stats.neginf_count, reference.neginf_count);
  count("zero_count", stats.zero_count, reference.zero_count);
  count("negative_count", stats.negative_count, reference.negative_count);
  if (reference.finite == 0) {
    if (!std::isnan(stats.min) || !std::isnan(stats.max) || !std::isnan(stats.mean) ||
        !std::isnan(stats.m2) || !std::isnan(stats.l2()) || stats.l1 != 0 || stats.sum() != 0) {
      out << "statistics of no finite element are not NaN and 0; ";
    }
    return out.str();
  }
  const auto extreme = [&](const char* what, double actual, long double expected) {
    Expect(&out, what, actual, static_cast<long double>(static_cast<double>(expected)),
           RoundingError(tolerance.extreme, expected));
  };
  extreme("min", stats.min, reference.min);
  extreme("max", stats.max, reference.max);
  extreme("abs_min", stats.abs_min, reference.abs_min);
  extreme("abs_max", stats.abs_max, reference.abs_max);
  ExpectMoments(&out, stats, reference, tolerance);
  if (!std::isnan(stats.prod_sign)) {
    Expect(&out, "log2_abs_prod", stats.log2_abs_prod, reference.log2_abs_prod,
           tolerance.log2_product *
               (std::fabs(reference.log2_abs_prod) + static_cast<long double>(reference.finite)));
    const long double sign = reference.negative_count % 2 == 0 ? 1 : -1;
    Expect(&out, "prod_sign", stats.prod_sign, reference.zero_count > 0 ? 0 : sign, 0);
  }
  return out.str();
}

Tolerance ToleranceFor(DType dtype) {
  Tolerance tolerance;
  tolerance.extreme = dtype == DType::kC64 || dtype == DType::kC128 ? 4e-16L : 0;
  return tolerance;
}

TensorView TestTensor::view() const {
  return {data, dtype, static_cast<int32_t>(shape.size()), shape.data(),
          strides.empty() ? nullptr : strides.data()};
}

Distribution MakeDistribution(int index, size_t n) {
  // std::normal_distribution is not the same everywhere; nothing here depends on its exact values.
  std::mt19937_64 random(static_cast<uint64_t>(index) + 1);
  std::normal_distribution<double> normal(0, 1);
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<float> values(n);
  const auto fill = [&](auto make) {
    for (size_t i = 0; i < n; ++i) {
      values[i] = static_cast<float>(make(i));
    }
  };
  const auto gaussian = [&](size_t) { return normal(random); };
  const char* name = "";
  switch (index) {
    case 0:
      name = "N(0, .02)";
      fill([&](size_t) { return normal(random) * 0.02; });
      break;
    case 1:
      name = "N(1e4, 1e-2)";
      fill([&](size_t) { return 1e4 + normal(random) * 1e-2; });
      break;
    case 2:
      name = "N(1, 1e-3)";
      fill([&](size_t) { return 1 + normal(random) * 1e-3; });
      break;
    case 3:
      name = "U(0, 1)";
      fill([&](size_t) { return uniform(random); });
      break;
    case 4:
      name = "lognormal, sigma 3";
      fill([&](size_t) { return std::exp(3 * normal(random)); });
      break;
    case 5:
      name = "sorted N(0, 1)";
      fill(gaussian);
      std::sort(values.begin(), values.end());
      break;
    case 6:
      name = "step 0 to 1e6 at n/2, + N(0, 1)";
      fill([&](size_t i) { return (i < n / 2 ? 0 : 1e6) + normal(random); });
      break;
    case 7:
      name = "constant 0.1";
      fill([](size_t) { return 0.1; });
      break;
    case 8:
      name = "first 64 = 1e3, rest N(0, 1)";
      fill([&](size_t i) { return i < 64 ? 1e3 : normal(random); });
      break;
    case 9:
      name = "+1 or -1";
      fill([&](size_t) { return normal(random) < 0 ? -1 : 1; });
      break;
    case 10:
      name = "N(0, 1) * 1e-30";
      fill([&](size_t) { return normal(random) * 1e-30; });
      break;
    case 11:
      name = "N(0, 1) * 1e25";
      fill([&](size_t) { return normal(random) * 1e25; });
      break;
    default:
      name = "U(0, 1), another length";
      fill([&](size_t) { return uniform(random); });
      break;
  }
  return {name, std::move(values)};
}

}  // namespace wheeltapper::tensor
