// The hot path: turns what the training thread hands over into records of the rank segment's rings.
//
// One transaction at a time. Record puts statistics and small raw tensors into the journal ring as
// it goes; large raw tensors go to the blob ring; scalars and blob references are held back in
// preallocated arrays until FinishStep, so that a step can still be degraded as a whole (drop the
// references, forget the blob bytes) and its scalars survive even then. FinishStep adds them and
// the COMMIT and publishes both rings, blobs first.
//
// A Log, a DESC or a META in the middle of a step publishes the journal ring as it stands: those
// records are self-committed and visible at once, and the step's own records stay invisible until
// its COMMIT.
//
// Exclusion. Whoever is inside holds `busy_`, a flag taken by exchange. A hot call that meets it
// taken spins (kRecordSpins, kFinishSpins) and then gives up with a gap; only set-up calls wait in
// the kernel (Hold). Nothing that could wait, allocate or call the system runs while a hot call
// holds it, except under `capture.on_full = "block"`, which asks for exactly that.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wheeltapper/capture/session.h"
#include "wheeltapper/core/clock.h"
#include "wheeltapper/format/rank_segment.h"
#include "wheeltapper/tensor/sketch.h"

#include "fuse.h"
#include "gap_ledger.h"
#include "governor.h"
#include "outbox.h"
#include "plan.h"
#include "record_writer.h"
#include "tensor_table.h"

namespace wheeltapper::capture {

enum class OnFull : uint8_t { kDegrade, kSkip, kThin, kBlock };

struct RecorderOptions {
  OnFull on_full = OnFull::kDegrade;
  GovernorOptions governor;
  int64_t max_errors = 8;
  uint64_t next_seq = 1;
};

// What is left when the disk is full (set by the drain, read at the start of a step).
enum class DiskRoom : uint8_t { kPlenty, kNoRaw, kNoTensors };

class Recorder {
 public:
  // `segment` and `clock` outlive the recorder.
  Recorder(const RecorderOptions& options, CapturePlan plan, format::RankSegment* segment,
           const Clock* clock);
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  ~Recorder() = default;

  // --- set-up: waits for its turn and for ring space, at most `deadline_ns` ---
  // Adds or (same id) changes an entry and writes its DESC. DeadlineExceeded when there is no room.
  Result<CaptureId> Add(TableEntry entry, TimeNs deadline_ns);
  // Registers the scalars wheeltapper/overhead and wheeltapper/ring_fill, written now and then.
  Status AddOverheadScalars(TimeNs deadline_ns);
  Status Change(CaptureId id, const TensorSpec& spec, TimeNs deadline_ns);
  Status Meta(const std::string& json, TimeNs deadline_ns);
  // After the fuse has blown: what is lost from now on, and why, as the last records; once, however
  // often it is called. Close does it where nobody has.
  Status RecordFuse(TimeNs deadline_ns);

  // --- hot path, as in session.h ---
  // All the time so far that calls of the training loop were in here.
  [[nodiscard]] TimeNs held_ns() const noexcept {
    return held_total_ns_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool armed(Mode mode) const noexcept;
  void Record(std::span<const TensorItem> items) noexcept;
  void RecordScalars(std::span<const ScalarItem> items) noexcept;
  void Log(std::span<const ScalarItem> items, int64_t step, Mode mode) noexcept;
  void FinishStep(Mode mode, const StepTimes& times) noexcept;
  void MarkStep() noexcept;
  void AmendStep(Mode mode) noexcept;
  void RecordUnsupported(CaptureId id) noexcept;
  [[nodiscard]] int64_t global_step() const noexcept {
    return global_step_.load(std::memory_order_relaxed);
  }
  // Mode kGlobal counts the global step.
  [[nodiscard]] int64_t mode_step(Mode mode) const noexcept {
    return mode == Mode::kGlobal
               ? global_step()
               : mode_steps_[static_cast<size_t>(mode)].load(std::memory_order_relaxed);
  }
  void SetGlobalStep(int64_t step) noexcept;
  void SetModeStep(Mode mode, int64_t step) noexcept;

  // --- life ---
  // Ends recording: every later call is a no-op. Commits the open transaction if it has data, and
  // writes what gaps and `last_words` (META texts) are left. DeadlineExceeded when another thread
  // held the recorder all the time.
  Status Close(std::span<const std::string> last_words, TimeNs deadline_ns);
  // For a forked child: plain stores only.
  void BecomeInert() noexcept;
  [[nodiscard]] bool inert() const noexcept {
    return state_.load(std::memory_order_relaxed) == State::kInert;
  }
  [[nodiscard]] bool live() const noexcept {
    return state_.load(std::memory_order_acquire) == State::kLive;
  }

  // --- for the drain thread ---
  void SetDiskRoom(DiskRoom room) noexcept { disk_room_.store(room, std::memory_order_relaxed); }
  [[nodiscard]] DiskRoom disk_room() const noexcept {
    return disk_room_.load(std::memory_order_relaxed);
  }
  // Switches recording off if the fuse has blown and nobody has yet; safe from any thread.
  void ObeyFuse() noexcept;
  Outbox& outbox() noexcept { return outbox_; }

  Fuse& fuse() noexcept { return fuse_; }
  [[nodiscard]] const Fuse& fuse() const noexcept { return fuse_; }
  [[nodiscard]] const Governor& governor() const noexcept { return governor_; }
  [[nodiscard]] const CapturePlan& plan() const noexcept { return plan_; }
  // Fills in what the recorder knows of the counters; any thread.
  void Count(SessionCounters* counters) const noexcept;

 private:
  enum class State : uint8_t { kLive, kFuse, kStopped, kInert };
  // How much of the present step's tensors is taken.
  enum class Level : uint8_t { kEverything, kNoRaw, kNothing };
  static constexpr CaptureId kNoId = ~CaptureId{0};
  static constexpr size_t kBatch = 128;
  static constexpr size_t kMaxStagedScalars = 4096;
  static constexpr int kRecordSpins = 4000;    // ~0.1–0.2 ms
  static constexpr int kFinishSpins = 400000;  // ~10–20 ms

  struct Transaction {
    bool open = false;
    bool decided = false;  // level and fired are valid
    bool marked = false;   // committed even when it holds no record
    Level level = Level::kNothing;
    uint64_t fired = 0;      // a bit for each schedule of the mode that fires on this step
    uint64_t first_seq = 0;  // 0: no record yet
    uint32_t record_count = 0;
    bool gap = false;  // something of this step is missing
    // Why it was dropped as a whole, once it was: the gap is noted.
    std::optional<format::GapReason> dropped = {};
    Place place;
  };
  // What a whole armed step takes, by the plan.
  struct Need {
    uint64_t tensors = 0;
    uint64_t raw_tensors = 0;
    uint64_t blob_bytes = 0;
    uint64_t inline_bytes = 0;
    uint64_t stats_bytes = 0;
  };
  struct RingRoom {
    uint64_t journal_bytes;
    uint64_t blob_bytes;
  };
  struct Wanted {
    const TensorItem* item;
    TableEntry* entry;
    uint32_t take;
    uint64_t nbytes;
  };
  class HotScope;
  class Hold;

  // recorder.cc
  [[nodiscard]] bool Enter(int spins) noexcept;
  void CountHeld(TimeNs held_ns) noexcept {
    held_total_ns_.fetch_add(held_ns, std::memory_order_relaxed);
  }
  void Leave() noexcept;
  void OpenTransaction() noexcept;
  [[nodiscard]] Place PlaceNow(Mode mode) const noexcept;
  // Journal bytes of what Commit adds to the transaction.
  [[nodiscard]] uint64_t EndBytes() const noexcept;
  uint8_t* AddData(format::RecordType type, uint64_t payload_bytes) noexcept;
  uint8_t* AddAlone(format::RecordType type, uint64_t payload_bytes, const Place& place) noexcept;
  [[nodiscard]] const TableEntry* ScalarEntryOf(CaptureId id) noexcept;
  void StageScalar(CaptureId id, double value) noexcept;
  void FlushScalars() noexcept;
  void FlushBlobRefs() noexcept;
  void Commit(const StepTimes& times, TimeNs step_ns, TimeNs begin_ns) noexcept;
  void WriteSideRecords() noexcept;
  void Rearm(Mode mode) noexcept;
  void RearmAll() noexcept;
  void Disarm() noexcept;
  void StageOverhead(TimeNs now_ns) noexcept;
  void NoteGap(format::GapReason reason, format::GapWhat what, uint64_t tensors,
               uint64_t bytes) noexcept;
  void NoteThinned(Mode mode) noexcept;
  void CountStep(Mode mode, TimeNs now_ns) noexcept;

  // recorder_setup.cc
  template <typename Write>
  Status WriteInTurn(uint64_t need_bytes, TimeNs deadline_ns, Write&& write);
  void ReserveScratch(const TableEntry& entry);
  void AddMeta(std::string_view json) noexcept;
  void AddEmptyCommit() noexcept;
  // What the fuse cost, and why it blew, as records; once.
  void BuryFuse();

  // recorder_tensors.cc
  void TakeTensors(std::span<const TensorItem> items) noexcept;
  void DecideLevel() noexcept;
  [[nodiscard]] uint64_t FiredNow(Mode mode) const noexcept;
  [[nodiscard]] const Need& NeedOfStep() noexcept;
  void AddNeed(const TableEntry& entry, uint32_t take) noexcept;
  [[nodiscard]] bool Examine(const TensorItem& item, Wanted* wanted) noexcept;
  [[nodiscard]] bool FollowShape(CaptureId id, const tensor::TensorView& view,
                                 TableEntry* entry) noexcept;
  [[nodiscard]] bool MayTakeRaw(const Wanted& wanted) noexcept;
  void TakeBatch(std::span<Wanted> batch, uint32_t bins) noexcept;
  // Of the tensors of a batch that are taken raw and inline, their entries included.
  [[nodiscard]] static uint64_t InlineRawBytes(std::span<const Wanted> batch) noexcept;
  // What the rings must hold for the batch as it is taken now.
  [[nodiscard]] RingRoom RoomOfBatch(std::span<const Wanted> batch, uint32_t bins) const noexcept;
  [[nodiscard]] bool MakeBatchRoom(std::span<Wanted> batch, uint32_t bins) noexcept;
  void FillBatch(std::span<const Wanted> batch, uint8_t* stats, uint8_t* raw) noexcept;
  void TakeOne(const Wanted& wanted, void* copy_to, format::StatsEntry* entry) noexcept;
  uint32_t CollectBins(const Wanted& wanted) noexcept;
  uint8_t* ReserveBlob(const Wanted& wanted) noexcept;

  // recorder_room.cc
  [[nodiscard]] bool HasRoom(uint64_t journal_bytes, uint64_t blob_bytes) const noexcept;
  [[nodiscard]] bool WaitForRoom(uint64_t journal_bytes, uint64_t blob_bytes) noexcept;
  void Overflow() noexcept;
  void DropRaw(format::GapReason reason) noexcept;
  void DropStep(format::GapReason reason) noexcept;
  void PublishBoth() noexcept;
  void PublishPiece() noexcept;

  // Constant after construction.
  const OnFull on_full_;
  const CapturePlan plan_;
  format::RankSegment* const segment_;
  const Clock* const clock_;

  // Read and written by any thread.
  std::atomic<State> state_{State::kLive};
  std::atomic<uint32_t> busy_{0};
  std::atomic<DiskRoom> disk_room_{DiskRoom::kPlenty};
  mutable std::atomic<Mode> mode_{Mode::kTrain};  // the mode last asked about: Record's mode
  std::atomic<int64_t> global_step_{0};
  std::array<std::atomic<int64_t>, kModes> mode_steps_{};
  std::array<std::atomic<int64_t>, kModes> next_armed_{};
  // Of each mode the step that finished last, by both counts; −1: none yet.
  struct LastStep {
    std::atomic<int64_t> step{-1};
    std::atomic<int64_t> mode_step{-1};
  };
  std::array<LastStep, kModes> last_steps_{};
  std::atomic<int64_t> steps_finished_{0};
  std::atomic<int64_t> armed_steps_{0};
  std::atomic<int64_t> gaps_{0};
  std::atomic<int64_t> contended_{0};  // hot calls that gave up, not yet in the ledger
  std::atomic<TimeNs> contended_ns_{0};
  std::atomic<TimeNs> blocked_total_ns_{0};
  std::atomic<TimeNs> held_total_ns_{0};
  std::atomic<TimeNs> elapsed_total_ns_{0};
  Fuse fuse_;
  Governor governor_;
  Outbox outbox_;

  // Guarded by busy_.
  RecordWriter writer_;
  std::vector<TableEntry> table_;
  Transaction open_;
  GapLedger ledger_;
  std::vector<format::ScalarEntry> staged_scalars_;  // capacity kMaxStagedScalars
  std::vector<format::BlobRefEntry> staged_blobs_;   // capacity grows with registration
  std::vector<tensor::HistogramBin> bins_;           // capacity kHistogramBins + 8
  std::vector<uint8_t> median_scratch_;
  std::unique_ptr<tensor::Histogram> histogram_;
  Need need_;
  uint64_t need_fired_ = 0;
  size_t need_mode_ = kModes;  // kModes: need_ is stale
  bool give_up_blocking_ = false;
  std::atomic<bool> fuse_buried_ = false;  // written while busy_ is held
  // Records of a dropped step were published already (a Log came in between): no COMMIT lists them,
  // so they stay invisible, but a file must not end in the middle of a transaction.
  bool orphans_ = false;
  TimeNs blocked_ns_ = 0;  // of the present step
  TimeNs last_finish_ns_ = 0;
  Mode last_mode_ = Mode::kGlobal;
  TimeNs last_overhead_ns_ = 0;
  CaptureId overhead_id_ = kNoId;
  CaptureId ring_fill_id_ = kNoId;
};

}  // namespace wheeltapper::capture
