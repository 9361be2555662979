// Reads the records of one journal file, checks them, and puts step transactions together. The tail
// reader, sealing, recovery, fsck and the fuzzers all see a journal through this one class.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/ids.h"
#include "wheeltapper/format/journal.h"
#include "wheeltapper/format/rows.h"
#include "wheeltapper/tensor/dtype.h"

namespace wheeltapper::format {

// Histogram bins have ids −kMaxBin … kMaxBin (tensor/sketch.h: ±4080 are the infinities, 4081 is
// NaN).
inline constexpr int kMaxBin = 4081;

struct Desc {
  DescKind kind = DescKind::kTensor;
  tensor::DType dtype = tensor::DType::kF32;
  std::vector<int64_t> shape;
  std::string name;
  std::vector<std::string> collections;
};
using DescPtr = std::shared_ptr<const Desc>;

struct ScannedScalar {
  DescPtr desc;
  double value;
};
struct ScannedStats {
  DescPtr desc;
  tensor::TensorStats stats;
  double exact_median;
  std::vector<tensor::HistogramBin> histogram;
};
struct ScannedTensor {
  DescPtr desc;
  std::optional<uint64_t> blob_number;  // none: inline in this journal file
  uint64_t offset = 0;                  // in the blob or in the journal file
  uint64_t nbytes = 0;
  uint32_t crc = 0;
};

// One committed transaction, or one self-committed record.
struct ScannedBatch {
  StepKey key;
  uint64_t first_seq = 0;
  uint64_t last_seq = 0;
  TimeNs wall_ns = 0;
  bool is_step = false;
  CommitPayload commit{};
  std::vector<ScannedScalar> scalars;
  std::vector<ScannedStats> stats;
  std::vector<ScannedTensor> tensors;
  std::vector<GapPayload> gaps;
  std::vector<std::string> metas;

  [[nodiscard]] bool empty() const {
    return !is_step && scalars.empty() && stats.empty() && tensors.empty() && gaps.empty() &&
           metas.empty();
  }
};

class ScanSink {
 public:
  ScanSink() = default;
  ScanSink(const ScanSink&) = delete;
  ScanSink& operator=(const ScanSink&) = delete;
  virtual ~ScanSink() = default;
  // A committed batch, in commit order. A damaged place that cost records comes as a batch with one
  // kCorruption gap, under a sequence number that was lost there.
  virtual void OnBatch(ScannedBatch&& batch) = 0;
  // Bytes [offset, offset + nbytes) of the file were passed over. nbytes may be 0: rows that could
  // not be kept.
  virtual void OnSkipped(uint64_t offset, uint64_t nbytes, const std::string& reason) = 0;
};

// Not thread-safe. Every malformed input ends in OnSkipped; memory stays proportional to the bytes
// given.
class JournalScanner {
 public:
  // `seq_before`: the highest sequence number known from before this file, so that damage at its
  // head can be told from nothing lost; 0 when unknown.
  JournalScanner(Rank rank, uint64_t run_id, uint64_t seq_before)
      : rank_(rank), run_id_(run_id), seq_before_(seq_before) {}

  // `bytes` lie at offset() of the file. `final`: nothing will follow them, so an unfinished record
  // is damage; else it is left for the next call. Returns how many bytes were consumed; offset()
  // moves on by as many.
  uint64_t Scan(ByteSpan bytes, bool final, ScanSink& sink);

  [[nodiscard]] uint64_t offset() const { return offset_; }
  // Where the last valid record ends: what recovery keeps of the file.
  [[nodiscard]] uint64_t valid_end() const { return valid_end_; }
  // Highest sequence number of a valid record; 0 when there was none.
  [[nodiscard]] uint64_t last_seq() const { return last_seq_; }
  [[nodiscard]] uint64_t records() const { return records_; }
  // Data records wait for a COMMIT.
  [[nodiscard]] bool open_transaction() const { return !marks_.empty(); }
  // Transactions begun in this file that no COMMIT closed, the open one included.
  [[nodiscard]] uint64_t discarded() const { return discarded_ + (marks_.empty() ? 0 : 1); }
  // Low half of the file's salt; none while the header was not read.
  [[nodiscard]] std::optional<uint32_t> salt() const { return salt_; }
  // The file's own header was whole.
  [[nodiscard]] bool header_valid() const { return header_valid_; }
  // Rows or gaps were among the valid records.
  [[nodiscard]] bool has_rows() const { return has_rows_; }
  // The latest DESC entries, encoded as they were read: what a continued file must repeat.
  [[nodiscard]] const std::unordered_map<uint32_t, std::vector<uint8_t>>& encoded_descs() const {
    return encoded_descs_;
  }
  // COMMIT records seen since the start (valid ones).
  [[nodiscard]] uint64_t commits() const { return commits_; }

 private:
  enum class Verdict : uint8_t { kGood, kTorn, kBadHeader, kBadPayload };

  // How far each list of `pending_` had grown before a record was added.
  struct Mark {
    uint64_t seq;
    size_t scalars, stats, tensors, gaps, metas;
  };

  uint64_t ScanFileHeader(ByteSpan bytes, bool final, ScanSink& sink);
  [[nodiscard]] bool AdoptSaltOfFirstRecord(ByteSpan bytes);
  // Takes the record or the damage at offset_; false when more bytes are needed first.
  bool ScanRecord(ByteSpan rest, bool final, ScanSink& sink);
  [[nodiscard]] Verdict Check(ByteSpan rest) const;
  [[nodiscard]] std::optional<uint64_t> FindNextGood(ByteSpan rest, uint64_t from) const;
  void SkipDamage(ByteSpan skipped, std::optional<uint64_t> next_seq, int64_t next_step,
                  const char* reason, ScanSink& sink);
  void Process(const RecordHeader& header, ByteSpan payload, ScanSink& sink);
  void Commit(const RecordHeader& header, ByteSpan payload, ScanSink& sink);
  void CutPendingBefore(uint64_t first_seq);
  void ClearPending();
  // Decodes a record's rows into `batch`; false when the payload is malformed.
  bool Decode(const RecordHeader& header, ByteSpan payload, ScannedBatch* batch, ScanSink& sink);
  bool DecodeDescs(ByteSpan payload);
  bool DecodeScalars(ByteSpan payload, ScannedBatch* batch, uint64_t* unnamed);
  bool DecodeStats(ByteSpan payload, ScannedBatch* batch, uint64_t* unnamed);
  bool DecodeRaw(ByteSpan payload, ScannedBatch* batch, uint64_t* unnamed);
  bool DecodeBlobRefs(ByteSpan payload, ScannedBatch* batch, uint64_t* unnamed);
  [[nodiscard]] DescPtr Find(uint32_t id, DescKind kind) const;
  void EmitGap(const GapPayload& gap, uint64_t seq, ScanSink& sink);

  Rank rank_;
  uint64_t run_id_;
  uint64_t seq_before_;
  uint64_t offset_ = 0;
  uint64_t valid_end_ = 0;
  uint64_t record_offset_ = 0;  // of the record that Process works on
  uint64_t last_seq_ = 0;
  // Every sequence number from here to last_seq_ was seen in a valid record: a COMMIT whose
  // first_seq lies before has lost a record.
  uint64_t whole_since_ = 1;
  uint64_t records_ = 0;
  uint64_t commits_ = 0;
  uint64_t discarded_ = 0;
  int64_t last_step_ = 0;
  TimeNs last_wall_ns_ = 0;
  bool header_read_ = false;
  bool header_valid_ = false;
  bool has_rows_ = false;
  std::optional<uint32_t> salt_;
  std::unordered_map<uint32_t, DescPtr> descs_;
  std::unordered_map<uint32_t, std::vector<uint8_t>> encoded_descs_;
  ScannedBatch pending_;
  std::vector<Mark> marks_;
};

}  // namespace wheeltapper::format
