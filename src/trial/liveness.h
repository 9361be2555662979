// Which ranks are alive, from their segments: the writer's lock and the heartbeat.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/rank_segment.h"
#include "wheeltapper/format/run_directory.h"

namespace wheeltapper::trial {

// A rank whose heartbeat is older is dead unless it holds its lock.
inline constexpr TimeNs kLivenessTimeoutNs = 30'000'000'000;

// Not thread-safe.
class Liveness {
 public:
  // `clock` outlives it. Its monotonic time is compared with the heartbeats, its wall time with the
  // age of journal files where a rank's segment cannot be reached (another host, another
  // container).
  Liveness(std::string run_dir, const Clock& clock);

  // Looks at all ranks that have announced themselves.
  Status Refresh();

  // Announced ranks, ascending.
  [[nodiscard]] std::vector<Rank> ranks() const;
  // Ranks that hold their lock or whose heartbeat is young: these hold back completeness.
  [[nodiscard]] std::vector<Rank> live() const;
  // True while some rank may still write: it holds its lock, or cannot be asked and looks young.
  [[nodiscard]] bool anyone_writing() const;
  [[nodiscard]] const std::map<Rank, format::RankInfo>& infos() const { return infos_; }

 private:
  struct RankLife {
    std::string segment_path;  // what `page` maps
    MappedFile segment;
    bool live = false;
    bool writing = false;
  };
  void LookAt(Rank rank, RankLife* life);
  void MapSegment(const format::RankInfo& info, RankLife* life);
  [[nodiscard]] bool JournalIsYoung(Rank rank) const;

  std::string run_dir_;
  const Clock& clock_;
  std::string boot_id_;
  std::map<Rank, format::RankInfo> infos_;
  std::map<Rank, RankLife> lives_;
};

}  // namespace wheeltapper::trial
