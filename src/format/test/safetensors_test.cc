#include "wheeltapper/format/safetensors.h"

#include <algorithm>
#include <array>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "safetensors/header_checksum.h"

namespace wheeltapper::format {
namespace {

using tensor::DType;
using testing::ElementsAre;

// The header followed by zeros up to `file_bytes`.
std::string FileOf(const std::vector<SafetensorsEntry>& entries, uint64_t reserve,
                   uint64_t file_bytes) {
  auto header = BuildSafetensorsHeader(entries, {{"codec", "raw"}}, reserve, file_bytes);
  EXPECT_TRUE(header.ok()) << header.status().ToString();
  std::string file = header.ok() ? *header : "";
  EXPECT_EQ(file.size(), reserve);
  file.resize(file_bytes);
  return file;
}

// A file around a literal header.
std::string FileWith(const std::string& json, size_t data_bytes) {
  const uint64_t n = json.size();
  std::string file(reinterpret_cast<const char*>(&n), sizeof(n));
  return file + json + std::string(data_bytes, '\0');
}

StatusCode Parse(const std::string& file) {
  return ParseSafetensors(AsBytes(file)).status().code();
}

const std::vector<SafetensorsEntry>& Sample() {
  static const auto& entries = *new std::vector<SafetensorsEntry>{
      {"b", DType::kBF16, {2, 3}, 4096 + 256, 4096 + 268},
      {"a \"quoted\" ä", DType::kF32, {4}, 4096 + 64, 4096 + 80},
      {"scalar", DType::kF64, {}, 4096 + 80, 4096 + 88},
      {"empty", DType::kI64, {0, 7}, 4096 + 100, 4096 + 100},
  };
  return entries;
}

TEST(SafetensorsTest, EveryFlippedBitOfAHeaderIsFoundByItsChecksum) {
  const std::vector<SafetensorsEntry> entries = {
      {R"(quoting "wheeltapper.crc32c":"00000000")", DType::kF32, {4}, 4096, 4112}};
  std::string file = *BuildSafetensorsHeader(
      entries, {{"wheeltapper.crc32c", "00000000"}, {"wheeltapper.writer", "1.1.0"}}, 4096, 4112);
  file.resize(4112);
  EXPECT_TRUE(safetensors::CheckHeader(AsBytes(file)).ok());
  EXPECT_EQ(Parse(file), StatusCode::kOk);
  for (size_t at = 0; at < size_t{8} * 4096; ++at) {
    const auto flip = static_cast<char>(1 << at % 8);
    file[at / 8] = static_cast<char>(file[at / 8] ^ flip);
    EXPECT_EQ(safetensors::CheckHeader(AsBytes(file)).code(), StatusCode::kDataLoss) << at;
    file[at / 8] = static_cast<char>(file[at / 8] ^ flip);
  }
}

TEST(SafetensorsTest, AHeaderWhoseWriterLeftNoChecksumIsTakenAsItIs) {
  EXPECT_TRUE(safetensors::CheckHeader(AsBytes(FileOf(Sample(), 4096, 4096 + 300))).ok());
  EXPECT_EQ(safetensors::CheckHeader({}).code(), StatusCode::kDataLoss);
}

TEST(SafetensorsTest, EntriesComeBackInFileOrderWithoutPads) {
  const auto index = ParseSafetensors(AsBytes(FileOf(Sample(), 4096, 4096 + 300)));
  ASSERT_TRUE(index.ok()) << index.status().ToString();
  ASSERT_EQ(index->entries.size(), 4U);
  EXPECT_EQ(index->entries[0].name, "empty");
  EXPECT_EQ(index->entries[1].name, "a \"quoted\" ä");
  EXPECT_EQ(index->entries[1].begin, 4096U + 64);
  EXPECT_EQ(index->entries[2].name, "scalar");
  EXPECT_TRUE(index->entries[2].shape.empty());
  EXPECT_EQ(index->entries[3].dtype, DType::kBF16);
  EXPECT_THAT(index->entries[3].shape, ElementsAre(2, 3));
  EXPECT_EQ(index->entries[3].end, 4096U + 268);
  EXPECT_EQ(index->metadata.at("codec"), "raw");
}

TEST(SafetensorsTest, EveryGapBecomesAPad) {
  const std::string file = FileOf(Sample(), 4096, 4096 + 300);
  EXPECT_NE(file.find(R"("__pad__/0":{"dtype":"U8","shape":[64],"data_offsets":[0,64]})"),
            std::string::npos);
  EXPECT_NE(file.find(R"("__pad__/1":{"dtype":"U8","shape":[168],"data_offsets":[88,256]})"),
            std::string::npos);
  EXPECT_NE(file.find(R"("__pad__/2":{"dtype":"U8","shape":[32],"data_offsets":[268,300]})"),
            std::string::npos);
  EXPECT_EQ(file[4095], ' ');
}

TEST(SafetensorsTest, AFileWithoutTensorsIsValid) {
  EXPECT_EQ(Parse(FileOf({}, 4096, 4096)), StatusCode::kOk);
  EXPECT_EQ(Parse(FileOf({}, 4096, 5000)), StatusCode::kOk);
}

TEST(SafetensorsTest, Complex128IsStoredAsPairs) {
  const std::string file = FileOf({{"c", DType::kC128, {3}, 4096, 4096 + 48}}, 4096, 4096 + 48);
  const auto index = ParseSafetensors(AsBytes(file));
  ASSERT_TRUE(index.ok());
  EXPECT_EQ(index->entries[0].dtype, DType::kF64);
  EXPECT_THAT(index->entries[0].shape, ElementsAre(3, 2));
}

TEST(SafetensorsTest, EntriesThatCannotBeAreRefused) {
  const auto code = [](const std::vector<SafetensorsEntry>& entries) {
    return BuildSafetensorsHeader(entries, {}, 4096, 8192).status().code();
  };
  EXPECT_EQ(code({{"a", DType::kF32, {4}, 4096, 4100}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"a", DType::kU8, {4}, 4000, 4004}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"a", DType::kU8, {4}, 8190, 8194}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"a", DType::kU8, {-4}, 4096, 4100}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"__metadata__", DType::kU8, {4}, 4096, 4100}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"__pad__/0", DType::kU8, {4}, 4096, 4100}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"a", DType::kU8, {4}, 4096, 4100}, {"a", DType::kU8, {4}, 4200, 4204}}),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"a", DType::kU8, {4}, 4096, 4100}, {"b", DType::kU8, {4}, 4098, 4102}}),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"a", DType::kF64, {int64_t{1} << 62, 8}, 4096, 4096}}),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{std::string(5000, 'n'), DType::kU8, {4}, 4096, 4100}}),
            StatusCode::kResourceExhausted);
}

TEST(SafetensorsTest, TheReserveHoldsTheHeaderOfThatManyTensors) {
  for (const uint64_t tensors : std::array<uint64_t, 5>{0, 1, 10, 1000, 20'000}) {
    std::vector<SafetensorsEntry> entries;
    uint64_t name_bytes = 0;
    for (uint64_t i = 0; i < tensors; ++i) {
      entries.push_back({"000001234/train/00017/module.layers." + std::to_string(i),
                         DType::kF8E4M3,
                         {1, 2, 1, 1, 1, 2, 1, 2},
                         i * 128 + 64,
                         i * 128 + 72});
      name_bytes += entries.back().name.size();
    }
    const uint64_t reserve = SafetensorsHeaderReserve(tensors, name_bytes);
    EXPECT_EQ(reserve % 4096, 0U);
    for (SafetensorsEntry& entry : entries) {
      entry.begin += reserve + (uint64_t{1} << 40);
      entry.end += reserve + (uint64_t{1} << 40);
    }
    EXPECT_TRUE(BuildSafetensorsHeader(entries, {}, reserve, reserve + (uint64_t{1} << 41)).ok())
        << tensors;
  }
  EXPECT_LE(SafetensorsHeaderReserve(~uint64_t{0}, ~uint64_t{0}), 100'000'000U);
}

TEST(SafetensorsTest, RandomLayoutsComeBack) {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    std::vector<SafetensorsEntry> entries;
    uint64_t at = 8192;
    const uint64_t n = random() % 20;
    for (uint64_t i = 0; i < n; ++i) {
      at += random() % 3 == 0 ? 0 : random() % 100;
      const auto dtype = static_cast<DType>(random() % 13);
      const auto length = static_cast<int64_t>(random() % 9);
      const uint64_t end = at + tensor::ItemSize(dtype) * static_cast<uint64_t>(length);
      entries.push_back({"t" + std::to_string(i), dtype, {length}, at, end});
      at = end;
    }
    std::shuffle(entries.begin(), entries.end(), random);
    const auto index = ParseSafetensors(AsBytes(FileOf(entries, 8192, at + random() % 50)));
    ASSERT_TRUE(index.ok()) << index.status().ToString();
    ASSERT_EQ(index->entries.size(), entries.size());
    for (const SafetensorsEntry& got : index->entries) {
      const auto want =
          std::find_if(entries.begin(), entries.end(),
                       [&](const SafetensorsEntry& entry) { return entry.name == got.name; });
      ASSERT_NE(want, entries.end());
      EXPECT_EQ(got.dtype, want->dtype);
      EXPECT_EQ(got.shape, want->shape);
      EXPECT_EQ(got.end - got.begin, want->end - want->begin);
      EXPECT_TRUE(got.begin == want->begin || got.begin == got.end);
    }
  }
}

TEST(SafetensorsTest, DamagedHeadersAreDataLoss) {
  const std::string a = R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})";
  EXPECT_EQ(Parse(FileWith("{" + a + "}", 2)), StatusCode::kOk);
  EXPECT_EQ(Parse(FileWith("{" + a + "}   ", 2)), StatusCode::kOk);
  EXPECT_EQ(Parse(FileWith("{" + a + "}", 3)), StatusCode::kDataLoss);
  EXPECT_EQ(Parse(FileWith("{" + a + "}", 1)), StatusCode::kDataLoss);
  EXPECT_EQ(Parse(FileWith("{" + a + "," + a + "}", 2)), StatusCode::kDataLoss);
  EXPECT_EQ(Parse(FileWith(" {" + a + "}", 2)), StatusCode::kDataLoss);
  EXPECT_EQ(Parse(FileWith("{" + a, 2)), StatusCode::kDataLoss);
  EXPECT_EQ(Parse(FileWith("[]", 0)), StatusCode::kDataLoss);
  EXPECT_EQ(Parse(FileWith(R"({"a":{"dtype":"U8","shape":[2]}})", 2)), StatusCode::kDataLoss);
  EXPECT_EQ(Parse(FileWith(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0]}})", 2)),
            StatusCode::kDataLoss);
  EXPECT_EQ(Parse(FileWith(R"({"a":{"dtype":"U8","shape":[2.0],"data_offsets":[0,2]}})", 2)),
            StatusCode::kDataLoss);
  EXPECT_EQ(Parse(FileWith(R"({"a":{"dtype":"U8","shape":[-2],"data_offsets":[0,2]}})", 2)),
            StatusCode::kDataLoss);
  EXPECT_EQ(Parse(FileWith(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[2,0]}})", 2)),
            StatusCode::kDataLoss);
  EXPECT_EQ(Parse(FileWith(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", 3)),
            StatusCode::kDataLoss);
  EXPECT_EQ(Parse(FileWith(R"({"a":{"dtype":"U8","shape":[[2]],"data_offsets":[0,2]}})", 2)),
            StatusCode::kDataLoss);
  EXPECT_EQ(Parse(FileWith(R"({"a":{"dtype":"U9","shape":[2],"data_offsets":[0,2]}})", 2)),
            StatusCode::kUnimplemented);
  EXPECT_EQ(Parse(FileWith(R"({"__metadata__":{"k":1}})", 0)), StatusCode::kDataLoss);
  EXPECT_EQ(Parse(FileWith(std::string(100'000, '{'), 0)), StatusCode::kDataLoss);
  EXPECT_EQ(Parse(std::string("\x10\0\0\0", 4)), StatusCode::kDataLoss);
  EXPECT_EQ(Parse(std::string(8, '\xff')), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace wheeltapper::format
