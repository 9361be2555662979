#include "parquet/chunk_encoder.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <span>
#include <utility>

#include "parquet/encoding.h"
#include "parquet/utf8.h"

namespace wheeltapper::format::parquet {
namespace {

// Bounds of longer strings are left out: they would be stored twice per page.
constexpr size_t kMaxBoundBytes = 1024;

struct PageBody {
  std::vector<uint8_t> bytes;
  PageCuts cuts;
  PageSummary summary;
};

template <typename T>
std::string PlainBytes(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

template <typename T>
Bounds IntBounds(std::span<const T> values) {
  if (values.empty()) {
    return {};
  }
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return {true, PlainBytes(*low), PlainBytes(*high)};
}

// A page that holds NaN has no bounds. The specification lets them cover the other values, but
// readers that order NaN above all numbers (DuckDB, DataFusion, ClickHouse) then skip the page when
// they look for NaN. A zero bound stands for both zeros: −0 as minimum, +0 as maximum.
void SummarizeDoubles(std::span<const double> values, PageSummary* summary) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  constexpr size_t kLanes = 4;  // independent chains, so that the loop is not bound by latency
  std::array<double, kLanes> low{kInf, kInf, kInf, kInf};
  std::array<double, kLanes> high{-kInf, -kInf, -kInf, -kInf};
  std::array<int64_t, kLanes> nans{};
  for (size_t i = 0; i < values.size(); ++i) {
    const double value = values[i];
    const size_t k = i % kLanes;
    low[k] = value < low[k] ? value : low[k];
    high[k] = value > high[k] ? value : high[k];
    nans[k] += value != value ? 1 : 0;
  }
  summary->nan_count = std::accumulate(nans.begin(), nans.end(), int64_t{0});
  if (values.empty() || summary->nan_count != 0) {
    return;
  }
  const double min = *std::min_element(low.begin(), low.end());
  const double max = *std::max_element(high.begin(), high.end());
  summary->bounds = {true, PlainBytes(min == 0 ? -0.0 : min), PlainBytes(max == 0 ? 0.0 : max)};
}

void AppendLevels(std::span<const uint32_t> levels, std::vector<uint8_t>* out) {
  const size_t start = out->size();
  out->resize(start + sizeof(uint32_t));
  EncodeHybrid(levels, 1, out);
  const auto nbytes = static_cast<uint32_t>(out->size() - start - sizeof(uint32_t));
  std::memcpy(out->data() + start, &nbytes, sizeof(nbytes));
}

template <typename T>
std::span<const T> Slice(const std::vector<T>& values, RowRange rows) {
  return std::span<const T>(values).subspan(static_cast<size_t>(rows.first),
                                            static_cast<size_t>(rows.count));
}

// The entries of a dictionary that a chunk uses, sorted and without duplicates, so that codes order
// like strings.
struct ChunkDictionary {
  std::vector<std::string> entries;
  std::vector<uint32_t> code_of;  // by the caller's code; meaningless where unused
};

ChunkDictionary BuildDictionary(const StringColumn& column, RowRange rows) {
  std::vector<uint8_t> used(column.dictionary.size());
  for (const uint32_t code : Slice(column.codes, rows)) {
    used[code] = 1;
  }
  std::vector<std::pair<std::string, uint32_t>> order;
  for (uint32_t code = 0; code < used.size(); ++code) {
    if (used[code] != 0) {
      order.emplace_back(ReplaceInvalidUtf8(column.dictionary[code]), code);
    }
  }
  std::sort(order.begin(), order.end());
  ChunkDictionary dictionary;
  dictionary.code_of.resize(used.size());
  for (auto& [text, code] : order) {
    if (dictionary.entries.empty() || dictionary.entries.back() != text) {
      dictionary.entries.push_back(std::move(text));
    }
    dictionary.code_of[code] = static_cast<uint32_t>(dictionary.entries.size() - 1);
  }
  return dictionary;
}

Bounds CodeBounds(const ChunkDictionary& dictionary, std::span<const uint32_t> codes) {
  const auto [low, high] = std::minmax_element(codes.begin(), codes.end());
  const std::string& min = dictionary.entries[*low];
  const std::string& max = dictionary.entries[*high];
  if (std::max(min.size(), max.size()) > kMaxBoundBytes) {
    return {};
  }
  return {true, min, max};
}

// The first and last value of `column` that belong to `rows`, as a range of values.
RowRange ListValues(const Int64ListColumn& column, RowRange rows) {
  const int64_t begin = column.offsets[static_cast<size_t>(rows.first)];
  return {begin, column.offsets[static_cast<size_t>(rows.first + rows.count)] - begin};
}

class ChunkEncoder {
 public:
  ChunkEncoder(RowRange rows, int64_t page_rows, Encoding encoding, PageCompressor* compressor)
      : rows_(rows), page_rows_(page_rows), encoding_(encoding), compressor_(compressor) {}

  Status Encode(const StringColumn& column) {
    const ChunkDictionary dictionary = BuildDictionary(column, rows_);
    WT_RETURN_IF_ERROR(AddDictionary(dictionary.entries));
    const int width = BitWidthFor(static_cast<uint32_t>(dictionary.entries.size() - 1));
    std::vector<uint32_t> codes;
    return ForEachPage([&](RowRange rows, PageBody* body) {
      const auto callers = Slice(column.codes, rows);
      codes.resize(callers.size());
      std::transform(callers.begin(), callers.end(), codes.begin(),
                     [&](uint32_t code) { return dictionary.code_of[code]; });
      body->bytes.push_back(static_cast<uint8_t>(width));
      EncodeHybrid(codes, width, &body->bytes);
      body->summary.bounds = CodeBounds(dictionary, codes);
    });
  }
  Status Encode(const Int32Column& column) { return EncodeInts(column.values); }
  Status Encode(const Int64Column& column) { return EncodeInts(column.values); }
  Status Encode(const TimestampColumn& column) { return EncodeInts(column.values); }
  Status Encode(const DoubleColumn& column) {
    std::vector<double> values;
    return ForEachPage([&](RowRange rows, PageBody* body) {
      std::span<const double> page = Slice(column.values, rows);
      if (!column.present.empty()) {
        AppendPresence(Slice(column.present, rows), body);
        values.clear();
        for (size_t i = 0; i < page.size(); ++i) {
          if (column.present[static_cast<size_t>(rows.first) + i] != 0) {
            values.push_back(page[i]);
          }
        }
        page = values;
      }
      body->cuts = {body->bytes.size(), page.size()};
      SummarizeDoubles(page, &body->summary);
      EncodeByteStreamSplit(page, &body->bytes);
    });
  }
  Status Encode(const Int64ListColumn& column) {
    const RowRange end{rows_.first + rows_.count, 0};
    for (int64_t first = rows_.first; first < end.first;) {
      const RowRange rows = ListPage(column, first);
      PageBody body;
      EncodeListPage(column, rows, &body);
      WT_RETURN_IF_ERROR(AddPage(rows, std::move(body)));
      first += rows.count;
    }
    return {};
  }

  EncodedChunk Finish(ColumnKind kind) {
    ChunkMetadata& metadata = chunk_.metadata;
    metadata.compressed_bytes = static_cast<int64_t>(chunk_.bytes.size());
    bool complete = true;
    for (const PageSummary& page : chunk_.summaries) {
      metadata.num_values += page.num_values;
      metadata.null_count += page.null_count;
      metadata.nan_count += page.nan_count;
      complete = complete && (page.bounds.valid || page.null_count == page.num_values);
      Widen(kind, page.bounds, &metadata.bounds);
    }
    // A page of long strings has values that its missing bounds do not cover; a page of NaN has
    // not.
    metadata.bounds.valid = metadata.bounds.valid && complete;
    return std::move(chunk_);
  }

 private:
  static void Widen(ColumnKind kind, const Bounds& page, Bounds* all) {
    if (!page.valid) {
      return;
    }
    if (!all->valid) {
      *all = page;
      return;
    }
    if (CompareBounds(kind, page.min, all->min) < 0) {
      all->min = page.min;
    }
    if (CompareBounds(kind, page.max, all->max) > 0) {
      all->max = page.max;
    }
  }

  static void AppendPresence(std::span<const uint8_t> present, PageBody* body) {
    std::vector<uint32_t> levels(present.size());
    std::transform(present.begin(), present.end(), levels.begin(),
                   [](uint8_t flag) { return flag != 0 ? 1U : 0U; });
    body->summary.null_count = std::count(levels.begin(), levels.end(), 0U);
    AppendLevels(levels, &body->bytes);
  }

  template <typename T>
  Status EncodeInts(const std::vector<T>& values) {
    return ForEachPage([&](RowRange rows, PageBody* body) {
      const std::span<const T> page = Slice(values, rows);
      body->summary.bounds = IntBounds(page);
      EncodeDelta(page, &body->bytes);
    });
  }

  // The rows of the page that starts at `first`: up to page_rows_ and to what a page may hold, one
  // row at least.
  [[nodiscard]] RowRange ListPage(const Int64ListColumn& column, int64_t first) const {
    const int64_t end = rows_.first + rows_.count;
    int64_t levels = 0;
    int64_t row = first;
    for (; row < end && row - first < page_rows_; ++row) {
      levels += std::max<int64_t>(1, ListValues(column, {row, 1}).count);
      if (levels > kMaxPageLevels / 4 && row > first) {
        break;
      }
    }
    return {first, row - first};
  }

  static void EncodeListPage(const Int64ListColumn& column, RowRange rows, PageBody* body) {
    std::vector<uint32_t> repetition;
    std::vector<uint32_t> definition;
    for (int64_t row = rows.first; row < rows.first + rows.count; ++row) {
      const auto n = static_cast<size_t>(ListValues(column, {row, 1}).count);
      repetition.push_back(0);
      definition.push_back(n == 0 ? 0 : 1);
      if (n > 1) {
        repetition.insert(repetition.end(), n - 1, 1);
        definition.insert(definition.end(), n - 1, 1);
      }
    }
    AppendLevels(repetition, &body->bytes);
    AppendLevels(definition, &body->bytes);
    const auto values = Slice(column.values, ListValues(column, rows));
    EncodeDelta(values, &body->bytes);
    body->summary.num_values = static_cast<int64_t>(repetition.size());
    body->summary.null_count = static_cast<int64_t>(repetition.size() - values.size());
    body->summary.bounds = IntBounds(values);
  }

  template <typename Fill>
  Status ForEachPage(Fill&& fill) {
    for (int64_t at = 0; at < rows_.count; at += page_rows_) {
      const RowRange rows{rows_.first + at, std::min(page_rows_, rows_.count - at)};
      PageBody body;
      body.summary.num_values = rows.count;
      fill(rows, &body);
      WT_RETURN_IF_ERROR(AddPage(rows, std::move(body)));
    }
    return {};
  }

  Status AddDictionary(const std::vector<std::string>& entries) {
    ByteWriter plain;
    for (const std::string& entry : entries) {
      plain.Write(static_cast<uint32_t>(entry.size()));
      plain.WriteText(entry);
    }
    PageHeader header;
    header.is_dictionary = true;
    header.num_values = static_cast<int64_t>(entries.size());
    header.encoding = Encoding::kPlain;
    chunk_.metadata.dictionary_page_offset = 0;
    WT_RETURN_IF_ERROR(Append(plain.span(), {}, &header));
    chunk_.metadata.data_page_offset = static_cast<int64_t>(chunk_.bytes.size());
    return {};
  }

  Status AddPage(RowRange rows, PageBody body) {
    PageHeader header;
    header.num_values = body.summary.num_values;
    header.encoding = encoding_;
    const auto offset = static_cast<int64_t>(chunk_.bytes.size());
    WT_RETURN_IF_ERROR(Append(body.bytes, body.cuts, &header));
    chunk_.pages.push_back(
        {offset, static_cast<int64_t>(chunk_.bytes.size()) - offset, rows.first - rows_.first});
    chunk_.summaries.push_back(std::move(body.summary));
    return {};
  }

  Status Append(ByteSpan body, PageCuts cuts, PageHeader* header) {
    if (body.size() > static_cast<size_t>(kMaxPageBytes)) {
      return InvalidArgumentError("encoding page: it is larger than 1 GiB");
    }
    compressed_.clear();
    WT_RETURN_IF_ERROR(compressor_->Compress(body, cuts, &compressed_));
    header->uncompressed_bytes = static_cast<int64_t>(body.size());
    header->compressed_bytes = static_cast<int64_t>(compressed_.size());
    header->crc = PageCrc(compressed_);
    const size_t start = chunk_.bytes.size();
    AppendPageHeader(*header, &chunk_.bytes);
    // Parquet counts headers on both sides.
    chunk_.metadata.uncompressed_bytes +=
        static_cast<int64_t>(chunk_.bytes.size() - start + body.size());
    chunk_.bytes.insert(chunk_.bytes.end(), compressed_.begin(), compressed_.end());
    return {};
  }

  RowRange rows_;
  int64_t page_rows_;
  Encoding encoding_;
  PageCompressor* compressor_;
  EncodedChunk chunk_;
  std::vector<uint8_t> compressed_;
};

Status CheckList(const Int64ListColumn& column) {
  if (column.offsets.empty() || column.offsets.front() < 0 ||
      column.offsets.back() > static_cast<int64_t>(column.values.size())) {
    return InvalidArgumentError("list offsets do not fit the values");
  }
  for (size_t i = 1; i < column.offsets.size(); ++i) {
    const int64_t length = column.offsets[i] - column.offsets[i - 1];
    if (length < 0 || length > kMaxPageLevels) {
      return InvalidArgumentError("list offsets fall, or a list is longer than 1 Mi values");
    }
  }
  return {};
}

}  // namespace

ColumnKind KindOf(const ColumnData& data) {
  struct Visitor {
    ColumnKind operator()(const StringColumn&) const { return ColumnKind::kString; }
    ColumnKind operator()(const Int32Column&) const { return ColumnKind::kInt32; }
    ColumnKind operator()(const Int64Column&) const { return ColumnKind::kInt64; }
    ColumnKind operator()(const TimestampColumn&) const { return ColumnKind::kTimestamp; }
    ColumnKind operator()(const DoubleColumn& column) const {
      return column.present.empty() ? ColumnKind::kDouble : ColumnKind::kOptionalDouble;
    }
    ColumnKind operator()(const Int64ListColumn&) const { return ColumnKind::kInt64List; }
  };
  return std::visit(Visitor{}, data);
}

int64_t RowsOf(const ColumnData& data) {
  struct Visitor {
    size_t operator()(const StringColumn& column) const { return column.codes.size(); }
    size_t operator()(const Int64ListColumn& column) const {
      return column.offsets.empty() ? 0 : column.offsets.size() - 1;
    }
    size_t operator()(const Int32Column& column) const { return column.values.size(); }
    size_t operator()(const Int64Column& column) const { return column.values.size(); }
    size_t operator()(const TimestampColumn& column) const { return column.values.size(); }
    size_t operator()(const DoubleColumn& column) const { return column.values.size(); }
  };
  return static_cast<int64_t>(std::visit(Visitor{}, data));
}

Status CheckColumn(const ColumnData& data) {
  if (const auto* strings = std::get_if<StringColumn>(&data)) {
    const bool in_range =
        std::all_of(strings->codes.begin(), strings->codes.end(),
                    [&](uint32_t code) { return code < strings->dictionary.size(); });
    return in_range ? Status() : InvalidArgumentError("a code has no dictionary entry");
  }
  if (const auto* doubles = std::get_if<DoubleColumn>(&data)) {
    const bool fits = doubles->present.empty() || doubles->present.size() == doubles->values.size();
    return fits ? Status() : InvalidArgumentError("`present` and `values` differ in length");
  }
  if (const auto* lists = std::get_if<Int64ListColumn>(&data)) {
    return CheckList(*lists);
  }
  return {};
}

Result<EncodedChunk> EncodeChunk(const ColumnData& data, RowRange rows, int64_t page_rows,
                                 PageCompressor* compressor) {
  const ColumnKind kind = KindOf(data);
  ChunkEncoder encoder(rows, page_rows, ValueEncoding(kind), compressor);
  WT_RETURN_IF_ERROR(std::visit([&](const auto& column) { return encoder.Encode(column); }, data));
  return encoder.Finish(kind);
}

}  // namespace wheeltapper::format::parquet
