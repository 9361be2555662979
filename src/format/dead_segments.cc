// Shared memory of ranks that were killed together with their watcher: it would be held until the
// machine restarts, for nobody recovers a run that nobody asks for any more.
#include <cstring>
#include <optional>
#include <set>

#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/journal.h"
#include "wheeltapper/format/rank_segment.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/run_reader.h"

#include "file_lock.h"
#include "nascent_segment.h"
#include "segment_files.h"

namespace wheeltapper::format {
namespace {

struct DeadSegment {
  std::string path;
  std::string run_dir;
  uint64_t run_id = 0;
  TimeNs heartbeat_ns = 0;
};

// Nothing for what another user owns, whatever its mode, a living writer holds, or an earlier
// version made. Read and not mapped: the rings of a live job are none of our memory, and a file that
// shrinks meanwhile ends a read, but kills who has it mapped.
std::optional<DeadSegment> LookAt(const std::string& path) {
  const Result<FileDescriptor> file = OpenOwnSegment(path);
  RankPage page{};
  if (!file.ok() || IsLocked(*file) || !ReadExactly(*file, 0, &page, sizeof(page)).ok() ||
      page.magic != kRankPageMagic || page.version > kFormatVersion) {
    return std::nullopt;
  }
  const size_t length = strnlen(page.run_dir, sizeof(page.run_dir));
  if (length == 0 || length == sizeof(page.run_dir)) {
    return std::nullopt;
  }
  return DeadSegment{path, std::string(page.run_dir, length), page.run_id,
                     page.heartbeat_ns.load(std::memory_order_relaxed)};
}

std::vector<DeadSegment> FindDead(const std::string& folder) {
  std::vector<DeadSegment> dead;
  for (const std::string& name : ListDirectory(folder).value_or(std::vector<std::string>{})) {
    if (!name.starts_with(kSegmentNamePrefix)) {
      continue;
    }
    if (std::optional<DeadSegment> segment = LookAt(JoinPath(folder, name))) {
      dead.push_back(*std::move(segment));
    }
  }
  return dead;
}

enum class Home : uint8_t { kThere, kGone, kUnreadable };

Home HomeOf(const DeadSegment& dead) {
  const Result<RunInfo> run = ReadRunInfo(dead.run_dir);
  if (run.ok()) {
    return run->run_id == dead.run_id ? Home::kThere : Home::kGone;
  }
  return run.status().code() == StatusCode::kNotFound ? Home::kGone : Home::kUnreadable;
}

}  // namespace

DeadRunsReport RecoverDeadRuns(const std::string& storage, const Clock& clock,
                               const std::string& segment_folder) {
  DeadRunsReport report;
  std::set<std::string> runs;
  for (const DeadSegment& dead : FindDead(segment_folder)) {
    const Home home = HomeOf(dead);
    if (home == Home::kGone && clock.MonotonicNs() - dead.heartbeat_ns > kForgottenNs) {
      RemoveAbandoned(dead.path);
      report.segments_removed += PathExists(dead.path) ? 0 : 1;
    } else if (home == Home::kThere && dead.run_dir == JoinPath(storage, BaseName(dead.run_dir))) {
      runs.insert(dead.run_dir);
    }
  }
  for (const std::string& run : runs) {
    const Result<RecoveryReport> done = RecoverRun(run);
    if (done.ok() && done->ranks_recovered > 0) {
      report.recovered.push_back(run);
    }
  }
  return report;
}

}  // namespace wheeltapper::format
