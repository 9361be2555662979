// The parts of parquet.thrift that this project's files use, and their bytes. Parsing checks what
// the reader relies on; files of other writers end in Unimplemented. Source: the Apache Parquet
// specification, parquet.thrift.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::format::parquet {

inline constexpr std::string_view kMagic = "PAR1";  // first and last in every file

// What a column is, in our terms; each has one schema, one encoding.
enum class ColumnKind : uint8_t {
  kString,          // BYTE_ARRAY (STRING), RLE_DICTIONARY
  kInt32,           // INT32, DELTA_BINARY_PACKED
  kInt64,           // INT64, DELTA_BINARY_PACKED
  kTimestamp,       // INT64 (TIMESTAMP µs, UTC), DELTA_BINARY_PACKED
  kDouble,          // DOUBLE, BYTE_STREAM_SPLIT
  kOptionalDouble,  // the same with definition levels
  kInt64List,       // required LIST of required INT64, DELTA_BINARY_PACKED
};

enum class Encoding : uint8_t {
  kPlain = 0,
  kRle = 3,
  kDeltaBinaryPacked = 5,
  kRleDictionary = 8,
  kByteStreamSplit = 9,
};
// The encoding of the values in a column's data pages.
Encoding ValueEncoding(ColumnKind kind);

// Limits that writer and reader share; they bound what a hostile page can make the reader allocate.
inline constexpr int64_t kMaxPageRows = int64_t{1} << 17;
inline constexpr int64_t kMaxPageLevels = int64_t{1}
                                          << 20;  // list entries (and empty lists) in a page
inline constexpr int64_t kMaxPageBytes = int64_t{1} << 30;  // uncompressed

struct ColumnSchema {
  std::string name;
  ColumnKind kind = ColumnKind::kInt64;
};

// Smallest and largest value in PLAIN encoding (strings without length). `valid` is false when
// there is none: no values, a NaN among them, or a string too long to store twice.
struct Bounds {
  bool valid = false;
  std::string min;
  std::string max;
};

struct ChunkMetadata {
  int64_t num_values = 0;  // levels for lists, else rows
  int64_t uncompressed_bytes = 0;
  int64_t compressed_bytes = 0;
  int64_t data_page_offset = 0;
  int64_t dictionary_page_offset = -1;  // −1: none
  int64_t null_count = 0;
  int64_t nan_count = 0;  // of doubles
  Bounds bounds;
  int64_t offset_index_offset = -1;
  int64_t offset_index_bytes = 0;
  int64_t column_index_offset = -1;
  int64_t column_index_bytes = 0;

  [[nodiscard]] int64_t begin() const {
    return dictionary_page_offset >= 0 ? dictionary_page_offset : data_page_offset;
  }
};

struct RowGroupMetadata {
  int64_t rows = 0;
  std::vector<ChunkMetadata> chunks;  // one per column, in schema order
};

struct FileMetadata {
  int64_t rows = 0;
  std::vector<ColumnSchema> columns;
  std::vector<int> sorting_columns;
  std::vector<RowGroupMetadata> row_groups;
  std::map<std::string, std::string> key_values;
};

std::vector<uint8_t> SerializeFileMetadata(const FileMetadata& file);
// Checks the schema, that row groups add up to the rows, and that every chunk has its fields; not
// the offsets.
Result<FileMetadata> ParseFileMetadata(ByteSpan bytes);

struct PageLocation {
  int64_t offset = 0;     // in the file; of the page's header
  int64_t bytes = 0;      // header and data
  int64_t first_row = 0;  // in the row group
};
void AppendOffsetIndex(const std::vector<PageLocation>& pages, std::vector<uint8_t>* out);
Result<std::vector<PageLocation>> ParseOffsetIndex(ByteSpan bytes);

struct PageSummary {
  int64_t num_values = 0;
  int64_t null_count = 0;
  int64_t nan_count = 0;
  Bounds bounds;
};
// False, and nothing appended, when a page holds values but has no bounds: the index cannot say so.
bool AppendColumnIndex(ColumnKind kind, const std::vector<PageSummary>& pages,
                       std::vector<uint8_t>* out);
// Negative, zero, positive as for the column's order: signed integers, IEEE numbers, bytes.
int CompareBounds(ColumnKind kind, const std::string& a, const std::string& b);

struct PageHeader {
  bool is_dictionary = false;
  int64_t uncompressed_bytes = 0;
  int64_t compressed_bytes = 0;
  uint32_t crc = 0;
  int64_t num_values = 0;
  Encoding encoding = Encoding::kPlain;
};
void AppendPageHeader(const PageHeader& header, std::vector<uint8_t>* out);
// Also sets how many bytes the header takes.
Result<PageHeader> ParsePageHeader(ByteSpan bytes, size_t* header_bytes);

}  // namespace wheeltapper::format::parquet
