// Turns one journal file into Parquet tables and safetensors blobs: a function of that file alone,
// so that doing it again after a kill at any point gives the same files.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/run_reader.h"

namespace wheeltapper::format {

using SealProbe = std::function<Status(std::string_view step)>;

struct SealRequest {
  std::string run_dir;
  Rank rank;
  uint64_t run_id = 0;
  uint64_t file_number = 0;
  uint64_t seq_before = 0;  // the highest sequence number sealed before this file
  SealProbe probe;          // may be empty
};

struct SealOutcome {
  // Of the batches in the file; 0 and 0 when there were none (then nothing was written).
  uint64_t first_seq = 0;
  uint64_t last_seq = 0;
  uint64_t highest_seq = 0;  // of any record, committed or not
  uint64_t highest_blob = 0;
  uint64_t discarded = 0;  // transactions begun and never committed
  int64_t newest_step = -1;
  std::vector<SkippedBytes> skipped;
  std::map<std::string, int64_t> blob_steps;  // sealed blob (absolute path) → newest step in it
};

// Order: blobs, then tables, each under a temporary name and renamed; the journal file itself
// stays. ResourceExhausted when the disk is full, and then it may be tried again.
Result<SealOutcome> SealJournalFile(const SealRequest& request);

struct SealTotals {
  uint64_t files_sealed = 0;
  uint64_t discarded = 0;
  std::vector<SkippedBytes> skipped;
};

// Forgets raw tensors that are older than a number of steps.
class Retention {
 public:
  // Looks up what earlier writers of the rank have left. `keep_steps` ≤ 0: keeps everything.
  Retention(std::string run_dir, Rank rank, int64_t keep_steps);
  // Removes sealed blobs that have become too old, the ones just sealed counted.
  Status Apply(const SealOutcome& sealed);

 private:
  void LoadOnce();
  std::string run_dir_;
  Rank rank_;
  int64_t keep_steps_;
  bool loaded_ = false;
  int64_t newest_step_ = -1;
  std::map<std::string, int64_t> blob_steps_;
};

}  // namespace wheeltapper::format
