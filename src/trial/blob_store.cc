#include "blob_store.h"

#include <string_view>
#include <utility>

#include "wheeltapper/core/crc32c.h"

namespace wheeltapper::trial {
namespace {

constexpr std::string_view kOpen = ".open";
constexpr std::string_view kFinished = ".safetensors";

// Maps a blob that is open or finished. A row may name it either way, and it may be finished, that
// is renamed, at any moment.
Result<MappedFile> MapUnderEitherName(const std::string& path) {
  const bool open = path.ends_with(kOpen);
  const size_t stem_bytes = path.size() - (open ? kOpen : kFinished).size();
  const std::string finished_path = path.substr(0, stem_bytes) + std::string(kFinished);
  const std::string open_path = path.substr(0, stem_bytes) + std::string(kOpen);
  Result<MappedFile> mapped = MappedFile::OpenReadOnly(finished_path);
  for (const std::string* other : {&open_path, &finished_path}) {
    if (mapped.ok() || mapped.status().code() != StatusCode::kNotFound) {
      break;
    }
    mapped = MappedFile::OpenReadOnly(*other);
  }
  return mapped;
}

std::string Where(const format::TensorRow& row) {
  return "\"" + row.file + "\", offset " + std::to_string(row.offset);
}

}  // namespace

Status CheckRowSize(const format::TensorRow& row) {
  uint64_t nbytes = tensor::ItemSize(row.dtype);
  bool fits = true;
  for (const int64_t extent : row.shape) {
    fits = fits && extent >= 0 &&
           !__builtin_mul_overflow(nbytes, static_cast<uint64_t>(extent), &nbytes);
  }
  if (!fits || nbytes != row.nbytes) {
    return DataLossError("reading a raw tensor: its size does not fit its dtype and shape: " +
                         Where(row));
  }
  return {};
}

bool BlobStore::IsInBlob(const format::TensorRow& row) {
  return row.file.ends_with(kOpen) || row.file.ends_with(kFinished);
}

Result<std::shared_ptr<BlobStore::Blob>> BlobStore::Map(const std::string& name,
                                                        uint64_t needed_bytes) {
  const auto at = index_.find(name);
  if (at != index_.end()) {
    entries_.splice(entries_.begin(), entries_, at->second);
    if (entries_.front().blob->file.bytes().size() >= needed_bytes) {
      return entries_.front().blob;
    }
    // An open blob that has grown since: mapped anew, while older values keep the old mapping.
    index_.erase(at);
    entries_.pop_front();
  }
  Result<MappedFile> mapped = MapUnderEitherName(JoinPath(run_dir_, name));
  WT_RETURN_IF_ERROR(mapped.status());
  auto blob = std::make_shared<Blob>();
  blob->file = std::move(*mapped);
  entries_.push_front({name, blob});
  index_[name] = entries_.begin();
  while (entries_.size() > max_mapped_ && entries_.size() > 1) {
    index_.erase(entries_.back().name);
    entries_.pop_back();
  }
  return blob;
}

Result<TensorValue> BlobStore::Read(const format::TensorRow& row) {
  WT_RETURN_IF_ERROR(CheckRowSize(row));
  uint64_t end = 0;
  if (__builtin_add_overflow(row.offset, row.nbytes, &end)) {
    return DataLossError("reading a raw tensor: impossible place: " + Where(row));
  }
  Result<std::shared_ptr<Blob>> mapped = Map(row.file, end);
  if (!mapped.ok()) {
    return mapped.status().WithContext("reading a raw tensor");
  }
  const std::shared_ptr<Blob>& blob = *mapped;
  if (blob->file.bytes().size() < end) {
    return DataLossError("reading a raw tensor: the blob ends before it: " + Where(row));
  }
  const ByteSpan bytes = blob->file.bytes().subspan(row.offset, row.nbytes);
  if (!blob->verified.contains(row.offset)) {
    if (Crc32c(bytes) != row.crc) {
      return DataLossError("reading a raw tensor: checksum mismatch: " + Where(row));
    }
    blob->verified.insert(row.offset);
  }
  return TensorValue{row.dtype, row.shape, bytes, blob};
}

}  // namespace wheeltapper::trial
