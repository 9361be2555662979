// Recovery of some of a run's ranks; RecoverRun is that of all.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/run_reader.h"

namespace wheeltapper::format {

// `stopped` (or nothing) ends it before the next rank, and before the next file that is read or
// sealed; segments are removed only once their rank is sealed, so that the run is found again.
Result<RecoveryReport> RecoverRanks(const std::string& run_dir, const RunInfo& info,
                                    const std::set<Rank>& ranks,
                                    const std::function<bool()>& stopped);

}  // namespace wheeltapper::format
