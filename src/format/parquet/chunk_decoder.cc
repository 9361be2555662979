#include "parquet/chunk_decoder.h"

#include <algorithm>
#include <limits>
#include <span>
#include <unordered_map>
#include <utility>

#include "parquet/encoding.h"

namespace wheeltapper::format::parquet {
namespace {

Status Damaged(const char* what) {
  return DataLossError(std::string("reading Parquet column: ") + what);
}

// bytes [offset, offset + nbytes) of the file, or an empty span when they are not all there.
ByteSpan Range(ByteSpan file, int64_t offset, int64_t nbytes) {
  const auto size = static_cast<int64_t>(file.size());
  if (offset < 0 || nbytes <= 0 || offset > size || nbytes > size - offset) {
    return {};
  }
  return file.subspan(static_cast<size_t>(offset), static_cast<size_t>(nbytes));
}

// Appends `skip` … `skip + take` of `from`.
template <typename T>
void AppendSlice(const std::vector<T>& from, int64_t skip, int64_t take, std::vector<T>* to) {
  const auto begin = from.begin() + skip;
  to->insert(to->end(), begin, begin + take);
}

// Reads levels of 0 and 1 with their length in front; moves `body` past them.
Status ReadLevels(ByteSpan* body, std::span<uint32_t> levels) {
  ByteReader reader(*body);
  const ByteSpan runs = reader.ReadSpan(reader.Read<uint32_t>());
  if (!reader.ok()) {
    return Damaged("levels are cut short");
  }
  WT_RETURN_IF_ERROR(DecodeHybrid(runs, 1, levels));
  *body = body->subspan(reader.offset());
  return {};
}

Result<std::vector<std::string>> ParseDictionary(ByteSpan body, int64_t num_values) {
  // Each entry takes its length at least.
  if (num_values < 1 || static_cast<uint64_t>(num_values) > body.size() / sizeof(uint32_t)) {
    return Damaged("a dictionary has a wrong number of entries");
  }
  ByteReader reader(body);
  std::vector<std::string> entries;
  entries.reserve(static_cast<size_t>(num_values));
  for (int64_t i = 0; i < num_values; ++i) {
    entries.emplace_back(reader.ReadText(reader.Read<uint32_t>()));
  }
  if (!reader.ok() || reader.remaining() != 0) {
    return Damaged("a dictionary does not fill its page");
  }
  return entries;
}

}  // namespace

ColumnData MakeColumn(ColumnKind kind) {
  switch (kind) {
    case ColumnKind::kString:
      return StringColumn{};
    case ColumnKind::kInt32:
      return Int32Column{};
    case ColumnKind::kInt64:
      return Int64Column{};
    case ColumnKind::kTimestamp:
      return TimestampColumn{};
    case ColumnKind::kInt64List:
      return Int64ListColumn{.offsets = {0}, .values = {}};
    case ColumnKind::kDouble:
    case ColumnKind::kOptionalDouble:
      break;
  }
  return DoubleColumn{};
}

ColumnDecoder::ColumnDecoder(ByteSpan file, ColumnKind kind)
    : file_(file), kind_(kind), data_(MakeColumn(kind)) {}

ColumnData ColumnDecoder::Take() { return std::move(data_); }

Result<std::vector<PageLocation>> ColumnDecoder::Locations(const ChunkMetadata& chunk,
                                                           int64_t group_rows) const {
  WT_ASSIGN_OR_RETURN(
      std::vector<PageLocation> pages,
      ParseOffsetIndex(Range(file_, chunk.offset_index_offset, chunk.offset_index_bytes)));
  if (Range(file_, chunk.begin(), chunk.compressed_bytes).empty() ||
      chunk.data_page_offset < chunk.begin()) {
    return Damaged("a column chunk lies outside the file");
  }
  // Pages must tile the chunk: overlapping ones would let a small file unfold without end.
  int64_t offset = chunk.data_page_offset;
  int64_t row = 0;
  for (size_t i = 0; i < pages.size(); ++i) {
    const int64_t next_row = i + 1 < pages.size() ? pages[i + 1].first_row : group_rows;
    if (pages[i].offset != offset || pages[i].first_row != row || pages[i].bytes <= 0 ||
        pages[i].bytes > chunk.begin() + chunk.compressed_bytes - offset || next_row <= row ||
        next_row - row > kMaxPageRows) {
      return Damaged("an offset index does not tile its column chunk");
    }
    offset += pages[i].bytes;
    row = next_row;
  }
  if (row != group_rows || offset != chunk.begin() + chunk.compressed_bytes) {
    return Damaged("an offset index does not cover its column chunk");
  }
  return pages;
}

Result<ColumnDecoder::PageBytes> ColumnDecoder::Load(int64_t offset, int64_t nbytes) {
  const ByteSpan bytes = Range(file_, offset, nbytes);
  size_t header_bytes = 0;
  WT_ASSIGN_OR_RETURN(const PageHeader header, ParsePageHeader(bytes, &header_bytes));
  const ByteSpan frame = bytes.subspan(header_bytes);
  if (static_cast<int64_t>(frame.size()) != header.compressed_bytes ||
      header.uncompressed_bytes > kMaxPageBytes) {
    return Damaged("a page's size differs from its header's");
  }
  if (PageCrc(frame) != header.crc) {
    return Damaged("a page's checksum does not match");
  }
  WT_ASSIGN_OR_RETURN(
      const ByteSpan body,
      decompressor_.Decompress(frame, static_cast<size_t>(header.uncompressed_bytes)));
  return PageBytes{header, body};
}

Status ColumnDecoder::Append(const ChunkMetadata& chunk, int64_t group_rows, int64_t first,
                             int64_t count) {
  WT_ASSIGN_OR_RETURN(const std::vector<PageLocation> pages, Locations(chunk, group_rows));
  if (kind_ == ColumnKind::kString) {
    WT_RETURN_IF_ERROR(LoadDictionary(chunk, chunk.data_page_offset));
  }
  for (size_t i = 0; i < pages.size(); ++i) {
    const int64_t begin = pages[i].first_row;
    const int64_t end = i + 1 < pages.size() ? pages[i + 1].first_row : group_rows;
    const int64_t from = std::max(begin, first);
    const int64_t to = std::min(end, first + count);
    if (from < to) {
      WT_RETURN_IF_ERROR(AppendPage({pages[i], end - begin, from - begin, to - from}));
    }
  }
  return {};
}

Status ColumnDecoder::LoadDictionary(const ChunkMetadata& chunk, int64_t end) {
  WT_ASSIGN_OR_RETURN(const PageBytes page, Load(chunk.begin(), end - chunk.begin()));
  if (!page.header.is_dictionary || page.header.encoding != Encoding::kPlain) {
    return Damaged("a string column has no dictionary");
  }
  WT_ASSIGN_OR_RETURN(std::vector<std::string> entries,
                      ParseDictionary(page.body, page.header.num_values));
  auto& dictionary = std::get<StringColumn>(data_).dictionary;
  code_of_.resize(entries.size());
  if (dictionary.empty()) {
    dictionary = std::move(entries);
    for (size_t i = 0; i < code_of_.size(); ++i) {
      code_of_[i] = static_cast<uint32_t>(i);
    }
    return {};
  }
  std::unordered_map<std::string_view, uint32_t> known;
  const size_t before = dictionary.size();
  dictionary.reserve(before + entries.size());  // `known` views these strings
  for (size_t i = 0; i < before; ++i) {
    known.emplace(dictionary[i], static_cast<uint32_t>(i));
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    const auto found = known.find(entries[i]);
    if (found != known.end()) {
      code_of_[i] = found->second;
      continue;
    }
    code_of_[i] = static_cast<uint32_t>(dictionary.size());
    dictionary.push_back(std::move(entries[i]));
  }
  return {};
}

Status ColumnDecoder::AppendPage(const Page& page) {
  WT_ASSIGN_OR_RETURN(const PageBytes loaded, Load(page.location.offset, page.location.bytes));
  const PageHeader& header = loaded.header;
  const bool fits = kind_ == ColumnKind::kInt64List
                        ? header.num_values >= page.rows && header.num_values <= kMaxPageLevels
                        : header.num_values == page.rows;
  if (header.is_dictionary || header.encoding != ValueEncoding(kind_) || !fits) {
    return Damaged("a data page's header does not fit the column");
  }
  switch (kind_) {
    case ColumnKind::kString:
      return AppendStrings(page, loaded.body);
    case ColumnKind::kInt32:
      return AppendInts(page, loaded.body, &std::get<Int32Column>(data_).values);
    case ColumnKind::kInt64:
      return AppendInts(page, loaded.body, &std::get<Int64Column>(data_).values);
    case ColumnKind::kTimestamp:
      return AppendInts(page, loaded.body, &std::get<TimestampColumn>(data_).values);
    case ColumnKind::kDouble:
      return AppendDoubles(page, loaded.body);
    case ColumnKind::kOptionalDouble:
      return AppendOptionalDoubles(page, loaded.body);
    case ColumnKind::kInt64List:
      break;
  }
  return AppendLists(page, header.num_values, loaded.body);
}

Status ColumnDecoder::AppendStrings(const Page& page, ByteSpan body) {
  if (body.empty()) {
    return Damaged("a page of codes is empty");
  }
  levels_.resize(static_cast<size_t>(page.rows));
  WT_RETURN_IF_ERROR(DecodeHybrid(body.subspan(1), body[0], levels_));
  auto& codes = std::get<StringColumn>(data_).codes;
  const std::span<const uint32_t> wanted = std::span<const uint32_t>(levels_).subspan(
      static_cast<size_t>(page.skip), static_cast<size_t>(page.take));
  for (const uint32_t code : wanted) {
    if (code >= code_of_.size()) {
      return Damaged("a code has no dictionary entry");
    }
    codes.push_back(code_of_[code]);
  }
  return {};
}

template <typename T>
Status ColumnDecoder::AppendInts(const Page& page, ByteSpan body, std::vector<T>* values) {
  const size_t before = values->size();
  values->resize(before + static_cast<size_t>(page.rows));
  WT_RETURN_IF_ERROR(DecodeDelta(body, std::span<T>(*values).subspan(before)));
  const auto start = values->begin() + static_cast<std::ptrdiff_t>(before);
  values->erase(start, start + static_cast<std::ptrdiff_t>(page.skip));
  values->resize(before + static_cast<size_t>(page.take));
  return {};
}

Status ColumnDecoder::AppendDoubles(const Page& page, ByteSpan body) {
  auto& values = std::get<DoubleColumn>(data_).values;
  const size_t before = values.size();
  values.resize(before + static_cast<size_t>(page.rows));
  WT_RETURN_IF_ERROR(DecodeByteStreamSplit(body, std::span<double>(values).subspan(before)));
  const auto start = values.begin() + static_cast<std::ptrdiff_t>(before);
  values.erase(start, start + static_cast<std::ptrdiff_t>(page.skip));
  values.resize(before + static_cast<size_t>(page.take));
  return {};
}

Status ColumnDecoder::AppendOptionalDoubles(const Page& page, ByteSpan body) {
  levels_.resize(static_cast<size_t>(page.rows));
  WT_RETURN_IF_ERROR(ReadLevels(&body, levels_));
  std::vector<double> values(static_cast<size_t>(std::count(levels_.begin(), levels_.end(), 1U)));
  WT_RETURN_IF_ERROR(DecodeByteStreamSplit(body, values));
  auto& column = std::get<DoubleColumn>(data_);
  auto value = values.begin();
  for (int64_t row = 0; row < page.skip + page.take; ++row) {
    const bool present = levels_[static_cast<size_t>(row)] == 1;
    if (row >= page.skip) {
      column.values.push_back(present ? *value : std::numeric_limits<double>::quiet_NaN());
      column.present.push_back(present ? 1 : 0);
    }
    value += present ? 1 : 0;
  }
  return {};
}

Status ColumnDecoder::AppendLists(const Page& page, int64_t num_levels, ByteSpan body) {
  const auto n = static_cast<size_t>(num_levels);
  std::vector<uint32_t> repetition(n);
  levels_.resize(n);
  WT_RETURN_IF_ERROR(ReadLevels(&body, repetition));
  WT_RETURN_IF_ERROR(ReadLevels(&body, levels_));
  std::vector<int64_t> values(static_cast<size_t>(std::count(levels_.begin(), levels_.end(), 1U)));
  WT_RETURN_IF_ERROR(DecodeDelta(body, std::span<int64_t>(values)));
  std::vector<int64_t> starts;  // of each row, in `values`
  int64_t at = 0;
  for (size_t i = 0; i < n; ++i) {
    if (repetition[i] == 0) {
      starts.push_back(at);
    } else if (i == 0 || levels_[i] == 0 || levels_[i - 1] == 0) {
      return Damaged("list levels contradict each other");
    }
    at += levels_[i];
  }
  starts.push_back(at);
  if (static_cast<int64_t>(starts.size()) != page.rows + 1) {
    return Damaged("a page of lists holds a wrong number of rows");
  }
  auto& column = std::get<Int64ListColumn>(data_);
  const int64_t begin = starts[static_cast<size_t>(page.skip)];
  const int64_t end = starts[static_cast<size_t>(page.skip + page.take)];
  const int64_t base = column.offsets.back() - begin;
  for (int64_t row = page.skip; row < page.skip + page.take; ++row) {
    column.offsets.push_back(base + starts[static_cast<size_t>(row) + 1]);
  }
  AppendSlice(values, begin, end - begin, &column.values);
  return {};
}

}  // namespace wheeltapper::format::parquet
