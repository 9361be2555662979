// Line charts as inline SVG: no script, colours from CSS classes, NaN and infinities marked,
// extremes kept.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "report_data.h"

namespace wheeltapper::report {

struct ChartLine {
  std::string label;
  const std::vector<SeriesPoint>* points;
};
struct ChartMark {  // a vertical line
  int64_t step;
  std::string label;
};

struct ChartOptions {
  std::string title;  // for screen readers
  int width = 720;    // px of the viewBox; the chart scales with the page
  int height = 220;
  std::optional<double> threshold;  // a horizontal dashed line
  std::vector<ChartMark> marks;
};

// A log scale is chosen when all finite values are positive and span more than three decades (and
// said at the axis).
std::string SvgChart(const std::vector<ChartLine>& lines, const ChartOptions& options);

// A small line without axes. Points that are not finite show as red dots at the top.
std::string SvgSparkline(const std::vector<SeriesPoint>& points);

// Buckets of a chart and of a small line.
inline constexpr size_t kChartBuckets = 360;
inline constexpr size_t kSparkBuckets = 60;

// At most 4 × buckets + 2 of the points, in order of step: the first and the last, and of each
// bucket the smallest and the largest, and the first and the last that are not finite.
std::vector<SeriesPoint> Thin(const std::vector<SeriesPoint>& points, size_t buckets);

// & < > " ' as entities; control characters dropped. Names come from the job and are not to be
// trusted.
std::string EscapeHtml(const std::string& text);

}  // namespace wheeltapper::report
