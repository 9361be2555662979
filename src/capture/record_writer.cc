#include "record_writer.h"

#include <algorithm>
#include <cstring>

namespace wheeltapper::capture {
namespace {

uint64_t FreeBytes(const format::ByteRing& ring, const format::RingPositions& positions) {
  const uint64_t used = ring.pending() - positions.tail.load(std::memory_order_acquire);
  return ring.capacity() - std::min(used, ring.capacity());
}

}  // namespace

uint8_t* RecordWriter::Add(format::RecordType type, uint16_t flags, uint64_t payload_bytes,
                           const Place& place) noexcept {
  const uint64_t record_bytes = format::RecordBytes(payload_bytes);
  uint8_t* record = segment_->journal_ring().Reserve(record_bytes);
  if (record == nullptr) {
    return nullptr;
  }
  format::RecordHeader header{};
  header.magic = format::kRecordMagic;
  header.type = type;
  header.flags = flags;
  header.payload_bytes = payload_bytes;
  header.seq = next_seq_++;
  header.step = place.step;
  header.mode_step = place.mode_step;
  header.wall_ns = place.wall_ns;
  header.mode = static_cast<uint8_t>(place.mode);
  std::memcpy(record, &header, sizeof(header));
  uint8_t* payload = record + sizeof(header);
  std::memset(payload + payload_bytes, 0, record_bytes - sizeof(header) - payload_bytes);
  return payload;
}

void RecordWriter::Publish() noexcept {
  published_seq_ = next_seq_;
  segment_->journal_ring().Publish();
}

void RecordWriter::Abandon() noexcept {
  next_seq_ = published_seq_;
  segment_->journal_ring().Abandon();
}

uint64_t RecordWriter::free_bytes() const noexcept {
  return FreeBytes(segment_->journal_ring(), segment_->page().journal);
}

uint64_t RecordWriter::free_blob_bytes() const noexcept {
  return FreeBytes(segment_->blob_ring(), segment_->page().blob);
}

}  // namespace wheeltapper::capture
