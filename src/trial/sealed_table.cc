#include "sealed_table.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>
#include <variant>

#include "int_access.h"
#include "sealed_columns.h"

namespace wheeltapper::trial {
namespace {

// Rows that a block really holds; a file may promise more than its pages have.
size_t RowsIn(const format::ColumnData& data) {
  struct Counter {
    size_t operator()(const format::StringColumn& column) const { return column.codes.size(); }
    size_t operator()(const format::Int64ListColumn& column) const {
      return column.offsets.empty() ? 0 : column.offsets.size() - 1;
    }
    size_t operator()(const format::DoubleColumn& column) const { return column.values.size(); }
    size_t operator()(const format::Int32Column& column) const { return column.values.size(); }
    size_t operator()(const format::Int64Column& column) const { return column.values.size(); }
    size_t operator()(const format::TimestampColumn& column) const { return column.values.size(); }
  };
  return std::visit(Counter(), data);
}

double DoubleAt(const format::DoubleColumn& column, size_t i) {
  const bool null = !column.present.empty() && column.present[i] == 0;
  return null ? std::numeric_limits<double>::quiet_NaN() : column.values[i];
}

}  // namespace

std::vector<std::string> SplitCollections(const std::string& text) {
  std::vector<std::string> collections;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    collections.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return collections;
}

std::vector<int64_t> ParseShape(const std::string& text) {
  std::vector<int64_t> shape;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('x', begin), text.size());
    int64_t extent = -1;  // fits no size: a damaged shape is found out before bytes are read
    (void)std::from_chars(text.data() + begin, text.data() + end, extent);
    shape.push_back(extent);
    begin = end + 1;
  }
  return shape;
}

Result<tensor::DType> ParseDType(const std::string& name) {
  for (uint8_t raw = 0; tensor::IsValidDType(raw); ++raw) {
    const auto dtype = static_cast<tensor::DType>(raw);
    if (tensor::DTypeFrameworkName(dtype) == name) {
      return dtype;
    }
  }
  return DataLossError("reading a sealed table: unknown dtype: \"" + name + "\"");
}

SealedTable::SealedTable(std::string path, std::unique_ptr<format::ParquetFile> file,
                         ColumnCache* cache)
    : path_(std::move(path)), file_(std::move(file)), cache_(cache) {
  static std::atomic<uint64_t> next_id{0};  // trials on several threads share the counter only
  id_ = next_id.fetch_add(1, std::memory_order_relaxed);
  for (std::string& name : file_->column_names()) {
    columns_.emplace(std::move(name), static_cast<uint32_t>(columns_.size()));
  }
}

Result<std::unique_ptr<SealedTable>> SealedTable::Open(const std::string& path,
                                                       ColumnCache* cache) {
  Result<std::unique_ptr<format::ParquetFile>> file = format::ParquetFile::Open(path);
  if (!file.ok()) {
    return file.status().WithContext("opening \"" + path + "\"");
  }
  return std::unique_ptr<SealedTable>(
      new SealedTable(path, std::move(*file), cache));  // NOLINT(cppcoreguidelines-owning-memory)
}

Status SealedTable::WrongKind(const std::string& column) const {
  return DataLossError("reading \"" + path_ + "\": column \"" + column +
                       "\" is of an unexpected kind");
}

Result<ColumnCache::Block> SealedTable::BlockOf(const std::string& column, int64_t block) const {
  const auto at = columns_.find(column);
  if (at == columns_.end()) {
    return NotFoundError("reading \"" + path_ + "\": no column \"" + column + "\"");
  }
  const BlockKey key{id_, at->second, static_cast<uint32_t>(block)};
  return cache_->Get(key, [&]() -> Result<format::ColumnData> {
    const int64_t first = block * kBlockRows;
    const int64_t count = std::min(kBlockRows, rows() - first);
    WT_ASSIGN_OR_RETURN(format::ColumnData data, file_->ReadColumnRows(column, first, count));
    if (RowsIn(data) != static_cast<size_t>(count)) {
      return DataLossError("reading \"" + path_ + "\": column \"" + column + "\" is too short");
    }
    return data;
  });
}

Status SealedTable::VisitBlocks(const std::string& column, RowRange range,
                                const BlockVisitor& visit) const {
  int64_t row = range.first;
  const int64_t end = range.first + range.count;
  while (row < end) {
    const int64_t block = row / kBlockRows;
    const int64_t in_block = row - block * kBlockRows;
    const int64_t count = std::min(kBlockRows - in_block, end - row);
    WT_ASSIGN_OR_RETURN(const ColumnCache::Block data, BlockOf(column, block));
    WT_RETURN_IF_ERROR(visit(*data, static_cast<size_t>(in_block), static_cast<size_t>(count)));
    row += count;
  }
  return {};
}

// Integers of one column, near each other: the block of the last one is kept, so that its
// neighbours cost no look into the cache.
class SealedTable::IntCursor {
 public:
  IntCursor(const SealedTable* table, const char* column) : table_(table), column_(column) {}

  Result<int64_t> At(int64_t row) {
    if (const int64_t block = row / kBlockRows; block != block_) {
      WT_ASSIGN_OR_RETURN(data_, table_->BlockOf(column_, block));
      ints_ = IntsOf(*data_);
      block_ = block;
    }
    return ints_.ok() ? Result<int64_t>(ints_.at(static_cast<size_t>(row % kBlockRows)))
                      : table_->WrongKind(column_);
  }

 private:
  const SealedTable* table_;
  std::string column_;
  int64_t block_ = -1;
  ColumnCache::Block data_;
  IntAccess ints_;
};

Result<int64_t> SealedTable::IntAt(const char* column, int64_t row) const {
  return IntCursor(this, column).At(row);
}

Result<std::vector<int64_t>> SealedTable::ReadInts(const std::string& column,
                                                   RowRange range) const {
  std::vector<int64_t> out;
  out.reserve(static_cast<size_t>(range.count));
  WT_RETURN_IF_ERROR(VisitBlocks(
      column, range, [&](const format::ColumnData& data, size_t first, size_t count) -> Status {
        const IntAccess ints = IntsOf(data);
        for (size_t i = first; ints.ok() && i < first + count; ++i) {
          out.push_back(ints.at(i));
        }
        return ints.ok() ? Status() : WrongKind(column);
      }));
  return out;
}

Result<std::vector<double>> SealedTable::ReadDoubles(const std::string& column,
                                                     RowRange range) const {
  std::vector<double> out;
  out.reserve(static_cast<size_t>(range.count));
  WT_RETURN_IF_ERROR(VisitBlocks(
      column, range, [&](const format::ColumnData& data, size_t first, size_t count) -> Status {
        const auto* doubles = std::get_if<format::DoubleColumn>(&data);
        const IntAccess ints = IntsOf(data);
        if (doubles == nullptr && !ints.ok()) {
          return WrongKind(column);
        }
        for (size_t i = first; i < first + count; ++i) {
          out.push_back(doubles != nullptr ? DoubleAt(*doubles, i)
                                           : static_cast<double>(ints.at(i)));
        }
        return {};
      }));
  return out;
}

Result<std::vector<std::string>> SealedTable::ReadTexts(const std::string& column,
                                                        RowRange range) const {
  std::vector<std::string> out;
  out.reserve(static_cast<size_t>(range.count));
  WT_RETURN_IF_ERROR(VisitBlocks(
      column, range, [&](const format::ColumnData& data, size_t first, size_t count) -> Status {
        const auto* texts = std::get_if<format::StringColumn>(&data);
        for (size_t i = first; texts != nullptr && i < first + count; ++i) {
          if (texts->codes[i] >= texts->dictionary.size()) {
            return WrongKind(column);
          }
          out.push_back(texts->dictionary[texts->codes[i]]);
        }
        return texts != nullptr ? Status() : WrongKind(column);
      }));
  return out;
}

Result<std::vector<Mode>> SealedTable::ReadModes(const std::string& column, RowRange range) const {
  std::vector<Mode> out;
  out.reserve(static_cast<size_t>(range.count));
  WT_RETURN_IF_ERROR(VisitBlocks(
      column, range, [&](const format::ColumnData& data, size_t first, size_t count) -> Status {
        const auto* texts = std::get_if<format::StringColumn>(&data);
        if (texts == nullptr) {
          return WrongKind(column);
        }
        std::vector<std::optional<Mode>> modes;
        modes.reserve(texts->dictionary.size());
        for (const std::string& text : texts->dictionary) {
          modes.push_back(ModeFromName(text));
        }
        for (size_t i = first; i < first + count; ++i) {
          const uint32_t code = texts->codes[i];
          if (code >= modes.size() || !modes[code]) {
            return DataLossError("reading \"" + path_ + "\": unknown mode");
          }
          out.push_back(*modes[code]);
        }
        return {};
      }));
  return out;
}

Result<std::vector<std::vector<int64_t>>> SealedTable::ReadLists(const std::string& column,
                                                                 RowRange range) const {
  std::vector<std::vector<int64_t>> out;
  out.reserve(static_cast<size_t>(range.count));
  WT_RETURN_IF_ERROR(VisitBlocks(
      column, range, [&](const format::ColumnData& data, size_t first, size_t count) -> Status {
        const auto* lists = std::get_if<format::Int64ListColumn>(&data);
        for (size_t i = first; lists != nullptr && i < first + count; ++i) {
          const int64_t begin = lists->offsets[i];
          const int64_t end = lists->offsets[i + 1];
          if (begin < 0 || end < begin || static_cast<size_t>(end) > lists->values.size()) {
            return WrongKind(column);
          }
          out.emplace_back(lists->values.begin() + begin, lists->values.begin() + end);
        }
        return lists != nullptr ? Status() : WrongKind(column);
      }));
  return out;
}

Status SealedTable::AppendRuns(const format::StringColumn& texts, int64_t first_row,
                               std::vector<NameRun>* runs) {
  const std::vector<uint32_t>& codes = texts.codes;
  for (size_t begin = 0; begin < codes.size();) {
    const uint32_t code = codes[begin];
    if (code >= texts.dictionary.size()) {
      return DataLossError("reading \"" + path_ + "\": a name is not in the dictionary");
    }
    const auto other = std::find_if(codes.begin() + static_cast<std::ptrdiff_t>(begin), codes.end(),
                                    [code](uint32_t next) { return next != code; });
    const auto end = static_cast<size_t>(other - codes.begin());
    const auto length = static_cast<int64_t>(end - begin);
    const format::NameId name = names_->Intern(texts.dictionary[code]);
    if (!runs->empty() && runs->back().name == name) {
      runs->back().range.count += length;  // goes on from the block before
    } else {
      NameRun run;
      run.name = name;
      run.range = {first_row + static_cast<int64_t>(begin), length};
      runs->push_back(run);
    }
    begin = end;
  }
  return {};
}

Status SealedTable::LoadRuns() {
  if (runs_loaded_) {
    return {};
  }
  const std::string column = HasColumn(kTensorColumn) ? kTensorColumn : kNameColumn;
  std::vector<NameRun> runs;
  for (int64_t first = 0; first < rows(); first += kBlockRows) {
    // Not through the cache: the ranges replace the column.
    const int64_t count = std::min(kBlockRows, rows() - first);
    WT_ASSIGN_OR_RETURN(const format::ColumnData data, file_->ReadColumnRows(column, first, count));
    const auto* texts = std::get_if<format::StringColumn>(&data);
    if (texts == nullptr || texts->codes.size() != static_cast<size_t>(count)) {
      return WrongKind(column);
    }
    WT_RETURN_IF_ERROR(AppendRuns(*texts, first, &runs));
  }
  std::stable_sort(runs.begin(), runs.end(),
                   [](const NameRun& a, const NameRun& b) { return a.name < b.name; });
  runs_ = std::move(runs);
  runs_loaded_ = true;
  return {};
}

size_t SealedTable::FirstRunOf(format::NameId name) const {
  const auto at =
      std::lower_bound(runs_.begin(), runs_.end(), name,
                       [](const NameRun& run, format::NameId id) { return run.name < id; });
  return static_cast<size_t>(at - runs_.begin());
}

Result<std::vector<RowRange>> SealedTable::RangesOf(format::NameId name) {
  WT_RETURN_IF_ERROR(LoadRuns());
  std::vector<RowRange> ranges;
  for (size_t i = FirstRunOf(name); i < runs_.size() && runs_[i].name == name; ++i) {
    ranges.push_back(runs_[i].range);
  }
  return ranges;
}

Status SealedTable::LoadBounds(NameRun* run) const {
  if (!run->bounded) {
    WT_ASSIGN_OR_RETURN(run->first_step, IntAt(kStepColumn, run->range.first));
    WT_ASSIGN_OR_RETURN(run->last_step,
                        IntAt(kStepColumn, run->range.first + run->range.count - 1));
    run->bounded = true;
  }
  return {};
}

int64_t SealedTable::GuessRow(const NameRun& run, int64_t step) {
  // In double: the product of any two int64 fits, and a guess may be wrong.
  const double share = (static_cast<double>(step) - static_cast<double>(run.first_step)) /
                       (static_cast<double>(run.last_step) - static_cast<double>(run.first_step));
  const auto last = static_cast<double>(run.range.count - 1);
  return run.range.first + (share >= 0 && share <= 1 ? std::llround(share * last) : 0);
}

Result<int64_t> SealedTable::FirstRowFrom(RowRange range, int64_t step, int64_t guess) const {
  IntCursor steps(this, kStepColumn);
  int64_t begin = range.first;
  int64_t end = range.first + range.count;
  // Outward from the guess in strides that double, until the row lies between two probes; from
  // there by halves.
  bool below = false;
  bool above = false;
  int64_t probe = guess;
  for (int64_t stride = 1; begin < end;) {
    WT_ASSIGN_OR_RETURN(const int64_t value, steps.At(probe));
    if (value < step) {
      below = true;
      begin = probe + 1;
      probe = std::min(probe + stride, end - 1);
    } else {
      above = true;
      end = probe;
      probe = std::max(probe - stride, begin);
    }
    if (below && above) {
      probe = begin + (end - begin) / 2;
    } else {
      stride *= 2;  // at most the range's length, which is where it stops
    }
  }
  return begin;
}

Result<std::vector<RowRange>> SealedTable::RangesAtStep(format::NameId name, int64_t step) {
  WT_RETURN_IF_ERROR(LoadRuns());
  IntCursor steps(this, kStepColumn);
  std::vector<RowRange> ranges;
  for (size_t i = FirstRunOf(name); i < runs_.size() && runs_[i].name == name; ++i) {
    NameRun* run = &runs_[i];
    WT_RETURN_IF_ERROR(LoadBounds(run));
    if (step < run->first_step || step > run->last_step) {
      continue;
    }
    WT_ASSIGN_OR_RETURN(const int64_t begin, FirstRowFrom(run->range, step, GuessRow(*run, step)));
    const int64_t run_end = run->range.first + run->range.count;
    int64_t end = begin;
    while (end < run_end) {
      WT_ASSIGN_OR_RETURN(const int64_t value, steps.At(end));
      if (value != step) {
        break;
      }
      ++end;
    }
    if (end > begin) {
      ranges.push_back({begin, end - begin});
    }
  }
  return ranges;
}

Status SealedTable::DescribeName(const NameRun& run) {
  const RowRange last{run.range.first + run.range.count - 1, 1};
  format::NameInfo& info = names_->info(run.name);
  WT_ASSIGN_OR_RETURN(const auto collections, ReadTexts(kCollectionColumn, last));
  info.collections = SplitCollections(collections[0]);
  info.kind = HasColumn(kDTypeColumn) ? format::DescKind::kTensor : format::DescKind::kScalar;
  if (info.kind == format::DescKind::kTensor) {
    WT_ASSIGN_OR_RETURN(const auto dtypes, ReadTexts(kDTypeColumn, last));
    WT_ASSIGN_OR_RETURN(const auto shapes, ReadTexts(kShapeColumn, last));
    WT_ASSIGN_OR_RETURN(info.dtype, ParseDType(dtypes[0]));
    info.shape = ParseShape(shapes[0]);
  }
  return {};
}

Status SealedTable::LoadNames(format::NameTable* names) {
  names_ = names;
  const auto listed = file_->metadata().find("names");
  if (listed != file_->metadata().end() && AddListedNames(listed->second, names)) {
    return {};
  }
  const auto known = static_cast<format::NameId>(names->size());
  WT_RETURN_IF_ERROR(LoadRuns());
  for (const NameRun& run : runs_) {
    if (run.name >= known) {
      WT_RETURN_IF_ERROR(DescribeName(run));
    }
  }
  return {};
}

}  // namespace wheeltapper::trial
