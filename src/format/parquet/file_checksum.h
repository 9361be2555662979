// The checksum of a whole file, as a key-value of its footer: Parquet has one for the pages only,
// so that a flipped bit in a statistic or in the footer would be found by nobody.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::format::parquet {

// Its value: eight hexadecimal digits, CRC-32C of the file with these digits as '0'.
inline constexpr std::string_view kChecksumKey = "wheeltapper.crc32c";
inline constexpr std::string_view kNoChecksum = "00000000";
// `created_by` of writers that leave a checksum: where the key is damaged itself, this tells. The
// version is that of this writer, which readers may use to work around its bugs, not the project's.
inline constexpr std::string_view kCreatedBy = "wheeltapper version 1.1.0 (build 1)";

// Writes the checksum into `tail`, the end of a file whose part before it has `crc_before`.
// `tail` holds kChecksumKey with kNoChecksum.
Status SealChecksum(uint32_t crc_before, std::span<uint8_t> tail);

// DataLoss when the checksum is not that of the file. Ok also when its writer left none.
Status CheckFileChecksum(ByteSpan file);

}  // namespace wheeltapper::format::parquet
