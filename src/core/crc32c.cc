#include "wheeltapper/core/crc32c.h"

#include <algorithm>

#include <isa-l/crc.h>

namespace wheeltapper {

uint32_t Crc32c(ByteSpan bytes, uint32_t seed) {
  // ISA-L takes an int length and works on the un-inverted register.
  constexpr size_t kMaxPiece = size_t{1} << 30;
  uint32_t crc = ~seed;
  while (!bytes.empty()) {
    const size_t piece = std::min(bytes.size(), kMaxPiece);
    // ISA-L's prototype lacks const; it only reads.
    auto* data = const_cast<unsigned char*>(bytes.data());  // NOLINT(*-const-cast)
    crc = crc32_iscsi(data, static_cast<int>(piece), crc);
    bytes = bytes.subspan(piece);
  }
  return ~crc;
}

}  // namespace wheeltapper
