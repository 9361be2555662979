// Where a rank was written. Elsewhere its writer's locks may not be seen from here: not every
// network file system passes them on.
#pragma once

#include <cstdint>
#include <string>

#include "wheeltapper/core/ids.h"

namespace wheeltapper::format {

enum class RankOrigin : uint8_t {
  kHere,       // on this start of this machine, perhaps in a container of it
  kElsewhere,  // on another machine, or before this one started
  kUnknown     // ranks/ does not say
};
RankOrigin OriginOf(const std::string& run_dir, Rank rank);

}  // namespace wheeltapper::format
