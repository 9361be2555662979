// The journal: the only private format of a run directory, and the layout of the shared-memory ring
// in front of it. Byte-level specification with a worked example: docs/format/journal.md.
//
// A journal file is a 64-byte JournalFileHeader followed by records. A record is a 64-byte
// RecordHeader, its payload, and zero padding to the next multiple of 64. A ring holds the same
// records, so that draining is one write of ring memory.
//
// Commit semantics. A record with kSelfCommitted stands alone and is visible once its own checksums
// validate. Every other data record belongs to the step transaction that the next kCommit record
// closes; it is visible iff that COMMIT validates and lists it (first_seq … seq of the commit,
// record_count). Readers skip unknown types by length.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/clock.h"
#include "wheeltapper/tensor/sketch.h"
#include "wheeltapper/tensor/stats.h"

namespace wheeltapper::format {

inline constexpr uint32_t kFormatVersion = 1;  // what this build writes
inline constexpr uint32_t kMinReaderVersion =
    1;  // oldest reader that understands it (run.json: min_reader)
inline constexpr uint64_t kRecordAlignment = 64;
inline constexpr uint32_t kRecordMagic = 0x314A5457;  // "WTJ1"
inline constexpr std::array<char, 8> kJournalMagic = {'W', 'T', 'J', 'F', 'I', 'L', 'E', '1'};
// A record's payload is never larger (raw tensors beyond kMaxInlineBytes go to blobs).
inline constexpr uint64_t kMaxPayloadBytes = uint64_t{1} << 30;
inline constexpr uint64_t kMaxInlineBytes = 64 * 1024;

struct JournalFileHeader {
  std::array<char, 8> magic;
  uint32_t version;
  int32_t rank;
  uint64_t run_id;  // random, from run.json
  uint64_t file_number;
  uint64_t salt;  // random per file: old bytes of a recycled block never pass for records
  TimeNs created_wall_ns;
  std::array<uint8_t, 12> reserved;
  uint32_t crc;  // CRC-32C of the 60 bytes before
};
static_assert(sizeof(JournalFileHeader) == 64);

enum class RecordType : uint16_t {
  kDesc = 1,       // interns id ↔ name: DescEntry + text, repeated
  kStats = 2,      // StatsEntry × n, then HistogramEntry × Σ histogram_bins
  kScalars = 3,    // ScalarEntry × n
  kRaw = 4,        // RawEntry + data padded to 8, repeated: small raw tensors inline
  kBlobRef = 5,    // BlobRefEntry × n: large raw tensors, data in blobs/
  kCommit = 6,     // CommitPayload: closes a step transaction
  kGap = 7,        // GapPayload: what was not recorded, and why
  kSealed = 8,     // SealedPayload: an earlier journal file has become Parquet and safetensors
  kHeartbeat = 9,  // empty: the rank lives
  kMeta = 10,      // UTF-8 JSON object with a "kind"
};

inline constexpr uint16_t kSelfCommitted = 1;  // flag: visible by itself
inline constexpr uint16_t kRepeated =
    2;  // flag: a DESC written again by the drain at the head of a new file; seq is 0

struct RecordHeader {
  uint32_t
      magic;  // kRecordMagic ^ low half of the file's salt; plain kRecordMagic while in the ring
  RecordType type;
  uint16_t flags;
  uint64_t payload_bytes;
  uint64_t seq;  // 1, 2, … per rank stream over all its files and attempts
  int64_t step;
  int64_t mode_step;
  TimeNs wall_ns;
  uint8_t mode;  // wheeltapper::Mode
  std::array<uint8_t, 3> reserved;
  uint32_t header_crc;   // CRC-32C of the 52 bytes before; 0 while in the ring (the drain fills it)
  uint32_t payload_crc;  // CRC-32C of the payload; 0 while in the ring
  uint32_t reserved2;
};
static_assert(sizeof(RecordHeader) == 64);

constexpr uint64_t RecordBytes(uint64_t payload_bytes) {
  return AlignUp(sizeof(RecordHeader) + payload_bytes, kRecordAlignment);
}

enum class DescKind : uint8_t { kTensor = 0, kScalar = 1 };

// Followed by: shape (int64 × ndim), name (name_bytes), then collections: each uint16 length +
// bytes (collection_count of them); padded to 8. A later DESC with the same id and another shape or
// dtype replaces it for the records after it.
struct DescEntry {
  uint32_t id;
  DescKind kind;
  uint8_t dtype;  // tensor::DType
  uint8_t ndim;
  uint8_t reserved;
  uint32_t name_bytes;
  uint32_t collection_count;
};
static_assert(sizeof(DescEntry) == 16);

// Head of kStats, kScalars, kRaw, kBlobRef, kDesc payloads.
struct CountHeader {
  uint32_t count;
  uint32_t reserved;
};
static_assert(sizeof(CountHeader) == 8);

struct StatsEntry {
  uint32_t desc = 0;
  uint32_t histogram_bins = 0;  // how many HistogramEntry of the record's tail belong to this one
  double exact_median = 0;      // NaN when not asked for
  tensor::TensorStats stats;
};
static_assert(sizeof(StatsEntry) == 144);

struct HistogramEntry {
  int16_t bin;
  std::array<uint8_t, 6> reserved;
  int64_t count;
};
static_assert(sizeof(HistogramEntry) == 16);

struct ScalarEntry {
  uint32_t desc;
  uint32_t reserved;
  double value;
};
static_assert(sizeof(ScalarEntry) == 16);

struct RawEntry {
  uint32_t desc;
  uint32_t nbytes;
};
static_assert(sizeof(RawEntry) == 8);

enum class Codec : uint8_t { kRaw = 0 };

struct BlobRefEntry {
  uint32_t desc;
  uint32_t blob_number;  // in the ring: 0
  uint64_t offset;  // in the file: byte offset of the data in blobs/rRRRRR-bNNNNNN; in the ring:
                    // blob stream offset
  uint64_t nbytes;
  uint32_t crc;  // CRC-32C of the data; filled by the drain
  Codec codec;
  std::array<uint8_t, 3> reserved;
};
static_assert(sizeof(BlobRefEntry) == 32);

struct CommitPayload {
  uint64_t first_seq;     // first record of the transaction
  uint32_t record_count;  // data records in it, the COMMIT not counted
  uint32_t reserved;
  TimeNs monotonic_ns;
  TimeNs blocked_ns;    // how long capture held the training thread for this step
  TimeNs step_ns;       // wall time since the previous step of this mode; 0 when unknown
  TimeNs data_wait_ns;  // of it, waiting for the dataloader; 0 when unknown
};
static_assert(sizeof(CommitPayload) == 48);

enum class GapReason : uint32_t {
  kRingFull = 1,
  kDiskFull = 2,
  kGovernor = 3,     // thinned to stay in the overhead budget
  kFuse = 4,         // capture switched itself off after repeated errors
  kTooLarge = 5,     // one tensor larger than the ring
  kUnsupported = 6,  // a kind of tensor that cannot be read (sparse layout, meta, quantised, GPU
                     // without a kernel)
  kCorruption = 7,   // damaged journal bytes were skipped (written by recovery)
};
enum class GapWhat : uint32_t { kRawTensors = 1, kStats = 2, kWholeStep = 3 };
// "ring_full", "whole_step", …: the names in tables, JSON and Python. A number that only a later
// version knows stands for itself: "12".
std::string GapReasonName(GapReason reason);
std::string GapWhatName(GapWhat what);

struct GapPayload {
  int64_t first_step;
  int64_t last_step;
  GapReason reason;
  GapWhat what;
  uint64_t tensors_dropped;
  uint64_t bytes_dropped;
};
static_assert(sizeof(GapPayload) == 40);

struct SealedPayload {
  uint64_t file_number;  // the journal file that was sealed
  uint64_t first_seq;
  uint64_t last_seq;
};
static_assert(sizeof(SealedPayload) == 24);

}  // namespace wheeltapper::format
