// From tensors to records: what is taken, how much room it needs, and the taking itself.
#include <algorithm>
#include <cstring>
#include <limits>

#include "hot_scope.h"
#include "recorder.h"
#include "scaling.h"

namespace wheeltapper::capture {
namespace {

using format::GapReason;
using format::GapWhat;
using format::RecordType;

// Large tensors start on a cache line, so that streaming stores apply.
constexpr uint64_t kBlobAlignment = 64;
// Bins of a typical tensor, for the estimate before a step: about 25 octaves of 16.
constexpr int64_t kTypicalBins = 400;
constexpr size_t kPrefetchAhead = 4;

bool IsInline(uint64_t nbytes) { return nbytes < format::kMaxInlineBytes; }

uint64_t InlineBytes(uint64_t nbytes) { return sizeof(format::RawEntry) + AlignUp(nbytes, 8); }

uint64_t StatsPayload(size_t count, uint32_t bins) {
  return sizeof(format::CountHeader) + count * sizeof(format::StatsEntry) +
         bins * sizeof(format::HistogramEntry);
}

bool IsReadable(const tensor::TensorView& view) {
  if (view.ndim < 0 || view.ndim > tensor::kMaxDims || (view.ndim > 0 && view.shape == nullptr) ||
      !tensor::IsValidDType(static_cast<uint8_t>(view.dtype))) {
    return false;
  }
  for (int32_t i = 0; i < view.ndim; ++i) {
    if (view.shape[i] < 0) {
      return false;
    }
  }
  return view.data != nullptr || view.numel() == 0;
}

void PutBins(std::span<const tensor::HistogramBin> bins, uint8_t* to) {
  for (const tensor::HistogramBin& bin : bins) {
    const format::HistogramEntry entry{bin.bin, {}, bin.count};
    std::memcpy(to, &entry, sizeof(entry));
    to += sizeof(entry);
  }
}

}  // namespace

void Recorder::Record(std::span<const TensorItem> items) noexcept {
  if (!live() || items.empty()) {
    return;
  }
  const HotScope scope(this, kRecordSpins);
  if (!scope.entered()) {
    return;
  }
  OpenTransaction();
  if (!open_.decided) {
    DecideLevel();
  }
  TakeTensors(items);
}

uint64_t Recorder::FiredNow(Mode mode) const noexcept {
  const int64_t step = mode_step(mode);
  if (step < next_armed_[static_cast<size_t>(mode)].load(std::memory_order_relaxed)) {
    return 0;
  }
  uint64_t fired = 0;
  const auto& schedules = plan_.schedules(mode);
  for (size_t i = 0; i < schedules.size(); ++i) {
    if (schedules[i].Fires(step, governor_.multiplier())) {
      fired |= uint64_t{1} << i;
    }
  }
  return fired;
}

void Recorder::AddNeed(const TableEntry& entry, uint32_t take) noexcept {
  const uint64_t nbytes = entry.nbytes();
  ++need_.tensors;
  need_.stats_bytes += sizeof(format::StatsEntry);
  if ((take & kTakeHistogram) != 0) {
    const auto numel = static_cast<int64_t>(nbytes / tensor::ItemSize(entry.dtype));
    need_.stats_bytes +=
        static_cast<uint64_t>(std::min(numel, kTypicalBins)) * sizeof(format::HistogramEntry) +
        format::RecordBytes(sizeof(format::CountHeader));
  }
  if ((take & kTakeRaw) != 0 && nbytes <= segment_->blob_ring().capacity()) {
    ++need_.raw_tensors;
    need_.inline_bytes += IsInline(nbytes) ? InlineBytes(nbytes) : 0;
    need_.blob_bytes += IsInline(nbytes) ? 0 : AlignUp(nbytes, kBlobAlignment);
  }
}

const Recorder::Need& Recorder::NeedOfStep() noexcept {
  const auto mode = static_cast<size_t>(open_.place.mode);
  if (need_mode_ == mode && need_fired_ == open_.fired) {
    return need_;
  }
  need_ = Need{};
  need_mode_ = mode;
  need_fired_ = open_.fired;
  for (const TableEntry& entry : table_) {
    const uint32_t take = entry.TakeNow(mode, open_.fired);
    if (take == kTakeNothing) {
      continue;
    }
    AddNeed(entry, take);
  }
  // Headers of the batches, the scalars and the COMMIT.
  need_.stats_bytes += (need_.tensors / kBatch + 4) * 2 * format::RecordBytes(64);
  return need_;
}

void Recorder::DecideLevel() noexcept {
  open_.decided = true;
  open_.fired = FiredNow(open_.place.mode);
  const Need& need = NeedOfStep();
  if (open_.fired == 0 || need.tensors == 0) {
    return;
  }
  const DiskRoom disk = disk_room();
  if (disk == DiskRoom::kNoTensors) {
    NoteGap(GapReason::kDiskFull, GapWhat::kWholeStep, need.tensors,
            need.blob_bytes + need.inline_bytes);
    return;
  }
  open_.level = Level::kEverything;
  if (disk == DiskRoom::kNoRaw && need.raw_tensors > 0) {
    DropRaw(GapReason::kDiskFull);
  }
  if (on_full_ == OnFull::kBlock && !give_up_blocking_) {
    return;  // waits where room is missing
  }
  const auto fits = [&] {
    const bool raw = open_.level == Level::kEverything;
    return HasRoom(need.stats_bytes + (raw ? need.inline_bytes : 0), raw ? need.blob_bytes : 0);
  };
  while (open_.level != Level::kNothing && !fits()) {
    Overflow();
  }
  give_up_blocking_ = give_up_blocking_ && open_.gap;
}

void Recorder::TakeTensors(std::span<const TensorItem> items) noexcept {
  std::array<Wanted, kBatch> batch;  // NOLINT(*-member-init): clearing it would cost every step
  size_t count = 0;
  for (const TensorItem& item : items) {
    if (open_.level == Level::kNothing) {
      return;
    }
    Wanted wanted{};
    if (!Examine(item, &wanted)) {
      continue;
    }
    if ((wanted.take & kTakeHistogram) != 0) {
      const uint32_t bins = CollectBins(wanted);
      TakeBatch({&wanted, 1}, bins);
      continue;
    }
    if (on_full_ == OnFull::kBlock && (wanted.take & kTakeRaw) != 0 && !IsInline(wanted.nbytes)) {
      TakeBatch({&wanted, 1}, 0);
      PublishPiece();
      continue;
    }
    batch[count++] = wanted;
    if (count == kBatch) {
      TakeBatch({batch.data(), count}, 0);
      count = 0;
    }
  }
  if (count > 0 && open_.level != Level::kNothing) {
    TakeBatch({batch.data(), count}, 0);
  }
}

bool Recorder::Examine(const TensorItem& item, Wanted* wanted) noexcept {
  if (item.id >= table_.size() || table_[item.id].kind != format::DescKind::kTensor) {
    fuse_.Report(StatusCode::kInvalidArgument, "recording a tensor: unknown id");
    return false;
  }
  TableEntry& entry = table_[item.id];
  const uint32_t take = entry.TakeNow(static_cast<size_t>(open_.place.mode), open_.fired);
  if (take == kTakeNothing) {
    return false;
  }
  if (!IsReadable(item.view)) {
    fuse_.Report(StatusCode::kInvalidArgument, "recording a tensor: no readable view");
    return false;
  }
  if (!FollowShape(item.id, item.view, &entry)) {
    return false;
  }
  *wanted = {&item, &entry, take, static_cast<uint64_t>(item.view.nbytes())};
  if ((take & kTakeRaw) != 0 && !MayTakeRaw(*wanted)) {
    wanted->take &= ~uint32_t{kTakeRaw};
  }
  return true;
}

bool Recorder::MayTakeRaw(const Wanted& wanted) noexcept {
  if (open_.level != Level::kEverything) {
    return false;
  }
  if (!IsInline(wanted.nbytes) && wanted.nbytes > segment_->blob_ring().capacity()) {
    NoteGap(GapReason::kTooLarge, GapWhat::kRawTensors, 1, wanted.nbytes);
    return false;
  }
  if (wanted.item->scale != 1.0 && !CanScaleElements(wanted.item->view.dtype)) {
    NoteGap(GapReason::kUnsupported, GapWhat::kRawTensors, 1, wanted.nbytes);
    return false;
  }
  return true;
}

bool Recorder::FollowShape(CaptureId id, const tensor::TensorView& view,
                           TableEntry* entry) noexcept {
  const bool same = entry->Fits(view);
  if (same && entry->desc_seq != 0) {
    return true;
  }
  const auto ndim = static_cast<size_t>(view.ndim);
  if (ndim > entry->shape.capacity()) {
    // Growing the vector would allocate.
    NoteGap(GapReason::kUnsupported, GapWhat::kStats, 1, 0);
    return false;
  }
  if (!same) {
    entry->set_shape({view.shape, ndim});
    entry->dtype = view.dtype;
    entry->desc_seq = 0;
    need_mode_ = kModes;
  }
  const uint64_t payload_bytes = entry->desc_payload_bytes();
  const uint64_t seq = writer_.next_seq();
  uint8_t* payload = AddAlone(RecordType::kDesc, payload_bytes, open_.place);
  if (payload == nullptr) {
    DropStep(GapReason::kRingFull);
    return false;
  }
  entry->EncodeDesc(id, payload);
  entry->desc_seq = seq;
  return true;
}

uint64_t Recorder::InlineRawBytes(std::span<const Wanted> batch) noexcept {
  uint64_t nbytes = 0;
  for (const Wanted& wanted : batch) {
    const bool raw = (wanted.take & kTakeRaw) != 0 && IsInline(wanted.nbytes);
    nbytes += raw ? InlineBytes(wanted.nbytes) : 0;
  }
  return nbytes;
}

Recorder::RingRoom Recorder::RoomOfBatch(std::span<const Wanted> batch,
                                         uint32_t bins) const noexcept {
  RingRoom room{.journal_bytes = format::RecordBytes(StatsPayload(batch.size(), bins)),
                .blob_bytes = 0};
  const uint64_t raw_payload = InlineRawBytes(batch);
  if (raw_payload != 0) {
    room.journal_bytes += format::RecordBytes(sizeof(format::CountHeader) + raw_payload);
  }
  // Under "block" a large raw tensor is a batch of its own and waits for its room before anything
  // of it is reserved; otherwise ReserveBlob decides.
  const Wanted& first = batch[0];
  if (on_full_ == OnFull::kBlock && (first.take & kTakeRaw) != 0 && !IsInline(first.nbytes)) {
    room.blob_bytes = AlignUp(first.nbytes, kBlobAlignment);
  }
  return room;
}

bool Recorder::MakeBatchRoom(std::span<Wanted> batch, uint32_t bins) noexcept {
  while (open_.level != Level::kNothing) {
    for (Wanted& wanted : batch) {
      wanted.take &= open_.level == Level::kNoRaw ? ~uint32_t{kTakeRaw} : ~uint32_t{0};
    }
    const RingRoom need = RoomOfBatch(batch, bins);
    if (HasRoom(need.journal_bytes, need.blob_bytes) ||
        (on_full_ == OnFull::kBlock && WaitForRoom(need.journal_bytes, need.blob_bytes))) {
      return true;
    }
    Overflow();
  }
  return false;
}

void Recorder::TakeBatch(std::span<Wanted> batch, uint32_t bins) noexcept {
  if (!MakeBatchRoom(batch, bins)) {
    return;
  }
  uint64_t raw_payload = sizeof(format::CountHeader);
  uint32_t raw_count = 0;
  for (const Wanted& wanted : batch) {
    if ((wanted.take & kTakeRaw) != 0 && IsInline(wanted.nbytes)) {
      raw_payload += InlineBytes(wanted.nbytes);
      ++raw_count;
    }
  }
  uint8_t* stats = AddData(RecordType::kStats, StatsPayload(batch.size(), bins));
  uint8_t* raw = raw_count == 0 ? nullptr : AddData(RecordType::kRaw, raw_payload);
  if (stats == nullptr || (raw_count != 0 && raw == nullptr)) {
    fuse_.Report(StatusCode::kInternal, "recording tensors: the room that was there is gone");
    DropStep(GapReason::kRingFull);
    return;
  }
  const format::CountHeader stats_count{static_cast<uint32_t>(batch.size()), 0};
  std::memcpy(stats, &stats_count, sizeof(stats_count));
  if (raw != nullptr) {
    const format::CountHeader count{raw_count, 0};
    std::memcpy(raw, &count, sizeof(count));
    raw += sizeof(count);
  }
  FillBatch(batch, stats + sizeof(stats_count), raw);
  if (bins > 0 && open_.level != Level::kNothing) {
    uint8_t* entry = stats + sizeof(stats_count);
    std::memcpy(entry + offsetof(format::StatsEntry, histogram_bins), &bins, sizeof(bins));
    PutBins({bins_.data(), bins}, entry + sizeof(format::StatsEntry));
  }
}

void Recorder::FillBatch(std::span<const Wanted> batch, uint8_t* stats, uint8_t* raw) noexcept {
  for (size_t i = 0; i < batch.size() && open_.level != Level::kNothing; ++i) {
    if (i + kPrefetchAhead < batch.size()) {
      __builtin_prefetch(batch[i + kPrefetchAhead].item->view.data);
    }
    const Wanted& wanted = batch[i];
    void* copy_to = nullptr;
    if ((wanted.take & kTakeRaw) != 0 && IsInline(wanted.nbytes)) {
      const format::RawEntry head{wanted.item->id, static_cast<uint32_t>(wanted.nbytes)};
      std::memcpy(raw, &head, sizeof(head));
      copy_to = raw + sizeof(head);
      std::memset(raw + sizeof(head) + wanted.nbytes, 0, AlignUp(wanted.nbytes, 8) - wanted.nbytes);
      raw += InlineBytes(wanted.nbytes);
    } else if ((wanted.take & kTakeRaw) != 0 && open_.level == Level::kEverything) {
      copy_to = ReserveBlob(wanted);
    }
    format::StatsEntry entry{};
    TakeOne(wanted, copy_to, &entry);
    std::memcpy(stats, &entry, sizeof(entry));
    stats += sizeof(entry);
  }
}

uint8_t* Recorder::ReserveBlob(const Wanted& wanted) noexcept {
  format::ByteRing& ring = segment_->blob_ring();
  const uint64_t bytes = AlignUp(wanted.nbytes, kBlobAlignment);
  if (!HasRoom(0, bytes)) {
    Overflow();
    return nullptr;
  }
  if (staged_blobs_.size() == staged_blobs_.capacity()) {
    FlushBlobRefs();
  }
  const uint64_t offset = ring.pending();
  uint8_t* copy_to = ring.Reserve(bytes);
  if (copy_to != nullptr) {
    std::memset(copy_to + wanted.nbytes, 0, bytes - wanted.nbytes);
    staged_blobs_.push_back(
        {wanted.item->id, 0, offset, wanted.nbytes, 0, format::Codec::kRaw, {}});
  }
  return copy_to;
}

void Recorder::TakeOne(const Wanted& wanted, void* copy_to, format::StatsEntry* entry) noexcept {
  const tensor::TensorView& view = wanted.item->view;
  const double scale = wanted.item->scale;
  const tensor::StatsOptions options{(wanted.take & kTakeProduct) != 0};
  entry->desc = wanted.item->id;
  entry->stats = copy_to == nullptr ? tensor::ComputeStats(view, options)
                                    : tensor::CopyAndComputeStats(view, copy_to, options);
  entry->exact_median = std::numeric_limits<double>::quiet_NaN();
  if ((wanted.take & kTakeMedian) != 0 &&
      tensor::MedianScratchBytes(view) <= median_scratch_.size()) {
    entry->exact_median =
        scale * tensor::ExactMedian(view, tensor::MedianKind::kMean, median_scratch_);
  }
  if (scale != 1.0) {
    entry->stats = ScaleStats(entry->stats, scale);
    if (copy_to != nullptr) {
      ScaleElements(view.dtype, copy_to, view.numel(), scale);
    }
  }
  if (wanted.item->stats_out != nullptr) {
    *wanted.item->stats_out = entry->stats;
  }
}

uint32_t Recorder::CollectBins(const Wanted& wanted) noexcept {
  histogram_->Clear();
  histogram_->Add(wanted.item->view);
  const double scale = wanted.item->scale;
  int used = histogram_->Sparse(bins_);
  if (scale != 1.0) {
    histogram_->Clear();
    for (int i = 0; i < used; ++i) {
      const tensor::HistogramBin& bin = bins_[static_cast<size_t>(i)];
      histogram_->AddBin(ScaleBin(bin.bin, scale), bin.count);
    }
    used = histogram_->Sparse(bins_);
  }
  return static_cast<uint32_t>(used);
}

}  // namespace wheeltapper::capture
