#include "wheeltapper/format/parquet.h"

#include <bit>
#include <cmath>
#include <limits>
#include <variant>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wheeltapper/core/file.h"

#include "support/scratch_folder.h"
#include "test/sample_tables.h"

namespace wheeltapper::format {
namespace {

class ParquetTest : public testing::Test {
 protected:
  [[nodiscard]] std::string Path(const std::string& name) const { return folder_.file(name); }
  std::unique_ptr<ParquetFile> WriteAndOpen(const Table& table, const ParquetOptions& options) {
    const Status written = WriteParquet(Path("t.parquet"), table, options);
    EXPECT_TRUE(written.ok()) << written.ToString();
    auto file = ParquetFile::Open(Path("t.parquet"));
    EXPECT_TRUE(file.ok()) << file.status().ToString();
    return file.ok() ? std::move(*file) : nullptr;
  }

  ScratchFolder folder_;
};

struct Rows {
  int64_t first = 0;
  int64_t count = 0;
};

std::vector<std::string> Strings(const ColumnData& data, Rows rows) {
  const auto& column = std::get<StringColumn>(data);
  std::vector<std::string> out;
  for (int64_t row = rows.first; row < rows.first + rows.count; ++row) {
    out.push_back(column.dictionary[column.codes[static_cast<size_t>(row)]]);
  }
  return out;
}

std::vector<std::vector<int64_t>> Lists(const ColumnData& data, Rows rows) {
  const auto& column = std::get<Int64ListColumn>(data);
  std::vector<std::vector<int64_t>> out;
  for (int64_t row = rows.first; row < rows.first + rows.count; ++row) {
    out.emplace_back(column.values.begin() + column.offsets[static_cast<size_t>(row)],
                     column.values.begin() + column.offsets[static_cast<size_t>(row) + 1]);
  }
  return out;
}

// Bit patterns, so that NaN equals itself and −0 differs from 0; 1 stands for null, which no sample
// holds.
std::vector<uint64_t> DoubleBits(const ColumnData& data, Rows rows) {
  const auto& column = std::get<DoubleColumn>(data);
  std::vector<uint64_t> out;
  for (auto row = static_cast<size_t>(rows.first);
       row < static_cast<size_t>(rows.first + rows.count); ++row) {
    const bool present = column.present.empty() || column.present[row] != 0;
    out.push_back(present ? std::bit_cast<uint64_t>(column.values[row]) : ~uint64_t{0});
  }
  return out;
}

template <typename T>
std::vector<T> Part(const std::vector<T>& values, Rows rows) {
  return {values.begin() + rows.first, values.begin() + rows.first + rows.count};
}

// `got` holds exactly `rows` of `want`.
void ExpectRows(const ColumnData& want, const ColumnData& got, Rows rows) {
  const Rows all{0, rows.count};
  ASSERT_EQ(want.index(), got.index());
  if (std::holds_alternative<StringColumn>(want)) {
    ASSERT_EQ(std::get<StringColumn>(got).codes.size(), static_cast<size_t>(rows.count));
    EXPECT_EQ(Strings(want, rows), Strings(got, all));
  } else if (std::holds_alternative<Int64ListColumn>(want)) {
    ASSERT_EQ(std::get<Int64ListColumn>(got).offsets.size(), static_cast<size_t>(rows.count) + 1);
    EXPECT_EQ(Lists(want, rows), Lists(got, all));
  } else if (std::holds_alternative<DoubleColumn>(want)) {
    ASSERT_EQ(std::get<DoubleColumn>(got).values.size(), static_cast<size_t>(rows.count));
    EXPECT_EQ(DoubleBits(want, rows), DoubleBits(got, all));
  } else if (const auto* i32 = std::get_if<Int32Column>(&want)) {
    EXPECT_EQ(Part(i32->values, rows), std::get<Int32Column>(got).values);
  } else if (const auto* i64 = std::get_if<Int64Column>(&want)) {
    EXPECT_EQ(Part(i64->values, rows), std::get<Int64Column>(got).values);
  } else if (const auto* time = std::get_if<TimestampColumn>(&want)) {
    EXPECT_EQ(Part(time->values, rows), std::get<TimestampColumn>(got).values);
  }
}

void ExpectSameTable(const Table& want, const ParquetFile& file) {
  ASSERT_EQ(file.rows(), want.rows());
  for (const Column& column : want.columns) {
    SCOPED_TRACE(column.name);
    const auto got = file.ReadColumn(column.name);
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    ExpectRows(column.data, *got, {0, want.rows()});
  }
}

TEST_F(ParquetTest, EveryKindOfColumnComesBackBitForBit) {
  for (const int64_t rows : {0, 1, 2, 7, 8, 9, 127, 128, 129, 130, 1000, 20'000}) {
    for (uint32_t seed = 0; seed < 3; ++seed) {
      SCOPED_TRACE(std::to_string(rows) + " rows, seed " + std::to_string(seed));
      const Table table = SampleTable(rows, seed);
      ParquetOptions options;
      options.page_rows = seed == 0 ? 1 << 16 : 97;
      options.row_group_rows = seed == 2 ? 331 : 1 << 20;
      const auto file = WriteAndOpen(table, options);
      ASSERT_NE(file, nullptr);
      ExpectSameTable(table, *file);
    }
  }
}

TEST_F(ParquetTest, AnyRangeOfRowsEqualsThatPartOfTheColumn) {
  const Table table = SampleTable(1500, 11);
  ParquetOptions options;
  options.page_rows = 64;
  options.row_group_rows = 500;
  const auto file = WriteAndOpen(table, options);
  ASSERT_NE(file, nullptr);
  for (const Rows rows : {Rows{0, 0}, Rows{0, 1}, Rows{63, 2}, Rows{499, 2}, Rows{100, 900},
                          Rows{1499, 1}, Rows{1500, 0}, Rows{640, 64}, Rows{3, 1490}}) {
    for (const Column& column : table.columns) {
      SCOPED_TRACE(column.name + " from " + std::to_string(rows.first));
      const auto got = file->ReadColumnRows(column.name, rows.first, rows.count);
      ASSERT_TRUE(got.ok()) << got.status().ToString();
      ExpectRows(column.data, *got, rows);
    }
  }
  EXPECT_EQ(file->ReadColumnRows("i64", 1, 1500).status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(file->ReadColumnRows("i64", -1, 1).status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(file->ReadColumnRows("i64", 0, std::numeric_limits<int64_t>::max()).status().code(),
            StatusCode::kOutOfRange);
  EXPECT_EQ(file->ReadColumn("nothing").status().code(), StatusCode::kNotFound);
}

TEST_F(ParquetTest, RowsComeFromTheirPagesAlone) {
  Table table;
  Int64Column column;
  for (int64_t i = 0; i < 1000; ++i) {
    column.values.push_back(i * i * 7919 % 100'003);
  }
  table.columns.push_back({"x", column});
  ParquetOptions options;
  options.page_rows = 100;
  ASSERT_TRUE(WriteParquet(Path("t.parquet"), table, options).ok());
  std::string bytes = *ReadWholeFile(Path("t.parquet"), 1 << 20);
  // The first page begins after the magic; damage in it must not matter to the last page's rows.
  bytes[60] = static_cast<char>(bytes[60] ^ 0x55);
  const auto file = ParquetFile::FromBytes(AsBytes(bytes));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->ReadColumnRows("x", 0, 1).status().code(), StatusCode::kDataLoss);
  const auto rows = (*file)->ReadColumnRows("x", 900, 100);
  ASSERT_TRUE(rows.ok());
  ExpectRows(table.columns[0].data, *rows, {900, 100});
}

TEST_F(ParquetTest, EveryFlippedByteIsFoundOrHarmless) {
  const Table table = SampleTable(300, 5);
  ParquetOptions options;
  options.page_rows = 100;
  options.metadata = {{"k", "v"}};
  ASSERT_TRUE(WriteParquet(Path("t.parquet"), table, options).ok());
  const std::string good = *ReadWholeFile(Path("t.parquet"), 1 << 20);
  // Reading does not ask for the checksum of the whole: damage in the footer may change what the
  // file says, but must not crash.
  const size_t footer = good.size() - 8 - LoadUnaligned<uint32_t>(good.data() + good.size() - 8);
  size_t found = 0;
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
    const auto file = ParquetFile::FromBytes(AsBytes(bytes));
    if (!file.ok()) {
      ++found;
      continue;
    }
    for (const std::string& name : (*file)->column_names()) {
      const auto column = (*file)->ReadColumn(name);
      found += column.ok() ? 0U : 1U;
      if (!column.ok()) {
        EXPECT_TRUE(column.status().code() == StatusCode::kDataLoss ||
                    column.status().code() == StatusCode::kUnimplemented)
            << column.status().ToString();
      } else if (const Column* want = table.Find(name); want != nullptr && at < footer) {
        ExpectRows(want->data, *column, {0, 300});
      }
    }
  }
  EXPECT_GT(found, good.size() / 2);
}

TEST_F(ParquetTest, EveryFlippedBitIsFoundByTheChecksumOfTheWhole) {
  ParquetOptions options;
  options.metadata = {{"names", "wheeltapper.crc32c"}};
  ASSERT_TRUE(WriteParquet(Path("t.parquet"), SampleTable(40, 5), options).ok());
  std::string bytes = *ReadWholeFile(Path("t.parquet"), 1 << 20);
  EXPECT_TRUE((*ParquetFile::FromBytes(AsBytes(bytes)))->CheckWhole().ok());
  for (size_t at = 0; at < 8 * bytes.size(); ++at) {
    const auto flip = static_cast<char>(1 << at % 8);
    bytes[at / 8] = static_cast<char>(bytes[at / 8] ^ flip);
    const auto file = ParquetFile::FromBytes(AsBytes(bytes));
    EXPECT_TRUE(!file.ok() || (*file)->CheckWhole().code() == StatusCode::kDataLoss) << at;
    bytes[at / 8] = static_cast<char>(bytes[at / 8] ^ flip);
  }
}

TEST_F(ParquetTest, EveryTruncationIsFound) {
  ASSERT_TRUE(WriteParquet(Path("t.parquet"), SampleTable(50, 1), {}).ok());
  const std::string good = *ReadWholeFile(Path("t.parquet"), 1 << 20);
  for (size_t n = 0; n < good.size(); ++n) {
    EXPECT_EQ(ParquetFile::FromBytes(AsBytes(good).first(n)).status().code(), StatusCode::kDataLoss)
        << n;
  }
}

TEST_F(ParquetTest, KeyValueMetadataComesBack) {
  ParquetOptions options;
  options.metadata = {{"seq0", "17"}, {"run", "ä"}, {"empty", ""}};
  const auto file = WriteAndOpen(SampleTable(3, 1), options);
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file->metadata(), options.metadata);
  EXPECT_THAT(file->column_names(),
              testing::ElementsAre("name", "i32", "i64", "time", "f64", "maybe", "list"));
}

TEST_F(ParquetTest, TheSameTableGivesTheSameBytes) {
  const Table table = SampleTable(5000, 3);
  ASSERT_TRUE(WriteParquet(Path("a.parquet"), table, {}).ok());
  ASSERT_TRUE(WriteParquet(Path("b.parquet"), table, {}).ok());
  EXPECT_EQ(*ReadWholeFile(Path("a.parquet"), 1 << 24), *ReadWholeFile(Path("b.parquet"), 1 << 24));
}

TEST_F(ParquetTest, NothingIsLeftUnderATemporaryName) {
  ASSERT_TRUE(WriteParquet(Path("a.parquet"), SampleTable(10, 3), {}).ok());
  EXPECT_THAT(*ListDirectory(folder_.path()), testing::ElementsAre("a.parquet"));
  EXPECT_FALSE(WriteParquet(Path("no/such/folder.parquet"), SampleTable(10, 3), {}).ok());
}

TEST_F(ParquetTest, NamesThatAreNotUtf8AreStoredWithReplacements) {
  Table table;
  table.columns.push_back({"s", StringColumn{{"ok", "bad\xff\xc3", "\xed\xa0\x80"}, {0, 1, 2}}});
  const auto file = WriteAndOpen(table, {});
  ASSERT_NE(file, nullptr);
  EXPECT_THAT(Strings(*file->ReadColumn("s"), {0, 3}),
              testing::ElementsAre("ok", "bad\uFFFD\uFFFD", "\uFFFD\uFFFD\uFFFD"));
}

TEST_F(ParquetTest, LongListsAndLongStringsComeBack) {
  Table table;
  Int64ListColumn lists{.offsets = {0, 0, 700'000, 700'001, 1'400'000}, .values = {}};
  for (int64_t i = 0; i < 1'400'000; ++i) {
    lists.values.push_back(i * 31);
  }
  table.columns.push_back({"list", std::move(lists)});
  table.columns.push_back({"s", StringColumn{{std::string(5000, 'x'), "y"}, {0, 1, 0, 1}}});
  const auto file = WriteAndOpen(table, {});
  ASSERT_NE(file, nullptr);
  ExpectSameTable(table, *file);
}

TEST_F(ParquetTest, TablesThatContradictThemselvesAreRefused) {
  const auto refuses = [&](const Table& table, const ParquetOptions& options) {
    return WriteParquet(Path("t.parquet"), table, options).code() == StatusCode::kInvalidArgument &&
           !PathExists(Path("t.parquet"));
  };
  const Column one{"a", Int64Column{{1}}};
  EXPECT_TRUE(refuses({}, {}));
  EXPECT_TRUE(refuses({{one, {"b", Int64Column{{1, 2}}}}}, {}));
  EXPECT_TRUE(refuses({{one, one}}, {}));
  EXPECT_TRUE(refuses({{{"s", StringColumn{{"x"}, {1}}}}}, {}));
  EXPECT_TRUE(refuses({{{"d", DoubleColumn{{1, 2}, {1}}}}}, {}));
  EXPECT_TRUE(refuses({{{"l", Int64ListColumn{{0, 2}, {1}}}}}, {}));
  EXPECT_TRUE(refuses({{{"l", Int64ListColumn{{1, 0}, {1}}}}}, {}));
  ParquetOptions options;
  options.sorted_by = {"zzz"};
  EXPECT_TRUE(refuses({{one}}, options));
  options.sorted_by.clear();
  options.page_rows = 0;
  EXPECT_TRUE(refuses({{one}}, options));
}

}  // namespace
}  // namespace wheeltapper::format
