#include "svg_chart.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace wheeltapper::report {
namespace {

size_t CountOf(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos;
       at = text.find(part, at + part.size())) {
    ++count;
  }
  return count;
}

std::vector<SeriesPoint> Ramp(int64_t n) {
  std::vector<SeriesPoint> points;
  points.reserve(static_cast<size_t>(n));
  for (int64_t step = 0; step < n; ++step) {
    points.push_back({step, static_cast<double>(step % 100)});
  }
  return points;
}

TEST(ThinTest, KeepsExtremesAndWhereItBeginsAndEndsToBeNotFinite) {
  std::vector<SeriesPoint> points = Ramp(100'000);
  points[51'234].value = 1e9;
  points[77'777].value = -1e9;
  points[42].value = std::nan("");
  points[43].value = std::numeric_limits<double>::infinity();
  std::vector<SeriesPoint> thin = Thin(points, 100);
  EXPECT_LE(thin.size(), 204U);
  const auto has = [&thin](int64_t step) {
    return std::any_of(thin.begin(), thin.end(),
                       [step](const SeriesPoint& p) { return p.step == step; });
  };
  EXPECT_TRUE(has(51'234) && has(77'777) && has(42) && has(43));
  points.front().value = points.back().value = 500;  // in between
  thin = Thin(points, 100);
  EXPECT_TRUE(has(0) && has(99'999));
  EXPECT_TRUE(std::is_sorted(thin.begin(), thin.end(),
                             [](const auto& a, const auto& b) { return a.step < b.step; }));
}

TEST(ThinTest, IsBoundedWhereNothingIsFinite) {
  std::vector<SeriesPoint> points = Ramp(100'000);
  for (size_t i = 50'000; i < points.size(); ++i) {
    points[i].value = std::nan("");
  }
  const std::vector<SeriesPoint> thin = Thin(points, 100);
  EXPECT_EQ(thin.size(), 200U);
  EXPECT_EQ(thin[100].step, 50'000);
  EXPECT_EQ(thin.back().step, 99'999);
}

TEST(SvgChartTest, ShowsNanAndInfinityAsMarksAndBreaksTheLine) {
  const std::vector<SeriesPoint> points = {
      {0, 1}, {1, std::nan("")}, {2, 3}, {3, std::numeric_limits<double>::infinity()}, {4, 2}};
  const std::string svg =
      SvgChart({{.label = "", .points = &points}}, {.title = "t", .threshold = {}, .marks = {}});
  EXPECT_EQ(CountOf(svg, "class='bad'"), 2U);
  EXPECT_NE(svg.find("step 1: NaN"), std::string::npos);
  EXPECT_NE(svg.find("step 3: ∞"), std::string::npos);
  EXPECT_EQ(CountOf(svg.substr(svg.find("d='")), "M"), 3U);
}

TEST(SvgChartTest, NeverWritesANumberThatIsNotOne) {
  for (const double value :
       {0.0, -5.0, 1e-300, 1e300, std::nan(""), -std::numeric_limits<double>::infinity()}) {
    const std::vector<SeriesPoint> points = {{7, value}};
    const std::string svg =
        SvgChart({{.label = "", .points = &points}}, {.title = "t", .threshold = {}, .marks = {}});
    for (const char* part : {"='nan", "='inf", "='-inf", "Mnan", "M-nan"}) {
      EXPECT_EQ(svg.find(part), std::string::npos) << value << " " << part;
    }
  }
}

TEST(SvgChartTest, TakesALogScaleForPositiveValuesOverManyDecades) {
  const std::vector<SeriesPoint> wide = {{0, 1e-6}, {1, 1}};
  const std::vector<SeriesPoint> narrow = {{0, 1}, {1, 2}};
  const ChartOptions options{.title = "t", .threshold = {}, .marks = {}};
  EXPECT_NE(SvgChart({{.label = "", .points = &wide}}, options).find("log scale"),
            std::string::npos);
  EXPECT_EQ(SvgChart({{.label = "", .points = &narrow}}, options).find("log scale"),
            std::string::npos);
}

TEST(EscapeHtmlTest, LeavesNothingThatCouldOpenATagOrAnAttribute) {
  EXPECT_EQ(EscapeHtml("<script>alert('x')</script>\"&\x01"),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;");
}

}  // namespace
}  // namespace wheeltapper::report
