// A small Parquet writer and reader for this project's own tables: flat columns, optional columns
// and one level of lists; PLAIN, RLE_DICTIONARY, DELTA_BINARY_PACKED, BYTE_STREAM_SPLIT; zstd; page
// CRCs and a checksum of the whole; statistics, column and offset index. Files are read by any
// Parquet reader; the reader here reads only what the writer here writes (and says so otherwise).
// Source: the Apache Parquet format specification (parquet.thrift, Encodings.md).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::format {

// Strings as a dictionary: values[i] = dictionary[codes[i]]. Parquet strings are UTF-8: ill-formed
// sequences are written as U+FFFD (so are those of metadata).
struct StringColumn {
  std::vector<std::string> dictionary;
  std::vector<uint32_t> codes;
};
// Lists: row i holds values[offsets[i] … offsets[i+1]); offsets has rows + 1 entries. A list has at
// most 1 Mi values.
struct Int64ListColumn {
  std::vector<int64_t> offsets;
  std::vector<int64_t> values;
};
struct Int32Column {
  std::vector<int32_t> values;
};
struct Int64Column {
  std::vector<int64_t> values;
};
struct TimestampColumn {  // µs since 1970-01-01 UTC
  std::vector<int64_t> values;
};
// `present` empty: the column is required. Else one byte per row, 0 = null (values[i] is then
// ignored; read back as NaN). Values rounded to f32 take within 1 % of the bytes of an f32 column:
// their zero bits lie in byte planes of their own.
struct DoubleColumn {
  std::vector<double> values;
  std::vector<uint8_t> present;
};
using ColumnData = std::variant<StringColumn, Int32Column, Int64Column, TimestampColumn,
                                DoubleColumn, Int64ListColumn>;

struct Column {
  std::string name;
  ColumnData data;
};

struct Table {
  std::vector<Column> columns;
  [[nodiscard]] int64_t rows() const;
  [[nodiscard]] const Column* Find(const std::string& name) const;
};

struct ParquetOptions {
  std::map<std::string, std::string> metadata;  // key-value metadata of the footer
  int64_t row_group_rows = int64_t{1} << 20;
  int64_t page_rows = int64_t{1} << 16;  // at most 128 Ki
  int zstd_level = 1;
  std::vector<std::string> sorted_by;  // recorded as sorting_columns; the caller sorted the rows
};

// Writes by temporary name, fdatasync, rename; memory is bounded by one column of one row group.
// InvalidArgument for a table without columns, columns of different length or of one name, codes,
// offsets or options out of range. The same table gives the same bytes (with the same zstd).
// Pages and chunks that hold a NaN carry nan_count but no min and max: readers that order NaN above
// all numbers would otherwise skip it when they look for it.
Status WriteParquet(const std::string& path, const Table& table, const ParquetOptions& options);

// Opens by reading the footer only; columns decode on demand. Thread-safe for concurrent reads.
// Every malformed input ends in DataLoss or Unimplemented, never in a crash. Memory for the footer
// is a small multiple of its size; memory for a column grows page by page, each page checked first
// (CRC, tiling, at most 128 Ki rows), so a file unfolds no further than its whole, valid pages do.
class ParquetFile {
 public:
  static Result<std::unique_ptr<ParquetFile>> Open(const std::string& path);
  // From memory (tests, fuzzing); `bytes` outlives the file.
  static Result<std::unique_ptr<ParquetFile>> FromBytes(ByteSpan bytes);
  virtual ~ParquetFile() = default;
  [[nodiscard]] virtual int64_t rows() const = 0;
  [[nodiscard]] virtual std::vector<std::string> column_names() const = 0;
  [[nodiscard]] virtual const std::map<std::string, std::string>& metadata() const = 0;
  // Decodes a whole column; NotFound when there is none of that name.
  virtual Result<ColumnData> ReadColumn(const std::string& name) const = 0;
  // Decodes rows [first, first + count) of a column, touching only the pages that hold them.
  virtual Result<ColumnData> ReadColumnRows(const std::string& name, int64_t first,
                                            int64_t count) const = 0;
  // Reads the whole file: DataLoss when any bit of it is another than was written. Files without a
  // checksum, of earlier writers, pass.
  [[nodiscard]] virtual Status CheckWhole() const = 0;
};

}  // namespace wheeltapper::format
