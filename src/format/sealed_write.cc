// Batches → columns.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include <nlohmann/json.hpp>

#include "wheeltapper/core/json.h"

#include "run_names.h"
#include "sealed_tables.h"

namespace wheeltapper::format {
namespace {

using tensor::DType;

bool IsWide(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kI64 || dtype == DType::kU64 ||
         dtype == DType::kC128;
}

// Nearest f32, unless that would lose more than the last bits: out of f32's normal range the double
// stays.
double Rounded(double value, DType dtype) {
  const double magnitude = std::abs(value);
  const bool in_range = magnitude >= static_cast<double>(std::numeric_limits<float>::min()) &&
                        magnitude <= static_cast<double>(std::numeric_limits<float>::max());
  return IsWide(dtype) || !in_range ? value : static_cast<double>(static_cast<float>(value));
}

class TextBuilder {
 public:
  void Add(const std::string& text) {
    const auto [at, added] =
        codes_.try_emplace(text, static_cast<uint32_t>(column_.dictionary.size()));
    if (added) {
      column_.dictionary.push_back(text);
    }
    column_.codes.push_back(at->second);
  }
  StringColumn Take() { return std::move(column_); }

 private:
  StringColumn column_;
  std::unordered_map<std::string, uint32_t> codes_;
};

class OptionalBuilder {
 public:
  // NaN is null.
  void Add(double value) {
    column_.present.push_back(std::isnan(value) ? 0 : 1);
    column_.values.push_back(std::isnan(value) ? 0.0 : value);
  }
  DoubleColumn Take() { return std::move(column_); }

 private:
  DoubleColumn column_;
};

// seq, step, mode, mode_step, rank, time: in every table.
class KeyBuilder {
 public:
  void Add(const ScannedBatch& batch) {
    seq_.values.push_back(static_cast<int64_t>(batch.last_seq));
    step_.values.push_back(batch.key.step.value);
    mode_.Add(std::string(ModeName(batch.key.mode)));
    mode_step_.values.push_back(batch.key.mode_step);
    rank_.values.push_back(batch.key.rank.value);
    time_.values.push_back(FloorToMicros(batch.wall_ns) / 1000);
  }
  void AppendTo(Table* table) {
    table->columns.push_back({"step", std::move(step_)});
    table->columns.push_back({"mode", mode_.Take()});
    table->columns.push_back({"mode_step", std::move(mode_step_)});
    table->columns.push_back({"rank", std::move(rank_)});
    table->columns.push_back({"time", std::move(time_)});
    table->columns.push_back({"seq", std::move(seq_)});
  }

 private:
  Int64Column seq_;
  Int64Column step_;
  TextBuilder mode_;
  Int64Column mode_step_;
  Int32Column rank_;
  TimestampColumn time_;
};

// The names of a table with what is known of each. Rows come in step order, so the last one added
// is the newest.
class NameLister {
 public:
  void Add(const Desc& desc) {
    const auto [at, added] = index_.try_emplace(desc.name, list_.size());
    if (added) {
      list_.push_back(&desc);
    } else {
      list_[at->second] = &desc;
    }
  }
  // The descs added must still live.
  std::string Take() const {
    nlohmann::ordered_json names = nlohmann::ordered_json::array();
    for (const Desc* desc : list_) {
      nlohmann::ordered_json entry;
      entry["name"] = desc->name;
      entry["kind"] = desc->kind == DescKind::kScalar ? "scalar" : "tensor";
      entry["dtype"] = tensor::DTypeFrameworkName(desc->dtype);
      entry["shape"] = desc->shape;
      entry["collections"] = desc->collections;
      names.push_back(std::move(entry));
    }
    return JsonLine(names);
  }

 private:
  std::vector<const Desc*> list_;
  std::unordered_map<std::string, size_t> index_;
};

// Rows of one kind in (name, step) order; rows of one tensor and step stay in commit order.
struct RowRef {
  const ScannedBatch* batch;
  size_t batch_index;
  size_t row;
  const std::string* name;
};

template <typename Rows>
std::vector<RowRef> SortedRows(const SealInput& input, Rows rows) {
  std::vector<RowRef> refs;
  for (size_t b = 0; b < input.batches.size(); ++b) {
    const ScannedBatch& batch = input.batches[b];
    const auto& list = rows(batch);
    for (size_t r = 0; r < list.size(); ++r) {
      refs.push_back({&batch, b, r, &list[r].desc->name});
    }
  }
  std::stable_sort(refs.begin(), refs.end(), [](const RowRef& a, const RowRef& b) {
    return std::tie(*a.name, a.batch->key.step) < std::tie(*b.name, b.batch->key.step);
  });
  return refs;
}

SealedTable ScalarsTable(const SealInput& input) {
  TextBuilder names;
  TextBuilder collections;
  NameLister described;
  DoubleColumn values;
  KeyBuilder keys;
  for (const RowRef& ref :
       SortedRows(input, [](const ScannedBatch& b) -> auto& { return b.scalars; })) {
    const ScannedScalar& row = ref.batch->scalars[ref.row];
    names.Add(row.desc->name);
    described.Add(*row.desc);
    collections.Add(JoinCollections(row.desc->collections));
    values.values.push_back(row.value);
    keys.Add(*ref.batch);
  }
  SealedTable sealed{"scalars", {}, {"name", "step"}, described.Take()};
  sealed.table.columns.push_back({"name", names.Take()});
  sealed.table.columns.push_back({"collection", collections.Take()});
  keys.AppendTo(&sealed.table);
  sealed.table.columns.push_back({"value", std::move(values)});
  return sealed;
}

constexpr size_t kCounts = 6;
constexpr std::array<const char*, kCounts> kCountNames = {
    "numel", "nan_count", "posinf_count", "neginf_count", "zero_count", "neg_count"};
constexpr size_t kMoments = 10;
constexpr std::array<const char*, kMoments> kMomentNames = {
    "min", "max", "mean", "std", "l1", "l2", "abs_min", "abs_max", "abs_mean", "abs_std"};
constexpr size_t kQuantiles = 7;
constexpr std::array<const char*, kQuantiles> kQuantileNames = {"p01", "p05", "p25", "p50",
                                                                "p75", "p95", "p99"};
constexpr std::array<double, kQuantiles> kQuantileAt = {0.01, 0.05, 0.25, 0.50, 0.75, 0.95, 0.99};

std::array<double, kMoments> MomentsOf(const tensor::TensorStats& stats, DType dtype) {
  std::array<double, kMoments> moments = {
      stats.min,  stats.max,     stats.mean,    stats.std(0),     stats.l1,
      stats.l2(), stats.abs_min, stats.abs_max, stats.abs_mean(), stats.abs_std(0)};
  for (double& moment : moments) {
    moment = stats.finite() > 0 ? Rounded(moment, dtype) : std::numeric_limits<double>::quiet_NaN();
  }
  return moments;
}

double QuantileOf(const ScannedStats& row, double q) {
  if (row.histogram.empty()) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  const double value = tensor::QuantileOfBins(row.histogram, q);
  // A bin is wider than the data in it; the extremes are known exactly.
  const bool clamp = row.stats.finite() > 0 && std::isfinite(value);
  return clamp ? std::clamp(value, row.stats.min, std::max(row.stats.min, row.stats.max)) : value;
}

class StatsBuilder {
 public:
  void Add(const ScannedBatch& batch, const ScannedStats& row) {
    const DType dtype = row.desc->dtype;
    names_.Add(row.desc->name);
    described_.Add(*row.desc);
    collections_.Add(JoinCollections(row.desc->collections));
    keys_.Add(batch);
    dtypes_.Add(std::string(tensor::DTypeFrameworkName(dtype)));
    shapes_.Add(ShapeText(row.desc->shape));
    const tensor::TensorStats& s = row.stats;
    const std::array<int64_t, kCounts> counts = {s.numel,        s.nan_count,  s.posinf_count,
                                                 s.neginf_count, s.zero_count, s.negative_count};
    for (size_t i = 0; i < kCounts; ++i) {
      counts_[i].values.push_back(counts[i]);
    }
    const std::array<double, kMoments> moments = MomentsOf(s, dtype);
    for (size_t i = 0; i < kMoments; ++i) {
      moments_[i].Add(moments[i]);
    }
    log2_abs_prod_.Add(s.log2_abs_prod);
    prod_sign_.Add(s.prod_sign);
    median_.Add(row.exact_median);
    for (size_t i = 0; i < kQuantiles; ++i) {
      quantiles_[i].Add(Rounded(QuantileOf(row, kQuantileAt[i]), dtype));
    }
    for (const tensor::HistogramBin& bin : row.histogram) {
      bins_.values.push_back(bin.bin);
      bin_counts_.values.push_back(bin.count);
    }
    bins_.offsets.push_back(static_cast<int64_t>(bins_.values.size()));
    bin_counts_.offsets.push_back(static_cast<int64_t>(bin_counts_.values.size()));
  }

  SealedTable Take() {
    SealedTable sealed{"stats", {}, {"tensor", "step"}, described_.Take()};
    std::vector<Column>& columns = sealed.table.columns;
    columns.push_back({"tensor", names_.Take()});
    columns.push_back({"collection", collections_.Take()});
    keys_.AppendTo(&sealed.table);
    columns.push_back({"dtype", dtypes_.Take()});
    columns.push_back({"shape", shapes_.Take()});
    for (size_t i = 0; i < kCounts; ++i) {
      columns.push_back({kCountNames[i], std::move(counts_[i])});
    }
    for (size_t i = 0; i < kMoments; ++i) {
      columns.push_back({kMomentNames[i], moments_[i].Take()});
    }
    columns.push_back({"log2_abs_prod", log2_abs_prod_.Take()});
    columns.push_back({"prod_sign", prod_sign_.Take()});
    columns.push_back({"median", median_.Take()});
    for (size_t i = 0; i < kQuantiles; ++i) {
      columns.push_back({kQuantileNames[i], quantiles_[i].Take()});
    }
    columns.push_back({"hist_bins", std::move(bins_)});
    columns.push_back({"hist_counts", std::move(bin_counts_)});
    return sealed;
  }

 private:
  TextBuilder names_, collections_, dtypes_, shapes_;
  NameLister described_;
  KeyBuilder keys_;
  std::array<Int64Column, kCounts> counts_;
  std::array<OptionalBuilder, kMoments> moments_;
  OptionalBuilder log2_abs_prod_, prod_sign_, median_;
  std::array<OptionalBuilder, kQuantiles> quantiles_;
  Int64ListColumn bins_{{0}, {}};
  Int64ListColumn bin_counts_{{0}, {}};
};

SealedTable StatsTable(const SealInput& input) {
  StatsBuilder builder;
  for (const RowRef& ref :
       SortedRows(input, [](const ScannedBatch& b) -> auto& { return b.stats; })) {
    builder.Add(*ref.batch, ref.batch->stats[ref.row]);
  }
  return builder.Take();
}

SealedTable TensorsTable(const SealInput& input) {
  TextBuilder names;
  TextBuilder collections;
  NameLister described;
  TextBuilder dtypes;
  TextBuilder shapes;
  TextBuilder files;
  TextBuilder codecs;
  Int64Column offsets;
  Int64Column sizes;
  Int64Column crcs;
  Int64Column journal_offsets;
  KeyBuilder keys;
  for (const RowRef& ref :
       SortedRows(input, [](const ScannedBatch& b) -> auto& { return b.tensors; })) {
    const ScannedTensor& row = ref.batch->tensors[ref.row];
    const TensorPlace& place = input.places[ref.batch_index][ref.row];
    names.Add(row.desc->name);
    described.Add(*row.desc);
    collections.Add(JoinCollections(row.desc->collections));
    keys.Add(*ref.batch);
    dtypes.Add(std::string(tensor::DTypeFrameworkName(row.desc->dtype)));
    shapes.Add(ShapeText(row.desc->shape));
    files.Add(place.file);
    codecs.Add("raw");
    offsets.values.push_back(static_cast<int64_t>(place.offset));
    sizes.values.push_back(static_cast<int64_t>(row.nbytes));
    crcs.values.push_back(int64_t{row.crc});
    journal_offsets.values.push_back(row.blob_number ? -1 : static_cast<int64_t>(row.offset));
  }
  SealedTable sealed{"tensors", {}, {"tensor", "step"}, described.Take()};
  std::vector<Column>& columns = sealed.table.columns;
  columns.push_back({"tensor", names.Take()});
  columns.push_back({"collection", collections.Take()});
  keys.AppendTo(&sealed.table);
  columns.push_back({"dtype", dtypes.Take()});
  columns.push_back({"shape", shapes.Take()});
  columns.push_back({"file", files.Take()});
  columns.push_back({"offset", std::move(offsets)});
  columns.push_back({"nbytes", std::move(sizes)});
  columns.push_back({"codec", codecs.Take()});
  columns.push_back({"crc32c", std::move(crcs)});
  columns.push_back({"journal_offset", std::move(journal_offsets)});
  return sealed;
}

SealedTable StepsTable(const SealInput& input) {
  KeyBuilder keys;
  Int64Column first_seq;
  Int32Column is_step;
  Int64Column records;
  Int64Column monotonic;
  Int64Column blocked;
  Int64Column step;
  Int64Column data_wait;
  for (const ScannedBatch& batch : input.batches) {
    keys.Add(batch);
    first_seq.values.push_back(static_cast<int64_t>(batch.first_seq));
    is_step.values.push_back(batch.is_step ? 1 : 0);
    records.values.push_back(int64_t{batch.commit.record_count});
    monotonic.values.push_back(batch.commit.monotonic_ns);
    blocked.values.push_back(batch.commit.blocked_ns);
    step.values.push_back(batch.commit.step_ns);
    data_wait.values.push_back(batch.commit.data_wait_ns);
  }
  SealedTable sealed{std::string(kStepsTable), {}, {"seq"}, ""};
  keys.AppendTo(&sealed.table);
  std::vector<Column>& columns = sealed.table.columns;
  columns.push_back({"first_seq", std::move(first_seq)});
  columns.push_back({"is_step", std::move(is_step)});
  columns.push_back({"records", std::move(records)});
  columns.push_back({"monotonic_ns", std::move(monotonic)});
  columns.push_back({"blocked_ns", std::move(blocked)});
  columns.push_back({"step_ns", std::move(step)});
  columns.push_back({"data_wait_ns", std::move(data_wait)});
  return sealed;
}

SealedTable GapsTable(const SealInput& input) {
  KeyBuilder keys;
  Int64Column first_step;
  Int64Column last_step;
  TextBuilder reasons;
  TextBuilder whats;
  Int64Column tensors;
  Int64Column bytes;
  for (const ScannedBatch& batch : input.batches) {
    for (const GapPayload& gap : batch.gaps) {
      keys.Add(batch);
      first_step.values.push_back(gap.first_step);
      last_step.values.push_back(gap.last_step);
      reasons.Add(GapReasonName(gap.reason));
      whats.Add(GapWhatName(gap.what));
      tensors.values.push_back(static_cast<int64_t>(gap.tensors_dropped));
      bytes.values.push_back(static_cast<int64_t>(gap.bytes_dropped));
    }
  }
  SealedTable sealed{"gaps", {}, {"seq"}, ""};
  keys.AppendTo(&sealed.table);
  std::vector<Column>& columns = sealed.table.columns;
  columns.push_back({"first_step", std::move(first_step)});
  columns.push_back({"last_step", std::move(last_step)});
  columns.push_back({"reason", reasons.Take()});
  columns.push_back({"what", whats.Take()});
  columns.push_back({"tensors_dropped", std::move(tensors)});
  columns.push_back({"bytes_dropped", std::move(bytes)});
  return sealed;
}

std::string KindOf(const std::string& meta) {
  const auto json = ParseJson(meta);
  if (!json.is_object()) {
    return "";
  }
  const auto kind = json.find("kind");
  return kind != json.end() && kind->is_string() ? kind->get<std::string>() : "";
}

SealedTable MetasTable(const SealInput& input) {
  KeyBuilder keys;
  TextBuilder kinds;
  TextBuilder texts;
  for (const ScannedBatch& batch : input.batches) {
    for (const std::string& meta : batch.metas) {
      keys.Add(batch);
      kinds.Add(KindOf(meta));
      texts.Add(meta);
    }
  }
  SealedTable sealed{"metas", {}, {"seq"}, ""};
  keys.AppendTo(&sealed.table);
  sealed.table.columns.push_back({"kind", kinds.Take()});
  sealed.table.columns.push_back({"json", texts.Take()});
  return sealed;
}

}  // namespace

std::vector<SealedTable> BuildTables(const SealInput& input) {
  std::vector<SealedTable> tables;
  for (SealedTable (*build)(const SealInput&) :
       {&ScalarsTable, &StatsTable, &TensorsTable, &GapsTable, &MetasTable, &StepsTable}) {
    SealedTable sealed = build(input);
    if (sealed.table.rows() > 0) {
      tables.push_back(std::move(sealed));
    }
  }
  return tables;
}

tensor::TensorStats AsSealed(const tensor::TensorStats& stats, DType dtype) {
  const std::array<double, kMoments> moments = MomentsOf(stats, dtype);
  tensor::TensorStats sealed = stats;
  const auto n = static_cast<double>(stats.finite());
  const bool none = stats.finite() <= 0;
  sealed.min = moments[0];
  sealed.max = moments[1];
  sealed.mean = moments[2];
  sealed.m2 = none ? 0.0 : moments[3] * moments[3] * n;
  sealed.l1 = none ? 0.0 : moments[4];
  sealed.abs_min = moments[6];
  sealed.abs_max = moments[7];
  sealed.abs_m2 = none ? 0.0 : moments[9] * moments[9] * n;
  return sealed;
}

}  // namespace wheeltapper::format
