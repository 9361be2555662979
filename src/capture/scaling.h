// Recording element · scale without a second pass over the tensor: gradients that an AMP scaler has
// not unscaled yet (fused optimizers) are recorded at their true size.
//
// Statistics are transformed exactly in real numbers (mean·s, m2·s², …); the result is what a pass
// over the scaled elements in double precision would give, up to rounding. A loss scale is a power
// of two, for which nothing is rounded. Copied elements are multiplied where they lie, in their own
// dtype (f16 and bf16 through f32, to nearest even).
#pragma once

#include <cstdint>

#include "wheeltapper/tensor/sketch.h"
#include "wheeltapper/tensor/stats.h"

namespace wheeltapper::capture {

tensor::TensorStats ScaleStats(const tensor::TensorStats& stats, double scale) noexcept;

// True for the floating and complex dtypes that ScaleElements can multiply.
bool CanScaleElements(tensor::DType dtype) noexcept;
// Multiplies `count` elements at `data` (any alignment) by `scale`.
void ScaleElements(tensor::DType dtype, void* data, int64_t count, double scale) noexcept;

// The bin that `bin`'s values fall into after scaling (by the bin's middle).
int16_t ScaleBin(int16_t bin, double scale) noexcept;

}  // namespace wheeltapper::capture
