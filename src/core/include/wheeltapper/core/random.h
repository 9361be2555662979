// Names that nobody else takes.
#pragma once

#include <cstdint>

namespace wheeltapper {

// Of the kernel's generator. Any thread.
uint64_t RandomBits();

}  // namespace wheeltapper
