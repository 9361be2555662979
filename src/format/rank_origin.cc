#include "rank_origin.h"

#include "wheeltapper/core/host.h"
#include "wheeltapper/format/run_directory.h"

namespace wheeltapper::format {

RankOrigin OriginOf(const std::string& run_dir, Rank rank) {
  const Result<RankInfo> info = ReadRankInfo(run_dir, rank);
  if (!info.ok()) {
    return RankOrigin::kUnknown;
  }
  // A container has a host name of its own, but the kernel's locks.
  if (!info->boot_id.empty() && !BootId().empty()) {
    return info->boot_id == BootId() ? RankOrigin::kHere : RankOrigin::kElsewhere;
  }
  return !info->host.empty() && info->host != HostName() ? RankOrigin::kElsewhere
                                                         : RankOrigin::kUnknown;
}

}  // namespace wheeltapper::format
