// Field ids and enumerators of parquet.thrift, shared by writing and parsing.
#pragma once

#include <cstdint>

namespace wheeltapper::format::parquet {

enum PhysicalType : uint8_t { kTypeInt32 = 1, kTypeInt64 = 2, kTypeDouble = 5, kTypeByteArray = 6 };
enum Repetition : uint8_t { kRequired = 0, kOptional = 1, kRepeated = 2 };
enum ConvertedType : uint8_t {
  kConvertedUtf8 = 0,
  kConvertedList = 3,
  kConvertedTimestampMicros = 10
};
enum PageType : uint8_t { kDataPage = 0, kDictionaryPage = 2 };
inline constexpr int kCodecZstd = 6;
inline constexpr int kFormatVersion = 2;

// Struct by struct: the field ids.
namespace file_ids {
inline constexpr int16_t kVersion = 1, kSchema = 2, kRows = 3, kRowGroups = 4, kKeyValues = 5,
                         kCreatedBy = 6, kColumnOrders = 7;
}
namespace schema_ids {
inline constexpr int16_t kType = 1, kRepetition = 3, kName = 4, kChildren = 5, kConverted = 6,
                         kLogical = 10;
inline constexpr int16_t kLogicalString = 1, kLogicalList = 3, kLogicalTimestamp = 8;
inline constexpr int16_t kIsUtc = 1, kUnit = 2, kMicros = 2;
}  // namespace schema_ids
namespace row_group_ids {
inline constexpr int16_t kColumns = 1, kTotalBytes = 2, kRows = 3, kSorting = 4, kFileOffset = 5,
                         kCompressedBytes = 6, kOrdinal = 7;
inline constexpr int16_t kSortColumn = 1, kSortDescending = 2, kSortNullsFirst = 3;
}  // namespace row_group_ids
namespace chunk_ids {
inline constexpr int16_t kFileOffset = 2, kMetadata = 3, kOffsetIndexOffset = 4,
                         kOffsetIndexBytes = 5, kColumnIndexOffset = 6, kColumnIndexBytes = 7;
inline constexpr int16_t kType = 1, kEncodings = 2, kPath = 3, kCodec = 4, kValues = 5,
                         kUncompressedBytes = 6, kCompressedBytes = 7, kDataPageOffset = 9,
                         kDictionaryPageOffset = 11, kStatistics = 12;
}  // namespace chunk_ids
namespace statistics_ids {
inline constexpr int16_t kNullCount = 3, kMaxValue = 5, kMinValue = 6, kMaxExact = 7, kMinExact = 8,
                         kNanCount = 9;
}
namespace page_ids {
inline constexpr int16_t kType = 1, kUncompressedBytes = 2, kCompressedBytes = 3, kCrc = 4,
                         kData = 5, kDictionary = 7;
inline constexpr int16_t kValues = 1, kEncoding = 2, kDefinitionEncoding = 3,
                         kRepetitionEncoding = 4, kIsSorted = 3;
}  // namespace page_ids
namespace index_ids {
inline constexpr int16_t kNullPages = 1, kMinValues = 2, kMaxValues = 3, kBoundaryOrder = 4,
                         kNullCounts = 5;
inline constexpr int16_t kPageLocations = 1, kPageOffset = 1, kPageBytes = 2, kFirstRow = 3;
}  // namespace index_ids

}  // namespace wheeltapper::format::parquet
