// Draining and rotating. Opening and sealing are in journal_open.cc and journal_seal.cc.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "wheeltapper/format/run_directory.h"

#include "disk_journal_writer.h"
#include "run_names.h"
#include "salt.h"

namespace wheeltapper::format {
namespace {

constexpr TimeNs kSyncEveryNs = 5'000'000'000;
constexpr uint64_t kSyncEveryBytes = uint64_t{256} << 20;
// A ring smaller than a step is given back piece by piece, so that the producer goes on copying
// while the disk writes. A BLOB_REF record is never split.
constexpr uint64_t kPieceBytes = uint64_t{16} << 20;

// Length of a DESC's name, of its shape and all: enough for the header reserve of a blob.
uint64_t NameBytes(const EncodedDescs& descs, uint32_t id) {
  const auto found = descs.find(id);
  return found == descs.end() ? 0 : found->second.size();
}

// Adds the entries of a kDesc payload to `descs`; a malformed one adds what was whole.
void CollectDescs(ByteSpan payload, EncodedDescs* descs) {
  ByteReader reader(payload);
  const uint32_t count = reader.Read<CountHeader>().count;
  for (uint32_t i = 0; i < count && reader.ok(); ++i) {
    const size_t begin = reader.offset();
    const auto entry = reader.Read<DescEntry>();
    reader.Skip(size_t{entry.ndim} * sizeof(int64_t));
    reader.Skip(entry.name_bytes);
    for (uint32_t c = 0; c < entry.collection_count && reader.ok(); ++c) {
      reader.Skip(reader.Read<uint16_t>());
    }
    const size_t nbytes = reader.offset() - begin;
    reader.Skip(AlignUp(nbytes, 8) - nbytes);
    if (reader.ok()) {
      const ByteSpan encoded = payload.subspan(begin, reader.offset() - begin);
      (*descs)[entry.id].assign(encoded.begin(), encoded.end());
    }
  }
}

std::span<BlobRefEntry> EntriesOf(std::vector<uint8_t>& record) {
  const auto header = LoadUnaligned<RecordHeader>(record.data());
  const auto head = LoadUnaligned<CountHeader>(record.data() + sizeof(RecordHeader));
  const uint64_t room = (header.payload_bytes - sizeof(CountHeader)) / sizeof(BlobRefEntry);
  return {
      reinterpret_cast<BlobRefEntry*>(record.data() + sizeof(RecordHeader) + sizeof(CountHeader)),
      std::min<uint64_t>(head.count, room)};
}

// What a BLOB_REF in the ring points at: bytes in all, and the blob stream offset behind the last
// reservation.
struct BlobExtent {
  uint64_t nbytes = 0;
  uint64_t end = 0;
};
BlobExtent ExtentOfBlobs(ByteSpan payload) {
  ByteReader reader(payload);
  BlobExtent extent;
  for (uint32_t left = reader.Read<CountHeader>().count; left > 0 && reader.ok(); --left) {
    const auto entry = reader.Read<BlobRefEntry>();
    extent.nbytes += entry.nbytes;
    extent.end = std::max(extent.end, entry.offset + AlignUp(entry.nbytes, kRecordAlignment));
  }
  return extent;
}

// A BLOB_REF whose bytes are gone becomes a GAP of the same size in the same transaction.
void TurnIntoGap(std::vector<uint8_t>& record) {
  auto header = LoadUnaligned<RecordHeader>(record.data());
  GapPayload gap{};
  gap.first_step = header.step;
  gap.last_step = header.step;
  gap.reason = GapReason::kDiskFull;
  gap.what = GapWhat::kRawTensors;
  for (const BlobRefEntry& entry : EntriesOf(record)) {
    ++gap.tensors_dropped;
    gap.bytes_dropped += entry.nbytes;
  }
  header.type = RecordType::kGap;
  std::memcpy(record.data(), &header, sizeof(header));
  std::fill(record.begin() + sizeof(header), record.end(), uint8_t{0});
  std::memcpy(record.data() + sizeof(header), &gap, sizeof(gap));
}

}  // namespace

Result<uint64_t> DiskJournalWriter::Drain(RankSegment& segment) {
  if (closed_) {
    return FailedPreconditionError("draining ring: the writer is closed");
  }
  ByteRing& ring = segment.journal_ring();
  // What is published from now on is the next call's, so that this one ends.
  const uint64_t stop = ring.offset() + ring.Readable().size();
  uint64_t drained = 0;
  do {
    WT_ASSIGN_OR_RETURN(const uint64_t nbytes, DrainChunk(segment, stop));
    drained += nbytes;
  } while (ring.offset() < stop);
  WT_RETURN_IF_ERROR(SyncIfDue(false));
  return drained;
}

Result<uint64_t> DiskJournalWriter::DrainChunk(RankSegment& segment, uint64_t stop) {
  ByteRing& ring = segment.journal_ring();
  const std::span<uint8_t> readable = ring.Readable().first(stop - ring.offset());
  if (!recovering_) {
    segment.page().heartbeat_ns.store(clock_.MonotonicNs(), std::memory_order_relaxed);
  }
  const Chunk chunk = WalkRing(readable, ring.offset());
  if (!chunk.bytes.empty()) {
    WT_RETURN_IF_ERROR(ResolveBlobs(chunk, segment.blob_ring()));
    if (options_.durability == Durability::kStep) {
      WT_RETURN_IF_ERROR(blobs_.Sync());
    }
    WT_RETURN_IF_ERROR(WriteChunk(chunk));
    NoteWritten(chunk);
    segment.page().drained_seq.store(last_seq_, std::memory_order_relaxed);
    ByteRing& blobs = segment.blob_ring();
    if (chunk.blob_end > blobs.offset()) {
      blobs.Release(std::min<uint64_t>(chunk.blob_end - blobs.offset(), blobs.Readable().size()));
    }
    ring.Release(chunk.bytes.size());
  }
  if (chunk.damaged) {
    const uint64_t lost = readable.size() - chunk.bytes.size();
    ring.Release(lost);
    return DataLossError(
        fmt::format("draining ring: {} bytes are no records and were passed over", lost));
  }
  return chunk.bytes.size();
}

DiskJournalWriter::Chunk DiskJournalWriter::WalkRing(std::span<uint8_t> readable,
                                                     uint64_t stream_offset) {
  Chunk chunk;
  chunk.stream_offset = stream_offset;
  chunk.open_transaction = open_transaction_;
  chunk.last_seq = last_seq_;
  uint64_t at = 0;
  while (at < readable.size()) {
    const std::span<uint8_t> rest = readable.subspan(at);
    if (rest.size() < sizeof(RecordHeader)) {
      chunk.damaged = true;
      break;
    }
    const auto header = LoadUnaligned<RecordHeader>(rest.data());
    if (header.payload_bytes > kMaxPayloadBytes ||
        RecordBytes(header.payload_bytes) > rest.size() ||
        (header.seq != 0 && header.seq <= chunk.last_seq)) {
      chunk.damaged = true;
      break;
    }
    if (header.type == RecordType::kBlobRef && chunk.blob_bytes >= kPieceBytes) {
      break;  // the next piece's
    }
    const uint64_t nbytes = RecordBytes(header.payload_bytes);
    at += nbytes;
    chunk.bytes = readable.first(at);
    ++chunk.records;
    chunk.last_seq = std::max(chunk.last_seq, header.seq);
    WalkRecord(header, rest.first(nbytes), &chunk);
  }
  return chunk;
}

void DiskJournalWriter::WalkRecord(const RecordHeader& header, std::span<uint8_t> record,
                                   Chunk* chunk) {
  const ByteSpan payload = ByteSpan(record).subspan(sizeof(header), header.payload_bytes);
  switch (header.type) {
    case RecordType::kCommit:
      chunk->open_transaction = false;
      chunk->has_rows = true;
      chunk->commits.push_back(chunk->bytes.size() - record.size());
      return;
    case RecordType::kHeartbeat:
    case RecordType::kSealed:
      return;
    case RecordType::kDesc:
      CollectDescs(payload, &descs_);
      break;
    case RecordType::kBlobRef: {
      const uint64_t at = chunk->stream_offset + chunk->bytes.size() - record.size();
      const auto [copy, added] = resolved_.try_emplace(at);
      if (added && header.payload_bytes >= sizeof(CountHeader)) {
        copy->second.assign(record.begin(), record.end());
      } else if (added) {
        resolved_.erase(copy);
      }
      const BlobExtent extent = ExtentOfBlobs(payload);
      chunk->blob_end = std::max(chunk->blob_end, extent.end);
      chunk->blob_bytes += extent.nbytes;
      chunk->has_rows = true;
      break;
    }
    default:
      chunk->has_rows = true;
      break;
  }
  if ((header.flags & kSelfCommitted) == 0) {
    chunk->open_transaction = true;
  }
}

Status DiskJournalWriter::ResolveBlobs(const Chunk& chunk, ByteRing& blobs) {
  const std::span<uint8_t> data = blobs.Readable();
  const uint64_t offset = blobs.offset();
  const uint64_t end = chunk.stream_offset + chunk.bytes.size();
  std::vector<UnwrittenBlob> unwritten;
  for (auto& [at, record] : resolved_) {
    if (at >= end || LoadUnaligned<RecordHeader>(record.data()).type != RecordType::kBlobRef) {
      continue;
    }
    const std::span<BlobRefEntry> entries = EntriesOf(record);
    const bool gone = std::any_of(entries.begin(), entries.end(), [&](const BlobRefEntry& entry) {
      return entry.blob_number == 0 &&
             (entry.offset < offset || entry.offset - offset > data.size() ||
              entry.nbytes > data.size() - (entry.offset - offset));
    });
    if (gone) {
      TurnIntoGap(record);
      continue;
    }
    for (BlobRefEntry& entry : entries) {
      if (entry.blob_number == 0) {
        unwritten.push_back({&entry, NameBytes(descs_, entry.desc)});
      }
    }
  }
  std::sort(unwritten.begin(), unwritten.end(), [](const UnwrittenBlob& a, const UnwrittenBlob& b) {
    return a.entry->offset < b.entry->offset;
  });
  if (!unwritten.empty()) {
    const uint64_t before = blobs_.bytes_written();
    WT_RETURN_IF_ERROR(blobs_.Write(data, offset, unwritten));
    const uint64_t wrote = blobs_.bytes_written() - before;
    bytes_written_.fetch_add(wrote, std::memory_order_relaxed);
    unsynced_bytes_ += wrote;
  }
  return {};
}

Status DiskJournalWriter::WriteChunk(const Chunk& chunk) {
  const MutexLock lock(append_mutex_);
  uint64_t at = 0;
  if (options_.durability == Durability::kStep) {
    // What a COMMIT closes is on the disk before the COMMIT can be seen.
    for (const uint64_t commit : chunk.commits) {
      if (commit > at) {
        WT_RETURN_IF_ERROR(WritePiece(chunk, at, commit));
        WT_RETURN_IF_ERROR(file_->Sync());
      }
      at = commit;
    }
  }
  WT_RETURN_IF_ERROR(WritePiece(chunk, at, chunk.bytes.size()));
  if (options_.durability == Durability::kStep) {
    WT_RETURN_IF_ERROR(file_->Sync());
  }
  half_written_ = 0;
  return {};
}

// Writes bytes [begin, end) of the chunk, records of resolved_ in place of the ring's, and skips
// what an earlier try left in the file already.
Status DiskJournalWriter::WritePiece(const Chunk& chunk, uint64_t begin, uint64_t end) {
  uint64_t at = begin;
  uint64_t run = begin;  // ring bytes [run, at) are finished and go out as they are
  while (at < end) {
    const auto header = LoadUnaligned<RecordHeader>(chunk.bytes.data() + at);
    const uint64_t nbytes = RecordBytes(header.payload_bytes);
    const auto replaced = resolved_.find(chunk.stream_offset + at);
    if (replaced == resolved_.end()) {
      FinishRecord(chunk.bytes.subspan(at, nbytes), file_->salt());
    } else {
      WT_RETURN_IF_ERROR(AppendOnce(chunk.bytes.subspan(run, at - run), run));
      FinishRecord(replaced->second, file_->salt());
      WT_RETURN_IF_ERROR(AppendOnce(replaced->second, at));
      run = at + nbytes;
    }
    at += nbytes;
  }
  return AppendOnce(chunk.bytes.subspan(run, end - run), run);
}

Status DiskJournalWriter::AppendOnce(ByteSpan bytes, uint64_t chunk_offset) {
  const uint64_t there = half_written_ > chunk_offset ? half_written_ - chunk_offset : 0;
  if (bytes.size() <= there) {
    return {};
  }
  uint64_t written = 0;
  Status status = file_->Append(bytes.subspan(there), &written);
  half_written_ = chunk_offset + there + written;
  return status;
}

void DiskJournalWriter::NoteWritten(const Chunk& chunk) {
  last_seq_ = chunk.last_seq;
  records_drained_ += chunk.records;
  open_transaction_ = chunk.open_transaction;
  has_rows_ = has_rows_ || chunk.has_rows;
  bytes_written_.fetch_add(chunk.bytes.size(), std::memory_order_relaxed);
  unsynced_bytes_ += chunk.bytes.size();
  resolved_.erase(resolved_.begin(),
                  resolved_.lower_bound(chunk.stream_offset + chunk.bytes.size()));
}

Status DiskJournalWriter::SyncIfDue(bool force) {
  if (options_.durability != Durability::kInterval || unsynced_bytes_ == 0) {
    return {};
  }
  const TimeNs now = clock_.MonotonicNs();
  if (!force && now - last_sync_ns_ < kSyncEveryNs && unsynced_bytes_ < kSyncEveryBytes) {
    return {};
  }
  WT_RETURN_IF_ERROR(blobs_.Sync());
  {
    const MutexLock lock(append_mutex_);
    WT_RETURN_IF_ERROR(file_->Sync());
  }
  last_sync_ns_ = now;
  unsynced_bytes_ = 0;
  return {};
}

// The bytes go; the records that point at them turn into GAPs when they are drained.
Status DiskJournalWriter::DiscardBlobs(RankSegment& segment) {
  ByteRing& blobs = segment.blob_ring();
  blobs.Release(blobs.Readable().size());
  return {};
}

Status DiskJournalWriter::RotateIfDue(bool force) {
  if (open_transaction_ || closed_) {
    return {};
  }
  uint64_t old_number = 0;
  {
    const MutexLock lock(append_mutex_);
    const TimeNs now = clock_.WallNs();
    // 5 % of the run's age: the number of sealed files grows with the logarithm of time.
    const TimeNs max_age = std::max(options_.rotate_age_ns, (now - run_started_ns_) / 20);
    const bool due = has_rows_ && (force || file_->size() >= options_.rotate_bytes ||
                                   now - file_->identity().created_wall_ns >= max_age);
    if (!due || half_written_ > 0) {
      return {};
    }
    if (options_.durability != Durability::kProcess) {
      WT_RETURN_IF_ERROR(file_->Sync());
    }
    old_number = file_->identity().file_number;
  }
  if (options_.durability != Durability::kProcess) {
    WT_RETURN_IF_ERROR(blobs_.Sync());
  }
  // The new file before the old one is queued: it repeats the names, so they outlive the old one.
  WT_RETURN_IF_ERROR(StartFile(old_number + 1, descs_));
  const MutexLock lock(queue_mutex_);
  seal_queue_.push_back(old_number);
  return {};
}

Status DiskJournalWriter::StartFile(uint64_t number, const EncodedDescs& descs) {
  JournalIdentity identity;
  identity.rank = options_.rank;
  identity.run_id = options_.run_id;
  identity.file_number = number;
  identity.salt = options_.salt != 0 ? options_.salt + number : RandomSalt();
  identity.created_wall_ns = clock_.WallNs();
  WT_ASSIGN_OR_RETURN(
      std::unique_ptr<JournalFile> file,
      JournalFile::Create(JournalPath(options_.run_dir, options_.rank, number), identity,
                          RepeatedDescRecords(descs, identity.created_wall_ns)));
  blobs_.FinishFile();
  has_rows_ = false;
  last_file_number_ = number;
  const MutexLock lock(append_mutex_);
  file_ = std::move(file);
  half_written_ = 0;
  return {};
}

}  // namespace wheeltapper::format
