#include "journal_scanner.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include <fmt/format.h>

#include "wheeltapper/core/crc32c.h"

namespace wheeltapper::format {
namespace {

constexpr size_t kHeaderCrcBytes = offsetof(RecordHeader, header_crc);
constexpr size_t kFileHeaderCrcBytes = offsetof(JournalFileHeader, crc);

bool HeaderCrcMatches(ByteSpan bytes) {
  return Crc32c(bytes.first(kHeaderCrcBytes)) ==
         LoadUnaligned<uint32_t>(bytes.data() + kHeaderCrcBytes);
}

bool IsTransactional(const RecordHeader& header) {
  return header.seq != 0 && (header.flags & (kSelfCommitted | kRepeated)) == 0 &&
         header.type != RecordType::kHeartbeat && header.type != RecordType::kSealed;
}

GapPayload CorruptionGap(int64_t first_step, int64_t last_step, uint64_t bytes) {
  GapPayload gap{};
  gap.first_step = std::min(first_step, last_step);
  gap.last_step = last_step;
  gap.reason = GapReason::kCorruption;
  gap.what = GapWhat::kWholeStep;
  gap.bytes_dropped = bytes;
  return gap;
}

}  // namespace

uint64_t JournalScanner::Scan(ByteSpan bytes, bool final, ScanSink& sink) {
  const uint64_t start = offset_;
  if (!header_read_) {
    offset_ += ScanFileHeader(bytes, final, sink);
  }
  bool more = header_read_;
  while (more) {
    const ByteSpan rest = bytes.subspan(offset_ - start);
    more = !rest.empty() && ScanRecord(rest, final, sink);
  }
  return offset_ - start;
}

bool JournalScanner::ScanRecord(ByteSpan rest, bool final, ScanSink& sink) {
  const Verdict verdict = Check(rest);
  if (verdict == Verdict::kGood) {
    const auto header = LoadUnaligned<RecordHeader>(rest.data());
    record_offset_ = offset_;
    Process(header, rest.subspan(sizeof(header), header.payload_bytes), sink);
    offset_ += RecordBytes(header.payload_bytes);
    valid_end_ = offset_;
    return true;
  }
  const std::optional<uint64_t> next =
      verdict == Verdict::kTorn ? std::nullopt : FindNextGood(rest, kRecordAlignment);
  if (next) {
    const auto header = LoadUnaligned<RecordHeader>(rest.data() + *next);
    SkipDamage(rest.first(*next), header.seq, header.step,
               verdict == Verdict::kBadPayload ? "payload checksum mismatch"
                                               : "record header checksum mismatch",
               sink);
    offset_ += *next;
    return true;
  }
  if (final) {
    SkipDamage(rest, std::nullopt, last_step_,
               verdict == Verdict::kTorn ? "unfinished record at the end of the file"
                                         : "damaged record at the end of the file",
               sink);
    offset_ += rest.size();
  }
  return final;
}

uint64_t JournalScanner::ScanFileHeader(ByteSpan bytes, bool final, ScanSink& sink) {
  if (bytes.size() < sizeof(JournalFileHeader)) {
    if (!final) {
      return 0;
    }
    header_read_ = true;
    if (!bytes.empty()) {
      sink.OnSkipped(0, bytes.size(), "file shorter than its header");
    }
    return bytes.size();
  }
  const auto header = LoadUnaligned<JournalFileHeader>(bytes.data());
  header_valid_ =
      header.magic == kJournalMagic && header.crc == Crc32c(bytes.first(kFileHeaderCrcBytes));
  if (header_valid_ && (header.run_id != run_id_ || header.rank != rank_.value)) {
    header_read_ = true;
    sink.OnSkipped(0, bytes.size(), "the file belongs to another run or rank");
    return bytes.size();
  }
  if (header_valid_) {
    salt_ = static_cast<uint32_t>(header.salt);
  } else if (!AdoptSaltOfFirstRecord(bytes)) {
    if (!final) {
      return 0;
    }
    header_read_ = true;
    SkipDamage(bytes, std::nullopt, last_step_, "file header damaged, no valid record", sink);
    return bytes.size();
  } else {
    sink.OnSkipped(0, sizeof(header), "file header checksum mismatch");
  }
  header_read_ = true;
  valid_end_ = sizeof(header);
  return sizeof(header);
}

// A damaged file header hides the salt, but each record's checksum covers the salted magic.
bool JournalScanner::AdoptSaltOfFirstRecord(ByteSpan bytes) {
  for (uint64_t at = sizeof(JournalFileHeader); at + sizeof(RecordHeader) <= bytes.size();
       at += kRecordAlignment) {
    const ByteSpan candidate = bytes.subspan(at, sizeof(RecordHeader));
    if (HeaderCrcMatches(candidate)) {
      salt_ = LoadUnaligned<uint32_t>(candidate.data()) ^ kRecordMagic;
      return true;
    }
  }
  return false;
}

JournalScanner::Verdict JournalScanner::Check(ByteSpan rest) const {
  if (rest.size() < sizeof(RecordHeader)) {
    return Verdict::kTorn;
  }
  const auto header = LoadUnaligned<RecordHeader>(rest.data());
  if (!salt_ || header.magic != (kRecordMagic ^ *salt_) || !HeaderCrcMatches(rest) ||
      header.payload_bytes > kMaxPayloadBytes) {
    return Verdict::kBadHeader;
  }
  if (rest.size() < RecordBytes(header.payload_bytes)) {
    return Verdict::kTorn;
  }
  return Crc32c(rest.subspan(sizeof(header), header.payload_bytes)) == header.payload_crc
             ? Verdict::kGood
             : Verdict::kBadPayload;
}

std::optional<uint64_t> JournalScanner::FindNextGood(ByteSpan rest, uint64_t from) const {
  for (uint64_t at = from; at + sizeof(RecordHeader) <= rest.size(); at += kRecordAlignment) {
    if (Check(rest.subspan(at)) != Verdict::kGood) {
      continue;
    }
    const auto seq = LoadUnaligned<uint64_t>(rest.data() + at + offsetof(RecordHeader, seq));
    if (seq == 0 || seq > last_seq_) {
      return at;
    }
  }
  return std::nullopt;
}

void JournalScanner::SkipDamage(ByteSpan skipped, std::optional<uint64_t> next_seq,
                                int64_t next_step, const char* reason, ScanSink& sink) {
  sink.OnSkipped(offset_, skipped.size(), reason);
  // Which sequence number was lost for certain? One just before the next record, if any is missing
  // there.
  const uint64_t seen = std::max(last_seq_, seq_before_);
  const uint64_t lost_seq = next_seq && *next_seq != 0 ? *next_seq - 1 : seen + 1;
  if (lost_seq <= seen) {
    return;  // what is damaged carried no number of the rank: the drain's own records
  }
  whole_since_ = lost_seq + 1;
  const int64_t first_step = records_ == 0 ? next_step : last_step_;
  EmitGap(CorruptionGap(first_step, next_step, skipped.size()), lost_seq, sink);
}

void JournalScanner::EmitGap(const GapPayload& gap, uint64_t seq, ScanSink& sink) {
  ScannedBatch batch;
  batch.key = StepKey{rank_, Step{gap.last_step}, Mode::kGlobal, gap.last_step};
  batch.first_seq = seq;
  batch.last_seq = seq;
  batch.wall_ns = last_wall_ns_;
  batch.gaps.push_back(gap);
  has_rows_ = true;
  last_seq_ = std::max(last_seq_, seq);
  sink.OnBatch(std::move(batch));
}

void JournalScanner::Process(const RecordHeader& header, ByteSpan payload, ScanSink& sink) {
  if (header.seq != 0) {
    if (header.seq <= last_seq_) {
      return;  // replayed twice: the first copy counts
    }
    if (header.seq != last_seq_ + 1) {
      whole_since_ = header.seq;
    }
    last_seq_ = header.seq;
    last_step_ = header.step;
    last_wall_ns_ = header.wall_ns;
  }
  ++records_;
  if (header.type == RecordType::kCommit) {
    Commit(header, payload, sink);
    return;
  }
  if (IsTransactional(header)) {
    marks_.push_back({header.seq, pending_.scalars.size(), pending_.stats.size(),
                      pending_.tensors.size(), pending_.gaps.size(), pending_.metas.size()});
    if (!Decode(header, payload, &pending_, sink)) {
      whole_since_ = header.seq + 1;
    }
    return;
  }
  ScannedBatch batch;
  batch.key =
      StepKey{rank_, Step{header.step}, static_cast<Mode>(header.mode & 3U), header.mode_step};
  batch.first_seq = header.seq;
  batch.last_seq = header.seq;
  batch.wall_ns = header.wall_ns;
  if (!Decode(header, payload, &batch, sink)) {
    batch = ScannedBatch{};
    if (header.seq != 0) {
      EmitGap(CorruptionGap(header.step, header.step, payload.size()), header.seq, sink);
    }
  }
  if (!batch.empty() && header.seq != 0) {
    has_rows_ = true;
    sink.OnBatch(std::move(batch));
  }
}

void JournalScanner::Commit(const RecordHeader& header, ByteSpan payload, ScanSink& sink) {
  if (payload.size() < sizeof(CommitPayload) || header.seq == 0) {
    sink.OnSkipped(record_offset_, 0, "malformed COMMIT");
    EmitGap(CorruptionGap(header.step, header.step, 0), header.seq, sink);
    ClearPending();
    return;
  }
  const auto commit = LoadUnaligned<CommitPayload>(payload.data());
  CutPendingBefore(commit.first_seq);
  const bool whole = commit.first_seq >= whole_since_ && commit.first_seq <= header.seq &&
                     commit.record_count <= header.seq - commit.first_seq;
  if (!whole) {
    sink.OnSkipped(record_offset_, 0, fmt::format("step {} lost a record: not shown", header.step));
    EmitGap(CorruptionGap(header.step, header.step, 0), header.seq, sink);
    ClearPending();
    return;
  }
  ScannedBatch batch = std::exchange(pending_, ScannedBatch{});
  marks_.clear();
  batch.key =
      StepKey{rank_, Step{header.step}, static_cast<Mode>(header.mode & 3U), header.mode_step};
  batch.first_seq = commit.first_seq;
  batch.last_seq = header.seq;
  batch.wall_ns = header.wall_ns;
  batch.is_step = true;
  batch.commit = commit;
  has_rows_ = true;
  ++commits_;
  sink.OnBatch(std::move(batch));
}

// Records before the COMMIT's first_seq belong to a transaction that was never closed.
void JournalScanner::CutPendingBefore(uint64_t first_seq) {
  const auto keep = std::find_if(marks_.begin(), marks_.end(),
                                 [first_seq](const Mark& mark) { return mark.seq >= first_seq; });
  if (keep == marks_.begin()) {
    return;
  }
  ++discarded_;
  if (keep == marks_.end()) {
    pending_ = ScannedBatch{};
    marks_.clear();
    return;
  }
  const auto cut = [](auto& list, size_t count) {
    list.erase(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(count));
  };
  cut(pending_.scalars, keep->scalars);
  cut(pending_.stats, keep->stats);
  cut(pending_.tensors, keep->tensors);
  cut(pending_.gaps, keep->gaps);
  cut(pending_.metas, keep->metas);
}

void JournalScanner::ClearPending() {
  ++discarded_;
  pending_ = ScannedBatch{};
  marks_.clear();
}

}  // namespace wheeltapper::format
