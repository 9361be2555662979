// One journal file being written.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/journal.h"

namespace wheeltapper::format {

// Makes a record as it lies in a ring ready for a file: zeroes the padding, fills in the checksums
// and the salted magic. `record` spans header, payload and padding. Doing it twice changes nothing.
void FinishRecord(std::span<uint8_t> record, uint32_t salt);

// The interned names of a rank, encoded as DescEntry + text, by id.
using EncodedDescs = std::unordered_map<uint32_t, std::vector<uint8_t>>;

// kDesc records (unfinished) that repeat all of `descs`, in id order.
std::vector<uint8_t> RepeatedDescRecords(const EncodedDescs& descs, TimeNs wall_ns);

struct JournalIdentity {
  Rank rank;
  uint64_t run_id = 0;
  uint64_t file_number = 0;
  uint64_t salt = 0;
  TimeNs created_wall_ns = 0;
};

// Not thread-safe.
class JournalFile {
 public:
  // A new file with its header and `head` (unfinished records). Nothing is left behind on failure.
  static Result<std::unique_ptr<JournalFile>> Create(const std::string& path,
                                                     const JournalIdentity& identity,
                                                     std::vector<uint8_t> head);
  // An existing file that is cut to `size` and continued; `salt` is its own.
  static Result<std::unique_ptr<JournalFile>> Reopen(const std::string& path,
                                                     const JournalIdentity& identity,
                                                     uint64_t size);

  // Writes at the end. On failure `*written` says how many bytes are in the file nevertheless.
  Status Append(ByteSpan bytes, uint64_t* written);
  // The same, but takes back what was written on failure.
  Status AppendWhole(ByteSpan bytes);
  Status Sync();

  [[nodiscard]] const JournalIdentity& identity() const { return identity_; }
  [[nodiscard]] uint32_t salt() const { return static_cast<uint32_t>(identity_.salt); }
  [[nodiscard]] uint64_t size() const { return size_; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  JournalFile() = default;
  std::string path_;
  FileDescriptor file_;
  JournalIdentity identity_;
  uint64_t size_ = 0;
};

}  // namespace wheeltapper::format
