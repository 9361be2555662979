#include <algorithm>
#include <cerrno>
#include <set>

#include <fcntl.h>
#include <unistd.h>

#include "wheeltapper/core/crc32c.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/format/parquet.h"

#include "parquet/chunk_encoder.h"
#include "parquet/file_checksum.h"
#include "parquet/file_metadata.h"
#include "parquet/page_codec.h"
#include "parquet/utf8.h"

namespace wheeltapper::format {
namespace parquet {
namespace {

// A file under a temporary name, so that readers see all of it or nothing. Removed unless finished.
class FileSink {
 public:
  static Result<FileSink> Create(const std::string& path) {
    std::string temporary = path + ".tmp." + std::to_string(getpid());
    WT_ASSIGN_OR_RETURN(FileDescriptor file, OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC));
    return FileSink(path, std::move(temporary), std::move(file));
  }
  FileSink(FileSink&&) = default;
  FileSink& operator=(FileSink&&) = delete;
  FileSink(const FileSink&) = delete;
  FileSink& operator=(const FileSink&) = delete;
  ~FileSink() {
    if (file_.valid()) {
      RemoveFile(temporary_)
          .IgnoreError("the write failed already; a leftover .tmp file is harmless");
    }
  }

  [[nodiscard]] int64_t offset() const { return offset_; }
  // Of all that was appended.
  [[nodiscard]] uint32_t crc() const { return crc_; }
  Status Append(ByteSpan bytes) {
    offset_ += static_cast<int64_t>(bytes.size());
    crc_ = Crc32c(bytes, crc_);
    return WriteAll(file_, bytes);
  }
  Status Finish() {
    if (fdatasync(file_.get()) != 0) {
      return ErrnoError(errno, "syncing file");
    }
    WT_RETURN_IF_ERROR(RenameFile(temporary_, path_));
    file_.Close();
    const size_t slash = path_.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
    // The rename is what readers see; syncing the folder only makes it survive a power cut, and
    // some file systems refuse it.
    if (auto handle = OpenFile(folder, O_RDONLY | O_DIRECTORY); handle.ok()) {
      (void)fsync(handle->get());
    }
    return {};
  }

 private:
  FileSink(std::string path, std::string temporary, FileDescriptor file)
      : path_(std::move(path)), temporary_(std::move(temporary)), file_(std::move(file)) {}

  std::string path_;
  std::string temporary_;
  FileDescriptor file_;
  int64_t offset_ = 0;
  uint32_t crc_ = 0;
};

struct ChunkIndex {
  std::vector<PageLocation> pages;
  std::vector<PageSummary> summaries;
};

class TableWriter {
 public:
  TableWriter(const Table& table, const ParquetOptions& options, FileSink* sink)
      : table_(table), options_(options), sink_(sink), compressor_(options.zstd_level) {}

  Status Write() {
    WT_RETURN_IF_ERROR(WriteSchema());
    WT_RETURN_IF_ERROR(sink_->Append(AsBytes(kMagic)));
    for (int64_t first = 0; first < file_.rows; first += options_.row_group_rows) {
      WT_RETURN_IF_ERROR(
          WriteRowGroup({first, std::min(options_.row_group_rows, file_.rows - first)}));
    }
    WT_RETURN_IF_ERROR(WriteIndexes());
    ByteWriter writer;
    writer.WriteSpan(SerializeFileMetadata(file_));
    writer.Write(static_cast<uint32_t>(writer.size()));
    writer.WriteText(kMagic);
    std::vector<uint8_t> tail(writer.span().begin(), writer.span().end());
    WT_RETURN_IF_ERROR(SealChecksum(sink_->crc(), tail));
    return sink_->Append(tail);
  }

 private:
  Status WriteSchema() {
    file_.rows = table_.rows();
    for (const auto& [key, value] : options_.metadata) {
      file_.key_values.emplace(ReplaceInvalidUtf8(key), ReplaceInvalidUtf8(value));
    }
    file_.key_values.insert_or_assign(std::string(kChecksumKey), std::string(kNoChecksum));
    for (const Column& column : table_.columns) {
      file_.columns.push_back({column.name, KindOf(column.data)});
    }
    for (const std::string& name : options_.sorted_by) {
      const Column* column = table_.Find(name);
      if (column == nullptr) {
        return InvalidArgumentError("sorted_by names no column: \"" + name + "\"");
      }
      file_.sorting_columns.push_back(static_cast<int>(column - table_.columns.data()));
    }
    return {};
  }

  Status WriteRowGroup(RowRange rows) {
    RowGroupMetadata group;
    group.rows = rows.count;
    for (const Column& column : table_.columns) {
      WT_ASSIGN_OR_RETURN(EncodedChunk chunk,
                          EncodeChunk(column.data, rows, options_.page_rows, &compressor_));
      const int64_t base = sink_->offset();
      chunk.metadata.data_page_offset += base;
      if (chunk.metadata.dictionary_page_offset >= 0) {
        chunk.metadata.dictionary_page_offset += base;
      }
      for (PageLocation& page : chunk.pages) {
        page.offset += base;
      }
      WT_RETURN_IF_ERROR(sink_->Append(chunk.bytes));
      group.chunks.push_back(std::move(chunk.metadata));
      indexes_.push_back({std::move(chunk.pages), std::move(chunk.summaries)});
    }
    file_.row_groups.push_back(std::move(group));
    return {};
  }

  // Indexes lie together before the footer, so that a reader of a remote file gets them in one
  // request.
  Status WriteIndexes() {
    std::vector<uint8_t> bytes;
    const int64_t base = sink_->offset();
    size_t index = 0;
    for (RowGroupMetadata& group : file_.row_groups) {
      for (size_t i = 0; i < group.chunks.size(); ++i, ++index) {
        ChunkMetadata& chunk = group.chunks[i];
        const auto start = static_cast<int64_t>(bytes.size());
        if (AppendColumnIndex(file_.columns[i].kind, indexes_[index].summaries, &bytes)) {
          chunk.column_index_offset = base + start;
          chunk.column_index_bytes = static_cast<int64_t>(bytes.size()) - start;
        }
        const auto middle = static_cast<int64_t>(bytes.size());
        AppendOffsetIndex(indexes_[index].pages, &bytes);
        chunk.offset_index_offset = base + middle;
        chunk.offset_index_bytes = static_cast<int64_t>(bytes.size()) - middle;
      }
    }
    return sink_->Append(bytes);
  }

  const Table& table_;
  const ParquetOptions& options_;
  FileSink* sink_;
  PageCompressor compressor_;
  FileMetadata file_;
  std::vector<ChunkIndex> indexes_;
};

Status CheckTable(const Table& table, const ParquetOptions& options) {
  if (options.row_group_rows < 1 || options.page_rows < 1 || options.page_rows > kMaxPageRows) {
    return InvalidArgumentError("row_group_rows or page_rows is out of range");
  }
  if (table.columns.empty()) {
    return InvalidArgumentError("the table has no columns");
  }
  std::set<std::string_view> names;
  for (const Column& column : table.columns) {
    const auto context = [&](std::string_view what) {
      return InvalidArgumentError(std::string(what) + ": \"" + column.name + "\"");
    };
    if (!names.insert(column.name).second) {
      return context("two columns have one name");
    }
    if (RowsOf(column.data) != table.rows()) {
      return context("a column's length differs from the first column's");
    }
    WT_RETURN_IF_ERROR(CheckColumn(column.data).WithContext("column \"" + column.name + "\""));
  }
  return {};
}

}  // namespace
}  // namespace parquet

int64_t Table::rows() const { return columns.empty() ? 0 : parquet::RowsOf(columns.front().data); }

const Column* Table::Find(const std::string& name) const {
  const auto found = std::find_if(columns.begin(), columns.end(),
                                  [&](const Column& column) { return column.name == name; });
  return found == columns.end() ? nullptr : &*found;
}

Status WriteParquet(const std::string& path, const Table& table, const ParquetOptions& options) {
  const std::string context = "writing \"" + path + "\"";
  WT_RETURN_IF_ERROR(parquet::CheckTable(table, options).WithContext(context));
  WT_ASSIGN_OR_RETURN(parquet::FileSink sink, parquet::FileSink::Create(path));
  WT_RETURN_IF_ERROR(parquet::TableWriter(table, options, &sink).Write().WithContext(context));
  return sink.Finish().WithContext(context);
}

}  // namespace wheeltapper::format
