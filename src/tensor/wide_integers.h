// Moments of 64-bit integers that an f64 does not hold: sums of differences to the first of them,
// in long double (64-bit mantissa on x86-64, 113-bit on aarch64).
#pragma once

#include <cstddef>
#include <cstdint>

#include "wheeltapper/tensor/dtype.h"
#include "wheeltapper/tensor/stats.h"

namespace wheeltapper::tensor {

// True when an element of a kI64 or kU64 block is beyond ±2^53.
bool HasWideIntegers(const uint8_t* block, DType dtype, size_t count) noexcept;

class WideIntegers {
 public:
  void Add(const uint8_t* block, DType dtype, size_t count) noexcept;
  // Everything but the product.
  [[nodiscard]] TensorStats Finish() const noexcept;

 private:
  template <typename T>
  void AddEach(const uint8_t* block, size_t count) noexcept;

  int64_t count_ = 0;
  int64_t zeros_ = 0;
  int64_t negative_ = 0;
  // The first element and its magnitude; d and abs_d are relative to them.
  long double pivot_ = 0;
  long double abs_pivot_ = 0;
  long double d_ = 0;
  long double d2_ = 0;
  long double abs_d_ = 0;
  long double abs_d2_ = 0;
  long double min_ = 0;
  long double max_ = 0;
  long double abs_min_ = 0;
  long double abs_max_ = 0;
};

}  // namespace wheeltapper::tensor
