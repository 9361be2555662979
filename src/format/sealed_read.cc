// Columns → batches.
#include <algorithm>
#include <limits>
#include <span>
#include <unordered_map>
#include <utility>

#include "sealed_tables.h"

namespace wheeltapper::format {
namespace {

using tensor::DType;

// Columns of one file by name; the first one that is missing or of another type is remembered.
class ColumnReader {
 public:
  explicit ColumnReader(const ParquetFile& file)
      : file_(file), rows_(static_cast<size_t>(file.rows())) {}

  [[nodiscard]] size_t rows() const { return rows_; }

  std::vector<int64_t> Integers(const char* name) { return Take<Int64Column>(name).values; }
  std::vector<int32_t> SmallIntegers(const char* name) { return Take<Int32Column>(name).values; }
  std::vector<int64_t> Micros(const char* name) { return Take<TimestampColumn>(name).values; }
  StringColumn Texts(const char* name) {
    StringColumn column = Take<StringColumn>(name);
    for (const uint32_t code : column.codes) {
      if (code >= column.dictionary.size()) {
        Fail(name);
        return Empty<StringColumn>();
      }
    }
    return column;
  }
  // Null reads as NaN.
  std::vector<double> Doubles(const char* name) {
    DoubleColumn column = Take<DoubleColumn>(name);
    for (size_t i = 0; i < column.present.size() && i < column.values.size(); ++i) {
      if (column.present[i] == 0) {
        column.values[i] = std::numeric_limits<double>::quiet_NaN();
      }
    }
    return std::move(column.values);
  }
  Int64ListColumn Lists(const char* name) {
    Int64ListColumn column = Take<Int64ListColumn>(name);
    bool ordered = column.offsets.size() == rows_ + 1 && column.offsets.front() == 0 &&
                   column.offsets.back() == static_cast<int64_t>(column.values.size());
    for (size_t i = 0; ordered && i < rows_; ++i) {
      ordered = column.offsets[i] <= column.offsets[i + 1];
    }
    if (!ordered) {
      Fail(name);
      return Int64ListColumn{std::vector<int64_t>(rows_ + 1), {}};
    }
    return column;
  }
  [[nodiscard]] const Status& status() const { return status_; }

 private:
  static size_t SizeOf(const StringColumn& column) { return column.codes.size(); }
  static size_t SizeOf(const Int64ListColumn& column) {
    return column.offsets.empty() ? 0 : column.offsets.size() - 1;
  }
  template <typename C>
  static size_t SizeOf(const C& column) {
    return column.values.size();
  }
  template <typename C>
  C Empty() const {
    C column;
    if constexpr (std::is_same_v<C, StringColumn>) {
      column.dictionary.emplace_back();
      column.codes.resize(rows_);
    } else if constexpr (std::is_same_v<C, Int64ListColumn>) {
      column.offsets.resize(rows_ + 1);
    } else {
      column.values.resize(rows_);
    }
    return column;
  }
  template <typename C>
  C Take(const char* name) {
    if (!status_.ok()) {
      return Empty<C>();
    }
    Result<ColumnData> data = file_.ReadColumn(name);
    if (!data.ok()) {
      status_ = data.status().code() == StatusCode::kNotFound
                    ? DataLossError(std::string("reading sealed table: no column \"") + name + "\"")
                    : data.status();
      return Empty<C>();
    }
    C* column = std::get_if<C>(&*data);
    if (column == nullptr || SizeOf(*column) != rows_) {
      Fail(name);
      return Empty<C>();
    }
    return std::move(*column);
  }
  void Fail(const char* name) {
    if (status_.ok()) {
      status_ = DataLossError(std::string("reading sealed table: column of a wrong type: \"") +
                              name + "\"");
    }
  }
  const ParquetFile& file_;
  size_t rows_;
  Status status_;
};

class KeyColumns {
 public:
  KeyColumns(ColumnReader& reader, Rank rank)
      : rank_(rank),
        seq_(reader.Integers("seq")),
        step_(reader.Integers("step")),
        mode_(reader.Texts("mode")),
        mode_step_(reader.Integers("mode_step")),
        time_(reader.Micros("time")) {}

  StepBatch& BatchOf(size_t row, BatchMap* batches) const {
    const auto seq = static_cast<uint64_t>(seq_[row]);
    const auto [at, added] = batches->try_emplace(seq);
    if (added) {
      StepBatch& batch = at->second;
      const std::string& mode = mode_.dictionary[mode_.codes[row]];
      batch.key = StepKey{rank_, Step{step_[row]}, ModeFromName(mode).value_or(Mode::kGlobal),
                          mode_step_[row]};
      batch.first_seq = seq;
      batch.last_seq = seq;
      batch.wall_ns = static_cast<TimeNs>(static_cast<uint64_t>(time_[row]) * 1000U);
    }
    return at->second;
  }

 private:
  Rank rank_;
  std::vector<int64_t> seq_;
  std::vector<int64_t> step_;
  StringColumn mode_;
  std::vector<int64_t> mode_step_;
  std::vector<int64_t> time_;
};

// What a row says of its name, taken over into the table of names.
class NameColumns {
 public:
  NameColumns(ColumnReader& reader, const char* column, DescKind kind, NameTable* names)
      : kind_(kind),
        name_(reader.Texts(column)),
        collection_(reader.Texts("collection")),
        names_(names) {
    for (const std::string& name : name_.dictionary) {
      ids_.push_back(reader.rows() == 0 ? 0 : names->Intern(name));
    }
  }
  NameId Note(size_t row) {
    const NameId id = ids_[name_.codes[row]];
    NameInfo& info = names_->info(id);
    info.kind = kind_;
    const std::string& text = collection_.dictionary[collection_.codes[row]];
    if (id >= noted_.size() || noted_[id] != collection_.codes[row] + 1) {
      noted_.resize(std::max<size_t>(noted_.size(), id + 1));
      noted_[id] = collection_.codes[row] + 1;
      info.collections = SplitCollections(text);
    }
    return id;
  }

 private:
  DescKind kind_;
  StringColumn name_;
  StringColumn collection_;
  NameTable* names_;
  std::vector<NameId> ids_;
  std::vector<uint32_t> noted_;  // by NameId: collection code + 1 taken over last
};

// "float32" → kF32, for a whole dictionary.
std::vector<DType> ParseDTypes(const StringColumn& column, Status* status) {
  std::vector<DType> dtypes;
  for (const std::string& name : column.dictionary) {
    DType found = DType::kF32;
    bool known = name.empty();
    for (int raw = 0; raw < tensor::kDTypeCount; ++raw) {
      const auto dtype = static_cast<DType>(raw);
      if (tensor::DTypeFrameworkName(dtype) == name) {
        found = dtype;
        known = true;
      }
    }
    if (!known) {
      *status = DataLossError("reading sealed table: unknown dtype: \"" + name + "\"");
    }
    dtypes.push_back(found);
  }
  return dtypes;
}

Status AddScalars(ColumnReader& reader, Rank rank, NameTable* names, BatchMap* batches) {
  const KeyColumns keys(reader, rank);
  const std::vector<double> values = reader.Doubles("value");
  NameColumns name(reader, "name", DescKind::kScalar, names);
  WT_RETURN_IF_ERROR(reader.status());
  for (size_t row = 0; row < reader.rows(); ++row) {
    keys.BatchOf(row, batches).scalars.push_back({name.Note(row), values[row]});
  }
  return {};
}

struct StatsColumns {
  explicit StatsColumns(ColumnReader& reader)
      : numel(reader.Integers("numel")),
        nan(reader.Integers("nan_count")),
        posinf(reader.Integers("posinf_count")),
        neginf(reader.Integers("neginf_count")),
        zero(reader.Integers("zero_count")),
        negative(reader.Integers("neg_count")),
        min(reader.Doubles("min")),
        max(reader.Doubles("max")),
        mean(reader.Doubles("mean")),
        std(reader.Doubles("std")),
        l1(reader.Doubles("l1")),
        abs_min(reader.Doubles("abs_min")),
        abs_max(reader.Doubles("abs_max")),
        abs_std(reader.Doubles("abs_std")),
        log2_abs_prod(reader.Doubles("log2_abs_prod")),
        prod_sign(reader.Doubles("prod_sign")),
        median(reader.Doubles("median")),
        bins(reader.Lists("hist_bins")),
        counts(reader.Lists("hist_counts")) {}

  [[nodiscard]] tensor::TensorStats Stats(size_t row) const {
    tensor::TensorStats stats;
    stats.numel = numel[row];
    stats.nan_count = nan[row];
    stats.posinf_count = posinf[row];
    stats.neginf_count = neginf[row];
    stats.zero_count = zero[row];
    stats.negative_count = negative[row];
    stats.min = min[row];
    stats.max = max[row];
    stats.mean = mean[row];
    const auto n = static_cast<double>(stats.finite());
    const bool none = stats.finite() <= 0;
    stats.m2 = none ? 0.0 : std[row] * std[row] * n;
    stats.l1 = none ? 0.0 : l1[row];
    stats.abs_min = abs_min[row];
    stats.abs_max = abs_max[row];
    stats.abs_m2 = none ? 0.0 : abs_std[row] * abs_std[row] * n;
    stats.log2_abs_prod = log2_abs_prod[row];
    stats.prod_sign = prod_sign[row];
    return stats;
  }

  // False when the two lists disagree or hold what is no bin.
  bool Histogram(size_t row, std::vector<tensor::HistogramBin>* histogram) const {
    const auto begin = static_cast<size_t>(bins.offsets[row]);
    const auto end = static_cast<size_t>(bins.offsets[row + 1]);
    if (counts.offsets[row] != bins.offsets[row] ||
        counts.offsets[row + 1] != bins.offsets[row + 1]) {
      return false;
    }
    histogram->reserve(end - begin);
    for (size_t i = begin; i < end; ++i) {
      if (bins.values[i] < -kMaxBin || bins.values[i] > kMaxBin) {
        return false;
      }
      histogram->push_back({static_cast<int16_t>(bins.values[i]), counts.values[i]});
    }
    return true;
  }

  std::vector<int64_t> numel, nan, posinf, neginf, zero, negative;
  std::vector<double> min, max, mean, std, l1, abs_min, abs_max, abs_std;
  std::vector<double> log2_abs_prod, prod_sign, median;
  Int64ListColumn bins, counts;
};

// dtype and shape, which stats and tensors both have.
struct TypeColumns {
  explicit TypeColumns(ColumnReader& reader)
      : dtype(reader.Texts("dtype")),
        shape(reader.Texts("shape")),
        dtypes(ParseDTypes(dtype, &status)) {
    for (const std::string& text : shape.dictionary) {
      shapes.push_back(ParseShape(text));
    }
  }
  [[nodiscard]] DType DTypeOf(size_t row) const { return dtypes[dtype.codes[row]]; }
  [[nodiscard]] const std::vector<int64_t>& ShapeOf(size_t row) const {
    return shapes[shape.codes[row]];
  }
  void Note(size_t row, NameInfo* info) const {
    info->dtype = DTypeOf(row);
    info->shape = ShapeOf(row);
  }
  Status status;
  StringColumn dtype, shape;
  std::vector<DType> dtypes;
  std::vector<std::vector<int64_t>> shapes;
};

Status AddStats(ColumnReader& reader, Rank rank, NameTable* names, BatchMap* batches) {
  const KeyColumns keys(reader, rank);
  const TypeColumns types(reader);
  const StatsColumns columns(reader);
  NameColumns name(reader, "tensor", DescKind::kTensor, names);
  WT_RETURN_IF_ERROR(reader.status());
  WT_RETURN_IF_ERROR(types.status);
  for (size_t row = 0; row < reader.rows(); ++row) {
    const NameId id = name.Note(row);
    types.Note(row, &names->info(id));
    StatsRow stats{id, types.DTypeOf(row), columns.Stats(row), columns.median[row], {}};
    if (!columns.Histogram(row, &stats.histogram)) {
      return DataLossError("reading sealed table: histogram of row " + std::to_string(row) +
                           " is none");
    }
    keys.BatchOf(row, batches).stats.push_back(std::move(stats));
  }
  return {};
}

Status AddTensors(ColumnReader& reader, Rank rank, NameTable* names, BatchMap* batches) {
  const KeyColumns keys(reader, rank);
  const TypeColumns types(reader);
  const StringColumn files = reader.Texts("file");
  const std::vector<int64_t> offsets = reader.Integers("offset");
  const std::vector<int64_t> sizes = reader.Integers("nbytes");
  const std::vector<int64_t> crcs = reader.Integers("crc32c");
  NameColumns name(reader, "tensor", DescKind::kTensor, names);
  WT_RETURN_IF_ERROR(reader.status());
  WT_RETURN_IF_ERROR(types.status);
  for (size_t row = 0; row < reader.rows(); ++row) {
    const NameId id = name.Note(row);
    types.Note(row, &names->info(id));
    keys.BatchOf(row, batches)
        .tensors.push_back({id, types.DTypeOf(row), types.ShapeOf(row),
                            files.dictionary[files.codes[row]], static_cast<uint64_t>(offsets[row]),
                            static_cast<uint64_t>(sizes[row]), static_cast<uint32_t>(crcs[row])});
  }
  return {};
}

Status AddSteps(ColumnReader& reader, Rank rank, BatchMap* batches) {
  const KeyColumns keys(reader, rank);
  const std::vector<int64_t> first_seq = reader.Integers("first_seq");
  const std::vector<int32_t> is_step = reader.SmallIntegers("is_step");
  const std::vector<int64_t> records = reader.Integers("records");
  const std::vector<int64_t> monotonic = reader.Integers("monotonic_ns");
  const std::vector<int64_t> blocked = reader.Integers("blocked_ns");
  const std::vector<int64_t> step = reader.Integers("step_ns");
  const std::vector<int64_t> data_wait = reader.Integers("data_wait_ns");
  WT_RETURN_IF_ERROR(reader.status());
  for (size_t row = 0; row < reader.rows(); ++row) {
    StepBatch& batch = keys.BatchOf(row, batches);
    batch.first_seq = static_cast<uint64_t>(first_seq[row]);
    batch.is_step = is_step[row] != 0;
    if (batch.is_step) {
      batch.commit.first_seq = batch.first_seq;
      batch.commit.record_count = static_cast<uint32_t>(records[row]);
      batch.commit.monotonic_ns = monotonic[row];
      batch.commit.blocked_ns = blocked[row];
      batch.commit.step_ns = step[row];
      batch.commit.data_wait_ns = data_wait[row];
    }
  }
  return {};
}

Status AddGaps(ColumnReader& reader, Rank rank, BatchMap* batches) {
  const KeyColumns keys(reader, rank);
  const std::vector<int64_t> first_step = reader.Integers("first_step");
  const std::vector<int64_t> last_step = reader.Integers("last_step");
  const StringColumn reason = reader.Texts("reason");
  const StringColumn what = reader.Texts("what");
  const std::vector<int64_t> tensors = reader.Integers("tensors_dropped");
  const std::vector<int64_t> bytes = reader.Integers("bytes_dropped");
  WT_RETURN_IF_ERROR(reader.status());
  for (size_t row = 0; row < reader.rows(); ++row) {
    GapPayload gap{};
    gap.first_step = first_step[row];
    gap.last_step = last_step[row];
    gap.reason = GapReasonFromName(reason.dictionary[reason.codes[row]]);
    gap.what = GapWhatFromName(what.dictionary[what.codes[row]]);
    gap.tensors_dropped = static_cast<uint64_t>(tensors[row]);
    gap.bytes_dropped = static_cast<uint64_t>(bytes[row]);
    keys.BatchOf(row, batches).gaps.push_back({gap});
  }
  return {};
}

Status AddMetas(ColumnReader& reader, Rank rank, BatchMap* batches) {
  const KeyColumns keys(reader, rank);
  const StringColumn json = reader.Texts("json");
  WT_RETURN_IF_ERROR(reader.status());
  for (size_t row = 0; row < reader.rows(); ++row) {
    keys.BatchOf(row, batches).metas.push_back(json.dictionary[json.codes[row]]);
  }
  return {};
}

}  // namespace

Status AddSealedRows(const ParquetFile& file, std::string_view table, Rank rank, NameTable* names,
                     BatchMap* batches) {
  ColumnReader reader(file);
  if (table == "scalars") {
    return AddScalars(reader, rank, names, batches);
  }
  if (table == "stats") {
    return AddStats(reader, rank, names, batches);
  }
  if (table == "tensors") {
    return AddTensors(reader, rank, names, batches);
  }
  if (table == "steps") {
    return AddSteps(reader, rank, batches);
  }
  if (table == "gaps") {
    return AddGaps(reader, rank, batches);
  }
  return AddMetas(reader, rank, batches);
}

}  // namespace wheeltapper::format
