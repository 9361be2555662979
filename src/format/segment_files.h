// Where the shared-memory segments of a run are found. Looking also removes what a process that
// died while it made a segment left of it (nascent_segment.h): nobody else would.
#pragma once

#include <string>
#include <vector>

#include "wheeltapper/core/ids.h"

namespace wheeltapper::format {

// Paths of all segments of a rank, in order of incarnation; live and dead ones.
std::vector<std::string> FindSegments(const std::string& run_dir, uint64_t run_id, Rank rank);

// Ranks that have a segment.
std::vector<Rank> FindSegmentRanks(const std::string& run_dir, uint64_t run_id);

}  // namespace wheeltapper::format
