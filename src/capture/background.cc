#include "background.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/log.h"

#include "fork_guard.h"

namespace wheeltapper::capture {
namespace {

// Commit to visible takes half a pause on average. 4 ms keeps the median below 3 ms at 250 wake-ups
// a second (0.2 % of a core); after a second without a step nobody is waiting for one.
constexpr TimeNs kShortestPauseNs = 500'000;
constexpr TimeNs kLongestPauseNs = 4'000'000;
constexpr TimeNs kIdlePauseNs = 10'000'000;
constexpr TimeNs kIdleAfterNs = 1'000'000'000;
constexpr TimeNs kErrorPauseNs = 100'000'000;
// With this much waiting the disk is what holds things up: no pause.
constexpr uint64_t kBusyBytes = uint64_t{1} << 20;
constexpr TimeNs kSealPauseNs = 1'000'000'000;
constexpr TimeNs kSealErrorPauseNs = 5'000'000'000;
constexpr TimeNs kLongestSealPauseNs = 30'000'000'000;
constexpr TimeNs kBuryDeadlineNs = 1'000'000'000;
constexpr uint64_t kResumeStatsBytes = uint64_t{4} << 20;
constexpr int kFinalRounds = 64;
constexpr size_t kMaxNotes = 256;

// True when a folder that was opened before has lost its name for good; a moved one has not.
bool IsDeleted(const FileDescriptor& folder) {
  struct stat state{};
  return folder.valid() && fstat(folder.get(), &state) == 0 && state.st_nlink == 0;
}

}  // namespace

Background::Background(BackgroundOptions options, std::unique_ptr<format::RankSegment> segment,
                       std::unique_ptr<Recorder> recorder,
                       std::unique_ptr<format::JournalWriter> writer)
    : options_(std::move(options)),
      run_folder_(open(options_.run_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)),
      segment_(std::move(segment)),
      recorder_(std::move(recorder)),
      writer_(std::move(writer)),
      keep_free_bytes_(std::min(
          options_.keep_free_bytes,
          options_.free_disk_bytes().value_or(std::numeric_limits<uint64_t>::max()) / 4)) {}

Background::~Background() { ForgetForkGuard(recorder_.get()); }

Status Background::Start() {
  WT_RETURN_IF_ERROR(GuardAgainstFork(recorder_.get()));
  const std::shared_ptr<Background> self = shared_from_this();
  // Never owned by a smart pointer: see the header.
  drain_thread_ = new Thread();  // NOLINT(cppcoreguidelines-owning-memory)
  seal_thread_ = new Thread();   // NOLINT(cppcoreguidelines-owning-memory)
  WT_RETURN_IF_ERROR(drain_thread_->Start("wt-cap-drain", [self] { self->DrainLoop(); }));
  const Status sealing = seal_thread_->Start("wt-cap-seal", [self] { self->SealLoop(); });
  if (!sealing.ok()) {
    {
      const MutexLock lock(mutex_);
      seal_done_ = true;
    }
    Stop(kErrorPauseNs).IgnoreError("the reason for stopping is the error that is returned");
  }
  return sealing;
}

void Background::DrainLoop() {
  if (!options_.job_waits) {
    LowerThreadPriority();
  }
  bool more = true;
  while (more) {
    uint64_t round = 0;
    {
      const MutexLock lock(mutex_);
      round = ++begun_round_;
    }
    const uint64_t before = bytes_drained();
    const Status status = DrainRound();
    {
      const MutexLock lock(mutex_);
      done_round_ = round;
      round_status_ = status;
    }
    progress_.NotifyAll();
    more = WaitForWork(NextPause(bytes_drained() != before, !status.ok()));
  }
  const Status status = FinishDraining();
  if (!status.ok() && IsDeleted(run_folder_)) {
    // Recovery finds a segment through the run directory, wherever that was moved; once it is
    // deleted the segment would hold its memory until the machine restarts.
    segment_->Remove().IgnoreError("the failure to drain is what is told");
  }
  {
    const MutexLock lock(mutex_);
    final_status_ = status;
    drain_done_ = true;
  }
  progress_.NotifyAll();
}

TimeNs Background::NextPause(bool drained, bool failed) {
  if (failed) {
    return kErrorPauseNs;
  }
  if (drained &&
      segment_->blob_ring().Readable().size() + segment_->journal_ring().Readable().size() >=
          kBusyBytes) {
    return 0;
  }
  const TimeNs since_step =
      options_.clock->MonotonicNs() - segment_->page().last_step_ns.load(std::memory_order_relaxed);
  const TimeNs longest = since_step < kIdleAfterNs ? kLongestPauseNs : kIdlePauseNs;
  pause_ns_ = drained ? kShortestPauseNs
                      : std::clamp(pause_ns_ * 2, TimeNs{kShortestPauseNs}, TimeNs{longest});
  return pause_ns_;
}

bool Background::WaitForWork(TimeNs pause_ns) {
  const MutexLock lock(mutex_);
  if (pause_ns > 0 && !stopping_ && wanted_round_ <= done_round_) {
    // A spurious wake-up costs one empty round.
    wake_.WaitFor(mutex_, pause_ns);
  }
  return !stopping_;
}

Status Background::DrainRound() {
  segment_->page().heartbeat_ns.store(options_.clock->MonotonicNs(), std::memory_order_relaxed);
  if (DiskIsNearlyFull()) {
    WT_RETURN_IF_ERROR(StopRaw());
  }
  const Result<uint64_t> drained = writer_->Drain(*segment_);
  Status status = drained.status();
  if (drained.ok()) {
    bytes_drained_.fetch_add(*drained, std::memory_order_relaxed);
    OnDiskRoom();
    status = writer_->RotateIfDue(false);
  }
  if (status.code() == StatusCode::kResourceExhausted) {
    status = OnDiskFull();
  } else if (!status.ok()) {
    Report(status);
  }
  NoteGovernor();
  NoteErrors();
  WriteNotes();
  BuryFuse();
  return status;
}

// Asked only while raw tensors come: nothing else fills a disk before its time.
bool Background::DiskIsNearlyFull() {
  const uint64_t coming = segment_->blob_ring().Readable().size();
  if (coming == 0 || recorder_->disk_room() != DiskRoom::kPlenty) {
    return false;
  }
  const std::optional<uint64_t> free_bytes = options_.free_disk_bytes();
  return free_bytes && *free_bytes < keep_free_bytes_ + coming;
}

Status Background::StopRaw() {
  if (recorder_->disk_room() == DiskRoom::kPlenty) {
    recorder_->SetDiskRoom(DiskRoom::kNoRaw);
    const MutexLock lock(mutex_);
    notes_.emplace_back(R"({"kind":"disk_full","kept":"statistics"})");
  }
  return writer_->DiscardBlobs(*segment_);
}

Status Background::OnDiskFull() {
  WT_RETURN_IF_ERROR(StopRaw());
  const Result<uint64_t> again = writer_->Drain(*segment_);
  if (again.ok()) {
    bytes_drained_.fetch_add(*again, std::memory_order_relaxed);
    return Status::Ok();
  }
  recorder_->SetDiskRoom(DiskRoom::kNoTensors);
  return again.status();
}

void Background::OnDiskRoom() {
  const DiskRoom room = recorder_->disk_room();
  if (room == DiskRoom::kPlenty) {
    return;
  }
  const uint64_t free_bytes = options_.free_disk_bytes().value_or(0);
  if (free_bytes >= options_.resume_raw_bytes) {
    recorder_->SetDiskRoom(DiskRoom::kPlenty);
    const MutexLock lock(mutex_);
    notes_.emplace_back(R"({"kind":"disk_full","kept":"everything"})");
  } else if (room == DiskRoom::kNoTensors && free_bytes >= kResumeStatsBytes) {
    recorder_->SetDiskRoom(DiskRoom::kNoRaw);
  }
}

void Background::Report(const Status& status) {
  bool first = false;
  {
    const MutexLock lock(mutex_);
    first = first_error_.ok();
    first_error_ = first ? status : first_error_;
  }
  if (first) {
    Log(LogLevel::kWarning, "wheeltapper: writing the run: " + status.ToString());
  }
  recorder_->fuse().Report(status.code(), "writing the run directory");
  recorder_->ObeyFuse();
}

void Background::NoteGovernor() {
  const int64_t multiplier = recorder_->governor().multiplier();
  if (multiplier == std::exchange(noted_multiplier_, multiplier)) {
    return;
  }
  const MutexLock lock(mutex_);
  notes_.push_back(fmt::format(R"({{"kind":"governor","interval":{},"overhead":{:.6f},"step":{}}})",
                               multiplier, recorder_->governor().overhead(),
                               recorder_->global_step()));
}

void Background::NoteErrors() {
  const MutexLock lock(mutex_);
  recorder_->fuse().TakeNew([this](StatusCode code, const char* what,
                                   int64_t count) WT_NO_THREAD_SAFETY_ANALYSIS {
    notes_.push_back(fmt::format(R"({{"kind":"capture_error","code":"{}","what":"{}","count":{}}})",
                                 StatusCodeName(code), what, count));
  });
}

void Background::WriteNotes() {
  const MutexLock lock(mutex_);
  if (!notes_.empty() && recorder_->outbox().Post(notes_.front())) {
    notes_.erase(notes_.begin());
  }
  if (notes_.size() > kMaxNotes) {
    notes_.erase(notes_.begin());  // no step for a long time: the newest tell most
  }
}

void Background::BuryFuse() {
  if (!recorder_->live() && recorder_->fuse().blown()) {
    recorder_->RecordFuse(kBuryDeadlineNs).IgnoreError("the next round tries again");
  }
}

std::vector<std::string> Background::TakeNotes() {
  const MutexLock lock(mutex_);
  return std::exchange(notes_, {});
}

Status Background::first_error() const {
  const MutexLock lock(mutex_);
  return first_error_;
}

void Background::SealLoop() {
  LowerThreadPriority();
  bool more = true;
  while (more) {
    const TimeNs begin_ns = SystemClock().MonotonicNs();
    const Result<bool> sealed = writer_->SealNext();
    TimeNs pause_ns = kSealPauseNs;
    if (!sealed.ok()) {
      // The journal still holds everything: a file that cannot be sealed is no reason to stop.
      const MutexLock lock(mutex_);
      first_error_ = first_error_.ok() ? sealed.status() : first_error_;
      pause_ns = kSealErrorPauseNs;
    } else if (*sealed) {
      // At most a quarter of one core.
      pause_ns =
          std::min(3 * (SystemClock().MonotonicNs() - begin_ns), TimeNs{kLongestSealPauseNs});
    }
    const TimeNs until_ns = SystemClock().MonotonicNs() + pause_ns;
    const MutexLock lock(mutex_);
    while (!stopping_ && SystemClock().MonotonicNs() < until_ns) {
      wake_.WaitFor(mutex_, until_ns - SystemClock().MonotonicNs());
    }
    more = !stopping_;
  }
  {
    const MutexLock lock(mutex_);
    seal_done_ = true;
  }
  progress_.NotifyAll();
}

// Blob bytes leave with the records that point at them; what no record points at is of no use.
bool Background::RingEmpty() { return segment_->journal_ring().Readable().empty(); }

Status Background::FinishDraining() {
  for (int round = 0; round < kFinalRounds && !RingEmpty(); ++round) {
    WT_RETURN_IF_ERROR(DrainRound());
  }
  if (!RingEmpty()) {
    return DeadlineExceededError("stopping capture: the ring does not run empty");
  }
  {
    const MutexLock lock(mutex_);
    while (!seal_done_) {
      progress_.Wait(mutex_);
    }
  }
  WT_RETURN_IF_ERROR(writer_->Close());
  segment_->page().phase.store(static_cast<uint32_t>(format::Phase::kExited),
                               std::memory_order_relaxed);
  return segment_->Remove();
}

Status Background::Flush(TimeNs deadline_ns) {
  const TimeNs until_ns = SystemClock().MonotonicNs() + deadline_ns;
  const MutexLock lock(mutex_);
  const uint64_t round = begun_round_ + 1;
  wanted_round_ = std::max(wanted_round_, round);
  wake_.NotifyAll();
  while (done_round_ < round && !drain_done_) {
    const TimeNs left_ns = until_ns - SystemClock().MonotonicNs();
    if (left_ns <= 0) {
      return DeadlineExceededError("flushing capture: the drain has not caught up");
    }
    progress_.WaitFor(mutex_, left_ns);
  }
  return drain_done_ ? final_status_ : round_status_;
}

Status Background::Stop(TimeNs deadline_ns) {
  const TimeNs until_ns = SystemClock().MonotonicNs() + deadline_ns;
  bool drain_done = false;
  bool seal_done = false;
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    wake_.NotifyAll();
    while (!drain_done_ || !seal_done_) {
      const TimeNs left_ns = until_ns - SystemClock().MonotonicNs();
      if (left_ns <= 0) {
        break;
      }
      progress_.WaitFor(mutex_, left_ns);
    }
    drain_done = drain_done_;
    seal_done = seal_done_;
  }
  // A thread that has ended is joined also when the other one hangs.
  for (auto [thread, done] : {std::pair{&drain_thread_, drain_done}, {&seal_thread_, seal_done}}) {
    if (done && *thread != nullptr) {
      (*thread)->Join();
      delete std::exchange(*thread, nullptr);  // NOLINT(cppcoreguidelines-owning-memory)
    }
  }
  if (!drain_done || !seal_done) {
    return DeadlineExceededError(
        "stopping capture: what is not on disk yet stays in the rank segment for recovery");
  }
  const MutexLock lock(mutex_);
  return final_status_;
}

}  // namespace wheeltapper::capture
