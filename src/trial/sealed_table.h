// One sealed Parquet table: its names as row ranges, its columns in cached blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/parquet.h"
#include "wheeltapper/format/rows.h"

#include "column_cache.h"

namespace wheeltapper::trial {

// The small text encodings of the tables: "a,b", "8x3x3", "float32".
std::vector<std::string> SplitCollections(const std::string& text);
std::vector<int64_t> ParseShape(const std::string& text);
Result<tensor::DType> ParseDType(const std::string& name);
// Adds a footer's list of names (JSON: [{"name", "kind", "dtype", "shape", "collections"}, …]) to
// `names`; what is known already stays as it is. False, and nothing is added, when it is no such
// list.
bool AddListedNames(const std::string& json, format::NameTable* names);

struct RowRange {
  int64_t first = 0;
  int64_t count = 0;
};

// Rows are sorted by (name, step), so a name is one range. Not thread-safe.
class SealedTable {
 public:
  // Reads the footer only. `cache` outlives the table.
  static Result<std::unique_ptr<SealedTable>> Open(const std::string& path, ColumnCache* cache);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] int64_t rows() const { return file_->rows(); }
  [[nodiscard]] const format::ParquetFile& file() const { return *file_; }
  [[nodiscard]] bool HasColumn(const std::string& name) const { return columns_.contains(name); }

  // Adds the names that the footer lists, with kind, dtype, shape and collections, to `names`,
  // which outlives the table; what is known already stays as it is. A file without the list has its
  // name column decoded instead. Call it before asking for ranges.
  Status LoadNames(format::NameTable* names);
  // The rows of a name; more than one range only where a file is not sorted. The first call decodes
  // the name column.
  Result<std::vector<RowRange>> RangesOf(format::NameId name);
  // The rows of a name at a global step; first and last step of each name are remembered, so that a
  // file that does not have the step costs no decoding.
  Result<std::vector<RowRange>> RangesAtStep(format::NameId name, int64_t step);

  // Rows [first, first + count) of a column. Integer kinds and timestamps read as int64, numbers of
  // any kind as double (null: NaN). DataLoss when the column is of another kind.
  Result<std::vector<int64_t>> ReadInts(const std::string& column, RowRange range) const;
  Result<std::vector<double>> ReadDoubles(const std::string& column, RowRange range) const;
  Result<std::vector<std::string>> ReadTexts(const std::string& column, RowRange range) const;
  Result<std::vector<Mode>> ReadModes(const std::string& column, RowRange range) const;
  Result<std::vector<std::vector<int64_t>>> ReadLists(const std::string& column,
                                                      RowRange range) const;
  // One integer. For several columns of a row see SealedRow.
  Result<int64_t> IntAt(const char* column, int64_t row) const;
  // First row of `range`, sorted by step, whose step is not below `step`; the end when there is
  // none. Quickest where that row is near `guess`, a row of the range.
  Result<int64_t> FirstRowFrom(RowRange range, int64_t step, int64_t guess) const;
  Result<int64_t> FirstRowFrom(RowRange range, int64_t step) const {
    return FirstRowFrom(range, step, range.first + range.count / 2);
  }

 private:
  friend class SealedRow;
  class IntCursor;
  struct NameRun {
    format::NameId name = 0;
    RowRange range;
    bool bounded = false;  // first_step and last_step are known
    int64_t first_step = 0;
    int64_t last_step = 0;
  };
  // Where `step` is if the run's steps are evenly spaced, as they nearly always are.
  static int64_t GuessRow(const NameRun& run, int64_t step);
  // Rows per cached block: the pages of this project's own writer.
  static constexpr int64_t kBlockRows = int64_t{1} << 16;
  using BlockVisitor =
      std::function<Status(const format::ColumnData& block, size_t first, size_t count)>;

  SealedTable(std::string path, std::unique_ptr<format::ParquetFile> file, ColumnCache* cache);
  Status LoadRuns();
  Status AppendRuns(const format::StringColumn& texts, int64_t first_row,
                    std::vector<NameRun>* runs);
  Status DescribeName(const NameRun& run);
  [[nodiscard]] size_t FirstRunOf(format::NameId name) const;
  Status LoadBounds(NameRun* run) const;
  Result<ColumnCache::Block> BlockOf(const std::string& column, int64_t block) const;
  Status VisitBlocks(const std::string& column, RowRange range, const BlockVisitor& visit) const;
  [[nodiscard]] Status WrongKind(const std::string& column) const;

  std::string path_;
  std::unique_ptr<format::ParquetFile> file_;
  ColumnCache* cache_;
  uint64_t id_;  // of this table in the cache
  std::unordered_map<std::string, uint32_t> columns_;
  format::NameTable* names_ = nullptr;
  bool runs_loaded_ = false;
  std::vector<NameRun> runs_;  // by name, then row
};

}  // namespace wheeltapper::trial
