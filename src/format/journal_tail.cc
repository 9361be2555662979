#include "journal_tail.h"

#include <algorithm>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>

#include "run_names.h"
#include "sealed_tables.h"

namespace wheeltapper::format {
namespace {

constexpr size_t kReadBytes = size_t{1} << 20;
constexpr size_t kMaxReadBytes = size_t{1} << 31;

class TailSink final : public ScanSink {
 public:
  TailSink(const std::string& journal, const JournalTail::Target& target)
      : journal_(journal), target_(target) {}
  void OnBatch(ScannedBatch&& batch) override {
    if (batch.last_seq > target_.after) {
      (*target_.sink)(ToStepBatch(std::move(batch), journal_, target_.names));
    }
  }
  void OnSkipped(uint64_t offset, uint64_t nbytes, const std::string& reason) override {
    target_.skipped->push_back({journal_, offset, nbytes, reason});
  }

 private:
  const std::string& journal_;
  const JournalTail::Target& target_;
};

NameId Note(const Desc& desc, NameTable* names) {
  const NameId id = names->Intern(desc.name);
  NameInfo& info = names->info(id);
  info.kind = desc.kind;
  info.dtype = desc.dtype;
  if (info.shape != desc.shape) {
    info.shape = desc.shape;
  }
  if (info.collections != desc.collections) {
    info.collections = desc.collections;
  }
  return id;
}

}  // namespace

StepBatch ToStepBatch(ScannedBatch&& scanned, const std::string& journal, NameTable* names) {
  StepBatch batch;
  batch.key = scanned.key;
  batch.first_seq = scanned.first_seq;
  batch.last_seq = scanned.last_seq;
  batch.wall_ns = FloorToMicros(scanned.wall_ns);
  batch.is_step = scanned.is_step;
  batch.commit = scanned.commit;
  batch.commit.reserved = 0;
  batch.scalars.reserve(scanned.scalars.size());
  for (const ScannedScalar& row : scanned.scalars) {
    batch.scalars.push_back({Note(*row.desc, names), row.value});
  }
  batch.stats.reserve(scanned.stats.size());
  for (ScannedStats& row : scanned.stats) {
    batch.stats.push_back({Note(*row.desc, names), row.desc->dtype,
                           AsSealed(row.stats, row.desc->dtype), row.exact_median,
                           std::move(row.histogram)});
  }
  batch.tensors.reserve(scanned.tensors.size());
  for (const ScannedTensor& row : scanned.tensors) {
    // The name an open blob will have; until then ReadTensor finds it under the other.
    const std::string file =
        row.blob_number ? BlobPath("", batch.key.rank, *row.blob_number, false) : journal;
    batch.tensors.push_back({Note(*row.desc, names), row.desc->dtype, row.desc->shape, file,
                             row.offset, row.nbytes, row.crc});
  }
  for (const GapPayload& gap : scanned.gaps) {
    batch.gaps.push_back({gap});
  }
  batch.metas = std::move(scanned.metas);
  return batch;
}

Result<std::unique_ptr<JournalTail>> JournalTail::Open(const std::string& run_dir, Rank rank,
                                                       uint64_t run_id, uint64_t file_number,
                                                       uint64_t seq_before) {
  std::unique_ptr<JournalTail> tail(  // NOLINT(cppcoreguidelines-owning-memory)
      new JournalTail(rank, run_id, file_number, seq_before));
  const std::string path = JournalPath(run_dir, rank, file_number);
  tail->name_ = RelativeTo(run_dir, path);
  WT_ASSIGN_OR_RETURN(tail->file_, OpenFile(path, O_RDONLY));
  return tail;
}

bool JournalTail::removed() const {
  struct stat info{};
  return fstat(file_.get(), &info) == 0 && info.st_nlink == 0;
}

Status JournalTail::Read(bool final, const Target& target) {
  TailSink sink(name_, target);
  // Nothing is kept between calls: recovery may cut a torn tail and write it anew.
  std::vector<uint8_t>& buffer = *target.buffer;
  size_t want = kReadBytes;
  for (;;) {
    buffer.resize(std::max(buffer.size(), want));
    WT_ASSIGN_OR_RETURN(const size_t got, ReadSome(file_, scanner_.offset(), buffer.data(), want));
    const bool at_end = got < want;
    const uint64_t consumed = scanner_.Scan(ByteSpan(buffer).first(got), final && at_end, sink);
    if (at_end) {
      return {};
    }
    // A record larger than the buffer, or damage that goes on beyond it.
    if (consumed == 0 && got == kMaxReadBytes) {
      return DataLossError("reading journal \"" + name_ + "\": no valid record in 2 GiB");
    }
    want = consumed == 0 ? std::min(want * 4, kMaxReadBytes) : want;
  }
}

}  // namespace wheeltapper::format
