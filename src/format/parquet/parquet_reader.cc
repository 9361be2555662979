#include <algorithm>
#include <utility>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/parquet.h"

#include "parquet/chunk_decoder.h"
#include "parquet/file_checksum.h"
#include "parquet/file_metadata.h"

namespace wheeltapper::format {
namespace parquet {
namespace {

constexpr size_t kTailBytes = sizeof(uint32_t) + kMagic.size();
// Rows per byte of file that this reader believes in. A page of 128 Ki constant rows takes about
// 100 bytes, so no file of the writer comes near; it bounds what rows() of a damaged file can
// promise.
constexpr int64_t kMaxRowsPerByte = 4096;

class MappedParquetFile final : public ParquetFile {
 public:
  MappedParquetFile(MappedFile mapping, ByteSpan bytes, FileMetadata metadata)
      : mapping_(std::move(mapping)), bytes_(bytes), metadata_(std::move(metadata)) {}

  [[nodiscard]] int64_t rows() const override { return metadata_.rows; }
  [[nodiscard]] std::vector<std::string> column_names() const override {
    std::vector<std::string> names;
    names.reserve(metadata_.columns.size());
    for (const ColumnSchema& column : metadata_.columns) {
      names.push_back(column.name);
    }
    return names;
  }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const override {
    return metadata_.key_values;
  }
  [[nodiscard]] Status CheckWhole() const override { return CheckFileChecksum(bytes_); }
  Result<ColumnData> ReadColumn(const std::string& name) const override {
    return ReadColumnRows(name, 0, metadata_.rows);
  }
  Result<ColumnData> ReadColumnRows(const std::string& name, int64_t first,
                                    int64_t count) const override {
    const auto column =
        std::find_if(metadata_.columns.begin(), metadata_.columns.end(),
                     [&](const ColumnSchema& schema) { return schema.name == name; });
    if (column == metadata_.columns.end()) {
      return NotFoundError("reading Parquet column: no such column: \"" + name + "\"");
    }
    if (first < 0 || count < 0 || first > metadata_.rows || count > metadata_.rows - first) {
      return OutOfRangeError("reading Parquet column: rows are past the end: \"" + name + "\"");
    }
    const auto index = static_cast<size_t>(column - metadata_.columns.begin());
    ColumnDecoder decoder(bytes_, column->kind);
    int64_t start = 0;  // of the row group
    for (const RowGroupMetadata& group : metadata_.row_groups) {
      const int64_t from = std::max(first, start);
      const int64_t to = std::min(first + count, start + group.rows);
      if (from < to) {
        WT_RETURN_IF_ERROR(decoder.Append(group.chunks[index], group.rows, from - start, to - from)
                               .WithContext("column \"" + name + "\""));
      }
      start += group.rows;
    }
    return decoder.Take();
  }

 private:
  MappedFile mapping_;  // empty when the bytes are the caller's
  ByteSpan bytes_;
  FileMetadata metadata_;
};

Result<FileMetadata> ReadFooter(ByteSpan bytes) {
  if (bytes.size() < kMagic.size() + kTailBytes || AsText(bytes.first(kMagic.size())) != kMagic ||
      AsText(bytes.last(kMagic.size())) != kMagic) {
    return DataLossError("reading Parquet footer: not a whole Parquet file");
  }
  const auto footer_bytes = LoadUnaligned<uint32_t>(bytes.data() + bytes.size() - kTailBytes);
  if (footer_bytes > bytes.size() - kTailBytes - kMagic.size()) {
    return DataLossError("reading Parquet footer: it is longer than the file");
  }
  WT_ASSIGN_OR_RETURN(FileMetadata metadata,
                      ParseFileMetadata(bytes.last(kTailBytes + footer_bytes).first(footer_bytes)));
  if (metadata.rows / kMaxRowsPerByte > static_cast<int64_t>(bytes.size())) {
    return DataLossError("reading Parquet footer: more rows than the file can hold");
  }
  metadata.key_values.erase(std::string(kChecksumKey));  // the file's, not its table's
  return metadata;
}

}  // namespace
}  // namespace parquet

Result<std::unique_ptr<ParquetFile>> ParquetFile::Open(const std::string& path) {
  WT_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::OpenReadOnly(path));
  const ByteSpan bytes = mapping.bytes();
  Result<parquet::FileMetadata> metadata = parquet::ReadFooter(bytes);
  if (!metadata.ok()) {
    return metadata.status().WithContext("\"" + path + "\"");
  }
  return std::unique_ptr<ParquetFile>(std::make_unique<parquet::MappedParquetFile>(
      std::move(mapping), bytes, std::move(*metadata)));
}

Result<std::unique_ptr<ParquetFile>> ParquetFile::FromBytes(ByteSpan bytes) {
  WT_ASSIGN_OR_RETURN(parquet::FileMetadata metadata, parquet::ReadFooter(bytes));
  return std::unique_ptr<ParquetFile>(
      std::make_unique<parquet::MappedParquetFile>(MappedFile(), bytes, std::move(metadata)));
}

}  // namespace wheeltapper::format
