#include "segment_files.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/rank_segment.h"

#include "file_lock.h"
#include "nascent_segment.h"
#include "run_names.h"

namespace wheeltapper::format {
namespace {

struct SegmentName {
  Rank rank;
  uint64_t incarnation = 0;
};

// "r00007-2".
std::optional<SegmentName> ParseTail(std::string_view tail) {
  SegmentName name;
  if (!tail.starts_with('r')) {
    return std::nullopt;
  }
  const char* end = tail.data() + tail.size();
  const auto rank = std::from_chars(tail.data() + 1, end, name.rank.value);
  if (rank.ec != std::errc() || name.rank.value < 0 || rank.ptr == end || *rank.ptr != '-') {
    return std::nullopt;
  }
  const auto incarnation = std::from_chars(rank.ptr + 1, end, name.incarnation);
  return incarnation.ec == std::errc() && incarnation.ptr == end ? std::optional(name)
                                                                 : std::nullopt;
}

struct FoundSegment {
  SegmentName name;
  std::string path;
};

uid_t OwnerOf(const std::string& run_dir) {
  struct stat info{};
  return stat(run_dir.c_str(), &info) == 0 ? info.st_uid : geteuid();
}

bool IsFileOf(const std::string& path, uid_t owner) {
  struct stat info{};
  return lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
         (info.st_uid == owner || info.st_uid == geteuid());
}

std::vector<FoundSegment> FindAll(const std::string& run_dir, uint64_t run_id) {
  std::vector<FoundSegment> found;
  const uid_t owner = OwnerOf(run_dir);
  const auto collect = [&found, owner](const std::string& folder, std::string_view prefix,
                                       std::string_view suffix) {
    for (const std::string& name : ListFolder(folder, "").value_or(std::vector<std::string>{})) {
      std::string_view tail = name;
      const size_t mark = tail.find(kNascentMark);
      tail = tail.substr(0, mark);
      if (!tail.starts_with(prefix) || !tail.ends_with(suffix)) {
        continue;
      }
      tail.remove_prefix(prefix.size());
      tail.remove_suffix(std::min(suffix.size(), tail.size()));
      const auto parsed = ParseTail(tail);
      if (parsed && mark != std::string_view::npos) {
        RemoveAbandoned(JoinPath(folder, name));
      } else if (parsed && IsFileOf(JoinPath(folder, name), owner)) {
        found.push_back({*parsed, JoinPath(folder, name)});
      }
    }
  };
  collect(kSegmentFolder, fmt::format("{}{:016x}-", kSegmentNamePrefix, run_id), "");
  collect(JoinPath(run_dir, kJournalFolder), "", kSegmentInRunSuffix);
  std::sort(found.begin(), found.end(), [](const FoundSegment& a, const FoundSegment& b) {
    return std::pair(a.name.rank, a.name.incarnation) < std::pair(b.name.rank, b.name.incarnation);
  });
  return found;
}

}  // namespace

Result<FileDescriptor> OpenOwnSegment(const std::string& path) {
  WT_ASSIGN_OR_RETURN(FileDescriptor file, OpenFile(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  struct stat info{};
  if (fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_uid != geteuid()) {
    return FailedPreconditionError("opening rank segment: not a file of this user: \"" + path +
                                   "\"");
  }
  return file;
}

bool IsSegmentAlive(const std::string& path) {
  const Result<FileDescriptor> file = OpenFile(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  return file.ok() && IsLocked(*file);
}

std::vector<std::string> FindSegments(const std::string& run_dir, uint64_t run_id, Rank rank) {
  std::vector<std::string> paths;
  for (FoundSegment& segment : FindAll(run_dir, run_id)) {
    if (segment.name.rank == rank) {
      paths.push_back(std::move(segment.path));
    }
  }
  return paths;
}

std::vector<Rank> FindSegmentRanks(const std::string& run_dir, uint64_t run_id) {
  std::set<Rank> ranks;
  for (const FoundSegment& segment : FindAll(run_dir, run_id)) {
    ranks.insert(segment.name.rank);
  }
  return {ranks.begin(), ranks.end()};
}

}  // namespace wheeltapper::format
