#include "wheeltapper/capture/session.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include <unistd.h>

#include "wheeltapper/core/env.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/host.h"

#include "native_session.h"

namespace wheeltapper::capture {
namespace {

// Set-up calls wait this long for ring space; the drain needs milliseconds.
constexpr TimeNs kSetUpDeadlineNs = 5'000'000'000;
constexpr TimeNs kMetaDeadlineNs = 500'000'000;
// A session that nobody stopped gives its threads this long when it goes.
constexpr TimeNs kLastDeadlineNs = 2'000'000'000;
// Blob ring where no collection takes raw tensors: save_tensor may still come.
constexpr uint64_t kSmallBlobRingBytes = uint64_t{32} << 20;
constexpr double kMostOfMemory = 0.02;

uint64_t MemoryBytes() {
  const auto pages = sysconf(_SC_PHYS_PAGES);
  const auto page_bytes = sysconf(_SC_PAGESIZE);
  return pages <= 0 || page_bytes <= 0
             ? 0
             : static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_bytes);
}

uint64_t BlobRingBytes(const Config& config, const CapturePlan& plan) {
  const auto asked = static_cast<uint64_t>(config.GetInt("capture.blob_ring_mb")) << 20;
  const auto most = static_cast<uint64_t>(kMostOfMemory * static_cast<double>(MemoryBytes()));
  const uint64_t wanted = plan.takes_raw() || config.WasChosen("capture.blob_ring_mb")
                              ? asked
                              : std::min(asked, kSmallBlobRingBytes);
  return most == 0 ? wanted : std::min(wanted, most);
}

OnFull OnFullOf(const Config& config) {
  const std::string policy = config.GetText("capture.on_full");
  if (policy == "skip") {
    return OnFull::kSkip;
  }
  if (policy == "thin") {
    return OnFull::kThin;
  }
  return policy == "block" ? OnFull::kBlock : OnFull::kDegrade;
}

format::Durability DurabilityOf(const Config& config) {
  const std::string durability = config.GetText("capture.durability");
  if (durability == "interval") {
    return format::Durability::kInterval;
  }
  return durability == "step" ? format::Durability::kStep : format::Durability::kProcess;
}

format::RankInfo DescribeRank(const SessionOptions& options, const Clock& clock) {
  format::RankInfo info;
  info.rank = options.rank;
  info.world_size = options.world_size;
  info.host = HostName();
  info.pid = getpid();
  info.device = options.device;
  info.framework = options.framework;
  info.boot_id = BootId();
  info.wall_ns = clock.WallNs();
  info.monotonic_ns = clock.MonotonicNs();
  const Result<format::RankInfo> before = format::ReadRankInfo(options.run_dir, options.rank);
  info.incarnation = before.ok() ? before->incarnation + 1 : 1;
  return info;
}

// Without links: ".." behind one leads elsewhere than its text says.
std::string RealPath(const std::string& path) {
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(path, error);
  return error ? "" : real.string();
}

Result<std::unique_ptr<format::RankSegment>> MakeSegment(const SessionOptions& options,
                                                         const Config& config,
                                                         const CapturePlan& plan, uint64_t run_id,
                                                         uint64_t incarnation) {
  format::SegmentOptions segment;
  segment.run_dir = RealPath(options.run_dir);
  segment.rank = options.rank;
  segment.run_id = run_id;
  segment.incarnation = incarnation;
  segment.journal_ring_bytes = static_cast<uint64_t>(config.GetInt("capture.ring_mb")) << 20;
  segment.blob_ring_bytes = BlobRingBytes(config, plan);
  segment.path = format::SegmentPath(options.run_dir, run_id, options.rank, incarnation,
                                     segment.journal_ring_bytes + segment.blob_ring_bytes);
  Result<std::unique_ptr<format::RankSegment>> made = format::RankSegment::Create(segment);
  if (made.status().code() != StatusCode::kResourceExhausted) {
    return made;
  }
  // Another rank was faster, or other users of the folder were.
  segment.path = format::SegmentPathInRun(options.run_dir, options.rank, incarnation);
  return format::RankSegment::Create(segment);
}

// File systems without a size of their own (ramfs, many in user space) report 0 bytes, 0 of them
// free: that is no full disk.
std::function<std::optional<uint64_t>()> FreeBytesOf(const std::string& folder) {
  return [folder]() -> std::optional<uint64_t> {
    std::error_code error;
    const auto space = std::filesystem::space(folder, error);
    return error || space.capacity == 0 ? std::nullopt : std::optional<uint64_t>(space.available);
  };
}

// What take() tells per mode, and the entry that goes into the recorder's table.
struct Planned {
  std::array<uint32_t, kModes> take{};
  TableEntry entry;
};

Result<Planned> PlanTensor(const CapturePlan& plan, const TensorSpec& spec) {
  if (spec.name.empty() || spec.shape.size() > static_cast<size_t>(tensor::kMaxDims)) {
    return InvalidArgumentError("registering tensor: no name or too many dimensions: \"" +
                                spec.name + "\"");
  }
  WT_ASSIGN_OR_RETURN(Decision decision, plan.Decide(spec));
  Planned planned;
  planned.take = decision.take;
  planned.entry = TensorEntry(spec, std::move(decision));
  return planned;
}

}  // namespace

Result<std::unique_ptr<Session>> Session::Start(const SessionOptions& options, const Config& config,
                                                const Clock& clock) {
  return NativeSession::Open(options, config, clock, nullptr);
}

Result<std::unique_ptr<Session>> NativeSession::Open(
    const SessionOptions& options, const Config& config, const Clock& clock,
    std::unique_ptr<format::JournalWriter> writer) {
  WT_ASSIGN_OR_RETURN(CapturePlan plan, CapturePlan::Create(config));
  WT_ASSIGN_OR_RETURN(const format::RunInfo run, format::ReadRunInfo(options.run_dir));
  format::RankInfo info = DescribeRank(options, clock);
  if (writer == nullptr) {
    format::WriterOptions writing;
    writing.run_dir = options.run_dir;
    writing.rank = options.rank;
    writing.run_id = run.run_id;
    writing.durability = DurabilityOf(config);
    writing.retain_raw_steps = config.GetInt("storage.retain_raw_steps");
    WT_ASSIGN_OR_RETURN(writer, format::JournalWriter::Open(writing, clock));
  }
  WT_ASSIGN_OR_RETURN(std::unique_ptr<format::RankSegment> segment,
                      MakeSegment(options, config, plan, run.run_id, info.incarnation));
  info.segment_path = segment->path();
  const auto undo = [path = segment->path()](Status why) {
    RemoveFile(path).IgnoreError("the first error is the one that counts");
    return why;
  };
  if (Status written = format::WriteRankInfo(options.run_dir, info); !written.ok()) {
    return undo(written);
  }
  RecorderOptions recording;
  recording.on_full = OnFullOf(config);
  recording.governor.budget = config.GetFloat("budget");
  recording.governor.enabled = plan.any_governed();
  recording.max_errors = config.GetInt("capture.max_errors");
  recording.next_seq = writer->next_seq();
  auto recorder = std::make_unique<Recorder>(recording, std::move(plan), segment.get(), &clock);
  BackgroundOptions behind;
  behind.run_dir = options.run_dir;
  behind.clock = &clock;
  behind.job_waits = recording.on_full == OnFull::kBlock;
  behind.free_disk_bytes =
      options.free_disk_bytes ? options.free_disk_bytes : FreeBytesOf(options.run_dir);
  auto background = std::make_shared<Background>(std::move(behind), std::move(segment),
                                                 std::move(recorder), std::move(writer));
  std::unique_ptr<NativeSession> session(  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory)
      new NativeSession(background, info, options.run_dir, GetEnv("WHEELTAPPER_STRICT") == "1"));
  Status started = background->Start();
  if (started.ok()) {
    started = session->recorder_->AddOverheadScalars(kSetUpDeadlineNs);
  }
  if (!started.ok()) {
    return undo(started);
  }
  return std::unique_ptr<Session>(std::move(session));
}

NativeSession::NativeSession(std::shared_ptr<Background> background, format::RankInfo info,
                             std::string run_dir, bool strict)
    : background_(std::move(background)),
      recorder_(&background_->recorder()),
      run_dir_(std::move(run_dir)),
      strict_(strict),
      info_(std::move(info)) {}

NativeSession::~NativeSession() {
  if (inert()) {
    // The parent's memory: its threads do not exist here, its mutexes may be locked, its files are
    // shared. Nothing of it is touched.
    // Kept reachable, so that leak checkers know it is meant; volatile, so that the compiler keeps
    // it.
    [[maybe_unused]] static const std::shared_ptr<Background>* volatile kept = nullptr;
    kept = new std::shared_ptr<Background>(std::move(background_));  // NOLINT
    return;
  }
  Stop(kLastDeadlineNs).IgnoreError("recovery finishes what did not make it in time");
}

Result<CaptureId> NativeSession::RegisterTensor(const TensorSpec& spec) {
  if (inert()) {
    return FailedPreconditionError("registering tensor: capture is off in forked processes");
  }
  const MutexLock lock(mutex_);
  if (const auto known = ids_.find(spec.name); known != ids_.end()) {
    Registered& registered = known->second;
    if (registered.shape != spec.shape || registered.dtype != spec.dtype) {
      WT_RETURN_IF_ERROR(recorder_->Change(registered.id, spec, kSetUpDeadlineNs));
      registered.shape = spec.shape;
      registered.dtype = spec.dtype;
    }
    return registered.id;
  }
  WT_ASSIGN_OR_RETURN(Planned planned, PlanTensor(recorder_->plan(), spec));
  WT_ASSIGN_OR_RETURN(const CaptureId id,
                      recorder_->Add(std::move(planned.entry), kSetUpDeadlineNs));
  ids_[spec.name] = {id, spec.dtype, spec.shape};
  takes_.resize(std::max<size_t>(takes_.size(), id + 1));
  takes_[id] = planned.take;
  return id;
}

Result<CaptureId> NativeSession::RegisterScalar(const std::string& name, Role role) {
  if (inert()) {
    return FailedPreconditionError("registering scalar: capture is off in forked processes");
  }
  const MutexLock lock(mutex_);
  if (const auto known = ids_.find(name); known != ids_.end()) {
    return known->second.id;
  }
  std::vector<std::string> collections;
  if (role == Role::kLoss || role == Role::kMetric) {
    collections.emplace_back(role == Role::kLoss ? "losses" : "metrics");
  }
  WT_ASSIGN_OR_RETURN(
      const CaptureId id,
      recorder_->Add(ScalarTableEntry(name, recorder_->plan().TakesScalar(role), collections),
                     kSetUpDeadlineNs));
  ids_[name] = {id, tensor::DType::kF64, {}};
  return id;
}

uint32_t NativeSession::take(CaptureId id, Mode mode) const noexcept {
  if (inert()) {
    return kTakeNothing;
  }
  const MutexLock lock(mutex_);
  return id < takes_.size() ? takes_[id][static_cast<size_t>(mode)] : uint32_t{kTakeNothing};
}

void NativeSession::Meta(const std::string& json) noexcept {
  if (inert() || !recorder_->live()) {
    return;
  }
  if (const Status written = recorder_->Meta(json, kMetaDeadlineNs); !written.ok()) {
    recorder_->fuse().Report(written.code(), "recording a META text");
  }
}

Status NativeSession::DescribeModel(const std::string& summary) {
  if (inert()) {
    return Status::Ok();
  }
  const MutexLock lock(mutex_);
  info_.model_summary = summary;
  return format::WriteRankInfo(run_dir_, info_);
}

void NativeSession::SetPhase(uint32_t phase) noexcept {
  if (recorder_->live()) {
    background_->segment().page().phase.store(phase, std::memory_order_relaxed);
  }
}

Status NativeSession::Stop(TimeNs deadline_ns) {
  if (inert()) {
    return Status::Ok();
  }
  const MutexLock lock(mutex_);
  if (stopped_) {
    return stop_status_;
  }
  stopped_ = true;
  const TimeNs begin_ns = SystemClock().MonotonicNs();
  const Status closed = recorder_->Close(background_->TakeNotes(), deadline_ns);
  const TimeNs left_ns = deadline_ns - (SystemClock().MonotonicNs() - begin_ns);
  stop_status_ = background_->Stop(std::max<TimeNs>(left_ns, 0));
  if (stop_status_.ok()) {
    stop_status_ = closed;
  }
  return stop_status_;
}

Status NativeSession::Flush(TimeNs deadline_ns) {
  return inert() ? Status::Ok() : background_->Flush(deadline_ns);
}

SessionCounters NativeSession::counters() const {
  SessionCounters counters;
  recorder_->Count(&counters);
  counters.ring_fill = inert() ? 0 : background_->segment().journal_ring().fill();
  counters.bytes_drained = background_->bytes_drained();
  return counters;
}

void NativeSession::Disable(const char* what) noexcept {
  if (!inert()) {
    recorder_->fuse().Blow(StatusCode::kInternal, what);
    recorder_->ObeyFuse();
  }
}

Status NativeSession::last_error() const {
  if (inert() || (!strict_ && !recorder_->fuse().blown())) {
    return Status::Ok();
  }
  const Status behind = background_->first_error();
  return behind.ok() ? recorder_->fuse().first() : behind;
}

}  // namespace wheeltapper::capture
