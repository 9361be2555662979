#include "test/sample_tables.h"

#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace wheeltapper::format {
namespace {

// std's distributions differ between libraries; these draws do not.
class Draw {
 public:
  explicit Draw(uint32_t seed) : engine_(seed) {}
  uint64_t Bits() { return engine_(); }
  uint64_t Below(uint64_t n) { return engine_() % n; }
  double Unit() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  // Sum of uniforms: near enough to normal for statistics.
  double Normal() { return (Unit() + Unit() + Unit() + Unit() - 2) * std::sqrt(3.0); }

 private:
  std::mt19937_64 engine_;
};

double OddDouble(Draw* draw) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  constexpr std::array<double, 8> kOdd = {0.0,
                                          -0.0,
                                          kInf,
                                          -kInf,
                                          std::numeric_limits<double>::quiet_NaN(),
                                          std::numeric_limits<double>::denorm_min(),
                                          std::numeric_limits<double>::max(),
                                          1.0};
  return draw->Below(4) == 0 ? kOdd[draw->Below(kOdd.size())] : draw->Normal() * 1e3;
}

int64_t OddInt(Draw* draw, int64_t before) {
  switch (draw->Below(8)) {
    case 0:
      return std::numeric_limits<int64_t>::min();
    case 1:
      return std::numeric_limits<int64_t>::max();
    case 2:
      return static_cast<int64_t>(draw->Bits());
    default:
      return before / 2 + static_cast<int64_t>(draw->Below(100));
  }
}

StringColumn SampleNames(int64_t rows, Draw* draw) {
  StringColumn names;
  names.dictionary = {
      "", "layer1.weight", "läyer/β", "日本", "layer1.weight", std::string("a\0b", 3), "unused"};
  for (uint32_t i = 0; i < 40; ++i) {
    names.dictionary.push_back("tensor." + std::to_string(i * 37 % 40));
  }
  uint32_t code = 0;
  for (int64_t row = 0; row < rows; ++row) {
    if (draw->Below(5) == 0) {
      code = static_cast<uint32_t>(draw->Below(names.dictionary.size() - 1));
      code += code >= 6 ? 1 : 0;
    }
    names.codes.push_back(code);
  }
  return names;
}

Int64ListColumn SampleLists(int64_t rows, Draw* draw) {
  Int64ListColumn lists{.offsets = {0}, .values = {}};
  for (int64_t row = 0; row < rows; ++row) {
    const uint64_t n = draw->Below(3) == 0 ? 0 : draw->Below(5);
    for (uint64_t i = 0; i < n; ++i) {
      lists.values.push_back(OddInt(draw, static_cast<int64_t>(i)));
    }
    lists.offsets.push_back(static_cast<int64_t>(lists.values.size()));
  }
  return lists;
}

DoubleColumn SampleNulls(int64_t rows, Draw* draw) {
  DoubleColumn maybe;
  for (int64_t row = 0; row < rows; ++row) {
    // A stretch without values, so that some pages hold nulls only.
    const bool hole = row % 200 >= 100;
    maybe.values.push_back(OddDouble(draw));
    maybe.present.push_back(!hole && draw->Below(3) != 0 ? 1 : 0);
  }
  return maybe;
}

}  // namespace

Table SampleTable(int64_t rows, uint32_t seed) {
  Draw draw(seed);
  Int32Column i32;
  Int64Column i64;
  TimestampColumn time;
  DoubleColumn f64;
  int64_t at = 1'700'000'000'000'000;
  int64_t odd = 0;
  for (int64_t row = 0; row < rows; ++row) {
    i32.values.push_back(static_cast<int32_t>(draw.Below(3) == 0 ? draw.Bits() : draw.Below(7)));
    odd = OddInt(&draw, odd);
    i64.values.push_back(odd);
    at += static_cast<int64_t>(draw.Below(5000));
    time.values.push_back(at);
    f64.values.push_back(OddDouble(&draw));
  }
  Table table;
  table.columns.push_back({"name", SampleNames(rows, &draw)});
  table.columns.push_back({"i32", std::move(i32)});
  table.columns.push_back({"i64", std::move(i64)});
  table.columns.push_back({"time", std::move(time)});
  table.columns.push_back({"f64", std::move(f64)});
  DoubleColumn maybe = SampleNulls(rows, &draw);
  if (rows > 0) {
    table.columns.push_back({"maybe", std::move(maybe)});
  }
  table.columns.push_back({"list", SampleLists(rows, &draw)});
  return table;
}

Table StatsLikeTable(int64_t tensors, int64_t steps) {
  constexpr int kDoubles = 15;
  Draw draw(7);
  StringColumn tensor;
  StringColumn mode{{"train", "eval"}, {}};
  StringColumn dtype{{"F32"}, {}};
  Int64Column step;
  Int32Column rank;
  TimestampColumn time;
  std::array<Int64Column, 4> counts;
  std::array<DoubleColumn, kDoubles> values;
  for (int64_t t = 0; t < tensors; ++t) {
    tensor.dictionary.push_back("module." + std::to_string(1'000'000 + t) + ".weight");
    const double scale = std::exp2(draw.Normal() * 3);
    for (int64_t s = 0; s < steps; ++s) {
      tensor.codes.push_back(static_cast<uint32_t>(t));
      mode.codes.push_back(0);
      dtype.codes.push_back(0);
      step.values.push_back(s * 10);
      rank.values.push_back(0);
      time.values.push_back(1'700'000'000'000'000 + s * 25'000 +
                            static_cast<int64_t>(draw.Below(3000)));
      counts[0].values.push_back(4096);
      counts[1].values.push_back(0);
      counts[2].values.push_back(static_cast<int64_t>(draw.Below(3)));
      counts[3].values.push_back(2048 + static_cast<int64_t>(draw.Normal() * 32));
      for (size_t k = 0; k < kDoubles; ++k) {
        const double value = scale * (k % 3 == 0 ? draw.Normal() * 0.1
                                                 : static_cast<double>(k) + draw.Normal() * 0.2);
        values[k].values.push_back(static_cast<double>(static_cast<float>(value)));
      }
    }
  }
  Table table;
  table.columns = {{"tensor", std::move(tensor)}, {"step", std::move(step)},
                   {"mode", std::move(mode)},     {"rank", std::move(rank)},
                   {"time", std::move(time)},     {"dtype", std::move(dtype)}};
  for (size_t k = 0; k < counts.size(); ++k) {
    table.columns.push_back({"count" + std::to_string(k), std::move(counts[k])});
  }
  for (size_t k = 0; k < values.size(); ++k) {
    table.columns.push_back({"value" + std::to_string(k), std::move(values[k])});
  }
  return table;
}

}  // namespace wheeltapper::format
