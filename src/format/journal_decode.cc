// The payloads of journal records: JournalScanner's second half.
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "wheeltapper/core/crc32c.h"

#include "journal_scanner.h"

namespace wheeltapper::format {
namespace {

// −1 when the product does not fit.
int64_t ElementCount(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) {
      return -1;
    }
  }
  return count;
}

bool FitsShape(const Desc& desc, uint64_t nbytes) {
  const int64_t count = ElementCount(desc.shape);
  return count >= 0 && nbytes / tensor::ItemSize(desc.dtype) == static_cast<uint64_t>(count) &&
         nbytes % tensor::ItemSize(desc.dtype) == 0;
}

// The count at the head of a payload, when that many entries of `entry_bytes` can be there.
bool ReadCount(ByteReader& reader, uint64_t entry_bytes, uint32_t* count) {
  *count = reader.Read<CountHeader>().count;
  return reader.ok() && *count <= reader.remaining() / entry_bytes;
}

}  // namespace

DescPtr JournalScanner::Find(uint32_t id, DescKind kind) const {
  const auto found = descs_.find(id);
  return found != descs_.end() && found->second->kind == kind ? found->second : nullptr;
}

bool JournalScanner::Decode(const RecordHeader& header, ByteSpan payload, ScannedBatch* batch,
                            ScanSink& sink) {
  bool ok = true;
  uint64_t unnamed = 0;
  switch (header.type) {
    case RecordType::kDesc:
      ok = DecodeDescs(payload);
      break;
    case RecordType::kScalars:
      ok = DecodeScalars(payload, batch, &unnamed);
      break;
    case RecordType::kStats:
      ok = DecodeStats(payload, batch, &unnamed);
      break;
    case RecordType::kRaw:
      ok = DecodeRaw(payload, batch, &unnamed);
      break;
    case RecordType::kBlobRef:
      ok = DecodeBlobRefs(payload, batch, &unnamed);
      break;
    case RecordType::kGap:
      ok = payload.size() >= sizeof(GapPayload);
      if (ok) {
        batch->gaps.push_back(LoadUnaligned<GapPayload>(payload.data()));
      }
      break;
    case RecordType::kMeta:
      batch->metas.emplace_back(AsText(payload));
      break;
    default:
      break;  // heartbeat, SEALED, and types of later versions: no rows
  }
  if (!ok) {
    sink.OnSkipped(record_offset_, RecordBytes(payload.size()), "malformed payload");
    return false;
  }
  if (unnamed > 0) {
    sink.OnSkipped(record_offset_, 0,
                   fmt::format("{} rows of step {} without a usable name or shape: not shown",
                               unnamed, header.step));
    GapPayload gap{};
    gap.first_step = header.step;
    gap.last_step = header.step;
    gap.reason = GapReason::kCorruption;
    gap.what = header.type == RecordType::kRaw || header.type == RecordType::kBlobRef
                   ? GapWhat::kRawTensors
                   : GapWhat::kStats;
    gap.tensors_dropped = unnamed;
    batch->gaps.push_back(gap);
  }
  return true;
}

bool JournalScanner::DecodeDescs(ByteSpan payload) {
  ByteReader reader(payload);
  uint32_t count = 0;
  if (!ReadCount(reader, sizeof(DescEntry), &count)) {
    return false;
  }
  for (uint32_t i = 0; i < count; ++i) {
    const size_t begin = reader.offset();
    const auto entry = reader.Read<DescEntry>();
    auto desc = std::make_shared<Desc>();
    desc->kind = entry.kind;
    desc->dtype = static_cast<tensor::DType>(entry.dtype);
    for (int axis = 0; axis < entry.ndim; ++axis) {
      desc->shape.push_back(reader.Read<int64_t>());
    }
    desc->name = reader.ReadText(entry.name_bytes);
    for (uint32_t c = 0; reader.ok() && c < entry.collection_count; ++c) {
      desc->collections.emplace_back(reader.ReadText(reader.Read<uint16_t>()));
    }
    const size_t end = reader.offset();
    reader.Skip(AlignUp(end - begin, 8) - (end - begin));
    if (!reader.ok() || !tensor::IsValidDType(entry.dtype) ||
        (entry.kind != DescKind::kTensor && entry.kind != DescKind::kScalar)) {
      return false;
    }
    const ByteSpan encoded = payload.subspan(begin, reader.offset() - begin);
    encoded_descs_[entry.id].assign(encoded.begin(), encoded.end());
    descs_[entry.id] = std::move(desc);
  }
  return true;
}

bool JournalScanner::DecodeScalars(ByteSpan payload, ScannedBatch* batch, uint64_t* unnamed) {
  ByteReader reader(payload);
  uint32_t count = 0;
  if (!ReadCount(reader, sizeof(ScalarEntry), &count)) {
    return false;
  }
  for (uint32_t i = 0; i < count; ++i) {
    const auto entry = reader.Read<ScalarEntry>();
    DescPtr desc = Find(entry.desc, DescKind::kScalar);
    if (desc == nullptr) {
      ++*unnamed;
      continue;
    }
    batch->scalars.push_back({std::move(desc), entry.value});
  }
  return true;
}

bool JournalScanner::DecodeStats(ByteSpan payload, ScannedBatch* batch, uint64_t* unnamed) {
  ByteReader reader(payload);
  uint32_t count = 0;
  if (!ReadCount(reader, sizeof(StatsEntry), &count)) {
    return false;
  }
  ByteReader bins(payload);
  bins.Skip(sizeof(CountHeader) + uint64_t{count} * sizeof(StatsEntry));
  for (uint32_t i = 0; i < count; ++i) {
    const auto entry = reader.Read<StatsEntry>();
    if (entry.histogram_bins > bins.remaining() / sizeof(HistogramEntry)) {
      return false;
    }
    ScannedStats row{Find(entry.desc, DescKind::kTensor), entry.stats, entry.exact_median, {}};
    row.histogram.reserve(entry.histogram_bins);
    for (uint32_t b = 0; b < entry.histogram_bins; ++b) {
      const auto bin = bins.Read<HistogramEntry>();
      if (std::abs(int{bin.bin}) > kMaxBin) {
        return false;
      }
      row.histogram.push_back({bin.bin, bin.count});
    }
    if (row.desc == nullptr || ElementCount(row.desc->shape) != entry.stats.numel) {
      ++*unnamed;
      continue;
    }
    batch->stats.push_back(std::move(row));
  }
  return true;
}

bool JournalScanner::DecodeRaw(ByteSpan payload, ScannedBatch* batch, uint64_t* unnamed) {
  ByteReader reader(payload);
  uint32_t count = 0;
  if (!ReadCount(reader, sizeof(RawEntry), &count)) {
    return false;
  }
  for (uint32_t i = 0; i < count; ++i) {
    const auto entry = reader.Read<RawEntry>();
    const uint64_t at = reader.offset();
    const ByteSpan data = reader.ReadSpan(entry.nbytes);
    reader.Skip(AlignUp(uint64_t{entry.nbytes}, 8) - entry.nbytes);
    if (!reader.ok()) {
      return false;
    }
    DescPtr desc = Find(entry.desc, DescKind::kTensor);
    if (desc == nullptr || !FitsShape(*desc, entry.nbytes)) {
      ++*unnamed;
      continue;
    }
    batch->tensors.push_back({std::move(desc), std::nullopt,
                              record_offset_ + sizeof(RecordHeader) + at, entry.nbytes,
                              Crc32c(data)});
  }
  return true;
}

bool JournalScanner::DecodeBlobRefs(ByteSpan payload, ScannedBatch* batch, uint64_t* unnamed) {
  ByteReader reader(payload);
  uint32_t count = 0;
  if (!ReadCount(reader, sizeof(BlobRefEntry), &count)) {
    return false;
  }
  for (uint32_t i = 0; i < count; ++i) {
    const auto entry = reader.Read<BlobRefEntry>();
    DescPtr desc = Find(entry.desc, DescKind::kTensor);
    if (desc == nullptr || entry.codec != Codec::kRaw || entry.blob_number == 0 ||
        !FitsShape(*desc, entry.nbytes)) {
      ++*unnamed;
      continue;
    }
    batch->tensors.push_back(
        {std::move(desc), entry.blob_number, entry.offset, entry.nbytes, entry.crc});
  }
  return true;
}

}  // namespace wheeltapper::format
