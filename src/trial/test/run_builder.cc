#include "run_builder.h"

#include <cstring>
#include <filesystem>
#include <span>

#include <gtest/gtest.h>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/file.h"

namespace wheeltapper::trial {
namespace {

using format::CountHeader;
using format::RecordHeader;
using format::RecordType;

template <typename T>
uint8_t* Put(uint8_t* to, const T& value) {
  std::memcpy(to, &value, sizeof(value));
  return to + sizeof(value);
}

uint8_t* PutBytes(uint8_t* to, const void* from, size_t nbytes) {
  if (nbytes > 0) {  // an empty vector has no data
    std::memcpy(to, from, nbytes);
  }
  return to + nbytes;
}

}  // namespace

void MakeRun(const std::string& run_dir, const Clock& clock) {
  format::RunInfo info;
  info.format_version = format::kFormatVersion;
  info.min_reader = format::kMinReaderVersion;
  info.name = "swift-otter-12";
  info.run_id = kTestRunId;
  info.started_wall_ns = clock.WallNs();
  const Status made = format::CreateRunDirectory(run_dir, info);
  ASSERT_TRUE(made.ok()) << made.ToString();
}

RankBuilder::RankBuilder(const std::string& run_dir, Rank rank, const Clock& clock,
                         const RankBuilderOptions& options)
    : run_dir_(run_dir), clock_(clock) {
  format::SegmentOptions segment;
  segment.path = JoinPath(run_dir, "journal/segment-" + std::to_string(rank.value) + "-" +
                                       std::to_string(options.incarnation) + ".ring");
  segment.rank = rank;
  segment.run_id = kTestRunId;
  segment.incarnation = options.incarnation;
  segment.journal_ring_bytes = options.journal_ring_bytes;
  segment.blob_ring_bytes = options.blob_ring_bytes;
  EXPECT_TRUE(MakeDirectories(JoinPath(run_dir, "journal")).ok());
  auto made = format::RankSegment::Create(segment);
  EXPECT_TRUE(made.ok()) << made.status().ToString();
  segment_ = std::move(made).value();

  format::WriterOptions writer;
  writer.run_dir = run_dir;
  writer.rank = rank;
  writer.run_id = kTestRunId;
  auto opened = format::JournalWriter::Open(writer, clock);
  EXPECT_TRUE(opened.ok()) << opened.status().ToString();
  writer_ = std::move(opened).value();
  next_seq_ = writer_->next_seq();

  format::RankInfo info;
  info.rank = rank;
  info.incarnation = options.incarnation;
  info.segment_path = segment.path;
  info.wall_ns = clock.WallNs();
  info.monotonic_ns = clock.MonotonicNs();
  EXPECT_TRUE(format::WriteRankInfo(run_dir, info).ok());
  Heartbeat(clock.MonotonicNs());
}

RankBuilder::~RankBuilder() = default;

void RankBuilder::Heartbeat(TimeNs monotonic_ns) {
  segment_->page().heartbeat_ns.store(monotonic_ns, std::memory_order_release);
}

void RankBuilder::Begin(int64_t step, Mode mode, int64_t mode_step) {
  step_ = step;
  mode_ = mode;
  mode_step_ = mode_step;
}

uint8_t* RankBuilder::Record(RecordType type, uint64_t payload_bytes, bool alone) {
  const uint64_t record_bytes = format::RecordBytes(payload_bytes);
  uint8_t* record = segment_->journal_ring().Reserve(record_bytes);
  if (record == nullptr) {
    segment_->journal_ring().Publish();
    Drain();
    record = segment_->journal_ring().Reserve(record_bytes);
  }
  EXPECT_NE(record, nullptr) << "the ring is too small for the test";
  std::memset(record, 0, record_bytes);
  RecordHeader header{};
  header.magic = format::kRecordMagic;
  header.type = type;
  header.flags = alone ? format::kSelfCommitted : uint16_t{0};
  header.payload_bytes = payload_bytes;
  header.seq = next_seq_++;
  header.step = step_;
  header.mode_step = mode_step_;
  header.wall_ns = clock_.WallNs();
  header.mode = static_cast<uint8_t>(mode_);
  if (!alone && type != RecordType::kCommit) {
    first_seq_ = records_++ == 0 ? header.seq : first_seq_;
  }
  return Put(record, header);
}

uint32_t RankBuilder::Describe(const std::string& name, format::DescKind kind,
                               const std::vector<int64_t>& shape,
                               const std::vector<std::string>& collections) {
  // The shape takes part: a described tensor may change it.
  std::string key = name + "/" + std::to_string(static_cast<int>(kind));
  for (const int64_t extent : shape) {
    key += "," + std::to_string(extent);
  }
  const auto [at, added] = descs_.try_emplace(key, static_cast<uint32_t>(descs_.size() + 1));
  if (!added) {
    return at->second;
  }
  ByteWriter payload;
  payload.Write(CountHeader{1, 0});
  format::DescEntry entry{};
  entry.id = at->second;
  entry.kind = kind;
  entry.dtype = static_cast<uint8_t>(tensor::DType::kF32);
  entry.ndim = static_cast<uint8_t>(shape.size());
  entry.name_bytes = static_cast<uint32_t>(name.size());
  entry.collection_count = static_cast<uint32_t>(collections.size());
  payload.Write(entry);
  for (const int64_t extent : shape) {
    payload.Write(extent);
  }
  payload.WriteText(name);
  for (const std::string& collection : collections) {
    payload.Write(static_cast<uint16_t>(collection.size()));
    payload.WriteText(collection);
  }
  payload.PadTo(8);
  PutBytes(Record(RecordType::kDesc, payload.size(), true), payload.span().data(), payload.size());
  return at->second;
}

void RankBuilder::Scalar(const std::string& name, double value,
                         const std::vector<std::string>& collections) {
  const uint32_t desc = Describe(name, format::DescKind::kScalar, {}, collections);
  uint8_t* to =
      Record(RecordType::kScalars, sizeof(CountHeader) + sizeof(format::ScalarEntry), false);
  Put(Put(to, CountHeader{1, 0}), format::ScalarEntry{desc, 0, value});
}

void RankBuilder::Log(const std::string& name, double value) {
  const uint32_t desc = Describe(name, format::DescKind::kScalar, {}, {});
  uint8_t* to =
      Record(RecordType::kScalars, sizeof(CountHeader) + sizeof(format::ScalarEntry), true);
  Put(Put(to, CountHeader{1, 0}), format::ScalarEntry{desc, 0, value});
}

void RankBuilder::Stats(const std::string& name, const std::vector<float>& values,
                        const std::vector<std::string>& collections, bool histogram) {
  const auto count = static_cast<int64_t>(values.size());
  const uint32_t desc = Describe(name, format::DescKind::kTensor, {count}, collections);
  const tensor::TensorView view{values.data(), tensor::DType::kF32, 1, &count, nullptr};
  std::vector<tensor::HistogramBin> bins;
  if (histogram) {
    tensor::Histogram dense;
    dense.Add(view);
    bins.resize(static_cast<size_t>(dense.bins_used()));
    (void)dense.Sparse(bins);
  }
  format::StatsEntry entry{};
  entry.desc = desc;
  entry.histogram_bins = static_cast<uint32_t>(bins.size());
  entry.exact_median = std::numeric_limits<double>::quiet_NaN();
  entry.stats = tensor::ComputeStats(view, {.product = histogram});
  if (!histogram) {
    entry.stats.prod_sign = std::numeric_limits<double>::quiet_NaN();
    entry.stats.log2_abs_prod = std::numeric_limits<double>::quiet_NaN();
  }
  uint8_t* to = Record(
      RecordType::kStats,
      sizeof(CountHeader) + sizeof(entry) + bins.size() * sizeof(format::HistogramEntry), false);
  to = Put(Put(to, CountHeader{1, 0}), entry);
  for (const tensor::HistogramBin& bin : bins) {
    format::HistogramEntry stored{};
    stored.bin = bin.bin;
    stored.count = bin.count;
    to = Put(to, stored);
  }
}

void RankBuilder::Raw(const std::string& name, const std::vector<float>& values) {
  const uint32_t desc =
      Describe(name, format::DescKind::kTensor, {static_cast<int64_t>(values.size())}, {});
  const size_t nbytes = values.size() * sizeof(float);
  uint8_t* to = Record(RecordType::kRaw,
                       sizeof(CountHeader) + sizeof(format::RawEntry) + AlignUp(nbytes, 8), false);
  to = Put(Put(to, CountHeader{1, 0}), format::RawEntry{desc, static_cast<uint32_t>(nbytes)});
  PutBytes(to, values.data(), nbytes);
}

void RankBuilder::Blob(const std::string& name, const std::vector<float>& values) {
  const uint32_t desc =
      Describe(name, format::DescKind::kTensor, {static_cast<int64_t>(values.size())}, {});
  const size_t nbytes = values.size() * sizeof(float);
  format::ByteRing& ring = segment_->blob_ring();
  const uint64_t offset = ring.pending();
  uint8_t* data = ring.Reserve(AlignUp(nbytes, 64));
  ASSERT_NE(data, nullptr) << "the blob ring is too small for the test";
  PutBytes(data, values.data(), nbytes);
  ring.Publish();
  format::BlobRefEntry entry{};
  entry.desc = desc;
  entry.offset = offset;
  entry.nbytes = nbytes;
  uint8_t* to = Record(RecordType::kBlobRef, sizeof(CountHeader) + sizeof(entry), false);
  Put(Put(to, CountHeader{1, 0}), entry);
}

void RankBuilder::Commit(TimeNs blocked_ns, TimeNs step_ns) {
  format::CommitPayload commit{};
  commit.first_seq = records_ == 0 ? next_seq_ : first_seq_;
  commit.record_count = records_;
  commit.monotonic_ns = clock_.MonotonicNs();
  commit.blocked_ns = blocked_ns;
  commit.step_ns = step_ns;
  commit.data_wait_ns = step_ns / 10;
  Put(Record(RecordType::kCommit, sizeof(commit), false), commit);
  records_ = 0;
  segment_->journal_ring().Publish();
  segment_->page().step.store(step_, std::memory_order_release);
}

void RankBuilder::Gap(int64_t first_step, int64_t last_step) {
  format::GapPayload gap{};
  gap.first_step = first_step;
  gap.last_step = last_step;
  gap.reason = format::GapReason::kRingFull;
  gap.what = format::GapWhat::kRawTensors;
  gap.tensors_dropped = 3;
  gap.bytes_dropped = 400;
  Put(Record(RecordType::kGap, sizeof(gap), true), gap);
}

void RankBuilder::Meta(const std::string& json) {
  PutBytes(Record(RecordType::kMeta, json.size(), true), json.data(), json.size());
}

void RankBuilder::Drain() {
  segment_->journal_ring().Publish();
  const auto drained = writer_->Drain(*segment_);
  ASSERT_TRUE(drained.ok()) << drained.status().ToString();
}

void RankBuilder::Rotate() {
  const Status rotated = writer_->RotateIfDue(true);
  ASSERT_TRUE(rotated.ok()) << rotated.ToString();
}

bool RankBuilder::Seal() {
  bool any = false;
  for (;;) {
    const auto sealed = writer_->SealNext();
    EXPECT_TRUE(sealed.ok()) << sealed.status().ToString();
    if (!sealed.ok() || !*sealed) {
      return any;
    }
    any = true;
  }
}

void RankBuilder::Close() {
  Drain();
  const Status closed = writer_->Close();
  ASSERT_TRUE(closed.ok()) << closed.ToString();
  ASSERT_TRUE(segment_->Remove().ok());
}

}  // namespace wheeltapper::trial
