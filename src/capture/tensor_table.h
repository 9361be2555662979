// What the recorder knows about each registered tensor and scalar, indexed by CaptureId.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "wheeltapper/capture/session.h"
#include "wheeltapper/format/journal.h"
#include "wheeltapper/tensor/tensor_view.h"

#include "plan.h"

namespace wheeltapper::capture {

// An armed step looks at every entry once, long after the last time: what it asks of an ordinary
// one is all in the first cache line.
struct alignas(64) TableEntry {
  static constexpr size_t kNearExtents = 3;

  format::DescKind kind = format::DescKind::kTensor;
  tensor::DType dtype = tensor::DType::kF32;
  bool wanted = true;              // scalars: recorded at all
  bool unsupported_noted = false;  // its GAP is written
  // Union of what any schedule takes, per mode; and, where there is only one schedule (nearly
  // always), its number, so that the step's question is one bit test.
  std::array<uint8_t, kModes> only_schedule{};
  std::array<uint32_t, kModes> take{};
  // Sequence number of the DESC record that describes the present shape and dtype; 0: none yet.
  uint64_t desc_seq = 0;
  // The shape's first extents and how many there are in all, kept by set_shape.
  std::array<int64_t, kNearExtents> near_extents{};
  uint64_t ndim = 0;

  std::vector<int64_t> shape;
  std::array<std::vector<Membership>, kModes> by_mode;
  std::string name;
  // Name and collections as they stand in a DESC record, unpadded.
  std::vector<uint8_t> desc_tail;
  uint32_t collection_count = 0;

  // What is taken of it on a step where the schedules in `fired` (a bit each) fire.
  [[nodiscard]] uint32_t TakeNow(size_t mode, uint64_t fired) const noexcept;
  // Allocates where `extents` are more than the shape has ever held and kept room for.
  void set_shape(std::span<const int64_t> extents);
  // Whether the view has the present shape and dtype.
  [[nodiscard]] bool Fits(const tensor::TensorView& view) const noexcept;
  // Bytes of the present shape.
  [[nodiscard]] uint64_t nbytes() const noexcept;
  [[nodiscard]] uint64_t desc_payload_bytes() const noexcept;
  // Writes a DESC payload (desc_payload_bytes() bytes) for `id`.
  void EncodeDesc(CaptureId id, uint8_t* to) const noexcept;
};

// Builds the entry of a tensor from its specification and the plan's decision.
TableEntry TensorEntry(const TensorSpec& spec, Decision decision);
TableEntry ScalarTableEntry(const std::string& name, bool wanted,
                            const std::vector<std::string>& collections);

inline constexpr uint8_t kSeveralSchedules = 0xFF;

}  // namespace wheeltapper::capture
