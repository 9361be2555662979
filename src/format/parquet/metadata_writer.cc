#include <algorithm>

#include "parquet/file_checksum.h"
#include "parquet/file_metadata.h"
#include "parquet/thrift_compact.h"
#include "parquet/thrift_ids.h"

namespace wheeltapper::format::parquet {
namespace {

PhysicalType TypeOf(ColumnKind kind) {
  switch (kind) {
    case ColumnKind::kString:
      return kTypeByteArray;
    case ColumnKind::kInt32:
      return kTypeInt32;
    case ColumnKind::kDouble:
    case ColumnKind::kOptionalDouble:
      return kTypeDouble;
    case ColumnKind::kInt64:
    case ColumnKind::kTimestamp:
    case ColumnKind::kInt64List:
      break;
  }
  return kTypeInt64;
}

void WriteLogicalString(CompactWriter* w) {
  w->I32(schema_ids::kConverted, kConvertedUtf8);
  w->BeginStruct(schema_ids::kLogical);
  w->BeginStruct(schema_ids::kLogicalString);
  w->EndStruct();
  w->EndStruct();
}

void WriteLogicalTimestamp(CompactWriter* w) {
  w->I32(schema_ids::kConverted, kConvertedTimestampMicros);
  w->BeginStruct(schema_ids::kLogical);
  w->BeginStruct(schema_ids::kLogicalTimestamp);
  w->Bool(schema_ids::kIsUtc, true);
  w->BeginStruct(schema_ids::kUnit);
  w->BeginStruct(schema_ids::kMicros);
  w->EndStruct();
  w->EndStruct();
  w->EndStruct();
  w->EndStruct();
}

// <name> (LIST, required) > list (repeated) > element (required int64).
void WriteListSchema(const ColumnSchema& column, CompactWriter* w) {
  w->BeginElement();
  w->I32(schema_ids::kRepetition, kRequired);
  w->Binary(schema_ids::kName, column.name);
  w->I32(schema_ids::kChildren, 1);
  w->I32(schema_ids::kConverted, kConvertedList);
  w->BeginStruct(schema_ids::kLogical);
  w->BeginStruct(schema_ids::kLogicalList);
  w->EndStruct();
  w->EndStruct();
  w->EndStruct();
  w->BeginElement();
  w->I32(schema_ids::kRepetition, kRepeated);
  w->Binary(schema_ids::kName, "list");
  w->I32(schema_ids::kChildren, 1);
  w->EndStruct();
  w->BeginElement();
  w->I32(schema_ids::kType, kTypeInt64);
  w->I32(schema_ids::kRepetition, kRequired);
  w->Binary(schema_ids::kName, "element");
  w->EndStruct();
}

void WriteSchema(const FileMetadata& file, CompactWriter* w) {
  size_t elements = 1;
  for (const ColumnSchema& column : file.columns) {
    elements += column.kind == ColumnKind::kInt64List ? 3 : 1;
  }
  w->BeginList(file_ids::kSchema, CompactType::kStruct, elements);
  w->BeginElement();
  w->Binary(schema_ids::kName, "schema");
  w->I32(schema_ids::kChildren, static_cast<int64_t>(file.columns.size()));
  w->EndStruct();
  for (const ColumnSchema& column : file.columns) {
    if (column.kind == ColumnKind::kInt64List) {
      WriteListSchema(column, w);
      continue;
    }
    w->BeginElement();
    w->I32(schema_ids::kType, TypeOf(column.kind));
    w->I32(schema_ids::kRepetition,
           column.kind == ColumnKind::kOptionalDouble ? kOptional : kRequired);
    w->Binary(schema_ids::kName, column.name);
    if (column.kind == ColumnKind::kString) {
      WriteLogicalString(w);
    } else if (column.kind == ColumnKind::kTimestamp) {
      WriteLogicalTimestamp(w);
    }
    w->EndStruct();
  }
}

void WriteStatistics(ColumnKind kind, const ChunkMetadata& chunk, CompactWriter* w) {
  w->BeginStruct(chunk_ids::kStatistics);
  w->I64(statistics_ids::kNullCount, chunk.null_count);
  if (chunk.bounds.valid) {
    w->Binary(statistics_ids::kMaxValue, chunk.bounds.max);
    w->Binary(statistics_ids::kMinValue, chunk.bounds.min);
    w->Bool(statistics_ids::kMaxExact, true);
    w->Bool(statistics_ids::kMinExact, true);
  }
  if (TypeOf(kind) == kTypeDouble) {
    w->I64(statistics_ids::kNanCount, chunk.nan_count);
  }
  w->EndStruct();
}

void WriteChunk(const ColumnSchema& column, const ChunkMetadata& chunk, CompactWriter* w) {
  const bool is_list = column.kind == ColumnKind::kInt64List;
  w->BeginElement();
  w->I64(chunk_ids::kFileOffset, 0);
  w->BeginStruct(chunk_ids::kMetadata);
  w->I32(chunk_ids::kType, TypeOf(column.kind));
  std::vector<Encoding> encodings = {ValueEncoding(column.kind)};
  if (is_list || column.kind == ColumnKind::kOptionalDouble) {
    encodings.push_back(Encoding::kRle);
  } else if (column.kind == ColumnKind::kString) {
    encodings.push_back(Encoding::kPlain);  // the dictionary page
  }
  w->BeginList(chunk_ids::kEncodings, CompactType::kI32, encodings.size());
  for (const Encoding encoding : encodings) {
    w->ElementInt(static_cast<int64_t>(encoding));
  }
  w->BeginList(chunk_ids::kPath, CompactType::kBinary, is_list ? 3 : 1);
  w->ElementBinary(column.name);
  if (is_list) {
    w->ElementBinary("list");
    w->ElementBinary("element");
  }
  w->I32(chunk_ids::kCodec, kCodecZstd);
  w->I64(chunk_ids::kValues, chunk.num_values);
  w->I64(chunk_ids::kUncompressedBytes, chunk.uncompressed_bytes);
  w->I64(chunk_ids::kCompressedBytes, chunk.compressed_bytes);
  w->I64(chunk_ids::kDataPageOffset, chunk.data_page_offset);
  if (chunk.dictionary_page_offset >= 0) {
    w->I64(chunk_ids::kDictionaryPageOffset, chunk.dictionary_page_offset);
  }
  WriteStatistics(column.kind, chunk, w);
  w->EndStruct();
  w->I64(chunk_ids::kOffsetIndexOffset, chunk.offset_index_offset);
  w->I32(chunk_ids::kOffsetIndexBytes, chunk.offset_index_bytes);
  if (chunk.column_index_offset >= 0) {
    w->I64(chunk_ids::kColumnIndexOffset, chunk.column_index_offset);
    w->I32(chunk_ids::kColumnIndexBytes, chunk.column_index_bytes);
  }
  w->EndStruct();
}

void WriteRowGroup(const FileMetadata& file, size_t index, CompactWriter* w) {
  const RowGroupMetadata& group = file.row_groups[index];
  int64_t uncompressed = 0;
  int64_t compressed = 0;
  for (const ChunkMetadata& chunk : group.chunks) {
    uncompressed += chunk.uncompressed_bytes;
    compressed += chunk.compressed_bytes;
  }
  w->BeginElement();
  w->BeginList(row_group_ids::kColumns, CompactType::kStruct, group.chunks.size());
  for (size_t i = 0; i < group.chunks.size(); ++i) {
    WriteChunk(file.columns[i], group.chunks[i], w);
  }
  w->I64(row_group_ids::kTotalBytes, uncompressed);
  w->I64(row_group_ids::kRows, group.rows);
  if (!file.sorting_columns.empty()) {
    w->BeginList(row_group_ids::kSorting, CompactType::kStruct, file.sorting_columns.size());
    for (const int column : file.sorting_columns) {
      w->BeginElement();
      w->I32(row_group_ids::kSortColumn, column);
      w->Bool(row_group_ids::kSortDescending, false);
      w->Bool(row_group_ids::kSortNullsFirst, false);
      w->EndStruct();
    }
  }
  w->I64(row_group_ids::kFileOffset, group.chunks.front().begin());
  w->I64(row_group_ids::kCompressedBytes, compressed);
  if (index <= INT16_MAX) {
    w->Int(row_group_ids::kOrdinal, CompactType::kI16, static_cast<int64_t>(index));
  }
  w->EndStruct();
}

// ASCENDING 1, DESCENDING 2, UNORDERED 0, over the pages that have bounds.
int BoundaryOrder(ColumnKind kind, const std::vector<PageSummary>& pages) {
  bool ascending = true;
  bool descending = true;
  const Bounds* before = nullptr;
  for (const PageSummary& page : pages) {
    if (!page.bounds.valid) {
      continue;
    }
    if (before != nullptr) {
      const int low = CompareBounds(kind, before->min, page.bounds.min);
      const int high = CompareBounds(kind, before->max, page.bounds.max);
      ascending = ascending && low <= 0 && high <= 0;
      descending = descending && low >= 0 && high >= 0;
    }
    before = &page.bounds;
  }
  return ascending ? 1 : (descending ? 2 : 0);
}

template <typename T>
int CompareAs(const std::string& a, const std::string& b) {
  const T left = LoadUnaligned<T>(a.data());
  const T right = LoadUnaligned<T>(b.data());
  return left < right ? -1 : (right < left ? 1 : 0);
}

}  // namespace

Encoding ValueEncoding(ColumnKind kind) {
  switch (kind) {
    case ColumnKind::kString:
      return Encoding::kRleDictionary;
    case ColumnKind::kDouble:
    case ColumnKind::kOptionalDouble:
      return Encoding::kByteStreamSplit;
    default:
      return Encoding::kDeltaBinaryPacked;
  }
}

int CompareBounds(ColumnKind kind, const std::string& a, const std::string& b) {
  switch (TypeOf(kind)) {
    case kTypeInt32:
      return CompareAs<int32_t>(a, b);
    case kTypeInt64:
      return CompareAs<int64_t>(a, b);
    case kTypeDouble:
      return CompareAs<double>(a, b);
    case kTypeByteArray:
      break;
  }
  return a.compare(b);
}

std::vector<uint8_t> SerializeFileMetadata(const FileMetadata& file) {
  std::vector<uint8_t> out;
  CompactWriter w(&out);
  w.I32(file_ids::kVersion, kFormatVersion);
  WriteSchema(file, &w);
  w.I64(file_ids::kRows, file.rows);
  w.BeginList(file_ids::kRowGroups, CompactType::kStruct, file.row_groups.size());
  for (size_t i = 0; i < file.row_groups.size(); ++i) {
    WriteRowGroup(file, i, &w);
  }
  if (!file.key_values.empty()) {
    w.BeginList(file_ids::kKeyValues, CompactType::kStruct, file.key_values.size());
    for (const auto& [key, value] : file.key_values) {
      w.BeginElement();
      w.Binary(1, key);
      w.Binary(2, value);
      w.EndStruct();
    }
  }
  w.Binary(file_ids::kCreatedBy, kCreatedBy);
  w.BeginList(file_ids::kColumnOrders, CompactType::kStruct, file.columns.size());
  for (size_t i = 0; i < file.columns.size(); ++i) {
    w.BeginElement();
    w.BeginStruct(1);  // TYPE_ORDER: min_value and max_value follow the column's type
    w.EndStruct();
    w.EndStruct();
  }
  w.Finish();
  return out;
}

void AppendOffsetIndex(const std::vector<PageLocation>& pages, std::vector<uint8_t>* out) {
  CompactWriter w(out);
  w.BeginList(index_ids::kPageLocations, CompactType::kStruct, pages.size());
  for (const PageLocation& page : pages) {
    w.BeginElement();
    w.I64(index_ids::kPageOffset, page.offset);
    w.I32(index_ids::kPageBytes, page.bytes);
    w.I64(index_ids::kFirstRow, page.first_row);
    w.EndStruct();
  }
  w.Finish();
}

bool AppendColumnIndex(ColumnKind kind, const std::vector<PageSummary>& pages,
                       std::vector<uint8_t>* out) {
  const auto has_values = [](const PageSummary& page) { return page.null_count < page.num_values; };
  if (std::any_of(pages.begin(), pages.end(), [&](const PageSummary& page) {
        return has_values(page) && !page.bounds.valid;
      })) {
    return false;
  }
  CompactWriter w(out);
  w.BeginList(index_ids::kNullPages, CompactType::kTrue, pages.size());
  for (const PageSummary& page : pages) {
    w.ElementBool(!has_values(page));
  }
  w.BeginList(index_ids::kMinValues, CompactType::kBinary, pages.size());
  for (const PageSummary& page : pages) {
    w.ElementBinary(page.bounds.min);
  }
  w.BeginList(index_ids::kMaxValues, CompactType::kBinary, pages.size());
  for (const PageSummary& page : pages) {
    w.ElementBinary(page.bounds.max);
  }
  w.I32(index_ids::kBoundaryOrder, BoundaryOrder(kind, pages));
  w.BeginList(index_ids::kNullCounts, CompactType::kI64, pages.size());
  for (const PageSummary& page : pages) {
    w.ElementInt(page.null_count);
  }
  w.Finish();
  return true;
}

void AppendPageHeader(const PageHeader& header, std::vector<uint8_t>* out) {
  CompactWriter w(out);
  w.I32(page_ids::kType, header.is_dictionary ? kDictionaryPage : kDataPage);
  w.I32(page_ids::kUncompressedBytes, header.uncompressed_bytes);
  w.I32(page_ids::kCompressedBytes, header.compressed_bytes);
  w.I32(page_ids::kCrc, static_cast<int32_t>(header.crc));
  w.BeginStruct(header.is_dictionary ? page_ids::kDictionary : page_ids::kData);
  w.I32(page_ids::kValues, header.num_values);
  w.I32(page_ids::kEncoding, static_cast<int64_t>(header.encoding));
  if (header.is_dictionary) {
    w.Bool(page_ids::kIsSorted, true);
  } else {
    w.I32(page_ids::kDefinitionEncoding, static_cast<int64_t>(Encoding::kRle));
    w.I32(page_ids::kRepetitionEncoding, static_cast<int64_t>(Encoding::kRle));
  }
  w.EndStruct();
  w.Finish();
}

}  // namespace wheeltapper::format::parquet
