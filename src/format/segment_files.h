// Where the shared-memory segments of a run are found. Looking also removes what a process that
// died while it made a segment left of it (nascent_segment.h): nobody else would.
#pragma once

#include <string>
#include <vector>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::format {

// Opens what may be a segment for a look at its page and its lock, through no link.
// FailedPrecondition for what is no regular file of this user's: anyone may put files into
// /dev/shm, and what they hold is believed.
Result<FileDescriptor> OpenOwnSegment(const std::string& path);

// Paths of all segments of a rank, in order of incarnation; live and dead ones. Those in /dev/shm
// belong to this user or to the run's.
std::vector<std::string> FindSegments(const std::string& run_dir, uint64_t run_id, Rank rank);

// Ranks that have a segment.
std::vector<Rank> FindSegmentRanks(const std::string& run_dir, uint64_t run_id);

}  // namespace wheeltapper::format
