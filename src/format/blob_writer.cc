#include "blob_writer.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

#include "wheeltapper/core/crc32c.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/safetensors.h"

#include "run_names.h"

namespace wheeltapper::format {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kMinReserve = 256 * 1024;
constexpr uint64_t kMinDirectBytes = 256 * 1024;
// Step, mode, rank and a repeat count in front of and behind a tensor's name.
constexpr uint64_t kKeyBytes = 64;
// JSON may write one byte as six ("\u0001"); the sealer's keys hold no control characters, so two
// is enough for quotes.
constexpr uint64_t kEscape = 2;

// Checksummed and written at a time: large enough for the disk's full rate, small enough that the
// disk soon has its first.
constexpr uint64_t kSliceBytes = uint64_t{4} << 20;
constexpr uint64_t kGrowBytes = uint64_t{64} << 20;

uint64_t KeyBytes(const UnwrittenBlob& blob) { return kKeyBytes + kEscape * blob.name_bytes; }

// Bytes of the next slice at file offset `at`: it ends on a page, and leaves no rest that would be
// too short for O_DIRECT.
uint64_t SliceBytes(uint64_t at, uint64_t left) {
  return left < kSliceBytes + kMinDirectBytes ? left : kSliceBytes - at % kPage;
}

// Checksums the tensors of a run while the run's bytes come by in order.
class ChecksumSweep {
 public:
  explicit ChecksumSweep(std::span<UnwrittenBlob> run) : run_(run), at_(run.front().entry->offset) {
    for (UnwrittenBlob& blob : run) {
      blob.entry->crc = 0;
    }
  }
  void Add(ByteSpan bytes) {
    const uint64_t end = at_ + bytes.size();
    while (next_ < run_.size() && run_[next_].entry->offset < end) {
      BlobRefEntry& entry = *run_[next_].entry;
      const uint64_t from = std::max(at_, entry.offset);
      const uint64_t to = std::min(end, entry.offset + entry.nbytes);
      entry.crc = Crc32c(bytes.subspan(from - at_, to - from), entry.crc);
      if (entry.offset + entry.nbytes > end) {
        break;  // goes on in the next slice
      }
      ++next_;
    }
    at_ = end;
  }

 private:
  std::span<UnwrittenBlob> run_;
  size_t next_ = 0;
  uint64_t at_;
};

}  // namespace

std::string OpenBlobHeader(uint64_t reserve) {
  const uint64_t json_bytes = reserve - sizeof(uint64_t);
  std::string header(reinterpret_cast<const char*>(&json_bytes), sizeof(json_bytes));
  header += R"({"__metadata__":{"wheeltapper":"unfinished"}})";
  header.resize(reserve, ' ');
  return header;
}

Result<uint64_t> ReadBlobReserve(const FileDescriptor& file) {
  uint64_t json_bytes = 0;
  WT_RETURN_IF_ERROR(ReadExactly(file, 0, &json_bytes, sizeof(json_bytes)));
  constexpr uint64_t kMaxReserve = 100'000'000;
  if (json_bytes > kMaxReserve || (json_bytes + sizeof(json_bytes)) % kPage != 0) {
    return DataLossError("reading blob header: its length makes no sense: " +
                         std::to_string(json_bytes));
  }
  return json_bytes + sizeof(json_bytes);
}

bool BlobWriter::Fits(const UnwrittenBlob& blob) const {
  return end_ + blob.entry->nbytes <= rotate_bytes_ &&
         SafetensorsHeaderReserve(tensors_ + 1, name_bytes_ + KeyBytes(blob)) <= reserve_;
}

Status BlobWriter::OpenNext(uint64_t first_name_bytes) {
  FinishFile();
  reserve_ = std::max(kMinReserve, SafetensorsHeaderReserve(1, first_name_bytes));
  const std::string path = BlobPath(run_dir_, rank_, next_number_, true);
  WT_ASSIGN_OR_RETURN(FileDescriptor file, OpenFile(path, O_RDWR | O_CREAT | O_TRUNC));
  if (Status status = WriteAt(file, 0, AsBytes(OpenBlobHeader(reserve_))); !status.ok()) {
    RemoveFile(path).IgnoreError("an unused blob is removed by recovery");
    return status.WithContext("creating blob \"" + path + "\"");
  }
  file_ = std::move(file);
  if (Result<FileDescriptor> direct = OpenFile(path, O_WRONLY | O_DIRECT); direct.ok()) {
    direct_ = std::move(direct).value();
  }
  number_ = next_number_++;
  end_ = reserve_;
  tensors_ = 0;
  name_bytes_ = 0;
  return {};
}

Status BlobWriter::Write(ByteSpan ring, uint64_t ring_offset, std::vector<UnwrittenBlob>& blobs) {
  size_t done = 0;
  while (done < blobs.size()) {
    if (!file_.valid() || (tensors_ > 0 && !Fits(blobs[done]))) {
      WT_RETURN_IF_ERROR(OpenNext(KeyBytes(blobs[done])));
    }
    // A run: neighbours in the ring that fit the file, written as one piece, the padding between
    // them included.
    size_t last = done;
    uint64_t run_end = blobs[done].entry->offset + blobs[done].entry->nbytes;
    uint64_t run_names = KeyBytes(blobs[done]);
    while (last + 1 < blobs.size()) {
      const UnwrittenBlob& next = blobs[last + 1];
      const uint64_t next_end = next.entry->offset + next.entry->nbytes;
      const uint64_t file_end = end_ + kPage + next_end - blobs[done].entry->offset;
      if (next.entry->offset < run_end || next.entry->offset - run_end >= kPage ||
          file_end > rotate_bytes_ ||
          SafetensorsHeaderReserve(tensors_ + last + 2 - done,
                                   name_bytes_ + run_names + KeyBytes(next)) > reserve_) {
        break;
      }
      run_end = next_end;
      run_names += KeyBytes(next);
      ++last;
    }
    WT_RETURN_IF_ERROR(
        WriteRun(ring, ring_offset, std::span(blobs).subspan(done, last + 1 - done)));
    done = last + 1;
  }
  return {};
}

Status BlobWriter::WriteRun(ByteSpan ring, uint64_t ring_offset, std::span<UnwrittenBlob> run) {
  const uint64_t first = run.front().entry->offset;
  const uint64_t last = run.back().entry->offset + run.back().entry->nbytes;
  // The same place within a page as in the ring, so that O_DIRECT can take the ring's pages as they
  // are.
  uint64_t file_first = AlignUp(end_, kPage) + first % kPage;
  if (file_first >= end_ + kPage) {
    file_first -= kPage;
  }
  const ByteSpan bytes = ring.subspan(first - ring_offset, last - first);
  Status written = WriteSlices(file_first, bytes, run);
  if (!written.ok() && written.code() != StatusCode::kResourceExhausted && direct_.valid()) {
    direct_.Close();  // a file system that takes the flag and refuses the writes
    written = WriteSlices(file_first, bytes, run);
  }
  WT_RETURN_IF_ERROR(written.WithContext("writing blob"));
  for (UnwrittenBlob& blob : run) {
    blob.entry->offset = file_first + (blob.entry->offset - first);
    blob.entry->blob_number = static_cast<uint32_t>(number_);
    name_bytes_ += KeyBytes(blob);
    ++tensors_;
  }
  end_ = file_first + (last - first);
  bytes_written_ += last - first;
  return {};
}

Status BlobWriter::WriteSlices(uint64_t file_offset, ByteSpan bytes, std::span<UnwrittenBlob> run) {
  ChecksumSweep sweep(run);
  Status status;
  while (status.ok() && !bytes.empty()) {
    const ByteSpan slice = bytes.first(SliceBytes(file_offset, bytes.size()));
    sweep.Add(slice);
    bytes = bytes.subspan(slice.size());
    status = WriteSlice(file_offset, slice, !bytes.empty());
    file_offset += slice.size();
  }
  const Status finished = queue_.Finish();  // in any case: the bytes are the ring's
  return status.ok() ? finished : status;
}

Status BlobWriter::WriteSlice(uint64_t file_offset, ByteSpan slice, bool more) {
  if (!direct_.valid() || slice.size() < kMinDirectBytes) {
    return WriteAt(file_, file_offset, slice);
  }
  const uint64_t head = AlignUp(file_offset, kPage) - file_offset;
  const uint64_t middle = (slice.size() - head) / kPage * kPage;
  WT_RETURN_IF_ERROR(WriteAt(file_, file_offset, slice.first(head)));
  GrowFile(file_offset + slice.size());
  if (more) {
    queue_.Start(direct_, file_offset + head, slice.subspan(head, middle));
  } else {  // nothing left to do meanwhile, and a queue that was never used costs nothing at exit
    WT_RETURN_IF_ERROR(WriteAt(direct_, file_offset + head, slice.subspan(head, middle)));
  }
  return WriteAt(file_, file_offset + head + middle, slice.subspan(head + middle));
}

// A write that makes the file longer is waited for by the kernel, whoever asked for it. What is
// left over is cut off when the file is finished, or when it is sealed.
void BlobWriter::GrowFile(uint64_t needed_bytes) {
  if (needed_bytes > size_ &&
      ftruncate(file_.get(), static_cast<off_t>(needed_bytes + kGrowBytes)) == 0) {
    size_ = needed_bytes + kGrowBytes;
  }
}

void BlobWriter::FinishFile() {
  if (file_.valid() && size_ > end_) {
    (void)ftruncate(file_.get(), static_cast<off_t>(end_));
  }
  file_.Close();
  direct_.Close();
  size_ = 0;
}

Status BlobWriter::Sync() {
  if (file_.valid() && fdatasync(file_.get()) != 0) {
    return ErrnoError(errno, "syncing blob");
  }
  return {};
}

}  // namespace wheeltapper::format
