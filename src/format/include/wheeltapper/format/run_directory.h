// Names and small JSON files of a run directory (DESIGN §5; docs/format/run-directory.md).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::format {

// run.json, written once by whoever makes the run (the watcher, or the job when it runs without
// one).
struct RunInfo {
  uint32_t format_version = 0;
  uint32_t min_reader = 0;
  std::string name;     // "swift-otter-12"
  uint64_t run_id = 0;  // random; written as 16 hex digits
  TimeNs started_wall_ns = 0;
  std::vector<std::string> argv;
  std::string cwd;
  std::string host;
  std::string wheeltapper_version;
  // "python" → "3.11.2", "cpu" → …, "git_commit" → …: whatever was found; never secrets, never the
  // whole environment.
  std::map<std::string, std::string> environment;
  // Of a further training of a command (trainings.h): the name of the folder of the first one's
  // run, which lies beside this one. Else "".
  std::string first_run;
};

// ranks/rRRRRR.json, written by each rank when it starts and again when it learns more (framework,
// model).
struct RankInfo {
  Rank rank;
  int32_t world_size = 1;
  uint64_t incarnation = 1;
  std::string host;
  int64_t pid = 0;
  std::string device;     // "cpu", "cuda:0"
  std::string framework;  // "torch 2.13.0"
  std::string segment_path;
  std::string boot_id;
  TimeNs wall_ns = 0;  // the same instant on both clocks
  TimeNs monotonic_ns = 0;
  std::string model_summary;  // "SmallConvNet, 12 parameters, 4,586 elements"
};

// Of one training of several whose process ended without saying how.
inline constexpr int kUnknownExit = -1;

// END, written by the watcher (or a clean exit of a job without one). Its presence means: nothing
// will be added.
struct EndInfo {
  std::string state;   // "finished", "failed", "stopped", "killed", "interrupted"
  int exit_code = 0;   // the child's; 128 + signal when it died of one; kUnknownExit
  std::string reason;  // "" or e.g. "stopped by rule exploding_tensor"
  TimeNs ended_wall_ns = 0;
};

// Paths. `run_dir` is the run's folder.
std::string RunInfoPath(const std::string& run_dir);
std::string ConfigPath(const std::string& run_dir);  // config.json: the resolved configuration
std::string EndPath(const std::string& run_dir);
std::string FindingsPath(const std::string& run_dir);  // findings.jsonl
std::string ActionsPath(const std::string& run_dir);   // actions.jsonl
std::string RankInfoPath(const std::string& run_dir, Rank rank);
std::string JournalPath(const std::string& run_dir, Rank rank, uint64_t file_number);
// table: "scalars", "stats", "tensors", "gaps", "metas", "steps" (columns: docs/format/tables.md).
// "steps" has one row per batch in commit order: step, mode, mode_step, rank, time, first_seq, seq
// (the batch's last_seq), is_step (0 or 1), records, monotonic_ns, blocked_ns, step_ns,
// data_wait_ns. It is renamed last: where it is, the other tables of its sequence range are
// complete; a table without rows has no file. Every row of the others has the `seq` of its batch.
// The footers of scalars, stats and tensors carry "names": a JSON array of {name, kind, dtype,
// shape, collections}, so that readers learn the names without decoding a column.
std::string SealedPath(const std::string& run_dir, const std::string& table, Rank rank,
                       uint64_t first_seq, uint64_t last_seq);
std::string BlobPath(const std::string& run_dir, Rank rank, uint64_t blob_number, bool open);

// Makes the folders and run.json. AlreadyExists when there is a run.json; the underlying error when
// it cannot be written.
Status CreateRunDirectory(const std::string& run_dir, const RunInfo& info);
Status WriteRankInfo(const std::string& run_dir, const RankInfo& info);
Status WriteEnd(const std::string& run_dir, const EndInfo& info);

// NotFound: no run there. DataLoss: unreadable. FailedPrecondition: written by a newer version than
// this build reads.
Result<RunInfo> ReadRunInfo(const std::string& run_dir);
Result<RankInfo> ReadRankInfo(const std::string& run_dir, Rank rank);
// NotFound while the run is not over.
Result<EndInfo> ReadEnd(const std::string& run_dir);
Result<std::vector<Rank>> ListRanks(const std::string& run_dir);

}  // namespace wheeltapper::format
