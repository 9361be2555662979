#include "seal.h"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <set>
#include <tuple>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/parquet.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/safetensors.h"

#include "blob_writer.h"
#include "journal_scanner.h"
#include "parquet/utf8.h"
#include "run_names.h"
#include "safetensors/header_checksum.h"
#include "sealed_sets.h"
#include "sealed_tables.h"

namespace wheeltapper::format {
namespace {

constexpr uint64_t kTensorAlignment = 64;

class BatchCollector final : public ScanSink {
 public:
  BatchCollector(std::string file, SealInput* input, SealOutcome* outcome)
      : file_(std::move(file)), input_(input), outcome_(outcome) {}
  void OnBatch(ScannedBatch&& batch) override { input_->batches.push_back(std::move(batch)); }
  void OnSkipped(uint64_t offset, uint64_t nbytes, const std::string& reason) override {
    outcome_->skipped.push_back({file_, offset, nbytes, reason});
  }

 private:
  std::string file_;
  SealInput* input_;
  SealOutcome* outcome_;
};

// Keys of one blob, each different: "<step>/<mode>/<rank>/<tensor>", then "#2", "#3" … when one
// comes again.
class KeyMaker {
 public:
  std::string Next(const StepKey& key, const std::string& tensor) {
    std::string name = fmt::format("{:09}/{}/{}/{}", key.step.value, ModeName(key.mode),
                                   key.rank.value, Printable(tensor));
    const uint64_t count = ++counts_[name];
    std::string unique = count == 1 ? name : fmt::format("{}#{}", name, count);
    while (!used_.insert(unique).second) {
      unique = fmt::format("{}#{}", name, ++counts_[name]);
    }
    return unique;
  }

 private:
  // Control characters would grow sixfold in JSON and overflow the header's reserve.
  static std::string Printable(const std::string& text) {
    std::string printable = parquet::ReplaceInvalidUtf8(text);
    for (char& c : printable) {
      c = static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '_' : c;
    }
    return printable;
  }
  std::map<std::string, uint64_t> counts_;
  std::set<std::string> used_;
};

class JournalSealer {
 public:
  explicit JournalSealer(const SealRequest& request) : request_(request) {
    input_.rank = request.rank;
  }

  Result<SealOutcome> Run() {
    const std::string path = JournalPath(request_.run_dir, request_.rank, request_.file_number);
    WT_ASSIGN_OR_RETURN(journal_, MappedFile::OpenReadOnly(path));
    BatchCollector sink(RelativeTo(request_.run_dir, path), &input_, &outcome_);
    JournalScanner scanner(request_.rank, request_.run_id, request_.seq_before);
    scanner.Scan(journal_.bytes(), true, sink);
    outcome_.highest_seq = scanner.last_seq();
    outcome_.discarded = scanner.discarded();
    if (input_.batches.empty()) {
      return outcome_;
    }
    outcome_.first_seq = input_.batches.front().first_seq;
    for (const ScannedBatch& batch : input_.batches) {
      outcome_.first_seq = std::min(outcome_.first_seq, batch.first_seq);
      outcome_.last_seq = std::max(outcome_.last_seq, batch.last_seq);
      outcome_.newest_step = std::max(outcome_.newest_step, batch.key.step.value);
      input_.places.emplace_back(batch.tensors.size());
    }
    WT_RETURN_IF_ERROR(FinishBlobs());
    WT_RETURN_IF_ERROR(PackInlineTensors());
    WT_RETURN_IF_ERROR(WriteTables());
    return outcome_;
  }

 private:
  // A raw tensor with the key of its step.
  struct TensorRef {
    const ScannedBatch* batch;
    const ScannedTensor* tensor;
    TensorPlace* place;
  };

  Status Probe(std::string_view step) const {
    return request_.probe ? request_.probe(step) : Status();
  }

  std::vector<TensorRef> Tensors(bool in_blob) {
    std::vector<TensorRef> refs;
    for (size_t b = 0; b < input_.batches.size(); ++b) {
      const ScannedBatch& batch = input_.batches[b];
      for (size_t t = 0; t < batch.tensors.size(); ++t) {
        if (batch.tensors[t].blob_number.has_value() == in_blob) {
          refs.push_back({&batch, &batch.tensors[t], &input_.places[b][t]});
        }
      }
    }
    return refs;
  }

  [[nodiscard]] std::map<std::string, std::string> BlobMetadata(
      const std::vector<TensorRef>& refs) const {
    int64_t first = refs.front().batch->key.step.value;
    int64_t last = first;
    for (const TensorRef& ref : refs) {
      first = std::min(first, ref.batch->key.step.value);
      last = std::max(last, ref.batch->key.step.value);
    }
    return {{"wheeltapper.format", std::to_string(kFormatVersion)},
            {"run_id", fmt::format("{:016x}", request_.run_id)},
            {"rank", std::to_string(request_.rank.value)},
            {"first_step", std::to_string(first)},
            {"last_step", std::to_string(last)},
            {std::string(safetensors::kWriterKey), std::string(safetensors::kWriter)},
            {std::string(safetensors::kChecksumKey), std::string(safetensors::kNoChecksum)}};
  }

  // The header, or one without entries when these cannot be written: the tensors table names the
  // bytes all the same.
  [[nodiscard]] Result<std::string> BlobHeader(const std::vector<TensorRef>& refs, uint64_t reserve,
                                               uint64_t file_bytes) const {
    std::vector<SafetensorsEntry> entries;
    KeyMaker keys;
    for (const TensorRef& ref : refs) {
      const uint64_t end = ref.place->offset + ref.tensor->nbytes;
      std::string key = keys.Next(ref.batch->key, ref.tensor->desc->name);
      if (ref.place->offset >= reserve && end <= file_bytes) {
        entries.push_back({std::move(key), ref.tensor->desc->dtype, ref.tensor->desc->shape,
                           ref.place->offset, end});
      }
    }
    Result<std::string> header =
        BuildSafetensorsHeader(entries, BlobMetadata(refs), reserve, file_bytes);
    return header.ok() ? header
                       : BuildSafetensorsHeader({}, BlobMetadata(refs), reserve, file_bytes);
  }

  void NoteBlob(const std::string& path, const std::vector<TensorRef>& refs) {
    for (const TensorRef& ref : refs) {
      int64_t& newest = outcome_.blob_steps.try_emplace(path, -1).first->second;
      newest = std::max(newest, ref.batch->key.step.value);
    }
  }

  Status FinishBlobs() {
    std::map<uint64_t, std::vector<TensorRef>> blobs;
    for (const TensorRef& ref : Tensors(true)) {
      const uint64_t number = *ref.tensor->blob_number;
      *ref.place = {
          RelativeTo(request_.run_dir, BlobPath(request_.run_dir, request_.rank, number, false)),
          ref.tensor->offset};
      blobs[number].push_back(ref);
      outcome_.highest_blob = std::max(outcome_.highest_blob, number);
    }
    for (const auto& [number, refs] : blobs) {
      WT_RETURN_IF_ERROR(FinishBlob(number, refs));
      NoteBlob(BlobPath(request_.run_dir, request_.rank, number, false), refs);
    }
    return {};
  }

  Status FinishBlob(uint64_t number, const std::vector<TensorRef>& refs) {
    const std::string open = BlobPath(request_.run_dir, request_.rank, number, true);
    const std::string done = BlobPath(request_.run_dir, request_.rank, number, false);
    if (PathExists(done)) {
      return {};
    }
    Result<FileDescriptor> file = OpenFile(open, O_RDWR);
    if (!file.ok() && file.status().code() == StatusCode::kNotFound) {
      outcome_.skipped.push_back({RelativeTo(request_.run_dir, done), 0, 0, "the blob is missing"});
      return {};
    }
    WT_RETURN_IF_ERROR(file.status());
    Result<uint64_t> reserve = ReadBlobReserve(*file);
    WT_ASSIGN_OR_RETURN(uint64_t file_bytes, FileSize(*file));
    if (!reserve.ok() || *reserve > file_bytes) {
      outcome_.skipped.push_back(
          {RelativeTo(request_.run_dir, open), 0, 0, "the blob has no header"});
      return {};  // left as it is; nothing in it can be placed for certain
    }
    uint64_t end = *reserve;
    for (const TensorRef& ref : refs) {
      end = std::max(end, ref.tensor->offset + ref.tensor->nbytes);
    }
    if (end < file_bytes) {  // tensors of a step that was never committed
      if (ftruncate(file->get(), static_cast<off_t>(end)) != 0) {
        return ErrnoError(errno, "cutting blob \"" + open + "\"");
      }
      file_bytes = end;
    }
    WT_RETURN_IF_ERROR(Probe("blob cut"));
    WT_ASSIGN_OR_RETURN(const std::string header, BlobHeader(refs, *reserve, file_bytes));
    WT_RETURN_IF_ERROR(WriteAt(*file, 0, AsBytes(header)));
    WT_RETURN_IF_ERROR(Probe("blob header"));
    if (fdatasync(file->get()) != 0) {
      return ErrnoError(errno, "syncing blob \"" + open + "\"");
    }
    WT_RETURN_IF_ERROR(RenameFile(open, done));
    return Probe("blob renamed");
  }

  // Small raw tensors come together, each tensor's steps side by side.
  Status PackInlineTensors() {
    std::vector<TensorRef> refs = Tensors(false);
    if (refs.empty()) {
      return {};
    }
    std::stable_sort(refs.begin(), refs.end(), [](const TensorRef& a, const TensorRef& b) {
      return std::tie(a.tensor->desc->name, a.batch->key.step) <
             std::tie(b.tensor->desc->name, b.batch->key.step);
    });
    uint64_t name_bytes = 0;
    for (const TensorRef& ref : refs) {
      constexpr uint64_t kKeyBytes = 64;
      name_bytes += kKeyBytes + ref.tensor->desc->name.size();
    }
    const std::string path =
        PackedBlobPath(request_.run_dir, request_.rank, outcome_.first_seq, outcome_.last_seq);
    const uint64_t reserve = SafetensorsHeaderReserve(refs.size(), name_bytes);
    uint64_t end = reserve;
    for (TensorRef& ref : refs) {
      ref.place->file = RelativeTo(request_.run_dir, path);
      ref.place->offset = AlignUp(end, kTensorAlignment);
      end = ref.place->offset + ref.tensor->nbytes;
    }
    NoteBlob(path, refs);
    if (PathExists(path)) {
      return {};
    }
    WT_ASSIGN_OR_RETURN(std::string content, BlobHeader(refs, reserve, end));
    content.resize(end, '\0');
    for (const TensorRef& ref : refs) {
      const ByteSpan data = journal_.bytes().subspan(ref.tensor->offset, ref.tensor->nbytes);
      std::copy(data.begin(), data.end(),
                content.begin() + static_cast<std::ptrdiff_t>(ref.place->offset));
    }
    WT_RETURN_IF_ERROR(WriteFileAtomically(path, content));
    return Probe("packed blob");
  }

  Status WriteTables() {
    const std::vector<SealedTable> tables = BuildTables(input_);
    std::vector<std::string> names;
    std::transform(tables.begin(), tables.end(), std::back_inserter(names),
                   [](const SealedTable& sealed) { return sealed.name; });
    for (const SealedTable& sealed : tables) {
      const std::string path = SealedPath(request_.run_dir, sealed.name, request_.rank,
                                          outcome_.first_seq, outcome_.last_seq);
      if (PathExists(path)) {
        continue;
      }
      ParquetOptions options;
      options.sorted_by = sealed.sorted_by;
      options.metadata = {{"wheeltapper.format", std::to_string(kFormatVersion)},
                          {"wheeltapper.table", sealed.name},
                          {"run_id", fmt::format("{:016x}", request_.run_id)},
                          {"rank", std::to_string(request_.rank.value)},
                          {"first_seq", std::to_string(outcome_.first_seq)},
                          {"last_seq", std::to_string(outcome_.last_seq)},
                          {"journal_file", std::to_string(request_.file_number)}};
      if (!sealed.names.empty()) {
        options.metadata["names"] = sealed.names;
      }
      if (sealed.name == kStepsTable) {
        options.metadata[kTablesKey] = JoinTables(names);
      }
      WT_RETURN_IF_ERROR(WriteParquet(path, sealed.table, options).WithContext("sealing"));
      WT_RETURN_IF_ERROR(Probe("table " + sealed.name));
    }
    return {};
  }

  const SealRequest& request_;
  MappedFile journal_;
  SealInput input_;
  SealOutcome outcome_;
};

}  // namespace

Result<SealOutcome> SealJournalFile(const SealRequest& request) {
  return JournalSealer(request).Run();
}

}  // namespace wheeltapper::format
