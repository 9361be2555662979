#include "tensor_table.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "wheeltapper/core/bytes.h"

namespace wheeltapper::capture {
namespace {

void SetCollections(TableEntry* entry, const std::vector<std::string>& collections) {
  ByteWriter tail;
  tail.WriteText(entry->name);
  for (const std::string& collection : collections) {
    const size_t length = std::min<size_t>(collection.size(), std::numeric_limits<uint16_t>::max());
    tail.Write(static_cast<uint16_t>(length));
    tail.WriteText(std::string_view(collection).substr(0, length));
  }
  entry->desc_tail = std::move(tail.bytes());
  entry->collection_count = static_cast<uint32_t>(collections.size());
}

}  // namespace

TableEntry TensorEntry(const TensorSpec& spec, Decision decision) {
  TableEntry entry;
  entry.name = spec.name;
  entry.dtype = spec.dtype;
  entry.set_shape(spec.shape);
  entry.take = decision.take;
  for (size_t mode = 0; mode < kModes; ++mode) {
    const auto& memberships = decision.by_mode[mode];
    entry.only_schedule[mode] =
        memberships.size() == 1 ? static_cast<uint8_t>(memberships[0].schedule) : kSeveralSchedules;
  }
  entry.by_mode = std::move(decision.by_mode);
  SetCollections(&entry, decision.collections);
  return entry;
}

TableEntry ScalarTableEntry(const std::string& name, bool wanted,
                            const std::vector<std::string>& collections) {
  TableEntry entry;
  entry.kind = format::DescKind::kScalar;
  entry.dtype = tensor::DType::kF64;
  entry.name = name;
  entry.wanted = wanted;
  SetCollections(&entry, collections);
  return entry;
}

uint32_t TableEntry::TakeNow(size_t mode, uint64_t fired) const noexcept {
  const uint8_t only = only_schedule[mode];
  if (only != kSeveralSchedules) {
    return ((fired >> only) & 1U) != 0 ? take[mode] : kTakeNothing;
  }
  uint32_t now = kTakeNothing;
  for (const Membership& membership : by_mode[mode]) {
    if (((fired >> membership.schedule) & 1U) != 0) {
      now |= membership.take;
    }
  }
  return now;
}

void TableEntry::set_shape(std::span<const int64_t> extents) {
  shape.assign(extents.begin(), extents.end());
  ndim = extents.size();
  std::copy_n(extents.begin(), std::min(extents.size(), kNearExtents), near_extents.begin());
}

bool TableEntry::Fits(const tensor::TensorView& view) const noexcept {
  if (view.dtype != dtype || static_cast<uint64_t>(view.ndim) != ndim) {
    return false;
  }
  for (size_t i = 0; i < std::min<size_t>(ndim, kNearExtents); ++i) {
    if (near_extents[i] != view.shape[i]) {
      return false;
    }
  }
  return ndim <= kNearExtents ||
         std::equal(shape.begin() + kNearExtents, shape.end(), view.shape + kNearExtents);
}

uint64_t TableEntry::nbytes() const noexcept {
  uint64_t bytes = tensor::ItemSize(dtype);
  for (const int64_t extent : shape) {
    bytes *= static_cast<uint64_t>(extent);
  }
  return bytes;
}

uint64_t TableEntry::desc_payload_bytes() const noexcept {
  return sizeof(format::CountHeader) +
         AlignUp(sizeof(format::DescEntry) + shape.size() * sizeof(int64_t) + desc_tail.size(), 8);
}

void TableEntry::EncodeDesc(CaptureId id, uint8_t* to) const noexcept {
  uint8_t* const end = to + desc_payload_bytes();
  const format::CountHeader count{1, 0};
  std::memcpy(to, &count, sizeof(count));
  to += sizeof(count);
  const format::DescEntry desc{id,
                               kind,
                               static_cast<uint8_t>(dtype),
                               static_cast<uint8_t>(shape.size()),
                               0,
                               static_cast<uint32_t>(name.size()),
                               collection_count};
  std::memcpy(to, &desc, sizeof(desc));
  to += sizeof(desc);
  if (!shape.empty()) {
    std::memcpy(to, shape.data(), shape.size() * sizeof(int64_t));
    to += shape.size() * sizeof(int64_t);
  }
  std::memcpy(to, desc_tail.data(), desc_tail.size());
  to += desc_tail.size();
  std::memset(to, 0, static_cast<size_t>(end - to));
}

}  // namespace wheeltapper::capture
