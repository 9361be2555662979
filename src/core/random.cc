#include "wheeltapper/core/random.h"

#include <sys/random.h>

namespace wheeltapper {

uint64_t RandomBits() {
  uint64_t bits = 0;
  (void)!getrandom(&bits, sizeof(bits), 0);
  return bits;
}

}  // namespace wheeltapper
