#pragma once

#include <cstdint>

#include "wheeltapper/core/bytes.h"

namespace wheeltapper {

// CRC-32C (Castagnoli, polynomial 0x1EDC6F41, as in RFC 3720): "123456789" → 0xE3069283.
// Hardware-accelerated by ISA-L. `seed` is the result for the bytes before, so a long buffer can be
// checked piecewise.
uint32_t Crc32c(ByteSpan bytes, uint32_t seed = 0);

}  // namespace wheeltapper
