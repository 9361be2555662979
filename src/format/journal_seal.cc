// The seal thread's half of the writer, and the clean end.
#include <algorithm>
#include <cstring>
#include <utility>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/log.h"
#include "wheeltapper/format/run_directory.h"

#include "disk_journal_writer.h"
#include "run_names.h"

namespace wheeltapper::format {

Result<bool> DiskJournalWriter::SealNext() {
  WT_ASSIGN_OR_RETURN(const bool sealed, SealOldest());
  WT_RETURN_IF_ERROR(UntoldRetentionFailure());
  return sealed;
}

// Told once; the files are sealed all the same, and each seal tries again.
Status DiskJournalWriter::UntoldRetentionFailure() {
  const bool untold = !retention_status_.ok() && !std::exchange(retention_told_, true);
  return untold ? retention_status_ : Status();
}

Result<bool> DiskJournalWriter::SealOldest() {
  uint64_t number = 0;
  {
    const MutexLock lock(queue_mutex_);
    if (seal_queue_.empty()) {
      return false;
    }
    number = seal_queue_.front();
  }
  WT_ASSIGN_OR_RETURN(const SealOutcome outcome, SealFile(number));
  {
    const MutexLock lock(queue_mutex_);
    seal_queue_.pop_front();
  }
  // The journal file is gone: nothing that happens from here on may ask for it again.
  retention_status_ = retention_.Apply(outcome).WithContext("letting go of old raw tensors");
  return true;
}

Result<SealOutcome> DiskJournalWriter::SealFile(uint64_t number) {
  const auto probe = [this](std::string_view step) {
    return seal_probe_ ? seal_probe_(step) : Status();
  };
  SealRequest request;
  request.run_dir = options_.run_dir;
  request.rank = options_.rank;
  request.run_id = options_.run_id;
  request.file_number = number;
  request.seq_before = cursor_.sealed_seq;
  request.probe = seal_probe_;
  WT_ASSIGN_OR_RETURN(SealOutcome outcome, SealJournalFile(request));
  // From here on the tables stand for the file.
  RankCursor cursor = cursor_;
  cursor.sealed_file_number = number;
  cursor.next_file_number = std::max(cursor.next_file_number, number + 1);
  cursor.sealed_seq = std::max({cursor.sealed_seq, outcome.highest_seq, outcome.last_seq});
  cursor.next_seq = std::max(cursor.next_seq, cursor.sealed_seq + 1);
  cursor.next_blob_number = std::max(cursor.next_blob_number, outcome.highest_blob + 1);
  WT_RETURN_IF_ERROR(lock_.WriteCursor(cursor));
  WT_RETURN_IF_ERROR(probe("cursor"));
  WT_RETURN_IF_ERROR(AppendSealed({number, outcome.first_seq, outcome.last_seq}));
  WT_RETURN_IF_ERROR(probe("sealed record"));
  WT_RETURN_IF_ERROR(RemoveFile(JournalPath(options_.run_dir, options_.rank, number)));
  WT_RETURN_IF_ERROR(probe("unlink"));
  cursor_ = cursor;
  ++seal_totals_.files_sealed;
  seal_totals_.discarded += outcome.discarded;
  seal_totals_.skipped.insert(seal_totals_.skipped.end(), outcome.skipped.begin(),
                              outcome.skipped.end());
  return outcome;
}

Status DiskJournalWriter::AppendSealed(const SealedPayload& payload) {
  RecordHeader header{};
  header.type = RecordType::kSealed;
  header.flags = kSelfCommitted;
  header.payload_bytes = sizeof(payload);
  header.wall_ns = clock_.WallNs();
  header.mode = static_cast<uint8_t>(Mode::kGlobal);
  std::vector<uint8_t> record(RecordBytes(sizeof(payload)));
  std::memcpy(record.data(), &header, sizeof(header));
  std::memcpy(record.data() + sizeof(header), &payload, sizeof(payload));
  const MutexLock lock(append_mutex_);
  if (half_written_ > 0) {
    return UnavailableError("sealing: the disk filled up within a record of the current file");
  }
  FinishRecord(record, file_->salt());
  return file_->AppendWhole(record);
}

Status DiskJournalWriter::Close() {
  if (closed_) {
    return {};
  }
  if (open_transaction_) {
    return FailedPreconditionError("closing journal: a step is half written");
  }
  WT_RETURN_IF_ERROR(RotateIfDue(true));
  if (has_rows_) {
    return UnavailableError("closing journal: the disk filled up within a record");
  }
  for (;;) {
    WT_ASSIGN_OR_RETURN(const bool sealed, SealOldest());
    if (!sealed) {
      break;
    }
  }
  // Raw tensors that stay are no reason to leave the run half closed.
  if (const Status failure = UntoldRetentionFailure(); !failure.ok()) {
    Log(LogLevel::kWarning, failure.message());
  }
  cursor_.next_file_number = std::max(cursor_.next_file_number, last_file_number_ + 1);
  cursor_.next_seq = std::max(cursor_.next_seq, last_seq_ + 1);
  cursor_.next_blob_number = std::max(cursor_.next_blob_number, blobs_.next_number());
  WT_RETURN_IF_ERROR(lock_.WriteCursor(cursor_));
  closed_ = true;
  blobs_.FinishFile();
  {
    const MutexLock lock(append_mutex_);
    WT_RETURN_IF_ERROR(RemoveFile(file_->path()));
    file_.reset();
  }
  return RemoveOrphans();
}

// With every journal file sealed, an open blob of the rank is referenced by nothing, and a
// temporary file is a dead writer's.
Status DiskJournalWriter::RemoveOrphans() {
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> blobs,
                      ListFolder(options_.run_dir, kBlobFolder));
  for (const std::string& name : blobs) {
    const auto blob = ParseBlobName(name);
    if (blob && blob->open && blob->rank == options_.rank) {
      WT_RETURN_IF_ERROR(
          RemoveFile(BlobPath(options_.run_dir, blob->rank, blob->blob_number, true)));
    }
  }
  const std::string prefix = RankPrefix(options_.rank);
  std::vector<std::string_view> folders(std::begin(kTables), std::end(kTables));
  folders.push_back(kBlobFolder);
  for (const std::string_view folder : folders) {
    WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(options_.run_dir, folder));
    for (const std::string& name : names) {
      if (name.starts_with(prefix) && name.find(".tmp.") != std::string::npos) {
        WT_RETURN_IF_ERROR(RemoveFile(JoinPath(JoinPath(options_.run_dir, folder), name)));
      }
    }
  }
  return {};
}

}  // namespace wheeltapper::format
