#include "liveness.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <sys/stat.h>

#include "wheeltapper/core/host.h"

namespace wheeltapper::trial {
namespace {

// Within this time after a heartbeat nobody asks for the lock: following a healthy run costs no
// system call per rank.
constexpr TimeNs kSurelyAliveNs = 1'000'000'000;

const format::RankPage* PageOf(const MappedFile& segment) {
  if (segment.bytes().size() < 4096) {
    return nullptr;
  }
  const auto* page = reinterpret_cast<const format::RankPage*>(segment.bytes().data());
  return page->magic == format::kRankPageMagic ? page : nullptr;
}

std::optional<TimeNs> ModifiedNs(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) {
    return std::nullopt;
  }
  return TimeNs{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
}

}  // namespace

Liveness::Liveness(std::string run_dir, const Clock& clock)
    : run_dir_(std::move(run_dir)), clock_(clock), boot_id_(BootId()) {}

Status Liveness::Refresh() {
  WT_ASSIGN_OR_RETURN(const std::vector<Rank> ranks, format::ListRanks(run_dir_));
  for (const Rank rank : ranks) {
    LookAt(rank, &lives_[rank]);
  }
  return {};
}

void Liveness::LookAt(Rank rank, RankLife* life) {
  if (!life->writing) {
    // A rank that is not writing may have come back under another incarnation.
    Result<format::RankInfo> info = format::ReadRankInfo(run_dir_, rank);
    if (info.ok()) {
      MapSegment(*info, life);
      infos_[rank] = std::move(*info);
    }
  }
  const format::RankPage* page = PageOf(life->segment);
  if (page == nullptr || !PathExists(life->segment_path)) {
    life->live = JournalIsYoung(rank);
    life->writing = life->live;
    return;
  }
  const TimeNs age = clock_.MonotonicNs() - page->heartbeat_ns.load(std::memory_order_acquire);
  const bool surely_alive = age >= 0 && age < kSurelyAliveNs;
  life->writing = surely_alive || format::IsSegmentAlive(life->segment_path);
  life->live = life->writing || (age >= 0 && age < kLivenessTimeoutNs);
}

void Liveness::MapSegment(const format::RankInfo& info, RankLife* life) {
  if (life->segment_path == info.segment_path && PageOf(life->segment) != nullptr) {
    return;
  }
  life->segment_path = info.segment_path;
  life->segment = MappedFile();
  if (info.segment_path.empty() || (!info.boot_id.empty() && info.boot_id != boot_id_)) {
    return;
  }
  Result<MappedFile> mapped = MappedFile::OpenReadOnly(info.segment_path);
  if (mapped.ok()) {
    life->segment = std::move(*mapped);
  }
}

bool Liveness::JournalIsYoung(Rank rank) const {
  const std::string folder = JoinPath(run_dir_, "journal");
  Result<std::vector<std::string>> names = ListDirectory(folder);
  if (!names.ok()) {
    return false;
  }
  const std::string some_journal = BaseName(format::JournalPath(run_dir_, rank, 0));
  const std::string prefix = some_journal.substr(0, some_journal.find('-') + 1);
  std::optional<TimeNs> newest;
  for (const std::string& name : *names) {
    if (name.starts_with(prefix) && name.ends_with(".wtj")) {
      newest = std::max(newest, ModifiedNs(JoinPath(folder, name)));
    }
  }
  return newest.has_value() && clock_.WallNs() - *newest < kLivenessTimeoutNs;
}

std::vector<Rank> Liveness::ranks() const {
  std::vector<Rank> ranks;
  ranks.reserve(lives_.size());
  for (const auto& [rank, life] : lives_) {
    ranks.push_back(rank);
  }
  return ranks;
}

std::vector<Rank> Liveness::live() const {
  std::vector<Rank> ranks;
  for (const auto& [rank, life] : lives_) {
    if (life.live) {
      ranks.push_back(rank);
    }
  }
  return ranks;
}

bool Liveness::anyone_writing() const {
  for (const auto& [rank, life] : lives_) {
    if (life.writing) {
      return true;
    }
  }
  return false;
}

}  // namespace wheeltapper::trial
