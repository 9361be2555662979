#include "rank_origin.h"

#include "wheeltapper/core/host.h"
#include "wheeltapper/format/run_directory.h"

namespace wheeltapper::format {

RankOrigin OriginOf(const std::string& run_dir, Rank rank) {
  const Result<RankInfo> info = ReadRankInfo(run_dir, rank);
  if (!info.ok()) {
    return RankOrigin::kUnknown;
  }
  const auto differs = [](const std::string& theirs, const std::string& ours) {
    return !theirs.empty() && theirs != ours;
  };
  if (differs(info->host, HostName()) || differs(info->boot_id, BootId())) {
    return RankOrigin::kElsewhere;
  }
  return info->host.empty() || info->boot_id.empty() ? RankOrigin::kUnknown : RankOrigin::kHere;
}

}  // namespace wheeltapper::format
