// Feeds bytes to the Parquet reader. An input that starts with the magic "PAR1" is a file. Any
// other one goes straight to a decoder of page bodies, chosen by its first byte, because a page's
// CRC keeps mutated bodies of files away from them.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/format/parquet.h"

#include "parquet/encoding.h"
#include "parquet/file_metadata.h"
#include "parquet/page_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using wheeltapper::ByteSpan;
namespace format = wheeltapper::format;
namespace parquet = wheeltapper::format::parquet;

// Large enough for a few row groups of the seeds, small enough to keep runs short.
constexpr int64_t kMaxRows = int64_t{1} << 18;

void ReadFile(ByteSpan bytes) {
  const auto file = format::ParquetFile::FromBytes(bytes);
  if (!file.ok()) {
    return;
  }
  const int64_t rows = (*file)->rows();
  for (const std::string& name : (*file)->column_names()) {
    const int64_t count = std::min<int64_t>(rows, 50);
    (void)(*file)->ReadColumnRows(name, (rows - count) / 2, count).ok();
    if (rows <= kMaxRows) {
      (void)(*file)->ReadColumn(name).ok();
    }
  }
}

template <typename T>
void RoundTripDelta(ByteSpan bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::copy_n(bytes.data(), values.size() * sizeof(T), reinterpret_cast<uint8_t*>(values.data()));
  std::vector<uint8_t> encoded;
  parquet::EncodeDelta<T>(values, &encoded);
  std::vector<T> decoded(values.size());
  if (!parquet::DecodeDelta<T>(encoded, decoded).ok() || decoded != values) {
    __builtin_trap();
  }
}

void RoundTripHybrid(ByteSpan bytes, int width) {
  std::vector<uint32_t> values;
  const uint32_t mask = ~uint32_t{0} >> (32 - width);
  for (const uint8_t byte : bytes) {
    // The low bits say how often a value repeats, so that runs and literals alternate.
    values.insert(values.end(), 1 + (byte & 15), (byte * 0x9e3779b9U) & mask);
  }
  std::vector<uint8_t> encoded;
  parquet::EncodeHybrid(values, width, &encoded);
  std::vector<uint32_t> decoded(values.size());
  if (!parquet::DecodeHybrid(encoded, width, decoded).ok() || decoded != values) {
    __builtin_trap();
  }
}

void ReadBody(uint8_t choice, uint16_t count, ByteSpan body) {
  std::vector<uint32_t> codes(count);
  std::vector<int32_t> i32(count);
  std::vector<int64_t> i64(count);
  std::vector<double> doubles(count);
  size_t header_bytes = 0;
  const int width = choice / 16 % 32 + 1;
  switch (choice % 9) {
    case 0:
      return (void)parquet::DecodeHybrid(body, width, codes).ok();
    case 1:
      return (void)parquet::DecodeDelta<int32_t>(body, i32).ok();
    case 2:
      return (void)parquet::DecodeDelta<int64_t>(body, i64).ok();
    case 3:
      return (void)parquet::DecodeByteStreamSplit(body, doubles).ok();
    case 4:
      return (void)parquet::ParseFileMetadata(body).ok();
    case 5:
      return (void)parquet::ParseOffsetIndex(body).ok();
    case 6:
      return (void)parquet::ParsePageHeader(body, &header_bytes).ok();
    case 7:
      RoundTripDelta<int32_t>(body);
      return RoundTripDelta<int64_t>(body);
    default:
      return RoundTripHybrid(body, width);
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ByteSpan bytes(data, size);
  if (size >= 4 && wheeltapper::AsText(bytes.first(4)) == "PAR1") {
    ReadFile(bytes);
  } else if (size > 3) {
    ReadBody(data[0], wheeltapper::LoadUnaligned<uint16_t>(data + 1), bytes.subspan(3));
  }
  return 0;
}
