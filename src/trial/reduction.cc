// The reductions of the interface from the statistics that are stored, and the merge over ranks.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "wheeltapper/core/suggest.h"
#include "wheeltapper/trial/trial.h"

namespace wheeltapper::trial {
namespace {

using tensor::HistogramBin;
using tensor::TensorStats;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// A product's sign does not survive |x|, its magnitude does.
double AbsProduct(const TensorStats& stats) {
  return std::isnan(stats.prod_sign) ? kNaN : std::fabs(stats.prod());
}

struct NamedReduction {
  const char* name;
  double (*plain)(const TensorStats& stats, int ddof);
  double (*absolute)(const TensorStats& stats, int ddof);
};

// One function for both columns: counts and norms are the same for x and |x|.
constexpr auto kNumel = [](const TensorStats& s, int) { return static_cast<double>(s.numel); };
constexpr auto kNan = [](const TensorStats& s, int) { return static_cast<double>(s.nan_count); };
constexpr auto kPosInf = [](const TensorStats& s, int) {
  return static_cast<double>(s.posinf_count);
};
constexpr auto kNegInf = [](const TensorStats& s, int) {
  return static_cast<double>(s.neginf_count);
};
constexpr auto kAnyInf = [](const TensorStats& s, int) {
  return static_cast<double>(s.posinf_count + s.neginf_count);
};
constexpr auto kZero = [](const TensorStats& s, int) { return static_cast<double>(s.zero_count); };
constexpr auto kNegative = [](const TensorStats& s, int) {
  return static_cast<double>(s.negative_count);
};
constexpr auto kNone = [](const TensorStats&, int) { return 0.0; };
constexpr auto kL1 = [](const TensorStats& s, int) { return s.l1; };
constexpr auto kL2 = [](const TensorStats& s, int) { return s.l2(); };
constexpr auto kRms = [](const TensorStats& s, int) { return s.rms(); };

constexpr std::array<NamedReduction, 17> kReductions{{
    {"min", [](const TensorStats& s, int) { return s.min; },
     [](const TensorStats& s, int) { return s.abs_min; }},
    {"max", [](const TensorStats& s, int) { return s.max; },
     [](const TensorStats& s, int) { return s.abs_max; }},
    {"mean", [](const TensorStats& s, int) { return s.mean; },
     [](const TensorStats& s, int) { return s.abs_mean(); }},
    {"std", [](const TensorStats& s, int ddof) { return s.std(ddof); },
     [](const TensorStats& s, int ddof) { return s.abs_std(ddof); }},
    {"variance", [](const TensorStats& s, int ddof) { return s.variance(ddof); },
     [](const TensorStats& s, int ddof) { return s.abs_variance(ddof); }},
    {"sum", [](const TensorStats& s, int) { return s.sum(); },
     [](const TensorStats& s, int) { return s.finite() > 0 ? s.l1 : 0; }},
    {"prod", [](const TensorStats& s, int) { return s.prod(); },
     [](const TensorStats& s, int) { return AbsProduct(s); }},
    {"l1", kL1, kL1},
    {"l2", kL2, kL2},
    {"rms", kRms, kRms},
    {"numel", kNumel, kNumel},
    {"nan_count", kNan, kNan},
    {"posinf_count", kPosInf, kAnyInf},
    {"neginf_count", kNegInf, kNone},
    {"zero_count", kZero, kZero},
    {"negative_count", kNegative, kNone},
    {"nonfinite_count",
     [](const TensorStats& s, int) { return static_cast<double>(s.nonfinite_count()); },
     [](const TensorStats& s, int) { return static_cast<double>(s.nonfinite_count()); }},
}};

struct NamedQuantile {
  const char* name;
  double q;
};
constexpr std::array<NamedQuantile, 8> kQuantiles{{{"median", 0.5},
                                                   {"p01", 0.01},
                                                   {"p05", 0.05},
                                                   {"p25", 0.25},
                                                   {"p50", 0.5},
                                                   {"p75", 0.75},
                                                   {"p95", 0.95},
                                                   {"p99", 0.99}}};

// Bins in order, equal ids added up. A bin that would overflow saturates.
std::vector<HistogramBin> Consolidate(std::vector<HistogramBin> bins) {
  std::sort(bins.begin(), bins.end(),
            [](const HistogramBin& a, const HistogramBin& b) { return a.bin < b.bin; });
  std::vector<HistogramBin> out;
  for (const HistogramBin& entry : bins) {
    if (!out.empty() && out.back().bin == entry.bin) {
      int64_t& count = out.back().count;
      const int64_t room = std::numeric_limits<int64_t>::max() - count;
      count += std::min(entry.count, room);
    } else {
      out.push_back(entry);
    }
  }
  return out;
}

// The bins of |x|: bin −b holds the negatives of the values of bin b, so folding loses nothing.
std::vector<HistogramBin> FoldToAbsolute(std::vector<HistogramBin> bins) {
  for (HistogramBin& entry : bins) {
    if (entry.bin < 0) {
      entry.bin = static_cast<int16_t>(-entry.bin);
    }
  }
  return Consolidate(std::move(bins));
}

Result<double> QuantileOf(const StatsPoint& point, const NamedQuantile& quantile, bool abs) {
  if (quantile.q == 0.5 && !abs && !std::isnan(point.exact_median)) {
    return point.exact_median;
  }
  if (point.histogram.empty()) {
    if (point.stats.numel == point.stats.nan_count) {
      return kNaN;
    }
    return NotFoundError("reading \"" + std::string(quantile.name) +
                         "\": no histogram was recorded for this tensor: turn histograms on in its "
                         "collection");
  }
  const double value =
      tensor::QuantileOfBins(abs ? FoldToAbsolute(point.histogram) : point.histogram, quantile.q);
  if (point.stats.finite() == 0 || !std::isfinite(value)) {
    return value;
  }
  // A bin is wider than the values in it; the extremes are known exactly.
  const double low = abs ? point.stats.abs_min : point.stats.min;
  const double high = abs ? point.stats.abs_max : point.stats.max;
  return std::min(std::max(value, low), high);
}

Status UnknownReduction(const std::string& name) {
  std::vector<std::string> known;
  known.reserve(kReductions.size() + kQuantiles.size());
  for (const NamedReduction& reduction : kReductions) {
    known.emplace_back(reduction.name);
  }
  for (const NamedQuantile& quantile : kQuantiles) {
    known.emplace_back(quantile.name);
  }
  return InvalidArgumentError("reading a reduction: unknown name" + DidYouMean(name, known) +
                              ": \"" + name + "\"");
}

bool SameGroup(const StatsPoint& a, const StatsPoint& b) {
  return a.key.step == b.key.step && a.key.mode == b.key.mode;
}

void MergeInto(StatsPoint* into, StatsPoint&& from) {
  const bool same_median_source = into->stats.numel == 0 || from.stats.numel == 0;
  if (same_median_source) {
    into->exact_median = into->stats.numel == 0 ? from.exact_median : into->exact_median;
  } else {
    into->exact_median = kNaN;  // the median of a union does not follow from the medians
  }
  // Bins of only some of the ranks would pass for those of all.
  const bool both = (!into->histogram.empty() || into->stats.numel == 0) &&
                    (!from.histogram.empty() || from.stats.numel == 0);
  if (both) {
    into->histogram.insert(into->histogram.end(), from.histogram.begin(), from.histogram.end());
    into->histogram = Consolidate(std::move(into->histogram));
  } else {
    into->histogram.clear();
  }
  into->stats = tensor::MergeStats(into->stats, from.stats);
  into->wall_ns = std::max(into->wall_ns, from.wall_ns);
}

}  // namespace

const char* RunStateName(RunState state) {
  switch (state) {
    case RunState::kRunning:
      return "running";
    case RunState::kFinished:
      return "finished";
    case RunState::kFailed:
      return "failed";
    case RunState::kStopped:
      return "stopped";
    case RunState::kAbandoned:
      return "abandoned";
    case RunState::kInterrupted:
      return "interrupted";
  }
  return "running";
}

Result<double> ReductionOf(const StatsPoint& point, const ReductionQuery& query) {
  if (query.ddof != 0 && query.ddof != 1) {
    return InvalidArgumentError("reading \"" + query.name +
                                "\": ddof must be 0 or 1: " + std::to_string(query.ddof));
  }
  for (const NamedReduction& reduction : kReductions) {
    if (query.name != reduction.name) {
      continue;
    }
    const bool is_product = query.name == "prod";
    if (is_product && std::isnan(point.stats.prod_sign) && point.stats.finite() > 0) {
      return NotFoundError(
          "reading \"prod\": products were not recorded for this tensor: add prod to its "
          "collection's reductions");
    }
    return (query.abs ? reduction.absolute : reduction.plain)(point.stats, query.ddof);
  }
  for (const NamedQuantile& quantile : kQuantiles) {
    if (query.name == quantile.name) {
      return QuantileOf(point, quantile, query.abs);
    }
  }
  return UnknownReduction(query.name);
}

std::vector<StatsPoint> MergeRanks(std::vector<StatsPoint> points) {
  std::stable_sort(points.begin(), points.end(), [](const StatsPoint& a, const StatsPoint& b) {
    return std::tie(a.key.step, a.key.mode, a.key.rank) <
           std::tie(b.key.step, b.key.mode, b.key.rank);
  });
  std::vector<StatsPoint> merged;
  for (size_t i = 0; i < points.size(); ++i) {
    StatsPoint& point = points[i];
    if (i + 1 < points.size() && SameGroup(point, points[i + 1]) &&
        point.key.rank == points[i + 1].key.rank) {
      continue;  // recorded again by a later attempt, which counts
    }
    if (!merged.empty() && SameGroup(merged.back(), point)) {
      MergeInto(&merged.back(), std::move(point));
    } else {
      merged.push_back(std::move(point));
    }
  }
  return merged;
}

}  // namespace wheeltapper::trial
