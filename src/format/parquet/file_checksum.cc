#include "parquet/file_checksum.h"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>

#include "wheeltapper/core/crc32c.h"

namespace wheeltapper::format::parquet {
namespace {

// Behind the key: the header of the field "value" (a text, one number on) and the text's length.
constexpr std::array<uint8_t, 2> kValueField = {0x18, 0x08};

// Where the digits begin. The key is followed by control characters, which no text of ours holds:
// the names of tensors are escaped as JSON.
std::optional<size_t> FindDigits(ByteSpan bytes) {
  std::string pattern(kChecksumKey);
  pattern.append(kValueField.begin(), kValueField.end());
  const std::string_view text = AsText(bytes);
  const size_t at = text.rfind(pattern);
  if (at == std::string_view::npos || text.size() - at - pattern.size() < kNoChecksum.size()) {
    return std::nullopt;
  }
  return at + pattern.size();
}

uint32_t WithoutDigits(ByteSpan bytes, size_t digits, uint32_t seed) {
  const uint32_t zeroed = Crc32c(AsBytes(kNoChecksum), Crc32c(bytes.first(digits), seed));
  return Crc32c(bytes.subspan(digits + kNoChecksum.size()), zeroed);
}

}  // namespace

Status SealChecksum(uint32_t crc_before, std::span<uint8_t> tail) {
  const std::optional<size_t> digits = FindDigits(tail);
  if (!digits) {
    return InternalError("sealing a Parquet file: its footer has no place for the checksum");
  }
  const std::string text = fmt::format("{:08x}", WithoutDigits(tail, *digits, crc_before));
  std::copy(text.begin(), text.end(), tail.begin() + static_cast<std::ptrdiff_t>(*digits));
  return {};
}

Status CheckFileChecksum(ByteSpan file) {
  const std::optional<size_t> digits = FindDigits(file);
  if (!digits) {
    return AsText(file).find(kCreatedBy) == std::string_view::npos
               ? Status()
               : DataLossError("checking a Parquet file: its checksum is missing");
  }
  const std::string want = fmt::format("{:08x}", WithoutDigits(file, *digits, 0));
  return AsText(file.subspan(*digits, kNoChecksum.size())) == want
             ? Status()
             : DataLossError("checking a Parquet file: checksum mismatch");
}

}  // namespace wheeltapper::format::parquet
