#include "recorder.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "hot_scope.h"

namespace wheeltapper::capture {
namespace {

using format::GapReason;
using format::GapWhat;
using format::RecordType;

constexpr TimeNs kOverheadEveryNs = 5'000'000'000;

uint64_t CountedBytes(size_t count, size_t entry_bytes) {
  return sizeof(format::CountHeader) + count * entry_bytes;
}

uint8_t* PutCount(uint8_t* to, size_t count) {
  const format::CountHeader header{static_cast<uint32_t>(count), 0};
  std::memcpy(to, &header, sizeof(header));
  return to + sizeof(header);
}

void PutScalar(uint8_t** to, CaptureId id, double value) {
  const format::ScalarEntry entry{id, 0, value};
  std::memcpy(*to, &entry, sizeof(entry));
  *to += sizeof(entry);
}

}  // namespace

Recorder::Recorder(const RecorderOptions& options, CapturePlan plan, format::RankSegment* segment,
                   const Clock* clock)
    : on_full_(options.on_full),
      plan_(std::move(plan)),
      segment_(segment),
      clock_(clock),
      fuse_(options.max_errors),
      governor_(options.governor),
      writer_(segment, options.next_seq),
      histogram_(std::make_unique<tensor::Histogram>()) {
  staged_scalars_.reserve(kMaxStagedScalars);
  bins_.resize(tensor::kHistogramBins + 8);
  RearmAll();
}

bool Recorder::armed(Mode mode) const noexcept {
  mode_.store(mode, std::memory_order_relaxed);
  return mode_step(mode) >= next_armed_[static_cast<size_t>(mode)].load(std::memory_order_relaxed);
}

bool Recorder::Enter(int spins) noexcept {
  for (int i = 0; i < spins; ++i) {
    if (busy_.load(std::memory_order_relaxed) == 0 &&
        busy_.exchange(1, std::memory_order_acquire) == 0) {
      return true;
    }
    SpinPause();
  }
  return false;
}

void Recorder::Leave() noexcept {
  ObeyFuse();
  busy_.store(0, std::memory_order_release);
}

void Recorder::ObeyFuse() noexcept {
  if (!fuse_.blown()) {
    return;
  }
  State live = State::kLive;
  if (state_.compare_exchange_strong(live, State::kFuse, std::memory_order_acq_rel)) {
    Disarm();
    segment_->page().fuse_blown.store(1, std::memory_order_relaxed);
  }
}

void Recorder::Disarm() noexcept {
  for (auto& next : next_armed_) {
    next.store(kNever, std::memory_order_relaxed);
  }
}

void Recorder::BecomeInert() noexcept {
  state_.store(State::kInert, std::memory_order_relaxed);
  Disarm();
}

Place Recorder::PlaceNow(Mode mode) const noexcept {
  return {global_step(), mode_step(mode), clock_->WallNs(), mode};
}

void Recorder::OpenTransaction() noexcept {
  if (!open_.open) {
    open_ = Transaction{};
    open_.open = true;
    open_.place = PlaceNow(mode_.load(std::memory_order_relaxed));
  }
}

uint8_t* Recorder::AddData(RecordType type, uint64_t payload_bytes) noexcept {
  const uint64_t seq = writer_.next_seq();
  uint8_t* payload = writer_.Add(type, 0, payload_bytes, open_.place);
  if (payload != nullptr) {
    open_.first_seq = open_.record_count == 0 ? seq : open_.first_seq;
    ++open_.record_count;
  }
  return payload;
}

uint8_t* Recorder::AddAlone(RecordType type, uint64_t payload_bytes, const Place& place) noexcept {
  return writer_.Add(type, format::kSelfCommitted, payload_bytes, place);
}

void Recorder::NoteGap(GapReason reason, GapWhat what, uint64_t tensors, uint64_t bytes) noexcept {
  ledger_.Note(reason, what, open_.open ? open_.place.step : global_step(), tensors, bytes);
  open_.gap = true;
  gaps_.store(ledger_.total(), std::memory_order_relaxed);
  segment_->page().gaps.store(static_cast<uint64_t>(ledger_.total()), std::memory_order_relaxed);
}

const TableEntry* Recorder::ScalarEntryOf(CaptureId id) noexcept {
  if (id >= table_.size() || table_[id].kind != format::DescKind::kScalar) {
    fuse_.Report(StatusCode::kInvalidArgument, "recording a scalar: unknown id");
    return nullptr;
  }
  return table_[id].wanted ? &table_[id] : nullptr;
}

void Recorder::StageScalar(CaptureId id, double value) noexcept {
  if (staged_scalars_.size() == kMaxStagedScalars) {
    FlushScalars();
  }
  staged_scalars_.push_back({id, 0, value});
}

void Recorder::FlushScalars() noexcept {
  if (staged_scalars_.empty()) {
    return;
  }
  const size_t count = staged_scalars_.size();
  const uint64_t payload_bytes = CountedBytes(count, sizeof(format::ScalarEntry));
  if (uint8_t* payload = AddData(RecordType::kScalars, payload_bytes); payload != nullptr) {
    std::memcpy(PutCount(payload, count), staged_scalars_.data(),
                count * sizeof(format::ScalarEntry));
  } else {
    NoteGap(GapReason::kRingFull, GapWhat::kStats, count, payload_bytes);
  }
  staged_scalars_.clear();
}

void Recorder::FlushBlobRefs() noexcept {
  if (staged_blobs_.empty()) {
    return;
  }
  const size_t count = staged_blobs_.size();
  uint8_t* payload =
      AddData(RecordType::kBlobRef, CountedBytes(count, sizeof(format::BlobRefEntry)));
  if (payload != nullptr) {
    std::memcpy(PutCount(payload, count), staged_blobs_.data(),
                count * sizeof(format::BlobRefEntry));
  } else {
    NoteGap(GapReason::kRingFull, GapWhat::kRawTensors, count, 0);
  }
  staged_blobs_.clear();
}

void Recorder::RecordScalars(std::span<const ScalarItem> items) noexcept {
  if (!live() || items.empty()) {
    return;
  }
  const HotScope scope(this, kRecordSpins);
  if (!scope.entered()) {
    return;
  }
  OpenTransaction();
  for (const ScalarItem& item : items) {
    if (ScalarEntryOf(item.id) != nullptr) {
      StageScalar(item.id, item.value);
    }
  }
}

void Recorder::Log(std::span<const ScalarItem> items, int64_t step, Mode mode) noexcept {
  if (!live() || items.empty()) {
    return;
  }
  const HotScope scope(this, kRecordSpins);
  if (!scope.entered()) {
    return;
  }
  size_t count = 0;
  for (const ScalarItem& item : items) {
    count += ScalarEntryOf(item.id) != nullptr ? size_t{1} : size_t{0};
  }
  if (count == 0) {
    return;
  }
  Place place = PlaceNow(mode);
  if (step >= 0) {
    place.step = step;
    place.mode_step = step;
  }
  const uint64_t payload_bytes = CountedBytes(count, sizeof(format::ScalarEntry));
  uint8_t* to = AddAlone(RecordType::kScalars, payload_bytes, place);
  if (to == nullptr) {
    NoteGap(GapReason::kRingFull, GapWhat::kStats, count, payload_bytes);
    return;
  }
  to = PutCount(to, count);
  for (const ScalarItem& item : items) {
    if (item.id < table_.size() && table_[item.id].kind == format::DescKind::kScalar &&
        table_[item.id].wanted) {
      PutScalar(&to, item.id, item.value);
    }
  }
  writer_.Publish();
}

void Recorder::RecordUnsupported(CaptureId id) noexcept {
  if (!live()) {
    return;
  }
  const HotScope scope(this, kRecordSpins);
  if (!scope.entered()) {
    return;
  }
  if (id >= table_.size()) {
    fuse_.Report(StatusCode::kInvalidArgument, "recording an unsupported tensor: unknown id");
    return;
  }
  if (!std::exchange(table_[id].unsupported_noted, true)) {
    NoteGap(GapReason::kUnsupported, GapWhat::kStats, 1, 0);
  }
}

void Recorder::StageOverhead(TimeNs now_ns) noexcept {
  if (last_overhead_ns_ != 0 && now_ns - last_overhead_ns_ < kOverheadEveryNs) {
    return;
  }
  // Not on the very first step: there is nothing to tell yet.
  if (last_overhead_ns_ != 0 && ring_fill_id_ != kNoId) {
    StageScalar(overhead_id_, governor_.overhead());
    StageScalar(ring_fill_id_, segment_->journal_ring().fill());
  }
  last_overhead_ns_ = now_ns;
}

uint64_t Recorder::EndBytes() const noexcept {
  const auto list_bytes = [](size_t count, size_t entry_bytes) {
    return count == 0 ? 0 : format::RecordBytes(CountedBytes(count, entry_bytes));
  };
  return list_bytes(staged_scalars_.size(), sizeof(format::ScalarEntry)) +
         list_bytes(staged_blobs_.size(), sizeof(format::BlobRefEntry)) +
         format::RecordBytes(sizeof(format::CommitPayload));
}

void Recorder::Commit(const StepTimes& times, TimeNs step_ns, TimeNs begin_ns) noexcept {
  const uint64_t need = EndBytes();
  // Without room for the end of the transaction the rest of it is of no use; its scalars may still
  // fit where its tensors were.
  const bool room = HasRoom(need, 0) || (on_full_ == OnFull::kBlock && WaitForRoom(need, 0));
  if (!room) {
    DropStep(GapReason::kRingFull);
  }
  FlushScalars();
  FlushBlobRefs();
  if (open_.record_count > 0 || open_.marked) {
    const uint64_t first_seq = open_.record_count > 0 ? open_.first_seq : writer_.next_seq();
    const TimeNs now_ns = clock_->MonotonicNs();
    uint8_t* payload =
        writer_.Add(RecordType::kCommit, 0, sizeof(format::CommitPayload), open_.place);
    if (payload != nullptr) {
      // All that held the training thread for this step, up to here.
      const TimeNs blocked_ns = blocked_ns_ + times.hooks_ns +
                                contended_ns_.load(std::memory_order_relaxed) + now_ns - begin_ns;
      const format::CommitPayload commit{first_seq, open_.record_count, 0, now_ns, blocked_ns,
                                         step_ns,   times.data_wait_ns};
      std::memcpy(payload, &commit, sizeof(commit));
      orphans_ = false;
    } else {
      DropStep(GapReason::kRingFull);
    }
  }
  if (open_.decided && open_.fired != 0 && !open_.gap) {
    ledger_.CloseSeries();
  }
  open_ = Transaction{};
}

void Recorder::AddMeta(std::string_view json) noexcept {
  if (uint8_t* payload = AddAlone(RecordType::kMeta, json.size(), PlaceNow(Mode::kGlobal));
      payload != nullptr) {
    std::memcpy(payload, json.data(), json.size());
  }
}

void Recorder::WriteSideRecords() noexcept {
  if (ledger_.any_due()) {
    const Place place = PlaceNow(Mode::kGlobal);
    ledger_.WriteDue([&](const format::GapPayload& gap) {
      uint8_t* payload = AddAlone(RecordType::kGap, sizeof(gap), place);
      if (payload == nullptr) {
        return false;
      }
      std::memcpy(payload, &gap, sizeof(gap));
      return true;
    });
  }
  const std::string_view note = outbox_.waiting();
  if (!note.empty() && HasRoom(format::RecordBytes(note.size()), 0)) {
    AddMeta(note);
    outbox_.Taken();
  }
}

void Recorder::NoteThinned(Mode mode) noexcept {
  const int64_t multiplier = governor_.multiplier();
  if (multiplier == 1) {
    return;
  }
  const int64_t step = mode_step(mode);
  for (const Schedule& schedule : plan_.schedules(mode)) {
    // Under "auto" nobody asked for a particular step, so nothing is missing.
    if (schedule.every != 0 && schedule.Fires(step, 1) && !schedule.Fires(step, multiplier)) {
      NoteGap(GapReason::kGovernor, GapWhat::kWholeStep, 0, 0);
      return;
    }
  }
}

void Recorder::FinishStep(Mode mode, const StepTimes& times) noexcept {
  if (!live()) {
    if (state_.load(std::memory_order_relaxed) == State::kFuse) {
      CountStep(mode, clock_->MonotonicNs());  // the watcher still sees that training goes on
    }
    return;
  }
  HotScope scope(this, kFinishSpins);
  const TimeNs now_ns = scope.begin_ns();
  if (!scope.entered()) {
    CountStep(mode, now_ns);
    return;
  }
  const bool is_armed = armed(mode);
  const TimeNs elapsed_ns = last_finish_ns_ == 0 ? 0 : now_ns - last_finish_ns_;
  if (const int64_t missed = contended_.exchange(0, std::memory_order_relaxed); missed > 0) {
    NoteGap(GapReason::kRingFull, GapWhat::kStats, static_cast<uint64_t>(missed), 0);
  }
  if (open_.open) {
    open_.place.mode = mode;
    open_.place.mode_step = mode_step(mode);
    StageOverhead(now_ns);
    Commit(times, last_mode_ == mode ? elapsed_ns : 0, now_ns);
  }
  NoteThinned(mode);
  WriteSideRecords();
  PublishBoth();
  last_finish_ns_ = now_ns;
  last_mode_ = mode;
  armed_steps_.fetch_add(is_armed ? 1 : 0, std::memory_order_relaxed);
  elapsed_total_ns_.fetch_add(elapsed_ns, std::memory_order_relaxed);
  const TimeNs own_ns = clock_->MonotonicNs() - now_ns;
  CountHeld(own_ns);
  const TimeNs blocked_ns =
      blocked_ns_ + times.hooks_ns + contended_ns_.exchange(0, std::memory_order_relaxed) + own_ns;
  blocked_total_ns_.fetch_add(blocked_ns, std::memory_order_relaxed);
  blocked_ns_ = 0;
  scope.DoNotCount();
  const bool changed = governor_.OnStep(is_armed, blocked_ns, elapsed_ns);
  CountStep(mode, now_ns);
  if (changed) {
    RearmAll();
  }
}

void Recorder::MarkStep() noexcept {
  if (!live()) {
    return;
  }
  const HotScope scope(this, kFinishSpins);
  if (scope.entered()) {
    OpenTransaction();
    open_.marked = true;
  }
}

void Recorder::AmendStep(Mode mode) noexcept {
  const LastStep& last = last_steps_[static_cast<size_t>(mode)];
  if (!live() || last.step.load(std::memory_order_relaxed) < 0) {
    return;
  }
  const HotScope scope(this, kFinishSpins);
  if (!scope.entered() || !open_.open) {
    return;
  }
  open_.place.step = last.step.load(std::memory_order_relaxed);
  open_.place.mode = mode;
  open_.place.mode_step = last.mode_step.load(std::memory_order_relaxed);
  Commit(StepTimes{}, 0, scope.begin_ns());
  WriteSideRecords();
  PublishBoth();
}

void Recorder::CountStep(Mode mode, TimeNs now_ns) noexcept {
  const int64_t finished = global_step_.fetch_add(1, std::memory_order_relaxed);
  const int64_t mode_finished =
      mode_steps_[static_cast<size_t>(mode)].fetch_add(1, std::memory_order_relaxed);
  LastStep& last = last_steps_[static_cast<size_t>(mode)];
  last.step.store(finished, std::memory_order_relaxed);
  last.mode_step.store(mode_finished, std::memory_order_relaxed);
  steps_finished_.fetch_add(1, std::memory_order_relaxed);
  segment_->page().step.store(finished, std::memory_order_relaxed);
  segment_->page().last_step_ns.store(now_ns, std::memory_order_relaxed);
  if (live()) {
    Rearm(mode);
    Rearm(Mode::kGlobal);
  }
}

void Recorder::Rearm(Mode mode) noexcept {
  auto& next = next_armed_[static_cast<size_t>(mode)];
  const int64_t step = mode_step(mode);
  int64_t first = kNever;
  for (const Schedule& schedule : plan_.schedules(mode)) {
    first = std::min(first, schedule.Next(step, governor_.multiplier()));
  }
  next.store(first, std::memory_order_relaxed);
  if (!live()) {
    Disarm();  // the fuse blew, or a stop came, between the caller's look and the store
  }
}

void Recorder::RearmAll() noexcept {
  for (const Mode mode : {Mode::kTrain, Mode::kEval, Mode::kPredict, Mode::kGlobal}) {
    Rearm(mode);
  }
}

void Recorder::SetGlobalStep(int64_t step) noexcept {
  if (!live()) {
    return;
  }
  global_step_.store(step, std::memory_order_relaxed);
  // Steps of the other modes count in the global step too; the rest of it was training.
  const int64_t others = mode_step(Mode::kEval) + mode_step(Mode::kPredict);
  SetModeStep(Mode::kTrain, std::max<int64_t>(0, step - others));
}

void Recorder::SetModeStep(Mode mode, int64_t step) noexcept {
  if (live() && mode != Mode::kGlobal) {
    mode_steps_[static_cast<size_t>(mode)].store(step, std::memory_order_relaxed);
    RearmAll();
  }
}

void Recorder::Count(SessionCounters* counters) const noexcept {
  counters->steps = steps_finished_.load(std::memory_order_relaxed);
  counters->armed_steps = armed_steps_.load(std::memory_order_relaxed);
  counters->gaps = gaps_.load(std::memory_order_relaxed);
  counters->errors = fuse_.errors();
  counters->fuse_blown = fuse_.blown();
  counters->interval = governor_.multiplier();
  counters->blocked_ns = blocked_total_ns_.load(std::memory_order_relaxed);
  counters->elapsed_ns = elapsed_total_ns_.load(std::memory_order_relaxed);
  counters->overhead = governor_.overhead();
}

}  // namespace wheeltapper::capture
