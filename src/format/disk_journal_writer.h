// The JournalWriter over a run directory on a local file system.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "wheeltapper/core/mutex.h"
#include "wheeltapper/format/journal_writer.h"
#include "wheeltapper/format/run_reader.h"

#include "blob_writer.h"
#include "journal_file.h"
#include "journal_scanner.h"
#include "rank_lock.h"
#include "seal.h"

namespace wheeltapper::format {

// What opening found and mended.
struct OpenFindings {
  uint64_t records_replayed = 0;
  std::vector<SkippedBytes> skipped;
};

class DiskJournalWriter final : public JournalWriter {
 public:
  // As JournalWriter::Open, but segments that were replayed stay until RemoveReplayed. `stopped`
  // (or nothing) is asked before each file that is read; Cancelled when it says so.
  static Result<std::unique_ptr<DiskJournalWriter>> Open(const WriterOptions& options,
                                                         const Clock& clock,
                                                         const std::function<bool()>& stopped = {});
  DiskJournalWriter(const DiskJournalWriter&) = delete;
  DiskJournalWriter& operator=(const DiskJournalWriter&) = delete;
  ~DiskJournalWriter() override = default;

  Result<uint64_t> Drain(RankSegment& segment) override;
  Status DiscardBlobs(RankSegment& segment) override;
  Status RotateIfDue(bool force) override;
  Result<bool> SealNext() override;
  Status Close() override;
  [[nodiscard]] uint64_t next_seq() const override { return next_seq_; }
  [[nodiscard]] uint64_t bytes_written() const override {
    return bytes_written_.load(std::memory_order_relaxed);
  }

  // Segments whose records are all in the journal. While they are there, a run that is not sealed
  // yet can be found by them.
  Status RemoveReplayed();
  [[nodiscard]] const OpenFindings& findings() const { return findings_; }
  // What sealing this writer's files has found so far.
  [[nodiscard]] const SealTotals& seal_totals() const { return seal_totals_; }
  // Called after each step of sealing; an error stops there, as a kill would.
  void SetSealProbeForTesting(SealProbe probe) { seal_probe_ = std::move(probe); }

 private:
  // A stretch of the journal ring that is about to be written: to the end of what is published, or
  // to the BLOB_REF before which its raw tensors make a piece of kPieceBytes.
  struct Chunk {
    std::span<uint8_t> bytes;    // whole records
    uint64_t stream_offset = 0;  // of bytes[0]
    uint64_t records = 0;
    uint64_t last_seq = 0;
    uint64_t blob_end = 0;    // blob stream offset behind the last referenced byte
    uint64_t blob_bytes = 0;  // referenced in all
    bool open_transaction = false;
    bool has_rows = false;
    bool damaged = false;           // what follows in the ring is no record
    std::vector<uint64_t> commits;  // where in `bytes` each COMMIT begins
  };

  DiskJournalWriter(WriterOptions options, const Clock& clock, RankLock lock, RankCursor cursor);

  // Opening, in order.
  Status ScanLeftovers(const std::function<bool()>& stopped);
  Status ScanLeftover(uint64_t number, bool last);
  Status ReplayRings(const std::function<bool()>& stopped);
  Status ReplaySegment(const std::string& path);
  Status ReplayRing(RankSegment& segment);
  Status StartReplay();
  Status StartFile(uint64_t number, const EncodedDescs& descs);

  // Draining.
  // Writes the next chunk of the ring, which ends at stream offset `stop` at the latest, and gives
  // its bytes back to the producer. Returns the bytes of the journal ring.
  Result<uint64_t> DrainChunk(RankSegment& segment, uint64_t stop);
  Chunk WalkRing(std::span<uint8_t> readable, uint64_t stream_offset);
  void WalkRecord(const RecordHeader& header, std::span<uint8_t> record, Chunk* chunk);
  Status ResolveBlobs(const Chunk& chunk, ByteRing& blobs);
  Status WriteChunk(const Chunk& chunk);
  Status WritePiece(const Chunk& chunk, uint64_t begin, uint64_t end) WT_REQUIRES(append_mutex_);
  // Appends `bytes` of the chunk but for what an earlier try left in the file already.
  Status AppendOnce(ByteSpan bytes, uint64_t chunk_offset) WT_REQUIRES(append_mutex_);
  void NoteWritten(const Chunk& chunk);
  Status SyncIfDue(bool force);

  // Sealing.
  Result<bool> SealOldest();
  Status UntoldRetentionFailure();
  Result<SealOutcome> SealFile(uint64_t number);
  Status RemoveOrphans();
  Status AppendSealed(const SealedPayload& payload);

  // Constant after Open.
  const WriterOptions options_;
  const Clock& clock_;
  RankLock lock_;
  TimeNs run_started_ns_ = 0;
  uint64_t next_seq_ = 1;
  OpenFindings findings_;
  std::vector<std::string> replayed_;  // segments
  // Between ScanLeftovers and StartReplay: how the newest journal file of an earlier attempt ends.
  std::unique_ptr<JournalScanner> last_leftover_;
  bool torn_tail_ = false;

  // The drain thread's.
  BlobWriter blobs_;
  EncodedDescs descs_;
  uint64_t last_seq_ = 0;
  uint64_t last_file_number_ = 0;
  bool recovering_ = false;
  bool closed_ = false;
  bool open_transaction_ = false;
  bool has_rows_ = false;
  TimeNs last_sync_ns_ = 0;
  uint64_t unsynced_bytes_ = 0;
  uint64_t records_drained_ = 0;
  // Copies of BLOB_REF records that point into blob files (or have become GAPs), by stream offset.
  std::map<uint64_t, std::vector<uint8_t>> resolved_;
  std::atomic<uint64_t> bytes_written_{0};

  // Both threads append to the current file: the drain its records, the sealer its SEALED. Held
  // over the write, since that is what must not be interleaved; nobody else waits for it.
  Mutex append_mutex_;
  std::unique_ptr<JournalFile> file_ WT_GUARDED_BY(append_mutex_);
  uint64_t half_written_ WT_GUARDED_BY(append_mutex_) =
      0;  // bytes of the next chunk that are in the file already

  Mutex queue_mutex_;
  std::deque<uint64_t> seal_queue_ WT_GUARDED_BY(queue_mutex_);

  // The seal thread's.
  RankCursor cursor_;
  SealTotals seal_totals_;
  SealProbe seal_probe_;
  Retention retention_;
  Status retention_status_;      // how the last try to let go of old raw tensors ended
  bool retention_told_ = false;  // its first failure was
};

}  // namespace wheeltapper::format
