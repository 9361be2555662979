#include "test/ring_producer.h"

#include <cstring>

namespace wheeltapper::format {
namespace {

constexpr TimeNs kWallNs = 1'700'000'000'000'001'234;

}  // namespace

void RingProducer::Put(RecordType type, uint16_t flags, ByteSpan payload) {
  RecordHeader header{};
  header.magic = kRecordMagic;
  header.type = type;
  header.flags = flags;
  header.payload_bytes = payload.size();
  header.seq = seq_;
  header.step = step_;
  header.mode_step = step_;
  header.wall_ns = kWallNs + step_ * 1'000'000;
  header.mode = static_cast<uint8_t>(mode_);
  uint8_t* to = segment_.journal_ring().Reserve(RecordBytes(payload.size()));
  if (to == nullptr) {
    full_ = true;
    return;
  }
  std::memset(to, 0xEE, RecordBytes(payload.size()));  // old bytes in the padding must not get out
  std::memcpy(to, &header, sizeof(header));
  std::memcpy(to + sizeof(header), payload.data(), payload.size());
  if ((flags & kSelfCommitted) == 0 && type != RecordType::kCommit) {
    first_seq_ = records_ == 0 ? seq_ : first_seq_;
    ++records_;
    open_.push_back(to);
  }
  ++seq_;
}

void RingProducer::PutDesc(const DescEntry& head, const std::vector<int64_t>& shape,
                           const std::string& name, const std::vector<std::string>& collections) {
  ByteWriter payload;
  payload.Write(CountHeader{1, 0});
  payload.Write(head);
  for (const int64_t extent : shape) {
    payload.Write(extent);
  }
  payload.WriteText(name);
  for (const std::string& collection : collections) {
    payload.Write(static_cast<uint16_t>(collection.size()));
    payload.WriteText(collection);
  }
  payload.PadTo(8);
  Put(RecordType::kDesc, 0, payload.span());
}

void RingProducer::Tensor(uint32_t id, const std::string& name, tensor::DType dtype,
                          const std::vector<int64_t>& shape,
                          const std::vector<std::string>& collections) {
  PutDesc({id, DescKind::kTensor, static_cast<uint8_t>(dtype), static_cast<uint8_t>(shape.size()),
           0, static_cast<uint32_t>(name.size()), static_cast<uint32_t>(collections.size())},
          shape, name, collections);
}

void RingProducer::Scalar(uint32_t id, const std::string& name,
                          const std::vector<std::string>& collections) {
  PutDesc({id, DescKind::kScalar, static_cast<uint8_t>(tensor::DType::kF64), 0, 0,
           static_cast<uint32_t>(name.size()), static_cast<uint32_t>(collections.size())},
          {}, name, collections);
}

void RingProducer::AddScalars(const std::vector<std::pair<uint32_t, double>>& values) {
  ByteWriter payload;
  payload.Write(CountHeader{static_cast<uint32_t>(values.size()), 0});
  for (const auto& [id, value] : values) {
    payload.Write(ScalarEntry{id, 0, value});
  }
  Put(RecordType::kScalars, 0, payload.span());
}

void RingProducer::AddStats(uint32_t id, const tensor::TensorStats& stats, double median,
                            const std::vector<tensor::HistogramBin>& histogram) {
  ByteWriter payload;
  payload.Write(CountHeader{1, 0});
  payload.Write(StatsEntry{id, static_cast<uint32_t>(histogram.size()), median, stats});
  for (const tensor::HistogramBin& bin : histogram) {
    payload.Write(HistogramEntry{bin.bin, {}, bin.count});
  }
  Put(RecordType::kStats, 0, payload.span());
}

void RingProducer::AddRaw(uint32_t id, const std::vector<uint8_t>& data) {
  ByteWriter payload;
  payload.Write(CountHeader{1, 0});
  payload.Write(RawEntry{id, static_cast<uint32_t>(data.size())});
  payload.WriteSpan(data);
  payload.PadTo(8);
  Put(RecordType::kRaw, 0, payload.span());
}

void RingProducer::AddBlob(uint32_t id, const std::vector<uint8_t>& data) {
  ByteRing& ring = segment_.blob_ring();
  const uint64_t offset = ring.pending();
  uint8_t* to = ring.Reserve(AlignUp(data.size(), kRecordAlignment));
  if (to == nullptr) {
    full_ = true;
    return;
  }
  std::memcpy(to, data.data(), data.size());
  ByteWriter payload;
  payload.Write(CountHeader{1, 0});
  payload.Write(BlobRefEntry{id, 0, offset, data.size(), 0, Codec::kRaw, {}});
  Put(RecordType::kBlobRef, 0, payload.span());
}

void RingProducer::AddGap(const GapPayload& gap) {
  Put(RecordType::kGap, 0, {reinterpret_cast<const uint8_t*>(&gap), sizeof(gap)});
}

void RingProducer::Commit(int64_t step, Mode mode) {
  step_ = step;
  mode_ = mode;
  for (uint8_t* record : open_) {
    RecordHeader header = LoadUnaligned<RecordHeader>(record);
    header.step = step;
    header.mode_step = step;
    header.mode = static_cast<uint8_t>(mode);
    std::memcpy(record, &header, sizeof(header));
  }
  CommitPayload commit{};
  commit.first_seq = records_ == 0 ? seq_ : first_seq_;
  commit.record_count = records_;
  commit.monotonic_ns = 1000 + step;
  commit.blocked_ns = 17;
  commit.step_ns = 1'000'003;
  commit.data_wait_ns = 5;
  Put(RecordType::kCommit, 0, {reinterpret_cast<const uint8_t*>(&commit), sizeof(commit)});
  segment_.blob_ring().Publish();
  segment_.journal_ring().Publish();
  records_ = 0;
  open_.clear();
}

void RingProducer::PublishUnfinished() {
  segment_.blob_ring().Publish();
  segment_.journal_ring().Publish();
}

void RingProducer::LogScalar(int64_t step, uint32_t id, double value) {
  step_ = step;
  mode_ = Mode::kGlobal;
  ByteWriter payload;
  payload.Write(CountHeader{1, 0});
  payload.Write(ScalarEntry{id, 0, value});
  Put(RecordType::kScalars, kSelfCommitted, payload.span());
  segment_.journal_ring().Publish();
}

void RingProducer::LogMeta(int64_t step, const std::string& json) {
  step_ = step;
  mode_ = Mode::kGlobal;
  Put(RecordType::kMeta, kSelfCommitted, AsBytes(json));
  segment_.journal_ring().Publish();
}

}  // namespace wheeltapper::format
