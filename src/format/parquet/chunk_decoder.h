// Decodes rows of one column of one row group, touching only the pages that hold them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/parquet.h"

#include "parquet/file_metadata.h"
#include "parquet/page_codec.h"

namespace wheeltapper::format::parquet {

// An empty column of `kind`.
ColumnData MakeColumn(ColumnKind kind);

// Collects one column over several row groups. Not thread-safe.
class ColumnDecoder {
 public:
  // `file` is the whole file and outlives the decoder.
  ColumnDecoder(ByteSpan file, ColumnKind kind);

  // Appends rows [first, first + count) of a chunk whose row group has `group_rows` rows.
  Status Append(const ChunkMetadata& chunk, int64_t group_rows, int64_t first, int64_t count);
  ColumnData Take();

 private:
  struct Page {
    PageLocation location;
    int64_t rows = 0;
    int64_t skip = 0;  // rows of the page before the wanted ones
    int64_t take = 0;
  };
  struct PageBytes {
    PageHeader header;
    ByteSpan body;
  };

  [[nodiscard]] Result<std::vector<PageLocation>> Locations(const ChunkMetadata& chunk,
                                                            int64_t group_rows) const;
  Result<PageBytes> Load(int64_t offset, int64_t nbytes);
  Status LoadDictionary(const ChunkMetadata& chunk, int64_t end);
  Status AppendPage(const Page& page);
  Status AppendStrings(const Page& page, ByteSpan body);
  template <typename T>
  Status AppendInts(const Page& page, ByteSpan body, std::vector<T>* values);
  Status AppendDoubles(const Page& page, ByteSpan body);
  Status AppendOptionalDoubles(const Page& page, ByteSpan body);
  Status AppendLists(const Page& page, int64_t num_levels, ByteSpan body);

  ByteSpan file_;
  ColumnKind kind_;
  ColumnData data_;
  PageDecompressor decompressor_;
  std::vector<uint32_t> code_of_;  // of the chunk at hand: its code → code in data_'s dictionary
  std::vector<uint32_t> levels_;
};

}  // namespace wheeltapper::format::parquet
