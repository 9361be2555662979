// The two threads of capture in a training job: "wt-cap-drain" moves the rings to disk and keeps
// the heartbeat; "wt-cap-seal" turns finished journal files into Parquet and safetensors. Neither
// touches Python or a framework.
//
// The threads share ownership of everything they use. Stop waits for them up to its deadline; a
// thread that hangs in the disk is then left behind with what it holds, which nobody destroys.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/mutex.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/core/thread.h"
#include "wheeltapper/format/journal_writer.h"
#include "wheeltapper/format/rank_segment.h"

#include "recorder.h"

namespace wheeltapper::capture {

struct BackgroundOptions {
  std::string run_dir;
  const Clock* clock = nullptr;
  // Free bytes of the disk (mocked in tests); raw tensors resume when this much is there. Nothing:
  // unknown, so that they only stop, and for good, when a write has failed.
  std::function<std::optional<uint64_t>()> free_disk_bytes;
  uint64_t resume_raw_bytes = uint64_t{256} << 20;
  // Raw tensors stop when less than this is free, or than a quarter of what was at the start: the
  // rest is for the statistics, for the end of the run, and for the job's own files.
  uint64_t keep_free_bytes = uint64_t{64} << 20;
  // capture.on_full = "block": training waits for the drain, so the drain runs at training's own
  // priority. Lowered, it would hold training up behind everything else on the machine.
  bool job_waits = false;
};

class Background : public std::enable_shared_from_this<Background> {
 public:
  Background(BackgroundOptions options, std::unique_ptr<format::RankSegment> segment,
             std::unique_ptr<Recorder> recorder, std::unique_ptr<format::JournalWriter> writer);
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;
  ~Background();

  // Also guards the recorder against forks until this object dies.
  Status Start();
  // Returns when everything published before the call is on disk; the drain's error otherwise.
  Status Flush(TimeNs deadline_ns) WT_EXCLUDES(mutex_);
  // Drains, rotates, seals, ends both threads. DeadlineExceeded when that takes longer; the threads
  // go on alone then.
  Status Stop(TimeNs deadline_ns) WT_EXCLUDES(mutex_);

  Recorder& recorder() { return *recorder_; }
  format::RankSegment& segment() { return *segment_; }
  [[nodiscard]] uint64_t bytes_drained() const {
    return bytes_drained_.load(std::memory_order_relaxed);
  }
  // META texts that found no place in the outbox; for the recorder's last words, after Stop or when
  // the drain is known not to run.
  std::vector<std::string> TakeNotes() WT_EXCLUDES(mutex_);
  // The first failure of a background thread that is not a full disk.
  [[nodiscard]] Status first_error() const WT_EXCLUDES(mutex_);

  // One round of the drain: for tests with a writer of their own, instead of Start.
  Status DrainOnceForTesting() { return DrainRound(); }

 private:
  void DrainLoop() WT_EXCLUDES(mutex_);
  void SealLoop() WT_EXCLUDES(mutex_);
  Status DrainRound() WT_EXCLUDES(mutex_);
  bool DiskIsNearlyFull();
  Status StopRaw();
  Status OnDiskFull();
  void OnDiskRoom();
  Status FinishDraining() WT_EXCLUDES(mutex_);
  void Report(const Status& status) WT_EXCLUDES(mutex_);
  void WriteNotes() WT_EXCLUDES(mutex_);
  void NoteGovernor();
  void NoteErrors();
  void BuryFuse();
  [[nodiscard]] TimeNs NextPause(bool drained, bool failed);
  bool WaitForWork(TimeNs pause_ns) WT_EXCLUDES(mutex_);
  [[nodiscard]] bool RingEmpty();

  const BackgroundOptions options_;
  const FileDescriptor run_folder_;  // by itself, whatever its name becomes
  const std::unique_ptr<format::RankSegment> segment_;
  const std::unique_ptr<Recorder> recorder_;
  const std::unique_ptr<format::JournalWriter> writer_;
  const uint64_t keep_free_bytes_;
  std::atomic<uint64_t> bytes_drained_{0};

  // Drain thread's.
  TimeNs pause_ns_ = 0;
  int64_t noted_multiplier_ = 1;

  mutable Mutex mutex_;
  CondVar wake_;                                     // the threads wait here
  CondVar progress_;                                 // Flush and Stop wait here
  uint64_t wanted_round_ WT_GUARDED_BY(mutex_) = 0;  // Flush: "finish a round that began after me"
  uint64_t begun_round_ WT_GUARDED_BY(mutex_) = 0;
  uint64_t done_round_ WT_GUARDED_BY(mutex_) = 0;
  Status round_status_ WT_GUARDED_BY(mutex_);
  Status first_error_ WT_GUARDED_BY(mutex_);
  bool stopping_ WT_GUARDED_BY(mutex_) = false;
  bool drain_done_ WT_GUARDED_BY(mutex_) = false;
  bool seal_done_ WT_GUARDED_BY(mutex_) = false;
  Status final_status_ WT_GUARDED_BY(mutex_);
  std::vector<std::string> notes_ WT_GUARDED_BY(mutex_);

  // Heap objects that are joined when their thread is known to have ended, and never destroyed
  // otherwise.
  Thread* drain_thread_ = nullptr;
  Thread* seal_thread_ = nullptr;
};

}  // namespace wheeltapper::capture
