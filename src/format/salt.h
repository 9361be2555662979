#pragma once

#include <cstdint>

namespace wheeltapper::format {

// A random number for a journal file; unpredictability is not needed, difference between files is.
uint64_t RandomSalt();

}  // namespace wheeltapper::format
