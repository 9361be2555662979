#include <utility>

#include "parquet/file_metadata.h"
#include "parquet/thrift_compact.h"
#include "parquet/thrift_ids.h"

namespace wheeltapper::format::parquet {
namespace {

Status Damaged(const char* what) {
  return DataLossError(std::string("reading Parquet metadata: ") + what);
}
Status Foreign(const char* what) {
  return UnimplementedError(std::string("reading Parquet metadata: ") + what);
}

struct SchemaElement {
  int64_t type = -1;
  int64_t repetition = kRequired;
  std::string_view name;
  int64_t children = 0;
  int64_t converted = -1;
};

SchemaElement ReadSchemaElement(CompactReader* r) {
  SchemaElement element;
  for (CompactField f; r->Next(&f);) {
    switch (f.id) {
      case schema_ids::kType:
        element.type = r->Int(f);
        break;
      case schema_ids::kRepetition:
        element.repetition = r->Int(f);
        break;
      case schema_ids::kName:
        element.name = r->Binary(f);
        break;
      case schema_ids::kChildren:
        element.children = r->Int(f);
        break;
      case schema_ids::kConverted:
        element.converted = r->Int(f);
        break;
      default:
        r->Skip(f);
    }
  }
  return element;
}

Result<ColumnKind> LeafKind(const SchemaElement& leaf) {
  if (leaf.children != 0 || leaf.repetition > kOptional ||
      (leaf.repetition == kOptional && leaf.type != kTypeDouble)) {
    return Foreign("a column is nested or optional in a way this reader does not know");
  }
  const bool plain = leaf.converted == -1;
  if (leaf.type == kTypeByteArray && leaf.converted == kConvertedUtf8) {
    return ColumnKind::kString;
  }
  if (leaf.type == kTypeInt64 && leaf.converted == kConvertedTimestampMicros) {
    return ColumnKind::kTimestamp;
  }
  if (leaf.type == kTypeInt32 && plain) {
    return ColumnKind::kInt32;
  }
  if (leaf.type == kTypeInt64 && plain) {
    return ColumnKind::kInt64;
  }
  if (leaf.type == kTypeDouble && plain) {
    return leaf.repetition == kOptional ? ColumnKind::kOptionalDouble : ColumnKind::kDouble;
  }
  return Foreign("a column has a type this reader does not know");
}

Status ReadListLeaf(CompactReader* r) {
  const SchemaElement list = ReadSchemaElement(r);
  const SchemaElement element = ReadSchemaElement(r);
  if (list.repetition != kRepeated || list.children != 1 || element.type != kTypeInt64 ||
      element.repetition != kRequired || element.children != 0 || element.converted != -1) {
    return Foreign("a list column is not a list of required int64");
  }
  return {};
}

Result<std::vector<ColumnSchema>> ReadSchema(CompactReader* r, const CompactField& field) {
  const CompactList list = r->List(field, CompactType::kStruct);
  if (list.size == 0) {
    return Damaged("no schema");
  }
  const SchemaElement root = ReadSchemaElement(r);
  std::vector<ColumnSchema> columns;
  uint64_t used = 1;
  while (used < list.size && r->ok()) {
    const SchemaElement head = ReadSchemaElement(r);
    ColumnSchema column{std::string(head.name), ColumnKind::kInt64List};
    if (head.converted == kConvertedList && head.children == 1 && head.repetition == kRequired) {
      WT_RETURN_IF_ERROR(ReadListLeaf(r));
      used += 3;
    } else {
      WT_ASSIGN_OR_RETURN(column.kind, LeafKind(head));
      used += 1;
    }
    columns.push_back(std::move(column));
  }
  if (!r->ok() || used != list.size || root.children != static_cast<int64_t>(columns.size())) {
    return Damaged("the schema does not add up");
  }
  return columns;
}

struct RawChunk {
  ChunkMetadata chunk;
  int64_t codec = -1;
};

void ReadColumnMetadata(CompactReader* r, RawChunk* raw) {
  ChunkMetadata& chunk = raw->chunk;
  for (CompactField f; r->Next(&f);) {
    switch (f.id) {
      case chunk_ids::kCodec:
        raw->codec = r->Int(f);
        break;
      case chunk_ids::kValues:
        chunk.num_values = r->Int(f);
        break;
      case chunk_ids::kUncompressedBytes:
        chunk.uncompressed_bytes = r->Int(f);
        break;
      case chunk_ids::kCompressedBytes:
        chunk.compressed_bytes = r->Int(f);
        break;
      case chunk_ids::kDataPageOffset:
        chunk.data_page_offset = r->Int(f);
        break;
      case chunk_ids::kDictionaryPageOffset:
        chunk.dictionary_page_offset = r->Int(f);
        break;
      default:
        r->Skip(f);
    }
  }
}

Result<ChunkMetadata> ReadChunk(CompactReader* r) {
  RawChunk raw;
  ChunkMetadata& chunk = raw.chunk;
  for (CompactField f; r->Next(&f);) {
    switch (f.id) {
      case chunk_ids::kMetadata:
        if (r->Struct(f)) {
          ReadColumnMetadata(r, &raw);
        }
        break;
      case chunk_ids::kOffsetIndexOffset:
        chunk.offset_index_offset = r->Int(f);
        break;
      case chunk_ids::kOffsetIndexBytes:
        chunk.offset_index_bytes = r->Int(f);
        break;
      default:
        r->Skip(f);
    }
  }
  if (!r->ok() || chunk.data_page_offset <= 0 || chunk.num_values < 0) {
    return Damaged("a column chunk lacks its fields");
  }
  if (raw.codec != kCodecZstd || chunk.offset_index_offset < 0) {
    return Foreign("a column chunk is not zstd or has no offset index");
  }
  return std::move(raw.chunk);
}

Result<RowGroupMetadata> ReadRowGroup(CompactReader* r) {
  RowGroupMetadata group;
  group.rows = -1;
  for (CompactField f; r->Next(&f);) {
    if (f.id == row_group_ids::kColumns) {
      const CompactList list = r->List(f, CompactType::kStruct);
      for (uint64_t i = 0; i < list.size; ++i) {
        WT_ASSIGN_OR_RETURN(ChunkMetadata chunk, ReadChunk(r));
        group.chunks.push_back(std::move(chunk));
      }
    } else if (f.id == row_group_ids::kRows) {
      group.rows = r->Int(f);
    } else {
      r->Skip(f);
    }
  }
  if (!r->ok() || group.rows <= 0 || group.chunks.empty()) {
    return Damaged("a row group lacks its fields");
  }
  return group;
}

void ReadKeyValue(CompactReader* r, std::map<std::string, std::string>* into) {
  std::string_view key;
  std::string_view value;
  for (CompactField f; r->Next(&f);) {
    if (f.id == 1) {
      key = r->Binary(f);
    } else if (f.id == 2) {
      value = r->Binary(f);
    } else {
      r->Skip(f);
    }
  }
  if (r->ok()) {
    into->insert_or_assign(std::string(key), std::string(value));
  }
}

Status ReadFileField(CompactReader* r, const CompactField& f, FileMetadata* file) {
  switch (f.id) {
    case file_ids::kSchema: {
      WT_ASSIGN_OR_RETURN(file->columns, ReadSchema(r, f));
      return {};
    }
    case file_ids::kRows:
      file->rows = r->Int(f);
      return {};
    case file_ids::kRowGroups: {
      const CompactList list = r->List(f, CompactType::kStruct);
      for (uint64_t i = 0; i < list.size; ++i) {
        WT_ASSIGN_OR_RETURN(RowGroupMetadata group, ReadRowGroup(r));
        file->row_groups.push_back(std::move(group));
      }
      return {};
    }
    case file_ids::kKeyValues: {
      const CompactList list = r->List(f, CompactType::kStruct);
      for (uint64_t i = 0; i < list.size && r->ok(); ++i) {
        ReadKeyValue(r, &file->key_values);
      }
      return {};
    }
    default:
      r->Skip(f);
      return {};
  }
}

void ReadPageDetails(CompactReader* r, PageHeader* header) {
  for (CompactField f; r->Next(&f);) {
    if (f.id == page_ids::kValues) {
      header->num_values = r->Int(f);
    } else if (f.id == page_ids::kEncoding) {
      const int64_t encoding = r->Int(f);
      header->encoding = static_cast<Encoding>(encoding & 0xff);
    } else {
      r->Skip(f);
    }
  }
}

}  // namespace

Result<FileMetadata> ParseFileMetadata(ByteSpan bytes) {
  CompactReader r(bytes);
  FileMetadata file;
  file.rows = -1;
  for (CompactField f; r.Next(&f);) {
    WT_RETURN_IF_ERROR(ReadFileField(&r, f, &file));
  }
  if (!r.ok() || file.columns.empty() || file.rows < 0) {
    return Damaged("the footer lacks its fields");
  }
  int64_t rows = 0;
  for (const RowGroupMetadata& group : file.row_groups) {
    if (group.chunks.size() != file.columns.size() || group.rows > file.rows - rows) {
      return Damaged("row groups do not fit the schema or the row count");
    }
    rows += group.rows;
  }
  return rows == file.rows ? Result<FileMetadata>(std::move(file))
                           : Damaged("row groups do not add up to the row count");
}

namespace {

PageLocation ReadPageLocation(CompactReader* r) {
  PageLocation page;
  for (CompactField f; r->Next(&f);) {
    if (f.id == index_ids::kPageOffset) {
      page.offset = r->Int(f);
    } else if (f.id == index_ids::kPageBytes) {
      page.bytes = r->Int(f);
    } else if (f.id == index_ids::kFirstRow) {
      page.first_row = r->Int(f);
    } else {
      r->Skip(f);
    }
  }
  return page;
}

}  // namespace

Result<std::vector<PageLocation>> ParseOffsetIndex(ByteSpan bytes) {
  CompactReader r(bytes);
  std::vector<PageLocation> pages;
  for (CompactField f; r.Next(&f);) {
    if (f.id != index_ids::kPageLocations) {
      r.Skip(f);
      continue;
    }
    const CompactList list = r.List(f, CompactType::kStruct);
    for (uint64_t i = 0; i < list.size && r.ok(); ++i) {
      pages.push_back(ReadPageLocation(&r));
    }
  }
  return r.ok() ? Result<std::vector<PageLocation>>(std::move(pages))
                : Damaged("an offset index is damaged");
}

Result<PageHeader> ParsePageHeader(ByteSpan bytes, size_t* header_bytes) {
  CompactReader r(bytes);
  PageHeader header;
  int64_t type = -1;
  bool has_crc = false;
  bool has_details = false;
  for (CompactField f; r.Next(&f);) {
    if (f.id == page_ids::kType) {
      type = r.Int(f);
    } else if (f.id == page_ids::kUncompressedBytes) {
      header.uncompressed_bytes = r.Int(f);
    } else if (f.id == page_ids::kCompressedBytes) {
      header.compressed_bytes = r.Int(f);
    } else if (f.id == page_ids::kCrc) {
      header.crc = static_cast<uint32_t>(r.Int(f));
      has_crc = true;
    } else if ((f.id == page_ids::kData || f.id == page_ids::kDictionary) && r.Struct(f)) {
      ReadPageDetails(&r, &header);
      has_details = true;
    } else {
      r.Skip(f);
    }
  }
  header.is_dictionary = type == kDictionaryPage;
  if (!r.ok() || !has_details || header.uncompressed_bytes < 0 || header.compressed_bytes < 0) {
    return Damaged("a page header is damaged");
  }
  if (!has_crc || (type != kDataPage && type != kDictionaryPage)) {
    return Foreign("a page has no CRC or an unknown type");
  }
  *header_bytes = r.offset();
  return header;
}

}  // namespace wheeltapper::format::parquet
