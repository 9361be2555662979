// What happens when a ring is too full: whole-step degradation, dropping, waiting.
#include <ctime>
#include <utility>

#include "hot_scope.h"
#include "recorder.h"

namespace wheeltapper::capture {
namespace {

using format::GapReason;
using format::GapWhat;

// `capture.on_full = "block"`: how long one step may wait for the drain before it is dropped after
// all (a hanging disk must not hang the training for ever).
constexpr int kBlockRounds = 50'000;  // of 200 µs: 10 s
constexpr timespec kBlockPause{0, 200'000};
// One slice of the drain's writes.
constexpr uint64_t kPublishBytes = uint64_t{8} << 20;

}  // namespace

bool Recorder::HasRoom(uint64_t journal_bytes, uint64_t blob_bytes) const noexcept {
  return journal_bytes <= writer_.free_bytes() &&
         (blob_bytes == 0 || blob_bytes <= writer_.free_blob_bytes());
}

bool Recorder::WaitForRoom(uint64_t journal_bytes, uint64_t blob_bytes) noexcept {
  if (give_up_blocking_) {
    return false;
  }
  // The drain can only free what it can see, and blob bytes only with the records that point at
  // them. Everything in the journal ring is whole here: callers make room before they reserve.
  FlushBlobRefs();
  PublishBoth();
  for (int round = 0; round < kBlockRounds && live(); ++round) {
    if (HasRoom(journal_bytes, blob_bytes)) {
      return true;
    }
    nanosleep(&kBlockPause, nullptr);
  }
  give_up_blocking_ = true;
  return false;
}

void Recorder::PublishBoth() noexcept {
  segment_->blob_ring().Publish();
  writer_.Publish();
}

// Under "block" nothing of a step is taken back, so the drain may begin before its COMMIT: copying
// and writing overlap within a step also when the ring holds less than two.
void Recorder::PublishPiece() noexcept {
  const uint64_t refs = format::RecordBytes(sizeof(format::CountHeader) +
                                            staged_blobs_.size() * sizeof(format::BlobRefEntry));
  if (segment_->blob_ring().unpublished() >= kPublishBytes && HasRoom(refs, 0)) {
    FlushBlobRefs();
    PublishBoth();
  }
}

void Recorder::Overflow() noexcept {
  if (on_full_ == OnFull::kThin && governor_.Double()) {
    RearmAll();
  }
  if (on_full_ == OnFull::kDegrade && open_.level == Level::kEverything) {
    DropRaw(GapReason::kRingFull);
  } else {
    DropStep(GapReason::kRingFull);
  }
}

void Recorder::DropRaw(GapReason reason) noexcept {
  open_.level = Level::kNoRaw;
  staged_blobs_.clear();
  segment_->blob_ring().Abandon();
  NoteGap(reason, GapWhat::kRawTensors, need_.raw_tensors, need_.blob_bytes + need_.inline_bytes);
}

void Recorder::DropStep(GapReason reason) noexcept {
  writer_.Abandon();
  orphans_ = orphans_ || (open_.record_count > 0 && open_.first_seq < writer_.next_seq());
  segment_->blob_ring().Abandon();
  staged_blobs_.clear();
  // Descriptions written in this step are gone with it: they are due again.
  for (TableEntry& entry : table_) {
    if (entry.desc_seq >= writer_.next_seq()) {
      entry.desc_seq = 0;
    }
  }
  open_.level = Level::kNothing;
  open_.first_seq = 0;
  open_.record_count = 0;
  if (std::exchange(open_.dropped, reason) == reason) {
    return;  // it is missing once, however often there was no room for it
  }
  const Need lost = open_.decided ? need_ : Need{};
  NoteGap(reason, GapWhat::kWholeStep, lost.tensors, lost.blob_bytes + lost.inline_bytes);
}

}  // namespace wheeltapper::capture
