// Rings of ranks that were killed together with their watcher: their last steps would stay in them,
// and shared memory be held until the machine restarts, for nobody recovers a run that nobody asks
// for any more.
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <set>

#include <sys/stat.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/journal.h"
#include "wheeltapper/format/rank_segment.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/run_reader.h"
#include "wheeltapper/format/watcher_lock.h"

#include "file_lock.h"
#include "nascent_segment.h"
#include "rank_origin.h"
#include "recover_run.h"
#include "run_names.h"
#include "segment_files.h"

namespace wheeltapper::format {
namespace {

struct DeadSegment {
  std::string path;
  std::string run_dir;  // empty where page 0 does not say
  uint64_t run_id = 0;
  uint64_t run_device = 0;
  std::array<uint64_t, 2> folder_inodes{};
  Rank rank;
  TimeNs heartbeat_ns = 0;
};

// Nothing for what another user owns, whatever its mode, a living writer holds, or a later version
// made. Read and not mapped: the rings of a live job are none of our memory, and a file that
// shrinks meanwhile ends a read, but kills who has it mapped.
std::optional<DeadSegment> LookAt(const std::string& path) {
  const Result<FileDescriptor> file = OpenOwnSegment(path);
  RankPage page{};
  if (!file.ok() || IsLocked(*file) || !ReadExactly(*file, 0, &page, sizeof(page)).ok() ||
      page.magic != kRankPageMagic || page.version > kFormatVersion) {
    return std::nullopt;
  }
  const size_t length = strnlen(page.run_dir, sizeof(page.run_dir));
  if (length == sizeof(page.run_dir)) {
    return std::nullopt;
  }
  return DeadSegment{.path = path,
                     .run_dir = std::string(page.run_dir, length),
                     .run_id = page.run_id,
                     .run_device = page.run_device,
                     .folder_inodes = page.folder_inodes,
                     .rank = Rank{page.rank},
                     .heartbeat_ns = page.heartbeat_ns.load(std::memory_order_relaxed)};
}

enum class Home : uint8_t { kThere, kGone, kMissing };

// Whether `folder` is the very one that page 0 knows by its disk and number. A mount point whose
// disk is not mounted lies on another disk, and another container may have a folder of its own
// there. A root is there in every container, and says nothing of what lay below another one's.
bool IsThat(const std::string& folder, uint64_t device, uint64_t inode) {
  struct stat info{};
  return folder.size() > 1 && folder.front() == '/' && inode != 0 &&
         stat(folder.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_dev == device &&
         info.st_ino == inode;
}

// Whether the run would be seen if it were still there: the folder that held it is, or that one is
// gone too, and the one above it is there.
bool IsInReach(const DeadSegment& dead) {
  const std::string folder = FolderOf(dead.run_dir);
  struct stat info{};
  if (stat(folder.c_str(), &info) != 0 && errno == ENOENT) {
    return IsThat(FolderOf(folder), dead.run_device, dead.folder_inodes[1]);
  }
  return IsThat(folder, dead.run_device, dead.folder_inodes[0]);
}

Home HomeOf(const DeadSegment& dead) {
  const Result<RunInfo> run = ReadRunInfo(dead.run_dir);
  if (run.ok() && run->run_id == dead.run_id) {
    return Home::kThere;
  }
  struct stat info{};
  const bool replaced = run.ok();
  const bool absent = lstat(dead.run_dir.c_str(), &info) != 0 && errno == ENOENT;
  return (replaced || absent) && IsInReach(dead) ? Home::kGone : Home::kMissing;
}

enum class Turn : uint8_t { kOurs, kSoon, kTheirs };

// A watcher that lives brings in what its job leaves; where its lock does not reach, the segment of
// a job that it is just burying is young. A rank that has moved to another machine since may live
// there.
Turn TurnOf(const DeadSegment& dead, const Clock& clock) {
  const TimeNs age_ns = clock.MonotonicNs() - dead.heartbeat_ns;
  if (age_ns < 0 || IsWatched(dead.run_dir) ||
      OriginOf(dead.run_dir, dead.rank) != RankOrigin::kHere) {
    return Turn::kTheirs;
  }
  return age_ns < kSettledNs ? Turn::kSoon : Turn::kOurs;
}

Result<RecoveryReport> RecoverSome(const std::string& run_dir, const std::set<Rank>& ranks,
                                   const std::function<bool()>& stopped) {
  WT_ASSIGN_OR_RETURN(const RunInfo info, ReadRunInfo(run_dir));
  return RecoverRanks(run_dir, info, ranks, stopped);
}

// A heartbeat that is ahead of the clock, or was never there, is of no age.
bool IsForgotten(const DeadSegment& dead, const Clock& clock) {
  return dead.heartbeat_ns > 0 && clock.MonotonicNs() - dead.heartbeat_ns > kForgottenNs;
}

using Names = std::vector<std::string>;
Names NamesIn(const std::string& folder) { return ListDirectory(folder).value_or(Names()); }

bool IsFolder(const std::string& path) {
  struct stat info{};
  return lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// One search: every segment goes into the report, or its rank among those that are to be recovered.
class DeadSegmentSearch {
 public:
  DeadSegmentSearch(const std::string& storage, const Clock& clock,
                    const std::function<bool()>& stopped)
      : storage_(storage), clock_(clock), stopped_(stopped) {}

  void LookInMemory(const std::string& folder) {
    for (const std::string& name : NamesIn(folder)) {
      if (!name.starts_with(kSegmentNamePrefix) || IsStopped()) {
        continue;
      }
      const std::optional<DeadSegment> dead = LookAt(JoinPath(folder, name));
      if (dead && dead->run_dir.starts_with('/')) {
        JudgeInMemory(*dead);
      }
    }
  }

  // Where memory is short a rank's rings are files of its run, and lie where the run does, wherever
  // it was when they were made. A link to a run is not followed: the run is found where it is.
  void LookInRuns() {
    for (const std::string& name : NamesIn(storage_)) {
      const std::string run_dir = JoinPath(storage_, name);
      if (!IsStopped() && IsFolder(run_dir)) {
        LookInRun(run_dir);
      }
    }
  }

  DeadRunsReport Recover() {
    for (const auto& [run_dir, ranks] : ours_) {
      const Result<RecoveryReport> done = RecoverSome(run_dir, ranks, stopped_);
      if (!done.ok()) {
        report_.failed.push_back(run_dir + ": " + done.status().message());
      } else if (done->ranks_recovered > 0) {
        report_.recovered.push_back(run_dir);
      }
      // Somebody looked at one just then, or brings it in.
      report_.again = report_.again || (done.ok() && done->ranks_alive > 0);
    }
    return std::move(report_);
  }

 private:
  [[nodiscard]] bool IsStopped() const { return stopped_ && stopped_(); }

  void LookInRun(const std::string& run_dir) {
    const std::string journal = JoinPath(run_dir, kJournalFolder);
    for (const std::string& name : NamesIn(journal)) {
      if (!name.ends_with(kSegmentInRunSuffix)) {
        continue;
      }
      std::optional<DeadSegment> dead = LookAt(JoinPath(journal, name));
      if (dead) {
        dead->run_dir = run_dir;
      }
      if (dead && HomeOf(*dead) == Home::kThere) {
        JudgeOurs(*dead);
      }
    }
  }

  void JudgeInMemory(const DeadSegment& dead) {
    const bool in_storage = dead.run_dir == JoinPath(storage_, BaseName(dead.run_dir));
    const bool forgotten = IsForgotten(dead, clock_);
    if (!in_storage && !forgotten) {
      return;  // before its path is touched: a file server that is away lets nobody go on
    }
    const Home home = HomeOf(dead);
    if (home == Home::kThere && in_storage) {
      JudgeOurs(dead);
    } else if (home == Home::kMissing && forgotten) {
      report_.missing.push_back({.segment = dead.path, .run_dir = dead.run_dir});
    } else if (home == Home::kGone && forgotten) {
      RemoveAbandoned(dead.path);
      if (!PathExists(dead.path)) {
        report_.gone.push_back(dead.run_dir);
      }
    }
  }

  // Of a run that is there, in our folder.
  void JudgeOurs(const DeadSegment& dead) {
    const Turn turn = TurnOf(dead, clock_);
    report_.again = report_.again || turn == Turn::kSoon;
    if (turn == Turn::kOurs) {
      ours_[dead.run_dir].insert(dead.rank);
    }
  }

  const std::string& storage_;
  const Clock& clock_;
  const std::function<bool()>& stopped_;
  DeadRunsReport report_;
  std::map<std::string, std::set<Rank>> ours_;  // by run
};

}  // namespace

DeadRunsReport RecoverDeadRuns(const std::string& storage, const Clock& clock,
                               const std::string& segment_folder,
                               const std::function<bool()>& stopped) {
  DeadSegmentSearch search(storage, clock, stopped);
  search.LookInMemory(segment_folder);
  search.LookInRuns();
  return search.Recover();
}

}  // namespace wheeltapper::format
