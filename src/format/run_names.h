// Names of the files in a run directory, taken apart again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::format {

inline constexpr std::string_view kJournalFolder = "journal";
inline constexpr std::string_view kBlobFolder = "blobs";
// The table folders, in the order in which sealing writes them: steps last, since it stands for the
// whole set.
inline constexpr std::string_view kStepsTable = "steps";
inline constexpr std::string_view kTables[] = {"scalars", "stats", "tensors",
                                               "gaps",    "metas", kStepsTable};

// Of the JSON and line files; more than a run of years writes.
inline constexpr uint64_t kMaxTextBytes = uint64_t{1} << 30;

struct JournalName {
  Rank rank;
  uint64_t file_number = 0;
};
// "r00007-000123.wtj".
std::optional<JournalName> ParseJournalName(std::string_view name);

struct SealedName {
  Rank rank;
  uint64_t first_seq = 0;
  uint64_t last_seq = 0;
};
// "r00007-000000000001-000000000420.parquet".
std::optional<SealedName> ParseSealedName(std::string_view name);

struct BlobName {
  Rank rank;
  uint64_t blob_number = 0;
  bool open = false;
};
// "r00007-b000031.open" or "r00007-b000031.safetensors"; not the packed blobs of sealing.
std::optional<BlobName> ParseBlobName(std::string_view name);

// "r00007.lock".
std::optional<Rank> ParseLockName(std::string_view name);
// "r00007-": what every file name of a rank begins with.
std::string RankPrefix(Rank rank);
std::string LockPath(const std::string& run_dir, Rank rank);
// Where sealing gathers the small raw tensors of one journal file.
std::string PackedBlobPath(const std::string& run_dir, Rank rank, uint64_t first_seq,
                           uint64_t last_seq);

// Journal file numbers by rank, ascending. No folder is no files.
Result<std::map<Rank, std::vector<uint64_t>>> ListJournals(const std::string& run_dir);
// Ranks that have a lock file, that is: had a writer once.
Result<std::vector<Rank>> ListWriterRanks(const std::string& run_dir);
// Names in a folder of the run; a missing folder is empty.
Result<std::vector<std::string>> ListFolder(const std::string& run_dir, std::string_view folder);

}  // namespace wheeltapper::format
