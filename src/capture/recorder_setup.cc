// Calls outside the hot path: they may wait for their turn, for ring space, and allocate.
#include <cstring>
#include <ctime>
#include <utility>

#include "hot_scope.h"
#include "recorder.h"

namespace wheeltapper::capture {
namespace {

constexpr timespec kPause{0, 200'000};
constexpr TimeNs kRoundNs = 200'000;
constexpr int kHoldSpins = 200;

// Rounds of kPause in `deadline_ns`. Counted, not read from a clock: set-up calls also end when the
// session's clock is a test's and stands still.
int64_t RoundsIn(TimeNs deadline_ns) { return deadline_ns / kRoundNs + 1; }

uint64_t MetaBytes(std::string_view json) { return format::RecordBytes(json.size()); }

}  // namespace

// The recorder's flag, waited for in the kernel.
class Recorder::Hold {
 public:
  Hold(Recorder* recorder, int64_t* rounds) : recorder_(recorder) {
    while (!(held_ = recorder->Enter(kHoldSpins)) && --*rounds > 0) {
      nanosleep(&kPause, nullptr);
    }
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() {
    if (held_) {
      recorder_->Leave();
    }
  }
  [[nodiscard]] bool held() const { return held_; }

 private:
  Recorder* const recorder_;
  bool held_ = false;
};

template <typename Write>
Status Recorder::WriteInTurn(uint64_t need_bytes, TimeNs deadline_ns, Write&& write) {
  int64_t rounds = RoundsIn(deadline_ns);
  while (rounds > 0) {
    if (!live()) {
      return FailedPreconditionError("recording: capture has ended in this process");
    }
    {
      const Hold hold(this, &rounds);
      if (hold.held() && live() && HasRoom(need_bytes, 0)) {
        write();
        writer_.Publish();
        return Status::Ok();
      }
    }
    nanosleep(&kPause, nullptr);
    --rounds;
  }
  return DeadlineExceededError("recording: the ring has no room");
}

void Recorder::ReserveScratch(const TableEntry& entry) {
  uint32_t take = kTakeNothing;
  for (const uint32_t in_mode : entry.take) {
    take |= in_mode;
  }
  if ((take & kTakeRaw) != 0 && staged_blobs_.capacity() < 2 * table_.size() + 64) {
    staged_blobs_.reserve(4 * table_.size() + 64);
  }
  if ((take & kTakeMedian) != 0) {
    const tensor::TensorView view{nullptr, entry.dtype, static_cast<int32_t>(entry.shape.size()),
                                  entry.shape.data(), nullptr};
    if (const size_t bytes = tensor::MedianScratchBytes(view); bytes > median_scratch_.size()) {
      median_scratch_.resize(bytes);
    }
  }
}

void Recorder::AddEmptyCommit() noexcept {
  format::CommitPayload commit{};
  commit.first_seq = writer_.next_seq();
  commit.monotonic_ns = clock_->MonotonicNs();
  uint8_t* payload =
      writer_.Add(format::RecordType::kCommit, 0, sizeof(commit), PlaceNow(Mode::kGlobal));
  if (payload != nullptr) {
    std::memcpy(payload, &commit, sizeof(commit));
    orphans_ = false;
  }
}

Result<CaptureId> Recorder::Add(TableEntry entry, TimeNs deadline_ns) {
  // Room for a shape of more dimensions, so that following it on the hot path allocates nothing.
  entry.shape.reserve(entry.shape.size() + 4);
  CaptureId id = 0;
  WT_RETURN_IF_ERROR(WriteInTurn(format::RecordBytes(entry.desc_payload_bytes()), deadline_ns, [&] {
    id = static_cast<CaptureId>(table_.size());
    table_.push_back(std::move(entry));
    TableEntry& added = table_.back();
    added.desc_seq = writer_.next_seq();
    added.EncodeDesc(id, AddAlone(format::RecordType::kDesc, added.desc_payload_bytes(),
                                  PlaceNow(Mode::kGlobal)));
    ReserveScratch(added);
    need_mode_ = kModes;
  }));
  return id;
}

Status Recorder::AddOverheadScalars(TimeNs deadline_ns) {
  WT_ASSIGN_OR_RETURN(
      overhead_id_, Add(ScalarTableEntry("wheeltapper/overhead", true, {"metrics"}), deadline_ns));
  WT_ASSIGN_OR_RETURN(
      ring_fill_id_,
      Add(ScalarTableEntry("wheeltapper/ring_fill", true, {"metrics"}), deadline_ns));
  return Status::Ok();
}

Status Recorder::Change(CaptureId id, const TensorSpec& spec, TimeNs deadline_ns) {
  const uint64_t need = format::RecordBytes(spec.name.size() + spec.shape.size() * 8);
  return WriteInTurn(need, deadline_ns, [&] {
    TableEntry& entry = table_[id];
    if (entry.shape == spec.shape && entry.dtype == spec.dtype && entry.desc_seq != 0) {
      return;
    }
    entry.set_shape(spec.shape);
    entry.shape.reserve(spec.shape.size() + 4);
    entry.dtype = spec.dtype;
    entry.desc_seq = writer_.next_seq();
    uint8_t* payload =
        AddAlone(format::RecordType::kDesc, entry.desc_payload_bytes(), PlaceNow(Mode::kGlobal));
    if (payload == nullptr) {
      entry.desc_seq = 0;  // written when the tensor is next recorded
      return;
    }
    entry.EncodeDesc(id, payload);
    ReserveScratch(entry);
    need_mode_ = kModes;
  });
}

Status Recorder::Meta(const std::string& json, TimeNs deadline_ns) {
  return WriteInTurn(MetaBytes(json), deadline_ns, [&] { AddMeta(json); });
}

void Recorder::BuryFuse() {
  if (fuse_buried_.exchange(true, std::memory_order_relaxed)) {
    return;
  }
  DropStep(format::GapReason::kFuse);
  staged_scalars_.clear();
  open_ = Transaction{};
  ledger_.MakeAllDue();
  WriteSideRecords();
  AddMeta(fuse_.ToJson());
}

Status Recorder::RecordFuse(TimeNs deadline_ns) {
  if (fuse_buried_.load(std::memory_order_relaxed)) {
    return Status::Ok();
  }
  int64_t rounds = RoundsIn(deadline_ns);
  const Hold hold(this, &rounds);
  if (!hold.held()) {
    return DeadlineExceededError("recording the blown fuse: capture is busy");
  }
  if (state_.load(std::memory_order_acquire) != State::kFuse) {
    return Status::Ok();
  }
  BuryFuse();
  writer_.Publish();
  return Status::Ok();
}

Status Recorder::Close(std::span<const std::string> last_words, TimeNs deadline_ns) {
  ObeyFuse();
  State before = State::kLive;
  if (!state_.compare_exchange_strong(before, State::kStopped, std::memory_order_acq_rel)) {
    if (before != State::kFuse) {
      return Status::Ok();
    }
    state_.store(State::kStopped, std::memory_order_release);
  }
  Disarm();
  int64_t rounds = RoundsIn(deadline_ns);
  const Hold hold(this, &rounds);
  if (!hold.held()) {
    return DeadlineExceededError("stopping capture: a recording call did not return");
  }
  if (before == State::kFuse) {
    BuryFuse();  // the job ends before the drain came round
  }
  if (open_.open) {
    Commit(StepTimes{}, 0, clock_->MonotonicNs());
  }
  if (orphans_) {
    AddEmptyCommit();
  }
  ledger_.MakeAllDue();
  WriteSideRecords();
  for (const std::string& json : last_words) {
    AddMeta(json);
  }
  PublishBoth();
  return Status::Ok();
}

}  // namespace wheeltapper::capture
