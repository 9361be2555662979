// Makes what dead writers left whole, by opening their journals as a writer would and closing them
// cleanly.
#include "recover_run.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include <poll.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/rank_segment.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/run_reader.h"

#include "disk_journal_writer.h"
#include "journal_scanner.h"
#include "rank_origin.h"
#include "run_names.h"
#include "segment_files.h"

namespace wheeltapper::format {
namespace {

Result<std::set<Rank>> AllRanks(const std::string& run_dir, uint64_t run_id) {
  std::set<Rank> ranks;
  WT_ASSIGN_OR_RETURN(const std::vector<Rank> writers, ListWriterRanks(run_dir));
  ranks.insert(writers.begin(), writers.end());
  WT_ASSIGN_OR_RETURN(const auto journals, ListJournals(run_dir));
  for (const auto& [rank, numbers] : journals) {
    ranks.insert(rank);
  }
  const std::vector<Rank> segments = FindSegmentRanks(run_dir, run_id);
  ranks.insert(segments.begin(), segments.end());
  return ranks;
}

// Whether anything of the rank is left to be mended.
Result<bool> HasLeftovers(const std::string& run_dir, uint64_t run_id, Rank rank) {
  WT_ASSIGN_OR_RETURN(const auto journals, ListJournals(run_dir));
  if (journals.contains(rank) || !FindSegments(run_dir, run_id, rank).empty()) {
    return true;
  }
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> blobs, ListFolder(run_dir, kBlobFolder));
  for (const std::string& name : blobs) {
    const auto blob = ParseBlobName(name);
    if (blob && blob->rank == rank && blob->open) {
      return true;
    }
  }
  return false;
}

Status RecoverRank(const std::string& run_dir, uint64_t run_id, Rank rank,
                   const std::function<bool()>& stopped, RecoveryReport* report) {
  WT_ASSIGN_OR_RETURN(const bool leftovers, HasLeftovers(run_dir, run_id, rank));
  if (!leftovers) {
    return {};
  }
  for (const std::string& path : FindSegments(run_dir, run_id, rank)) {
    if (IsSegmentAlive(path)) {
      ++report->ranks_alive;
      return {};
    }
  }
  WriterOptions options;
  options.run_dir = run_dir;
  options.rank = rank;
  options.run_id = run_id;
  options.lock_wait_ns = 0;
  Result<std::unique_ptr<DiskJournalWriter>> writer =
      DiskJournalWriter::Open(options, SystemClock(), stopped);
  if (writer.status().code() == StatusCode::kCancelled) {
    return {};  // as if killed there
  }
  if (!writer.ok() && writer.status().code() == StatusCode::kUnavailable) {
    ++report->ranks_alive;  // its writer lives, or someone else recovers it or looks at it
    return {};
  }
  WT_RETURN_IF_ERROR(writer.status());
  for (bool more = static_cast<bool>(stopped); more;) {
    if (stopped()) {
      return {};  // as if killed here
    }
    WT_ASSIGN_OR_RETURN(more, (*writer)->SealNext());
  }
  WT_RETURN_IF_ERROR((*writer)->Close());
  WT_RETURN_IF_ERROR((*writer)->RemoveReplayed());
  ++report->ranks_recovered;
  const OpenFindings& findings = (*writer)->findings();
  const SealTotals& totals = (*writer)->seal_totals();
  report->records_replayed += findings.records_replayed;
  report->steps_discarded += totals.discarded;
  report->files_sealed += totals.files_sealed;
  report->skipped.insert(report->skipped.end(), findings.skipped.begin(), findings.skipped.end());
  report->skipped.insert(report->skipped.end(), totals.skipped.begin(), totals.skipped.end());
  return {};
}

}  // namespace

Result<RecoveryReport> RecoverRanks(const std::string& run_dir, const RunInfo& info,
                                    const std::set<Rank>& ranks,
                                    const std::function<bool()>& stopped) {
  RecoveryReport report;
  for (const Rank rank : ranks) {
    if (stopped && stopped()) {
      break;
    }
    WT_RETURN_IF_ERROR(RecoverRank(run_dir, info.run_id, rank, stopped, &report)
                           .WithContext("recovering rank " + std::to_string(rank.value)));
  }
  return report;
}

Result<RecoveryReport> RecoverRun(const std::string& run_dir) {
  WT_ASSIGN_OR_RETURN(const RunInfo info, ReadRunInfo(run_dir));
  WT_ASSIGN_OR_RETURN(const std::set<Rank> ranks, AllRanks(run_dir, info.run_id));
  return RecoverRanks(run_dir, info, ranks, {});
}

namespace {

// Ranks of other machines may live, whatever their locks look like from here; only what they have
// left to be mended says that they have not ended.
Result<RecoveryReport> RecoverRanksFromHere(const std::string& run_dir) {
  WT_ASSIGN_OR_RETURN(const RunInfo info, ReadRunInfo(run_dir));
  WT_ASSIGN_OR_RETURN(std::set<Rank> ranks, AllRanks(run_dir, info.run_id));
  int elsewhere = 0;
  for (auto rank = ranks.begin(); rank != ranks.end();) {
    if (OriginOf(run_dir, *rank) != RankOrigin::kElsewhere) {
      ++rank;
      continue;
    }
    WT_ASSIGN_OR_RETURN(const bool leftovers, HasLeftovers(run_dir, info.run_id, *rank));
    elsewhere += leftovers ? 1 : 0;
    rank = ranks.erase(rank);
  }
  WT_ASSIGN_OR_RETURN(RecoveryReport report, RecoverRanks(run_dir, info, ranks, {}));
  report.ranks_alive += elsewhere;
  return report;
}

}  // namespace

Result<RecoveryReport> RecoverEndedRun(const std::string& run_dir, const Clock& clock,
                                       TimeNs patience_ns) {
  constexpr TimeNs kRoundNs = 20'000'000;
  const TimeNs give_up_ns = clock.MonotonicNs() + patience_ns;
  RecoveryReport total;
  for (TimeNs waited_ns = 0;; waited_ns += kRoundNs) {
    WT_ASSIGN_OR_RETURN(RecoveryReport round, RecoverRanksFromHere(run_dir));
    total.ranks_recovered += round.ranks_recovered;
    total.ranks_alive = round.ranks_alive;
    total.records_replayed += round.records_replayed;
    total.steps_discarded += round.steps_discarded;
    total.files_sealed += round.files_sealed;
    std::move(round.skipped.begin(), round.skipped.end(), std::back_inserter(total.skipped));
    if (total.ranks_alive == 0 || waited_ns >= patience_ns || clock.MonotonicNs() >= give_up_ns) {
      return total;
    }
    (void)poll(nullptr, 0, static_cast<int>(kRoundNs / 1'000'000));
  }
}

}  // namespace wheeltapper::format
