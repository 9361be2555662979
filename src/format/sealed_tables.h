// Between decoded batches and the columns of the sealed tables (docs/format/tables.md), both ways.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "wheeltapper/format/parquet.h"
#include "wheeltapper/format/rows.h"

#include "journal_scanner.h"

namespace wheeltapper::format {

// Where sealing has put a raw tensor.
struct TensorPlace {
  std::string file;  // relative to the run directory
  uint64_t offset = 0;
};

struct SealInput {
  Rank rank;
  std::vector<ScannedBatch> batches;             // in commit order
  std::vector<std::vector<TensorPlace>> places;  // [batch][tensor]
};

struct SealedTable {
  std::string name;  // "stats"
  Table table;
  std::vector<std::string> sorted_by;
  std::string names;  // the footer's "names"; "" for tables without a name column
};

// The tables that have rows, in the order of kTables.
std::vector<SealedTable> BuildTables(const SealInput& input);

// What the table keeps of a tensor's statistics: moments as mean and std, rounded to f32 unless the
// dtype is wider. Readers of the journal apply it too, so that a row reads the same before and
// after sealing.
tensor::TensorStats AsSealed(const tensor::TensorStats& stats, tensor::DType dtype);
// Whole microseconds, as the `time` columns hold.
constexpr TimeNs FloorToMicros(TimeNs wall_ns) {
  const TimeNs rest = wall_ns % 1000;
  return wall_ns - (rest < 0 ? rest + 1000 : rest);
}

// Adds the rows of one sealed table to the batches they belong to, keyed by the sequence number of
// their commit. DataLoss when columns are missing, of another type, or contradict each other.
using BatchMap = std::map<uint64_t, StepBatch>;
Status AddSealedRows(const ParquetFile& file, std::string_view table, Rank rank, NameTable* names,
                     BatchMap* batches);

// "8x3x3"; "" for a tensor without dimensions.
std::string ShapeText(const std::vector<int64_t>& shape);
std::vector<int64_t> ParseShape(std::string_view text);
std::string JoinCollections(const std::vector<std::string>& collections);
std::vector<std::string> SplitCollections(std::string_view text);

// The inverses of GapReasonName and GapWhatName.
GapReason GapReasonFromName(std::string_view name);
GapWhat GapWhatFromName(std::string_view name);

}  // namespace wheeltapper::format
