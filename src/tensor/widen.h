// Widens elements of any dtype to f64: exactly, but for 64-bit integers beyond 2^53 (rounded to
// nearest) and complex numbers (their modulus, within 1 ulp).
#pragma once

#include <cstdint>

#include "wheeltapper/tensor/dtype.h"

namespace wheeltapper::tensor {

// Moduli: NaN when a part is NaN, else +Inf when a part is infinite. Bool bytes other than 0 count
// as 1. `from` may be misaligned.
void WidenToF64(DType dtype, const uint8_t* from, int64_t count, double* to) noexcept;

// Tables of all 256 values of an 8-bit float.
const float* F8E4M3Table() noexcept;
const float* F8E5M2Table() noexcept;

// Exact whatever the thread's denormal mode.
double F16ToF64(uint16_t bits) noexcept;

}  // namespace wheeltapper::tensor
