// Follows one journal file as it grows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/rows.h"
#include "wheeltapper/format/run_reader.h"

#include "journal_scanner.h"

namespace wheeltapper::format {

// Turns a scanned batch into the reader's form; `journal` is the file's path relative to the run
// directory.
StepBatch ToStepBatch(ScannedBatch&& scanned, const std::string& journal, NameTable* names);

// Keeps its file open: a file that is sealed and removed meanwhile is read to its end all the same.
// Not thread-safe.
class JournalTail {
 public:
  struct Target {
    NameTable* names;
    std::vector<SkippedBytes>* skipped;
    uint64_t after;  // batches up to this sequence number have been delivered
    const std::function<void(StepBatch&&)>* sink;
    std::vector<uint8_t>* buffer;  // scratch, shared by all tails of a reader
  };

  // NotFound when the file is gone.
  static Result<std::unique_ptr<JournalTail>> Open(const std::string& run_dir, Rank rank,
                                                   uint64_t run_id, uint64_t file_number,
                                                   uint64_t seq_before);

  // Delivers what has become complete. One pread when there is nothing new. `final`: the file will
  // not grow any more, so an unfinished record at its end is damage.
  Status Read(bool final, const Target& target);

  [[nodiscard]] uint64_t file_number() const { return file_number_; }
  // Highest sequence number seen in the file, delivered or not.
  [[nodiscard]] uint64_t last_seq() const { return scanner_.last_seq(); }
  // The file has no name any more: it has been sealed.
  [[nodiscard]] bool removed() const;

 private:
  JournalTail(Rank rank, uint64_t run_id, uint64_t file_number, uint64_t seq_before)
      : file_number_(file_number), scanner_(rank, run_id, seq_before) {}

  uint64_t file_number_;
  std::string name_;  // relative to the run directory
  FileDescriptor file_;
  JournalScanner scanner_;
};

}  // namespace wheeltapper::format
