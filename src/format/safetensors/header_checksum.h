// The checksum of a blob's header, as a text of its metadata: the tensors' bytes have theirs in the
// table `tensors`, a flipped bit in a name or a number of the header would be found by nobody.
#pragma once

#include <string>
#include <string_view>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::format::safetensors {

// Its value: eight hexadecimal digits, CRC-32C of the length, the JSON and the spaces behind it,
// with these digits as '0'.
inline constexpr std::string_view kChecksumKey = "wheeltapper.crc32c";
inline constexpr std::string_view kNoChecksum = "00000000";
// Says that the writer leaves a checksum: where the key is damaged itself, this tells.
inline constexpr std::string_view kWriterKey = "wheeltapper.writer";
inline constexpr std::string_view kWriter = "1.1.0";

// Writes the checksum into a whole header that holds kChecksumKey with kNoChecksum; leaves any
// other alone.
void SealHeader(std::string* header);

// DataLoss when the checksum is not that of the header that `file` begins with. Ok also when its
// writer left none.
Status CheckHeader(ByteSpan file);

}  // namespace wheeltapper::format::safetensors
