#include "svg_chart.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <span>

#include <fmt/format.h>

#include "number_text.h"

namespace wheeltapper::report {
namespace {

constexpr int kLeft = 84;
constexpr int kRight = 12;
constexpr int kTop = 12;
constexpr int kBottom = 26;
constexpr int kColours = 6;  // classes line0 … line5
constexpr double kLogDecades = 1e3;

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void Add(double value) {
    if (std::isfinite(value)) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  [[nodiscard]] bool empty() const { return low > high; }
  // A constant series needs some height to be drawn in.
  void Widen() {
    if (empty()) {
      low = 0;
      high = 1;
    } else if (low == high) {
      const double margin = low == 0 ? 1 : std::abs(low) / 2;
      low -= margin;
      high += margin;
    }
  }
};

// Maps steps and values to the drawing area.
class Scale {
 public:
  Scale(Range steps, Range values, bool logarithmic, const ChartOptions& options)
      : steps_(steps),
        values_(values),
        log_(logarithmic),
        width_(options.width),
        height_(options.height) {
    steps_.Widen();
    values_.Widen();
    if (log_) {
      values_.low = std::log10(values_.low);
      values_.high = std::log10(values_.high);
    }
  }
  [[nodiscard]] double X(double step) const {
    return kLeft + (step - steps_.low) / (steps_.high - steps_.low) * (width_ - kLeft - kRight);
  }
  [[nodiscard]] double Y(double value) const {
    const double v = log_ ? std::log10(value) : value;
    const double share = std::clamp((v - values_.low) / (values_.high - values_.low), 0.0, 1.0);
    return height_ - kBottom - share * (height_ - kTop - kBottom);
  }
  // The value at a share of the height, 0 = bottom.
  [[nodiscard]] double ValueAt(double share) const {
    const double v = values_.low + share * (values_.high - values_.low);
    return log_ ? std::pow(10.0, v) : v;
  }
  [[nodiscard]] const Range& steps() const { return steps_; }
  [[nodiscard]] bool logarithmic() const { return log_; }

 private:
  Range steps_;
  Range values_;
  bool log_;
  int width_;
  int height_;
};

Scale MakeScale(const std::vector<ChartLine>& lines, const ChartOptions& options) {
  Range steps;
  Range values;
  for (const ChartLine& line : lines) {
    for (const SeriesPoint& point : *line.points) {
      steps.Add(static_cast<double>(point.step));
      values.Add(point.value);
    }
  }
  const bool logarithmic =
      !values.empty() && values.low > 0 && values.high / values.low > kLogDecades;
  if (options.threshold && (!logarithmic || *options.threshold > 0)) {
    values.Add(*options.threshold);
  }
  return {steps, values, logarithmic, options};
}

std::string Axes(const Scale& scale, const ChartOptions& options) {
  std::string out;
  for (const double share : {0.0, 0.5, 1.0}) {
    const double value = scale.ValueAt(share);
    const double y = scale.Y(value);
    out += fmt::format("<line class='grid' x1='{}' x2='{}' y1='{:.1f}' y2='{:.1f}'/>", kLeft,
                       options.width - kRight, y, y);
    out += fmt::format("<text class='tick' x='{}' y='{:.1f}' text-anchor='end'>{}</text>",
                       kLeft - 6, y + 4, NumberText(value));
  }
  const int y = options.height - 8;
  out += fmt::format("<text class='tick' x='{}' y='{}'>step {}</text>", kLeft, y,
                     NumberText(std::floor(scale.steps().low)));
  out += fmt::format("<text class='tick' x='{}' y='{}' text-anchor='end'>{}{}</text>",
                     options.width - kRight, y, scale.logarithmic() ? "log scale · step " : "step ",
                     fmt::format("{:.0f}", scale.steps().high));
  return out;
}

std::string Path(const std::vector<SeriesPoint>& points, const Scale& scale) {
  std::string path;
  bool pen_down = false;
  for (const SeriesPoint& point : points) {
    if (!std::isfinite(point.value)) {
      pen_down = false;  // a gap in the line, with a mark of its own
      continue;
    }
    path += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M",
                        scale.X(static_cast<double>(point.step)), scale.Y(point.value));
    pen_down = true;
  }
  return path;
}

std::string NonfiniteMarks(const std::vector<SeriesPoint>& points, const Scale& scale) {
  std::string out;
  for (const SeriesPoint& point : points) {
    if (!std::isfinite(point.value)) {
      out += fmt::format(
          "<circle class='bad' cx='{:.1f}' cy='{}' r='3'><title>step {}: {}</title></circle>",
          scale.X(static_cast<double>(point.step)), kTop, point.step, NumberText(point.value));
    }
  }
  return out;
}

// A single point is no line: draw it as a dot.
std::string Dots(const std::vector<SeriesPoint>& points, const Scale& scale, size_t colour) {
  std::string out;
  if (points.size() == 1 && std::isfinite(points.front().value)) {
    out = fmt::format("<circle class='dot{}' cx='{:.1f}' cy='{:.1f}' r='3'/>", colour,
                      scale.X(static_cast<double>(points.front().step)),
                      scale.Y(points.front().value));
  }
  return out;
}

std::string Marks(const ChartOptions& options, const Scale& scale) {
  std::string out;
  for (const ChartMark& mark : options.marks) {
    const double x = scale.X(static_cast<double>(mark.step));
    if (x < kLeft || x > options.width - kRight) {
      continue;
    }
    out += fmt::format(
        "<line class='mark' x1='{:.1f}' x2='{:.1f}' y1='{}' y2='{}'><title>{}</title></line>", x, x,
        kTop, options.height - kBottom, EscapeHtml(mark.label));
  }
  return out;
}

std::string Legend(const std::vector<ChartLine>& lines) {
  std::string out = "<div class='legend'>";
  for (size_t i = 0; i < lines.size(); ++i) {
    out += fmt::format("<span class='key{}'>{}</span>", i % kColours, EscapeHtml(lines[i].label));
  }
  return out + "</div>";
}

}  // namespace

std::string EscapeHtml(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') {
          out += c;
        }
    }
  }
  return out;
}

namespace {

// Keeps the smallest and the largest value (of equals the first), and the first and the last that
// are not finite.
void ThinBucket(std::span<const SeriesPoint> bucket, std::vector<SeriesPoint>* kept) {
  std::optional<size_t> low;
  std::optional<size_t> high;
  std::optional<size_t> first_bad;
  std::optional<size_t> last_bad;
  for (size_t i = 0; i < bucket.size(); ++i) {
    const double value = bucket[i].value;
    if (!std::isfinite(value)) {
      first_bad = first_bad.value_or(i);
      last_bad = i;
      continue;
    }
    low = !low || value < bucket[*low].value ? i : low;
    high = !high || value > bucket[*high].value ? i : high;
  }
  std::set<size_t> chosen;
  for (const std::optional<size_t>& each : {low, high, first_bad, last_bad}) {
    if (each) {
      chosen.insert(*each);
    }
  }
  for (const size_t i : chosen) {
    kept->push_back(bucket[i]);
  }
}

}  // namespace

std::vector<SeriesPoint> Thin(const std::vector<SeriesPoint>& points, size_t buckets) {
  if (points.size() <= 2 * buckets) {
    return points;
  }
  std::vector<SeriesPoint> kept;
  for (size_t bucket = 0; bucket < buckets; ++bucket) {
    const size_t begin = points.size() * bucket / buckets;
    const size_t end = points.size() * (bucket + 1) / buckets;
    ThinBucket(std::span(points).subspan(begin, end - begin), &kept);
  }
  // Where a run began and how it ended is what is looked for first.
  if (kept.front().step != points.front().step) {
    kept.insert(kept.begin(), points.front());
  }
  if (kept.back().step != points.back().step) {
    kept.push_back(points.back());
  }
  return kept;
}

std::string SvgChart(const std::vector<ChartLine>& lines, const ChartOptions& options) {
  const Scale scale = MakeScale(lines, options);
  std::string out =
      fmt::format("<svg class='chart' viewBox='0 0 {} {}' role='img' aria-label='{}'>",
                  options.width, options.height, EscapeHtml(options.title));
  out += Axes(scale, options) + Marks(options, scale);
  if (options.threshold && (!scale.logarithmic() || *options.threshold > 0)) {
    const double y = scale.Y(*options.threshold);
    out += fmt::format(
        "<line class='threshold' x1='{}' x2='{}' y1='{:.1f}' y2='{:.1f}'><title>threshold "
        "{}</title></line>",
        kLeft, options.width - kRight, y, y, NumberText(*options.threshold));
  }
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::vector<SeriesPoint> points = Thin(*lines[i].points, kChartBuckets);
    out += fmt::format("<path class='line{}' d='{}'/>", i % kColours, Path(points, scale));
    out += Dots(points, scale, i % kColours) + NonfiniteMarks(points, scale);
  }
  out += "</svg>";
  return lines.size() > 1 || !lines.front().label.empty() ? out + Legend(lines) : out;
}

std::string SvgSparkline(const std::vector<SeriesPoint>& points) {
  ChartOptions options;
  options.width = 120 + kLeft + kRight;
  options.height = 24 + kTop + kBottom;
  const std::vector<SeriesPoint> thin = Thin(points, kSparkBuckets);
  const Scale scale = MakeScale({{.label = "", .points = &thin}}, options);
  std::string out = fmt::format("<svg class='spark' viewBox='{} {} 122 30' aria-hidden='true'>",
                                kLeft - 1, kTop - 3);
  out += fmt::format("<path class='line0' d='{}'/>", Path(thin, scale)) + Dots(thin, scale, 0);
  return out + NonfiniteMarks(thin, scale) + "</svg>";
}

}  // namespace wheeltapper::report
