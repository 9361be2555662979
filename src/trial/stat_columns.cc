#include "stat_columns.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "sealed_columns.h"

namespace wheeltapper::trial {
namespace {

using format::StatsRow;
using tensor::DType;
using tensor::TensorStats;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// As sealing stores a number: f32 unless the dtype is wider or the number out of f32's normal
// range.
double AsStored(double value, DType dtype) {
  const bool wide =
      dtype == DType::kF64 || dtype == DType::kI64 || dtype == DType::kU64 || dtype == DType::kC128;
  const double magnitude = std::fabs(value);
  const bool in_range = magnitude >= static_cast<double>(std::numeric_limits<float>::min()) &&
                        magnitude <= static_cast<double>(std::numeric_limits<float>::max());
  return wide || !in_range ? value : static_cast<double>(static_cast<float>(value));
}

double Moment(const StatsRow& row, double value) {
  return row.stats.finite() > 0 ? AsStored(value, row.dtype) : kNaN;
}

double Quantile(const StatsRow& row, double q) {
  if (row.histogram.empty()) {
    return kNaN;
  }
  const double value = tensor::QuantileOfBins(row.histogram, q);
  const bool clamp = row.stats.finite() > 0 && std::isfinite(value);
  return AsStored(clamp ? std::min(std::max(value, row.stats.min), row.stats.max) : value,
                  row.dtype);
}

constexpr std::array<StatColumn, 26> kStatColumns{{
    {"numel", [](const StatsRow& r) { return static_cast<double>(r.stats.numel); }},
    {"nan_count", [](const StatsRow& r) { return static_cast<double>(r.stats.nan_count); }},
    {"posinf_count", [](const StatsRow& r) { return static_cast<double>(r.stats.posinf_count); }},
    {"neginf_count", [](const StatsRow& r) { return static_cast<double>(r.stats.neginf_count); }},
    {"zero_count", [](const StatsRow& r) { return static_cast<double>(r.stats.zero_count); }},
    {"neg_count", [](const StatsRow& r) { return static_cast<double>(r.stats.negative_count); }},
    {"min", [](const StatsRow& r) { return Moment(r, r.stats.min); }},
    {"max", [](const StatsRow& r) { return Moment(r, r.stats.max); }},
    {"mean", [](const StatsRow& r) { return Moment(r, r.stats.mean); }},
    {"std", [](const StatsRow& r) { return Moment(r, r.stats.std(0)); }},
    {"l1", [](const StatsRow& r) { return Moment(r, r.stats.l1); }},
    {"l2", [](const StatsRow& r) { return Moment(r, r.stats.l2()); }},
    {"abs_min", [](const StatsRow& r) { return Moment(r, r.stats.abs_min); }},
    {"abs_max", [](const StatsRow& r) { return Moment(r, r.stats.abs_max); }},
    {"abs_mean", [](const StatsRow& r) { return Moment(r, r.stats.abs_mean()); }},
    {"abs_std", [](const StatsRow& r) { return Moment(r, r.stats.abs_std(0)); }},
    {"log2_abs_prod", [](const StatsRow& r) { return r.stats.log2_abs_prod; }},
    {"prod_sign", [](const StatsRow& r) { return r.stats.prod_sign; }},
    {"median", [](const StatsRow& r) { return r.exact_median; }},
    {"p01", [](const StatsRow& r) { return Quantile(r, 0.01); }},
    {"p05", [](const StatsRow& r) { return Quantile(r, 0.05); }},
    {"p25", [](const StatsRow& r) { return Quantile(r, 0.25); }},
    {"p50", [](const StatsRow& r) { return Quantile(r, 0.50); }},
    {"p75", [](const StatsRow& r) { return Quantile(r, 0.75); }},
    {"p95", [](const StatsRow& r) { return Quantile(r, 0.95); }},
    {"p99", [](const StatsRow& r) { return Quantile(r, 0.99); }},
}};

// The columns that become a TensorStats, read over one range.
struct StatsBlock {
  std::vector<int64_t> numel, nan, posinf, neginf, zero, negative;
  std::vector<double> min, max, mean, std, l1, abs_min, abs_max, abs_std;
  std::vector<double> log2_abs_prod, prod_sign, median;
  std::vector<std::string> dtypes;
  std::vector<std::vector<int64_t>> bins, counts;
};

Result<StatsBlock> ReadBlock(const SealedTable& table, RowRange range) {
  StatsBlock block;
  for (const auto& [column, values] : {std::pair("numel", &block.numel),
                                       {"nan_count", &block.nan},
                                       {"posinf_count", &block.posinf},
                                       {"neginf_count", &block.neginf},
                                       {"zero_count", &block.zero},
                                       {"neg_count", &block.negative}}) {
    WT_ASSIGN_OR_RETURN(*values, table.ReadInts(column, range));
  }
  for (const auto& [column, values] : {std::pair("min", &block.min),
                                       {"max", &block.max},
                                       {"mean", &block.mean},
                                       {"std", &block.std},
                                       {"l1", &block.l1},
                                       {"abs_min", &block.abs_min},
                                       {"abs_max", &block.abs_max},
                                       {"abs_std", &block.abs_std},
                                       {"log2_abs_prod", &block.log2_abs_prod},
                                       {"prod_sign", &block.prod_sign},
                                       {"median", &block.median}}) {
    WT_ASSIGN_OR_RETURN(*values, table.ReadDoubles(column, range));
  }
  WT_ASSIGN_OR_RETURN(block.dtypes, table.ReadTexts(kDTypeColumn, range));
  WT_ASSIGN_OR_RETURN(block.bins, table.ReadLists("hist_bins", range));
  WT_ASSIGN_OR_RETURN(block.counts, table.ReadLists("hist_counts", range));
  return block;
}

// Stored are mean and std; m2 and abs_m2 follow.
TensorStats StatsAt(const StatsBlock& block, size_t i) {
  TensorStats stats;
  stats.numel = block.numel[i];
  stats.nan_count = block.nan[i];
  stats.posinf_count = block.posinf[i];
  stats.neginf_count = block.neginf[i];
  stats.zero_count = block.zero[i];
  stats.negative_count = block.negative[i];
  const auto finite = static_cast<double>(stats.finite());
  const bool none = stats.finite() <= 0;
  stats.min = block.min[i];
  stats.max = block.max[i];
  stats.mean = block.mean[i];
  stats.m2 = none ? 0 : block.std[i] * block.std[i] * finite;
  stats.abs_min = block.abs_min[i];
  stats.abs_max = block.abs_max[i];
  stats.l1 = none ? 0 : block.l1[i];
  stats.abs_m2 = none ? 0 : block.abs_std[i] * block.abs_std[i] * finite;
  stats.log2_abs_prod = block.log2_abs_prod[i];
  stats.prod_sign = block.prod_sign[i];
  return stats;
}

}  // namespace

std::span<const StatColumn> StatColumns() { return kStatColumns; }

const StatColumn* FindStatColumn(const std::string& name) {
  const auto* at = std::find_if(kStatColumns.begin(), kStatColumns.end(),
                                [&name](const StatColumn& column) { return name == column.name; });
  return at == kStatColumns.end() ? nullptr : at;
}

std::vector<std::string> StatColumnNames() {
  std::vector<std::string> names;
  names.reserve(kStatColumns.size());
  for (const StatColumn& column : kStatColumns) {
    names.emplace_back(column.name);
  }
  return names;
}

Status AppendStats(const SealedTable& table, const KeyedRows& rows,
                   std::vector<StatsPoint>* points) {
  if (rows.rows.empty()) {
    return {};
  }
  WT_ASSIGN_OR_RETURN(const StatsBlock block, ReadBlock(table, rows.range));
  for (size_t i = 0; i < rows.rows.size(); ++i) {
    const size_t row = rows.rows[i];
    StatsPoint point{};
    point.key = rows.keys[i];
    point.wall_ns = rows.times[i];
    WT_ASSIGN_OR_RETURN(point.dtype, ParseDType(block.dtypes[row]));
    point.stats = StatsAt(block, row);
    point.exact_median = block.median[row];
    if (block.bins[row].size() != block.counts[row].size()) {
      return DataLossError("reading \"" + table.path() + "\": a histogram is cut off");
    }
    for (size_t bin = 0; bin < block.bins[row].size(); ++bin) {
      point.histogram.push_back(
          {static_cast<int16_t>(block.bins[row][bin]), block.counts[row][bin]});
    }
    points->push_back(std::move(point));
  }
  return {};
}

}  // namespace wheeltapper::trial
