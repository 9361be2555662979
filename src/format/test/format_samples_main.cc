// Writes files for readers that are not ours to read, and what they must find in them as JSON:
//   wheeltapper_format_samples OUT_DIR
// Doubles are given as the decimal of their 64 bits, so that NaN and −0 compare; null as null. Used
// by tests/conformance and to make the seeds of the fuzzers.
#include <array>
#include <bit>
#include <exception>
#include <iostream>
#include <limits>
#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/parquet.h"
#include "wheeltapper/format/safetensors.h"

#include "test/sample_tables.h"

namespace wheeltapper::format {
namespace {

using Json = nlohmann::json;
using tensor::DType;

struct Describe {
  Json operator()(const StringColumn& column) const {
    Json out = Json::array();
    for (const uint32_t code : column.codes) {
      out.push_back(column.dictionary[code]);
    }
    return out;
  }
  Json operator()(const Int32Column& column) const { return column.values; }
  Json operator()(const Int64Column& column) const { return column.values; }
  Json operator()(const TimestampColumn& column) const { return column.values; }
  Json operator()(const DoubleColumn& column) const {
    Json out = Json::array();
    for (size_t i = 0; i < column.values.size(); ++i) {
      const bool present = column.present.empty() || column.present[i] != 0;
      out.push_back(present ? Json(std::to_string(std::bit_cast<uint64_t>(column.values[i])))
                            : Json());
    }
    return out;
  }
  Json operator()(const Int64ListColumn& column) const {
    Json out = Json::array();
    for (size_t i = 0; i + 1 < column.offsets.size(); ++i) {
      out.push_back(std::vector<int64_t>(column.values.begin() + column.offsets[i],
                                         column.values.begin() + column.offsets[i + 1]));
    }
    return out;
  }
};

Table SpecialTable() {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  Table table;
  table.columns = {
      {"only_nan", DoubleColumn{std::vector<double>(6, kNan), {}}},
      {"some_nan", DoubleColumn{{kNan, 2, kNan, -3, kNan, 1}, {}}},
      {"zeros", DoubleColumn{{0.0, -0.0, 0.0, -0.0, 0.0, 0.0}, {}}},
      {"plus_zeros", DoubleColumn{std::vector<double>(6, 0.0), {}}},
      {"only_null", DoubleColumn{std::vector<double>(6, 1.0), std::vector<uint8_t>(6, 0)}},
      {"no_null", DoubleColumn{{1, 2, 3, 4, 5, 6}, std::vector<uint8_t>(6, 1)}},
      {"empty_lists", Int64ListColumn{std::vector<int64_t>(7, 0), {}}},
      {"constant", Int64Column{std::vector<int64_t>(6, 42)}},
      {"same", StringColumn{{"only"}, std::vector<uint32_t>(6, 0)}},
      {"falling", Int32Column{{6, 5, 4, 3, 2, 1}}},
  };
  return table;
}

Status WriteTable(const std::string& folder, const std::string& name, const Table& table,
                  const ParquetOptions& options) {
  WT_RETURN_IF_ERROR(WriteParquet(JoinPath(folder, name + ".parquet"), table, options));
  Json expected;
  for (const Column& column : table.columns) {
    expected["columns"][column.name] = std::visit(Describe{}, column.data);
  }
  expected["metadata"] = options.metadata;
  return WriteFileAtomically(JoinPath(folder, name + ".parquet.json"), expected.dump());
}

Status WriteTables(const std::string& folder) {
  WT_RETURN_IF_ERROR(WriteTable(folder, "empty", SampleTable(0, 1), {}));
  WT_RETURN_IF_ERROR(WriteTable(folder, "one", SampleTable(1, 2), {}));
  ParquetOptions options;
  options.metadata = {{"seq0", "17"}, {"note", "ä"}};
  options.page_rows = 97;
  options.row_group_rows = 331;
  WT_RETURN_IF_ERROR(WriteTable(folder, "small", SampleTable(800, 3), options));
  WT_RETURN_IF_ERROR(WriteTable(folder, "pages", SampleTable(70'000, 4), {}));
  options.page_rows = 2;
  WT_RETURN_IF_ERROR(WriteTable(folder, "special", SpecialTable(), options));
  ParquetOptions sorted;
  sorted.sorted_by = {"tensor", "step"};
  sorted.row_group_rows = 50'000;
  sorted.page_rows = 5'000;
  return WriteParquet(JoinPath(folder, "stats.parquet"), StatsLikeTable(60, 3000), sorted);
}

// Tensors of every dtype with gaps between, and a byte pattern that tells offsets apart.
Status WriteTensors(const std::string& folder, const std::string& name, uint64_t gap) {
  const uint64_t reserve = SafetensorsHeaderReserve(40, 1000);
  std::vector<SafetensorsEntry> entries;
  uint64_t at = reserve + gap;
  const auto add = [&](const std::string& key, DType dtype, const std::vector<int64_t>& shape) {
    uint64_t nbytes = tensor::ItemSize(dtype);
    for (const int64_t n : shape) {
      nbytes *= static_cast<uint64_t>(n);
    }
    entries.push_back({key, dtype, shape, at, at + nbytes});
    at += nbytes + gap;
  };
  for (int raw = 0; raw < tensor::kDTypeCount; ++raw) {
    const auto dtype = static_cast<DType>(raw);
    add("000000010/train/0/" + std::string(tensor::DTypeName(dtype)), dtype, {2, 3});
  }
  add("scalar", DType::kF32, {});
  add("empty", DType::kBF16, {0, 5});
  add("weird \"name\"\n\u00e4", DType::kI64, {1, 1, 4});
  std::string data;
  for (uint64_t i = reserve; i < at; ++i) {
    data.push_back(static_cast<char>(i * 7 % 113));
  }
  WT_ASSIGN_OR_RETURN(const std::string header,
                      BuildSafetensorsHeader(entries, {{"run", "ä"}}, reserve, at));
  WT_RETURN_IF_ERROR(WriteFileAtomically(JoinPath(folder, name + ".safetensors"), header + data));
  Json expected = Json::array();
  for (const SafetensorsEntry& entry : entries) {
    expected.push_back({{"name", entry.name},
                        {"dtype", tensor::DTypeFrameworkName(entry.dtype)},
                        {"shape", entry.shape},
                        {"begin", entry.begin},
                        {"end", entry.end}});
  }
  return WriteFileAtomically(JoinPath(folder, name + ".safetensors.json"), expected.dump());
}

Status WriteAll(const std::string& folder) {
  WT_RETURN_IF_ERROR(MakeDirectories(folder));
  WT_RETURN_IF_ERROR(WriteTables(folder));
  WT_RETURN_IF_ERROR(WriteTensors(folder, "padded", 24));
  return WriteTensors(folder, "dense", 0);
}

}  // namespace
}  // namespace wheeltapper::format

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " OUT_DIR\n";
    return 2;
  }
  // The JSON library throws where a sample is not text.
  try {
    const wheeltapper::Status status = wheeltapper::format::WriteAll(argv[1]);
    if (status.ok()) {
      return 0;
    }
    std::cerr << status.ToString() << "\n";
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
  }
  return 1;
}
