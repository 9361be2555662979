// The drain's side: moves a rank's rings into journal and blob files, rotates, seals. Used by
// capture's two threads while the job lives and by RecoverRun afterwards, so both leave the same
// files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/rank_segment.h"

namespace wheeltapper::format {

enum class Durability : uint8_t {
  kProcess,   // survives the process (page cache); the default
  kInterval,  // fdatasync every 5 s or 256 MiB
  kStep,      // fdatasync before a commit becomes visible
};

struct WriterOptions {
  std::string run_dir;
  Rank rank;
  uint64_t run_id = 0;
  Durability durability = Durability::kProcess;
  uint64_t rotate_bytes = 64 << 20;
  TimeNs rotate_age_ns = 30'000'000'000;  // a file is rotated at max(this, 5 % of the run's age)
  uint64_t blob_rotate_bytes = uint64_t{1} << 30;
  int64_t retain_raw_steps =
      0;  // > 0: drop sealed blobs whose newest step is older than this many steps
  TimeNs lock_wait_ns = 10'000'000'000;  // how long Open waits for a recovery of this rank to end
  uint64_t salt = 0;                     // 0: random; else salts are this + the file number (tests)
};

// One per rank process. Drain() and Rotate() belong to the drain thread, SealNext() to the seal
// thread; they may run at the same time. Errors are returned, never thrown; after ResourceExhausted
// (disk full) the writer stays usable and Drain may be called again once there is room.
class JournalWriter {
 public:
  // Finds the highest file number and sequence of the rank and goes on after them. What an earlier
  // attempt left in its rings is replayed first, and its journal files are queued for sealing.
  // Unavailable while another process writes or recovers the rank. Makes the folders it needs.
  static Result<std::unique_ptr<JournalWriter>> Open(const WriterOptions& options,
                                                     const Clock& clock);
  virtual ~JournalWriter() = default;

  // Writes everything published in the rings to disk: blobs first, then journal records. Returns
  // bytes written.
  virtual Result<uint64_t> Drain(RankSegment& segment) = 0;
  // Disk full: discards what the blob ring holds (raw tensors first), so that statistics can go on.
  // Recorded as a GAP.
  virtual Status DiscardBlobs(RankSegment& segment) = 0;
  // Closes the current journal file when it is due (or `force`), only between transactions, and
  // queues it for sealing.
  virtual Status RotateIfDue(bool force) = 0;
  // Seals one queued journal file into scalars/, stats/, tensors/, blobs/; false when there was
  // none.
  virtual Result<bool> SealNext() = 0;
  // Clean end, called by one thread after the last Drain: seals everything and leaves no journal
  // file. The writer cannot be used afterwards. FailedPrecondition inside an open transaction.
  virtual Status Close() = 0;
  // Next free record sequence number when the writer was opened.
  [[nodiscard]] virtual uint64_t next_seq() const = 0;
  // Fraction of Drain time spent waiting for the disk etc. is reported by these counters.
  [[nodiscard]] virtual uint64_t bytes_written() const = 0;
};

}  // namespace wheeltapper::format
