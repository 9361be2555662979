// Opening a rank's journal: finding what earlier attempts left, replaying their rings.
#include <algorithm>
#include <charconv>
#include <utility>

#include <sys/stat.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/rank_segment.h"
#include "wheeltapper/format/run_directory.h"

#include "disk_journal_writer.h"
#include "run_names.h"
#include "segment_files.h"

namespace wheeltapper::format {
namespace {

// Keeps what a scan reports, not what it reads.
class SkippedCollector final : public ScanSink {
 public:
  SkippedCollector(std::string file, std::vector<SkippedBytes>* skipped)
      : file_(std::move(file)), skipped_(skipped) {}
  void OnBatch(ScannedBatch&& /*batch*/) override {}
  void OnSkipped(uint64_t offset, uint64_t nbytes, const std::string& reason) override {
    skipped_->push_back({file_, offset, nbytes, reason});
  }

 private:
  std::string file_;
  std::vector<SkippedBytes>* skipped_;
};

Status MakeFolders(const std::string& run_dir) {
  WT_RETURN_IF_ERROR(MakeDirectories(JoinPath(run_dir, kJournalFolder)));
  WT_RETURN_IF_ERROR(MakeDirectories(JoinPath(run_dir, kBlobFolder)));
  for (const std::string_view table : kTables) {
    WT_RETURN_IF_ERROR(MakeDirectories(JoinPath(run_dir, table)));
  }
  return {};
}

// Cancelled when it is to end here, as if killed.
Status GoOn(const std::function<bool()>& stopped) {
  return stopped && stopped() ? CancelledError("opening the journal: told to stop") : Status();
}

// Raises the cursor above every number that a file name of the rank shows.
Status RaiseCursor(const std::string& run_dir, Rank rank, RankCursor* cursor) {
  for (const std::string_view table : kTables) {
    WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(run_dir, table));
    for (const std::string& name : names) {
      const auto sealed = ParseSealedName(name);
      if (sealed && sealed->rank == rank) {
        cursor->next_seq = std::max(cursor->next_seq, sealed->last_seq + 1);
      }
    }
  }
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> blobs, ListFolder(run_dir, kBlobFolder));
  for (const std::string& name : blobs) {
    const auto blob = ParseBlobName(name);
    if (blob && blob->rank == rank) {
      cursor->next_blob_number = std::max(cursor->next_blob_number, blob->blob_number + 1);
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<JournalWriter>> JournalWriter::Open(const WriterOptions& options,
                                                           const Clock& clock) {
  WT_ASSIGN_OR_RETURN(std::unique_ptr<DiskJournalWriter> writer,
                      DiskJournalWriter::Open(options, clock));
  // The new attempt may last for days: the run is found by its segment from now on.
  WT_RETURN_IF_ERROR(writer->RemoveReplayed());
  return std::unique_ptr<JournalWriter>(std::move(writer));
}

DiskJournalWriter::DiskJournalWriter(WriterOptions options, const Clock& clock, RankLock lock,
                                     RankCursor cursor)
    : options_(std::move(options)),
      clock_(clock),
      lock_(std::move(lock)),
      run_started_ns_(clock.WallNs()),
      blobs_(options_.run_dir, options_.rank, cursor.next_blob_number, options_.blob_rotate_bytes),
      last_seq_(cursor.next_seq - 1),
      last_file_number_(cursor.next_file_number - 1),
      last_sync_ns_(clock.MonotonicNs()),
      cursor_(cursor),
      retention_(options_.run_dir, options_.rank, options_.retain_raw_steps) {
  if (Result<RunInfo> run = ReadRunInfo(options_.run_dir); run.ok()) {
    run_started_ns_ = run->started_wall_ns;
  }
}

Result<std::unique_ptr<DiskJournalWriter>> DiskJournalWriter::Open(
    const WriterOptions& options, const Clock& clock, const std::function<bool()>& stopped) {
  WT_RETURN_IF_ERROR(MakeFolders(options.run_dir));
  WT_ASSIGN_OR_RETURN(RankLock lock,
                      RankLock::Take(options.run_dir, options.rank, options.lock_wait_ns));
  WT_ASSIGN_OR_RETURN(RankCursor cursor, lock.ReadCursor());
  WT_RETURN_IF_ERROR(RaiseCursor(options.run_dir, options.rank, &cursor));
  std::unique_ptr<DiskJournalWriter> writer(  // NOLINT(cppcoreguidelines-owning-memory)
      new DiskJournalWriter(options, clock, std::move(lock), cursor));
  WT_RETURN_IF_ERROR(writer->ScanLeftovers(stopped));
  WT_RETURN_IF_ERROR(writer->ReplayRings(stopped));
  // The seal of a torn tail tells its gap under the number after the last whole record.
  writer->last_seq_ += writer->torn_tail_ ? 1U : 0U;
  writer->next_seq_ = writer->last_seq_ + 1;
  writer->last_leftover_.reset();
  writer->open_transaction_ = false;
  writer->descs_.clear();
  WT_RETURN_IF_ERROR(writer->StartFile(writer->last_file_number_ + 1, {}));
  return writer;
}

Status DiskJournalWriter::ScanLeftovers(const std::function<bool()>& stopped) {
  WT_ASSIGN_OR_RETURN(const auto journals, ListJournals(options_.run_dir));
  const auto found = journals.find(options_.rank);
  const std::vector<uint64_t> numbers =
      found == journals.end() ? std::vector<uint64_t>{} : found->second;
  for (const uint64_t number : numbers) {
    WT_RETURN_IF_ERROR(GoOn(stopped));
    if (number <= cursor_.sealed_file_number) {
      // Sealed, and killed before it was removed.
      WT_RETURN_IF_ERROR(RemoveFile(JournalPath(options_.run_dir, options_.rank, number)));
      continue;
    }
    WT_RETURN_IF_ERROR(ScanLeftover(number, number == numbers.back()));
    last_file_number_ = std::max(last_file_number_, number);
    const MutexLock lock(queue_mutex_);
    seal_queue_.push_back(number);
  }
  return {};
}

Status DiskJournalWriter::ScanLeftover(uint64_t number, bool last) {
  const std::string path = JournalPath(options_.run_dir, options_.rank, number);
  WT_ASSIGN_OR_RETURN(const MappedFile mapped, MappedFile::OpenReadOnly(path));
  auto scanner = std::make_unique<JournalScanner>(options_.rank, options_.run_id, last_seq_);
  std::vector<SkippedBytes> told_again_by_sealing;
  SkippedCollector sink(path, &told_again_by_sealing);
  scanner->Scan(mapped.bytes(), !last, sink);
  last_seq_ = std::max(last_seq_, scanner->last_seq());
  if (last) {
    torn_tail_ = scanner->valid_end() < mapped.bytes().size();
    last_leftover_ = std::move(scanner);
  }
  return {};
}

Status DiskJournalWriter::ReplayRings(const std::function<bool()>& stopped) {
  recovering_ = true;
  for (const std::string& path : FindSegments(options_.run_dir, options_.run_id, options_.rank)) {
    WT_RETURN_IF_ERROR(GoOn(stopped));
    WT_RETURN_IF_ERROR(ReplaySegment(path));
  }
  recovering_ = false;
  const MutexLock lock(append_mutex_);
  file_.reset();
  return {};
}

Status DiskJournalWriter::ReplaySegment(const std::string& path) {
  if (IsSegmentAlive(path)) {
    return {};  // its writer lives (it may be the caller's own): its rings are not for mapping
  }
  Result<std::unique_ptr<RankSegment>> attached = RankSegment::Attach(path, true);
  if (!attached.ok()) {
    if (attached.status().code() == StatusCode::kDataLoss) {
      findings_.skipped.push_back({path, 0, 0, attached.status().message()});
      replayed_.push_back(path);
      return {};
    }
    return attached.status().code() == StatusCode::kNotFound ? Status() : attached.status();
  }
  RankSegment& segment = **attached;
  if (segment.page().run_id != options_.run_id || segment.page().rank != options_.rank.value) {
    return {};  // not ours
  }
  // Nobody writes it any more, but others look at it. Without it the journal must not be sealed:
  // its records use the names of this file.
  WT_RETURN_IF_ERROR(segment.LockWriter(options_.lock_wait_ns));
  WT_RETURN_IF_ERROR(ReplayRing(segment));
  replayed_.push_back(path);
  return {};
}

Status DiskJournalWriter::RemoveReplayed() {
  for (const std::string& path : replayed_) {
    WT_RETURN_IF_ERROR(RemoveFile(path));
  }
  replayed_.clear();
  return {};
}

Status DiskJournalWriter::ReplayRing(RankSegment& segment) {
  ByteRing& ring = segment.journal_ring();
  // Written to the file already, but not yet given back when the writer died.
  for (std::span<uint8_t> rest = ring.Readable(); rest.size() >= sizeof(RecordHeader);
       rest = ring.Readable()) {
    const auto header = LoadUnaligned<RecordHeader>(rest.data());
    if (header.seq == 0 || header.seq > last_seq_ || header.payload_bytes > kMaxPayloadBytes ||
        RecordBytes(header.payload_bytes) > rest.size()) {
      break;
    }
    ring.Release(RecordBytes(header.payload_bytes));
  }
  if (ring.Readable().empty()) {
    return {};
  }
  WT_RETURN_IF_ERROR(StartReplay());
  const uint64_t before = records_drained_;
  Status drained = Drain(segment).status();
  findings_.records_replayed += records_drained_ - before;
  if (drained.code() == StatusCode::kDataLoss) {
    findings_.skipped.push_back({segment.path(), ring.offset(), 0, drained.message()});
    return {};
  }
  return drained;
}

// Goes on in the last journal file where its whole records end; that file has the names that the
// ring's records use.
Status DiskJournalWriter::StartReplay() {
  {
    const MutexLock lock(append_mutex_);
    if (file_ != nullptr) {
      return {};
    }
  }
  if (last_leftover_ == nullptr || !last_leftover_->header_valid() || !last_leftover_->salt()) {
    WT_RETURN_IF_ERROR(StartFile(last_file_number_ + 1, {}));
    const MutexLock lock(queue_mutex_);
    seal_queue_.push_back(last_file_number_);
    return {};
  }
  JournalIdentity identity;
  identity.rank = options_.rank;
  identity.run_id = options_.run_id;
  identity.file_number = last_file_number_;
  identity.salt = *last_leftover_->salt();
  identity.created_wall_ns = clock_.WallNs();
  WT_ASSIGN_OR_RETURN(
      std::unique_ptr<JournalFile> file,
      JournalFile::Reopen(JournalPath(options_.run_dir, options_.rank, last_file_number_), identity,
                          last_leftover_->valid_end()));
  torn_tail_ = false;
  descs_ = last_leftover_->encoded_descs();
  open_transaction_ = last_leftover_->open_transaction();
  const MutexLock lock(append_mutex_);
  file_ = std::move(file);
  half_written_ = 0;
  return {};
}

}  // namespace wheeltapper::format
