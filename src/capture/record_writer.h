// Puts journal records into a rank's journal ring. The producer's side: one owner at a time (the
// holder of the recorder's flag). No lock, allocation or system call.
#pragma once

#include <cstdint>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/ids.h"
#include "wheeltapper/format/journal.h"
#include "wheeltapper/format/rank_segment.h"

namespace wheeltapper::capture {

// When and in what mode a record's content was taken.
struct Place {
  int64_t step = 0;
  int64_t mode_step = 0;
  TimeNs wall_ns = 0;
  Mode mode = Mode::kTrain;
};

class RecordWriter {
 public:
  // `next_seq`: sequence number of the first record.
  RecordWriter(format::RankSegment* segment, uint64_t next_seq)
      : segment_(segment), next_seq_(next_seq), published_seq_(next_seq) {}

  // Reserves a record and fills in its header; checksums are the drain's. Returns the payload (the
  // padding after it is zeroed), or nullptr when the ring is too full. Not visible before Publish.
  uint8_t* Add(format::RecordType type, uint16_t flags, uint64_t payload_bytes,
               const Place& place) noexcept;
  // Makes every record added so far visible to the drain.
  void Publish() noexcept;
  // Forgets the records since the last Publish, their numbers too.
  void Abandon() noexcept;

  // Sequence number of the next record; of the first one that is not published yet.
  [[nodiscard]] uint64_t next_seq() const noexcept { return next_seq_; }
  [[nodiscard]] uint64_t published_seq() const noexcept { return published_seq_; }
  // What could be reserved now in the journal ring and in the blob ring.
  [[nodiscard]] uint64_t free_bytes() const noexcept;
  [[nodiscard]] uint64_t free_blob_bytes() const noexcept;

 private:
  format::RankSegment* segment_;
  uint64_t next_seq_;
  uint64_t published_seq_;
};

}  // namespace wheeltapper::capture
