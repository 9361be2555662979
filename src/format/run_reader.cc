#include "wheeltapper/format/run_reader.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/crc32c.h"
#include "wheeltapper/core/file.h"

#include "journal_tail.h"
#include "run_names.h"
#include "sealed_sets.h"

namespace wheeltapper::format {
namespace {

// A folder's time stamp may be as coarse as the kernel's tick, or come from another machine: within
// this time of a listing an unchanged stamp does not prove an unchanged folder.
constexpr TimeNs kStampGraceNs = 2'000'000'000;
// And in case it lies altogether (some network file systems), list again every so many polls.
constexpr int kPollsPerListing = 64;
constexpr uint64_t kMaxTensorBytes = uint64_t{1} << 40;

class DirectoryRunReader final : public RunReader {
 public:
  DirectoryRunReader(std::string run_dir, RunInfo info, const ReaderOptions& options)
      : run_dir_(std::move(run_dir)), info_(std::move(info)), options_(options) {}

  Status Poll(const std::function<void(StepBatch&&)>& sink) override {
    // Before the rest: what END closes is then read below.
    Result<EndInfo> end = EndInfo{};
    if (!end_ && !bad_end_) {
      end = ReadEnd(run_dir_);
      if (end.status().code() == StatusCode::kDataLoss) {
        // The run is over, and nobody knows how: that hides nothing of what was recorded.
        bad_end_ = true;
        skipped_.push_back({"END", 0, 0, end.status().message()});
      } else if (!end.ok() && end.status().code() != StatusCode::kNotFound) {
        return end.status();
      }
    }
    const bool over = bad_end_ || (!end_ && end.ok());
    WT_RETURN_IF_ERROR(ListIfChanged(over));
    const std::set<Rank> listed = listed_ranks_;
    for (const Rank rank : listed) {
      WT_RETURN_IF_ERROR(PollRank(rank, over, sink));
    }
    if (over && !bad_end_) {
      end_ = *end;
    }
    return {};
  }

  [[nodiscard]] const RunInfo& info() const override { return info_; }
  [[nodiscard]] const NameTable& names() const override { return names_; }
  [[nodiscard]] std::vector<Rank> ranks() const override {
    std::set<Rank> ranks = listed_ranks_;
    const Result<std::vector<Rank>> announced = ListRanks(run_dir_);
    if (announced.ok()) {
      ranks.insert(announced->begin(), announced->end());
    }
    return {ranks.begin(), ranks.end()};
  }
  [[nodiscard]] const std::optional<EndInfo>& end() const override { return end_; }
  [[nodiscard]] const std::vector<SkippedBytes>& skipped() const override { return skipped_; }

  Result<std::vector<uint8_t>> ReadTensor(const TensorRow& row) override {
    if (row.nbytes > kMaxTensorBytes) {
      return DataLossError("reading raw tensor: its size makes no sense: " +
                           std::to_string(row.nbytes));
    }
    std::string file = row.file;
    uint64_t offset = row.offset;
    Result<FileDescriptor> opened = OpenFile(JoinPath(run_dir_, file), O_RDONLY);
    if (IsMissing(opened) && file.ends_with(".safetensors")) {
      const std::string stem = file.substr(0, file.size() - std::string(".safetensors").size());
      opened = OpenFile(JoinPath(run_dir_, stem + ".open"), O_RDONLY);
      if (IsMissing(opened)) {  // renamed between the two tries
        opened = OpenFile(JoinPath(run_dir_, file), O_RDONLY);
      }
    }
    if (const auto journal = ParseJournalName(BaseName(file)); IsMissing(opened) && journal) {
      WT_ASSIGN_OR_RETURN(
          const SealedLocation sealed,
          LocateSealedTensor(run_dir_, journal->rank, journal->file_number, offset));
      file = sealed.file;
      offset = sealed.offset;
      opened = OpenFile(JoinPath(run_dir_, file), O_RDONLY);
    }
    WT_RETURN_IF_ERROR(opened.status());
    // Sizes come from disk: look before allocating.
    WT_ASSIGN_OR_RETURN(const uint64_t size, FileSize(*opened));
    if (offset > size || row.nbytes > size - offset) {
      return DataLossError("reading raw tensor: the file ends before it: \"" + file + "\"");
    }
    std::vector<uint8_t> bytes(row.nbytes);
    WT_RETURN_IF_ERROR(ReadExactly(*opened, offset, bytes.data(), bytes.size()));
    if (Crc32c(bytes) != row.crc) {
      return DataLossError("reading raw tensor: checksum mismatch at offset " +
                           std::to_string(offset) + ": \"" + file + "\"");
    }
    return bytes;
  }

 private:
  struct RankState {
    uint64_t delivered = 0;    // highest sequence number handed on, or passed over for good
    uint64_t file_number = 0;  // journal files up to this one are done with, but for `tail`
    std::unique_ptr<JournalTail> tail;
    std::set<SealedSetName> bad_sets;  // could not be read: reported once
  };

  static bool IsMissing(const Result<FileDescriptor>& file) {
    return !file.ok() && file.status().code() == StatusCode::kNotFound;
  }

  // Journals are listed before sealed sets: a file that is sealed in between is in both, never in
  // neither.
  Status List() {
    listed_at_ns_ = SystemClock().WallNs();
    polls_since_listing_ = 0;
    stamp_ns_ = FolderStamp();
    WT_ASSIGN_OR_RETURN(journals_, ListJournals(run_dir_));
    if (options_.deliver_sealed) {
      WT_ASSIGN_OR_RETURN(sealed_, ListSealedSets(run_dir_));
    }
    for (const auto& [rank, numbers] : journals_) {
      listed_ranks_.insert(rank);
    }
    for (const auto& [rank, sets] : sealed_) {
      listed_ranks_.insert(rank);
    }
    return {};
  }

  [[nodiscard]] TimeNs FolderStamp() const {
    struct stat info{};
    const std::string folder = JoinPath(run_dir_, kJournalFolder);
    return stat(folder.c_str(), &info) == 0
               ? TimeNs{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec
               : 0;
  }

  Status ListIfChanged(bool force) {
    const bool proven = FolderStamp() == stamp_ns_ && listed_at_ns_ - stamp_ns_ > kStampGraceNs;
    listed_now_ = force || !proven || ++polls_since_listing_ >= kPollsPerListing;
    return listed_now_ ? List() : Status();
  }

  Status PollRank(Rank rank, bool over, const std::function<void(StepBatch&&)>& sink) {
    RankState& state = ranks_[rank];
    // Bounded: each round finishes a file or ends; new files are met by the next Poll at the
    // latest.
    for (;;) {
      if (state.tail != nullptr) {
        const bool final =
            over || (listed_now_ && (HasLater(rank, state) || state.tail->removed()));
        WT_RETURN_IF_ERROR(ReadTail(&state, final, sink));
        if (!final) {
          return {};
        }
        state.tail.reset();
      }
      WT_RETURN_IF_ERROR(ReadSealed(rank, &state, sink));
      WT_ASSIGN_OR_RETURN(const bool opened, OpenNext(rank, &state));
      if (!opened) {
        return {};
      }
    }
  }

  [[nodiscard]] bool HasLater(Rank rank, const RankState& state) const {
    const auto numbers = journals_.find(rank);
    return numbers != journals_.end() && !numbers->second.empty() &&
           numbers->second.back() > state.tail->file_number();
  }

  Status ReadTail(RankState* state, bool final, const std::function<void(StepBatch&&)>& sink) {
    const std::function<void(StepBatch&&)> counted = [state, &sink](StepBatch&& batch) {
      state->delivered = std::max(state->delivered, batch.last_seq);
      sink(std::move(batch));
    };
    return state->tail->Read(final, {&names_, &skipped_, state->delivered, &counted, &buffer_});
  }

  Status ReadSealed(Rank rank, RankState* state, const std::function<void(StepBatch&&)>& sink) {
    const auto sets = sealed_.find(rank);
    if (sets == sealed_.end()) {
      return {};
    }
    const auto first_new = std::partition_point(
        sets->second.begin(), sets->second.end(),
        [state](const SealedSetName& set) { return set.last_seq <= state->delivered; });
    for (auto set = first_new; set != sets->second.end(); ++set) {
      if (set->last_seq <= state->delivered || state->bad_sets.contains(*set)) {
        continue;
      }
      WT_RETURN_IF_ERROR(DeliverSet(rank, *set, state, sink));
    }
    return {};
  }

  // A set whose "steps" is damaged is passed over as a whole, and said so; of others what can be
  // read is delivered.
  Status DeliverSet(Rank rank, const SealedSetName& set, RankState* state,
                    const std::function<void(StepBatch&&)>& sink) {
    std::vector<DamagedTable> damaged;
    Result<BatchMap> batches = ReadSealedSet(run_dir_, rank, set, &names_, &damaged);
    if (batches.ok()) {
      for (const DamagedTable& table : damaged) {
        ReportBadTable(rank, set, table, sink);
      }
      for (auto& [seq, batch] : *batches) {
        // The front of a set may have come out of its journal file, before that was sealed.
        if (seq > state->delivered) {
          sink(std::move(batch));
        }
      }
    } else {
      if (!IsDamage(batches.status())) {
        return batches.status();
      }
      ReportBadSet(rank, set, batches.status(), sink);
      state->bad_sets.insert(set);
    }
    state->delivered = set.last_seq;
    return {};
  }

  void ReportBadSet(Rank rank, const SealedSetName& set, const Status& why,
                    const std::function<void(StepBatch&&)>& sink) {
    const std::string path =
        SealedPath(run_dir_, std::string(kStepsTable), rank, set.first_seq, set.last_seq);
    skipped_.push_back({RelativeTo(run_dir_, path), 0, 0, why.message()});
    SinkGap(rank, set, GapWhat::kWholeStep, sink);
  }

  void ReportBadTable(Rank rank, const SealedSetName& set, const DamagedTable& table,
                      const std::function<void(StepBatch&&)>& sink) {
    skipped_.push_back({RelativeTo(run_dir_, table.path), 0, 0, table.what});
    SinkGap(rank, set, table.table == "tensors" ? GapWhat::kRawTensors : GapWhat::kStats, sink);
  }

  static void SinkGap(Rank rank, const SealedSetName& set, GapWhat what,
                      const std::function<void(StepBatch&&)>& sink) {
    StepBatch batch;
    batch.key.rank = rank;
    batch.key.mode = Mode::kGlobal;
    batch.first_seq = set.first_seq;
    batch.last_seq = set.last_seq;
    GapPayload gap{};
    gap.reason = GapReason::kCorruption;
    gap.what = what;
    batch.gaps.push_back({gap});
    sink(std::move(batch));
  }

  Result<bool> OpenNext(Rank rank, RankState* state) {
    const auto numbers = journals_.find(rank);
    if (numbers == journals_.end()) {
      return false;
    }
    const auto next =
        std::upper_bound(numbers->second.begin(), numbers->second.end(), state->file_number);
    if (next == numbers->second.end()) {
      return false;
    }
    Result<std::unique_ptr<JournalTail>> tail =
        JournalTail::Open(run_dir_, rank, info_.run_id, *next, state->delivered);
    if (!tail.ok() && tail.status().code() == StatusCode::kNotFound) {
      // Sealed since the listing: its rows are in a sealed set now, older than any other journal
      // file of the rank.
      listed_now_ = true;
      WT_RETURN_IF_ERROR(List());
      return OpenNextListed(rank, state);
    }
    WT_RETURN_IF_ERROR(tail.status());
    state->file_number = *next;
    state->tail = std::move(tail).value();
    return true;
  }

  // True: go round again with the new listing. False: nothing is left to open.
  Result<bool> OpenNextListed(Rank rank, const RankState* state) const {
    const auto numbers = journals_.find(rank);
    const auto sets = sealed_.find(rank);
    const bool more_journals = numbers != journals_.end() && !numbers->second.empty() &&
                               numbers->second.back() > state->file_number;
    const bool more_sets = sets != sealed_.end() && !sets->second.empty() &&
                           sets->second.back().last_seq > state->delivered;
    return more_journals || more_sets;
  }

  const std::string run_dir_;
  const RunInfo info_;
  const ReaderOptions options_;
  NameTable names_;
  bool bad_end_ = false;  // END is there, and damaged
  std::optional<EndInfo> end_;
  std::vector<SkippedBytes> skipped_;
  std::map<Rank, RankState> ranks_;
  std::set<Rank> listed_ranks_;
  std::map<Rank, std::vector<uint64_t>> journals_;
  SealedSets sealed_;
  TimeNs stamp_ns_ = -1;
  TimeNs listed_at_ns_ = 0;
  int polls_since_listing_ = 0;
  bool listed_now_ = false;  // by this Poll
  std::vector<uint8_t> buffer_;
};

}  // namespace

Result<std::unique_ptr<RunReader>> RunReader::Open(const std::string& run_dir,
                                                   const ReaderOptions& options) {
  WT_ASSIGN_OR_RETURN(RunInfo info, ReadRunInfo(run_dir));
  return std::unique_ptr<RunReader>(
      std::make_unique<DirectoryRunReader>(run_dir, std::move(info), options));
}

}  // namespace wheeltapper::format
