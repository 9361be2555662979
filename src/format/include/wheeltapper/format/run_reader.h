// Reads a run directory, live or finished: sealed files first, then the journal tail, each
// committed record exactly once.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wheeltapper/core/status.h"
#include "wheeltapper/format/rows.h"
#include "wheeltapper/format/run_directory.h"

namespace wheeltapper::format {

class ParquetFile;

// A damaged place that was passed over; nothing is skipped silently.
struct SkippedBytes {
  std::string file;
  uint64_t offset;
  uint64_t nbytes;
  std::string reason;
};

struct ReaderOptions {
  // false: rows that are sealed already are left to the caller (ListSealed and ParquetFile); Poll
  // delivers the journal tail only. A batch is then in a file that ListSealed names *after* the
  // Poll, or has been delivered, or both (compare last_seq); never neither.
  bool deliver_sealed = true;
};

// Not thread-safe; any number of readers may follow one run, in any processes, while it is written.
class RunReader {
 public:
  // NotFound, DataLoss or FailedPrecondition (newer version) as ReadRunInfo. Writes nothing; does
  // not wait.
  static Result<std::unique_ptr<RunReader>> Open(const std::string& run_dir,
                                                 const ReaderOptions& options = {});
  virtual ~RunReader() = default;

  // Hands every batch committed since the last call to `sink`, per rank in commit order. Cheap when
  // there is nothing new: one pread per live rank. Damaged bytes are reported by skipped() and as
  // gaps, not as an error.
  virtual Status Poll(const std::function<void(StepBatch&&)>& sink) = 0;

  [[nodiscard]] virtual const RunInfo& info() const = 0;
  [[nodiscard]] virtual const NameTable& names() const = 0;
  [[nodiscard]] virtual std::vector<Rank> ranks() const = 0;
  // Set once END is there and everything before it has been delivered.
  [[nodiscard]] virtual const std::optional<EndInfo>& end() const = 0;
  [[nodiscard]] virtual const std::vector<SkippedBytes>& skipped() const = 0;
  // Reads the bytes of a raw tensor and checks their CRC. DataLoss on mismatch; NotFound when
  // retention removed it.
  virtual Result<std::vector<uint8_t>> ReadTensor(const TensorRow& row) = 0;
};

// An error that is the file's: one damaged file must not hide the rest of the run.
bool IsDamage(const Status& status);

// One sealed table file. Its set (the files of one rank and sequence range) is complete.
struct SealedFile {
  std::string table;  // "scalars", "stats", "tensors", "gaps", "metas", "steps"
  std::string path;   // begins with the run directory
  Rank rank;
  uint64_t first_seq = 0;
  uint64_t last_seq = 0;
  int64_t rows = -1;  // from the footer, when asked for
};
// The complete sets, by rank, sequence and table. Names only, unless `with_rows`: then each footer
// is opened (a damaged one keeps rows −1).
Result<std::vector<SealedFile>> ListSealed(const std::string& run_dir, bool with_rows = false);
// Files of the set of a "steps" table, `opened`, that had rows when it was sealed and are gone.
// Files of older writers do not tell.
std::vector<SealedFile> ListMissing(const std::string& run_dir, const SealedFile& steps,
                                    const ParquetFile& opened);

// Makes a run whose writers are dead whole: replays their rings into the journal, seals every
// journal file, finishes open blobs. Idempotent; leaves ranks alone whose writer lives (their
// segment is locked).
struct RecoveryReport {
  int ranks_recovered = 0;
  int ranks_alive = 0;
  uint64_t records_replayed = 0;  // from rings
  uint64_t steps_discarded = 0;   // begun but never committed
  uint64_t files_sealed = 0;
  std::vector<SkippedBytes> skipped;
};
Result<RecoveryReport> RecoverRun(const std::string& run_dir);
// The same for a run whose job has ended: ranks that seem alive are tried again for `patience_ns`,
// since whoever looks at a dead rank or recovers it holds its lock meanwhile. It waits in real
// time, whatever `clock` says. Ranks of other machines that have left something count as alive.
Result<RecoveryReport> RecoverEndedRun(const std::string& run_dir, const Clock& clock,
                                       TimeNs patience_ns);

// Cuts a torn last line off findings.jsonl and actions.jsonl, as their readers do; the names of the
// files that had one. Leaves a run alone that is surely watched: its watcher may be appending.
Result<std::vector<std::string>> CutTornLines(const std::string& run_dir);

struct MissingRun {
  std::string segment;  // the file that holds its last steps
  std::string run_dir;
};
// What became of rings that nobody recovered: of jobs killed together with their watcher.
struct DeadRunsReport {
  std::vector<std::string> recovered;  // runs in `storage` that were made whole
  std::vector<std::string> gone;       // runs that are gone: their segments are removed
  std::vector<MissingRun> missing;     // runs that are not there, or on a disk that is not: kept
  std::vector<std::string> failed;     // "RUN: why": runs in `storage` that could not be
  bool again = false;  // a job has died within kSettledNs: a later call may bring it in
};
// So long a job that died is left to its own watcher.
inline constexpr TimeNs kSettledNs = TimeNs{60} * 1'000'000'000;
// A run that is not where it was may have been moved, and be recovered there: its segments have
// this long since their last heartbeat. It is gone only where the folder that held it is there, or,
// where that is gone too, the one above it, by its disk and its number: a container without the
// volume, another one with a folder of its own there, and a disk that is not mounted look much the
// same.
inline constexpr TimeNs kForgottenNs = TimeNs{24} * 3600 * 1'000'000'000;
// Looks for dead segments in `segment_folder`, and in the runs in `storage`, the absolute path of a
// folder that holds runs; runs elsewhere are others' business.
// What cannot be recovered now is tried again by the next call. `stopped` is asked before each
// segment that is looked at and each file that is read or sealed: what it leaves undone is what a
// kill there would leave. No path of a run elsewhere is touched within kForgottenNs.
DeadRunsReport RecoverDeadRuns(const std::string& storage, const Clock& clock,
                               const std::string& segment_folder,
                               const std::function<bool()>& stopped = {});

// Checks every file of a run: headers, checksums, Parquet and safetensors structure, sequence
// continuity. Never writes.
struct FsckProblem {
  std::string file;
  std::string what;  // "checksum mismatch at offset 4096", …
  // False: mended by RecoverRun (an unsealed journal, an open blob) or CutTornLines.
  bool data_lost;
};
struct FsckReport {
  uint64_t files_checked = 0;
  uint64_t records_checked = 0;
  std::vector<FsckProblem> problems;
};
// `on_file` is called after each file with the number of files checked so far.
Result<FsckReport> CheckRun(const std::string& run_dir,
                            const std::function<void(uint64_t)>& on_file = {});

}  // namespace wheeltapper::format
