// The shared-memory segment between a rank and the rest of the world: one page of live state (the
// rank page), the journal ring and the blob ring. A file in /dev/shm (or in the run directory when
// that is too small), mapped MAP_SHARED: it outlives a SIGKILL of the job, and recovery replays
// what the drain had not written yet.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::format {

// What the training thread is in, as far as the hooks see it.
enum class Phase : uint32_t {
  kStarting = 0,
  kRunning = 1,
  kDataWait = 2,
  kForward = 3,
  kBackward = 4,
  kOptimizer = 5,
  kExited = 6
};

// One ring's positions: byte counts since the start, never wrapping. head is written by the
// producer only, tail by the consumer only; each on a cache line of its own.
struct RingPositions {
  alignas(64) std::atomic<uint64_t> head;
  alignas(64) std::atomic<uint64_t> tail;
};

// Page 0 of the segment. Every field is written by the job, read by anyone; plain atomics, no lock.
struct RankPage {
  uint64_t magic;  // kRankPageMagic
  uint32_t version;
  int32_t rank;
  uint64_t run_id;
  uint64_t incarnation;  // attempt number of this rank, from 1
  uint64_t journal_ring_bytes;
  uint64_t blob_ring_bytes;
  std::atomic<int64_t> pid;
  std::atomic<int64_t> step;         // last finished global step, −1 before the first
  std::atomic<uint32_t> phase;       // Phase
  std::atomic<uint32_t> fuse_blown;  // 1: capture switched itself off
  std::atomic<int64_t>
      heartbeat_ns;  // CLOCK_MONOTONIC of the drain's last round; at first, of the making
  std::atomic<int64_t> last_step_ns;  // CLOCK_MONOTONIC of the last finished step
  std::atomic<uint64_t> drained_seq;  // last record in the journal file
  std::atomic<uint64_t> gaps;
  RingPositions journal;
  RingPositions blob;
  // Where its run is, or was; ends with a 0. Empty: the path is longer, or the writer older.
  char run_dir[2048];   // NOLINT(*-avoid-c-arrays): shared memory
  uint64_t run_device;  // st_dev of that folder; 0: unknown
  // st_ino of the folder that holds the run, and of the one above it; 0: unknown.
  std::array<uint64_t, 2> folder_inodes;
};
static_assert(sizeof(RankPage) <= 4096);
// As docs/format/journal.md says.
static_assert(offsetof(RankPage, pid) == 48 && offsetof(RankPage, heartbeat_ns) == 72 &&
              offsetof(RankPage, gaps) == 96 && offsetof(RankPage, journal) == 128 &&
              offsetof(RankPage, blob) == 256 && offsetof(RankPage, run_dir) == 384 &&
              offsetof(RankPage, run_device) == 2432 && offsetof(RankPage, folder_inodes) == 2440);
inline constexpr uint64_t kRankPageMagic = 0x3147414E4B5457ULL;

// A single-producer single-consumer byte ring whose memory is mapped twice in a row, so that every
// record is contiguous.
class ByteRing {
 public:
  ByteRing() = default;
  ByteRing(RingPositions* positions, uint8_t* base, uint64_t capacity)
      : positions_(positions), base_(base), capacity_(capacity) {
    if (capacity > 0) {
      pending_ = positions->head.load(std::memory_order_acquire);
      cached_tail_ = positions->tail.load(std::memory_order_acquire);
    }
  }

  [[nodiscard]] uint64_t capacity() const { return capacity_; }

  // Producer. Space for `nbytes` at the pending head, or nullptr when the ring is too full. Nothing
  // is visible until Publish. Wait-free, no system call.
  uint8_t* Reserve(uint64_t nbytes) noexcept;
  // Producer. Byte stream offset of the pending head.
  [[nodiscard]] uint64_t pending() const noexcept { return pending_; }
  // Producer. Bytes reserved since the last Publish.
  [[nodiscard]] uint64_t unpublished() const noexcept {
    return capacity_ == 0 ? 0 : pending_ - positions_->head.load(std::memory_order_relaxed);
  }
  // Producer. Makes all reserved bytes visible to the consumer.
  void Publish() noexcept;
  // Producer. Forgets what was reserved since the last Publish.
  void Abandon() noexcept;
  // Fraction of the ring in use, 0 … 1.
  [[nodiscard]] double fill() const noexcept;

  // Consumer. Everything published and not yet released (contiguous). `offset()` is the stream
  // offset of its first byte. The memory is writable: the drain fills in checksums before it
  // writes.
  std::span<uint8_t> Readable() noexcept;
  [[nodiscard]] uint64_t offset() const noexcept;
  // Consumer. Gives `nbytes` back to the producer.
  void Release(uint64_t nbytes) noexcept;

 private:
  RingPositions* positions_ = nullptr;
  uint8_t* base_ = nullptr;
  uint64_t capacity_ = 0;
  uint64_t pending_ = 0;      // producer's
  uint64_t cached_tail_ = 0;  // producer's
};

struct SegmentOptions {
  std::string path;     // from SegmentPath(), or any file on a local file system
  std::string run_dir;  // absolute, without links; for RecoverDeadRuns
  Rank rank;
  uint64_t run_id = 0;
  uint64_t incarnation = 1;
  uint64_t journal_ring_bytes = 16 << 20;  // rounded up to whole pages
  uint64_t blob_ring_bytes = 0;            // 0: no raw tensors beyond kMaxInlineBytes are captured
};

class NascentSegment;

// Owns the mapping; the file stays until Remove(). Creating pre-faults the rings (first touch is
// slow).
class RankSegment {
 public:
  static Result<std::unique_ptr<RankSegment>> Create(const SegmentOptions& options);
  // Maps an existing segment; `writable` for recovery. DataLoss when the page or the sizes are
  // wrong.
  static Result<std::unique_ptr<RankSegment>> Attach(const std::string& path, bool writable);
  RankSegment(const RankSegment&) = delete;
  RankSegment& operator=(const RankSegment&) = delete;
  ~RankSegment();

  [[nodiscard]] RankPage& page() { return *page_; }
  [[nodiscard]] const RankPage& page() const { return *page_; }
  ByteRing& journal_ring() { return journal_ring_; }
  ByteRing& blob_ring() { return blob_ring_; }
  // Takes the writer's lock (flock): held while the rank lives, freed by the kernel when it dies,
  // not shared with forked children. Unavailable when it is still taken after `wait_ns`: also by
  // who only looks (IsSegmentAlive). A created segment holds it already; attach `writable` for it.
  Status LockWriter(TimeNs wait_ns = 0);
  [[nodiscard]] const std::string& path() const { return path_; }
  Status Remove();

 private:
  RankSegment() = default;
  static Result<std::unique_ptr<RankSegment>> Fill(Result<std::unique_ptr<NascentSegment>> nascent,
                                                   const SegmentOptions& options);
  void AdoptMapping(uint8_t* base, uint64_t journal_bytes, uint64_t blob_bytes);
  std::string path_;
  FileDescriptor file_;
  // The same file opened again: a mapping keeps its open file, and with it a flock, alive in forked
  // children, so the lock is on one that nothing maps.
  FileDescriptor lock_;
  RankPage* page_ = nullptr;
  uint8_t* base_ = nullptr;
  uint64_t mapped_bytes_ = 0;
  ByteRing journal_ring_;
  ByteRing blob_ring_;
};

// Where segments are looked for, beside "<run>/journal/".
inline constexpr const char* kSegmentFolder = "/dev/shm";
inline constexpr std::string_view kSegmentNamePrefix = "wheeltapper-";
inline constexpr std::string_view kSegmentInRunSuffix = ".ring";
// File name of a rank's segments in kSegmentFolder, up to the incarnation.
std::string SegmentPrefix(uint64_t run_id, Rank rank);

// Where a rank's segment goes: "/dev/shm/wheeltapper-<run id>-r00007-<incarnation>" when there is
// room for twice `nbytes` there, else "<run>/journal/r00007-<incarnation>.ring".
std::string SegmentPath(const std::string& run_dir, uint64_t run_id, Rank rank,
                        uint64_t incarnation, uint64_t nbytes);
// The second of these, for when the first turned out to be full.
std::string SegmentPathInRun(const std::string& run_dir, Rank rank, uint64_t incarnation);

// Whether a writer lives that holds the lock of this segment. A shared lock is asked for and given
// back at once. It disturbs no writer, for writers lock a segment before it gets its name, but who
// recovers this very segment at this very moment: that one finds the lock taken, and tries again.
bool IsSegmentAlive(const std::string& path);

}  // namespace wheeltapper::format
