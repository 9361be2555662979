// Encodes one column of one row group into pages.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "wheeltapper/core/status.h"
#include "wheeltapper/format/parquet.h"

#include "parquet/file_metadata.h"
#include "parquet/page_codec.h"

namespace wheeltapper::format::parquet {

ColumnKind KindOf(const ColumnData& data);
int64_t RowsOf(const ColumnData& data);
// InvalidArgument when a code has no dictionary entry, offsets do not rise, `present` has another
// length, or a list is longer than a page may be.
Status CheckColumn(const ColumnData& data);

// Rows [first, first + count) of a table.
struct RowRange {
  int64_t first = 0;
  int64_t count = 0;
};

struct EncodedChunk {
  std::vector<uint8_t> bytes;       // dictionary page, data pages
  ChunkMetadata metadata;           // offsets relative to `bytes`
  std::vector<PageLocation> pages;  // likewise
  std::vector<PageSummary> summaries;
};

// `data` passed CheckColumn and holds the rows.
Result<EncodedChunk> EncodeChunk(const ColumnData& data, RowRange rows, int64_t page_rows,
                                 PageCompressor* compressor);

}  // namespace wheeltapper::format::parquet
