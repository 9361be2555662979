// Which sealed table sets a run has, by their names alone.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/parquet.h"
#include "wheeltapper/format/rows.h"
#include "wheeltapper/format/run_reader.h"

#include "sealed_tables.h"

namespace wheeltapper::format {

// The tables of one sealed journal file.
struct SealedSetName {
  uint64_t first_seq = 0;
  uint64_t last_seq = 0;
  auto operator<=>(const SealedSetName&) const = default;
};

// Complete sets by rank, ascending. Complete is a set whose "steps" table is there: it is renamed
// last.
using SealedSets = std::map<Rank, std::vector<SealedSetName>>;
Result<SealedSets> ListSealedSets(const std::string& run_dir);

// In the footer of a set's "steps" table: the tables that have rows, so that one whose file is gone
// is not taken for one without rows. Files of older writers lack it.
inline constexpr const char* kTablesKey = "tables";
std::string JoinTables(const std::vector<std::string>& tables);

// A table of a set that cannot be read, or whose file is gone.
struct DamagedTable {
  std::string table;
  std::string path;
  std::string what;
};

// Those of the set that "steps" says are there, and are not.
std::vector<DamagedTable> FindMissingTables(const std::string& run_dir, Rank rank,
                                            const SealedSetName& set, const ParquetFile& steps);

// The batches of a set, from all its tables, by the sequence number of their commit. New names go
// to `names`. One damaged table does not hide the others: it goes to `damaged`, and its rows are
// missing. DataLoss when that is "steps".
Result<BatchMap> ReadSealedSet(const std::string& run_dir, Rank rank, const SealedSetName& set,
                               NameTable* names, std::vector<DamagedTable>* damaged);

// Finds where sealing has put the inline tensor that lay at `offset` of a journal file; NotFound
// when no set says so.
struct SealedLocation {
  std::string file;
  uint64_t offset = 0;
};
Result<SealedLocation> LocateSealedTensor(const std::string& run_dir, Rank rank,
                                          uint64_t journal_file, uint64_t offset);

}  // namespace wheeltapper::format
