#include "safetensors/header_checksum.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include <fmt/format.h>

#include "wheeltapper/core/crc32c.h"

namespace wheeltapper::format::safetensors {
namespace {

// As the header spells it. Within a name its quotes would be escaped.
std::string Member(std::string_view key, std::string_view value_begins) {
  return fmt::format(R"("{}":"{})", key, value_begins);
}

std::optional<size_t> FindDigits(std::string_view header) {
  const std::string member = Member(kChecksumKey, "");
  const size_t at = header.find(member);
  if (at == std::string_view::npos || header.size() - at - member.size() < kNoChecksum.size()) {
    return std::nullopt;
  }
  return at + member.size();
}

std::string ChecksumOf(std::string_view header, size_t digits) {
  const uint32_t before = Crc32c(AsBytes(kNoChecksum), Crc32c(AsBytes(header.substr(0, digits))));
  return fmt::format("{:08x}", Crc32c(AsBytes(header.substr(digits + kNoChecksum.size())), before));
}

}  // namespace

void SealHeader(std::string* header) {
  const std::optional<size_t> digits = FindDigits(*header);
  if (digits && header->compare(*digits, kNoChecksum.size(), kNoChecksum) == 0) {
    header->replace(*digits, kNoChecksum.size(), ChecksumOf(*header, *digits));
  }
}

Status CheckHeader(ByteSpan file) {
  ByteReader reader(file);
  const auto json_bytes = reader.Read<uint64_t>();
  if (!reader.ok() || json_bytes > reader.remaining()) {
    return DataLossError("checking a blob's header: it is cut short");
  }
  const std::string_view header = AsText(file.first(reader.offset() + json_bytes));
  const std::optional<size_t> digits = FindDigits(header);
  if (!digits) {
    return header.find(Member(kWriterKey, "")) == std::string_view::npos
               ? Status()
               : DataLossError("checking a blob's header: its checksum is missing");
  }
  return header.substr(*digits, kNoChecksum.size()) == ChecksumOf(header, *digits)
             ? Status()
             : DataLossError("checking a blob's header: checksum mismatch");
}

}  // namespace wheeltapper::format::safetensors
