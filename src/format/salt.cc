#include "salt.h"

#include <ctime>

#include <sys/random.h>
#include <unistd.h>

#include "wheeltapper/core/clock.h"

namespace wheeltapper::format {

uint64_t RandomSalt() {
  uint64_t salt = 0;
  if (getrandom(&salt, sizeof(salt), GRND_NONBLOCK) != sizeof(salt)) {
    // Early boot or a sandbox without the call: time and process tell two files apart.
    salt = static_cast<uint64_t>(SystemClock().WallNs()) * uint64_t{0x9E3779B97F4A7C15} ^
           static_cast<uint64_t>(getpid());
  }
  return salt;
}

}  // namespace wheeltapper::format
