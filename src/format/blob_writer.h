// Moves large raw tensors from the blob ring into blob files. Belongs to the drain thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/journal.h"

#include "direct_queue.h"

namespace wheeltapper::format {

// A BLOB_REF entry (in the drain's copy of the record) whose offset is still a position in the blob
// ring's stream. The ring itself keeps the stream offset: a kill at any moment leaves it
// replayable.
struct UnwrittenBlob {
  BlobRefEntry* entry = nullptr;
  uint64_t name_bytes = 0;
};

// The bytes that an open blob begins with: a header of `reserve` bytes that says "not finished".
std::string OpenBlobHeader(uint64_t reserve);
// The reserve of a blob file, from its first eight bytes. DataLoss when they make no sense.
Result<uint64_t> ReadBlobReserve(const FileDescriptor& file);

// Not thread-safe.
class BlobWriter {
 public:
  BlobWriter(std::string run_dir, Rank rank, uint64_t next_number, uint64_t rotate_bytes)
      : run_dir_(std::move(run_dir)),
        rank_(rank),
        next_number_(next_number),
        rotate_bytes_(rotate_bytes) {}

  // Writes the tensors' bytes and points each entry at them. `ring` begins at stream offset
  // `ring_offset` and holds all of them; entries come in stream order. Entries already written stay
  // so when a later one fails.
  Status Write(ByteSpan ring, uint64_t ring_offset, std::vector<UnwrittenBlob>& blobs);
  // The current file is complete: the next Write begins another.
  void FinishFile();
  Status Sync();
  [[nodiscard]] uint64_t next_number() const { return next_number_; }
  [[nodiscard]] uint64_t bytes_written() const { return bytes_written_; }

 private:
  Status OpenNext(uint64_t first_name_bytes);
  [[nodiscard]] bool Fits(const UnwrittenBlob& blob) const;
  // Writes neighbours in the ring, the padding between them included, and patches their entries.
  Status WriteRun(ByteSpan ring, uint64_t ring_offset, std::span<UnwrittenBlob> run);
  // Checksums and writes `bytes`, the run's own, slice by slice. Nothing is under way afterwards.
  Status WriteSlices(uint64_t file_offset, ByteSpan bytes, std::span<UnwrittenBlob> run);
  // Starts or does the write of one slice.
  Status WriteSlice(uint64_t file_offset, ByteSpan slice, bool more);
  void GrowFile(uint64_t needed_bytes);

  std::string run_dir_;
  Rank rank_;
  uint64_t next_number_;
  uint64_t rotate_bytes_;
  FileDescriptor file_;
  FileDescriptor direct_;  // the same file, O_DIRECT; not valid where the file system refuses
  DirectQueue queue_;
  uint64_t number_ = 0;
  uint64_t end_ = 0;   // file offset behind the last byte written
  uint64_t size_ = 0;  // of the file: it grows ahead of `end_`
  uint64_t reserve_ = 0;
  uint64_t tensors_ = 0;
  uint64_t name_bytes_ = 0;
  uint64_t bytes_written_ = 0;
};

}  // namespace wheeltapper::format
