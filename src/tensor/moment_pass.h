// Folds a tensor's elements, block by block in C order, into TensorStats.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "wheeltapper/tensor/dtype.h"
#include "wheeltapper/tensor/stats.h"

#include "kernels.h"
#include "wide_integers.h"

namespace wheeltapper::tensor {

inline constexpr size_t kBlockBytes = 16384;  // a third of the smallest L1 cache in use

// Elements per block: 4096 where f32 holds them, else as many as fit kBlockBytes as they are and as
// f64.
constexpr int64_t BlockElements(DType dtype, size_t item_size) {
  if (FitsF32(dtype)) {
    return kBlockBytes / sizeof(float);
  }
  return static_cast<int64_t>(kBlockBytes /
                              (item_size > sizeof(double) ? item_size : sizeof(double)));
}

// 50 KiB, meant for the stack. Not thread-safe. The thread is in the default floating-point mode.
class MomentPass {
 public:
  MomentPass(DType dtype, bool product) noexcept;

  // Room for one block: where a strided tensor is gathered.
  uint8_t* buffer() noexcept { return raw_.data(); }

  // `count` = BlockElements for all blocks but the last. `block` may be misaligned. When `to` is
  // not null the block's bytes are copied there, by streaming stores when `stream` (`to` is then
  // 64-byte aligned).
  void Add(const uint8_t* block, size_t count, uint8_t* to, bool stream) noexcept;
  // How many bytes beyond the elements of the next block memory should be on its way.
  void set_ahead(size_t nbytes) noexcept { ahead_ = nbytes; }
  TensorStats Finish() noexcept;

 private:
  // Elements of a block that the fast kernel can read.
  struct Source {
    const uint8_t* data;
    DType dtype;
    uint8_t* stream_to;
    [[nodiscard]] const uint8_t* at(size_t index) const { return data + index * ItemSize(dtype); }
  };

  // Consecutive fast blocks of one chunk, summed about the same pivots at the same scale, not yet
  // merged into the chunk.
  struct Group {
    FastSums sums;  // sign_bits without those of zeros
    int64_t count = 0;
    int64_t zeros = 0;
    ScaledProduct product;  // meaningless when there are zeros
    // In scaled units. 0 until a block needs better ones.
    float pivot = 0;
    float abs_pivot = 0;
    float scale = 1;
  };

  const uint8_t* Aligned(const uint8_t* block, size_t count) noexcept;
  void AddFast(const Source& source, size_t count) noexcept;
  void AddExact(const uint8_t* block, size_t count) noexcept;
  void AddIntegers(const uint8_t* block, size_t count) noexcept;
  void StartChunk() noexcept;
  void AddFastBlock(const Source& source, size_t count) noexcept;
  FastSums SumFast(const Source& source, size_t count) noexcept;
  void StartGroup(double pivot, double abs_pivot, float scale) noexcept;
  void MultiplyGroup(const Source& source, size_t count, int max_power) noexcept;
  void FlushGroup() noexcept;
  TensorStats WidenedStats(const Source& source, size_t first, size_t count) noexcept;
  TensorStats ExactStats(const double* values, size_t count) const noexcept;
  TensorStats PaddedStats(size_t count) noexcept;
  void Merge(const TensorStats& block) noexcept;

  const DType dtype_;
  const size_t item_size_;
  const bool product_;
  // Nothing but numel means anything while that is 0.
  TensorStats total_;
  TensorStats chunk_;
  int64_t chunk_left_ = 0;
  Group group_;
  size_t ahead_ = 0;
  std::optional<WideIntegers> wide_;  // of 64-bit integers
  double wide_log2_product_ = 0;
  alignas(64) std::array<uint8_t, kBlockBytes> raw_;
  alignas(64) std::array<float, kBlockBytes / sizeof(float)> f32_;
  alignas(64) std::array<double, kBlockBytes / sizeof(double)> f64_;
};

// Statistics of no elements at all.
TensorStats EmptyStats(bool product) noexcept;
// Sets prod_sign from the counts.
void SetProductSign(TensorStats* stats) noexcept;
// log2 Π|x| over the finite elements, any range.
double Log2AbsProductOf(const double* values, size_t count) noexcept;

}  // namespace wheeltapper::tensor
