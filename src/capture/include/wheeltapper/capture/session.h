// Capture: what runs inside the training job. One Session per rank process; it links no framework.
//
// The training thread calls Record and FinishStep once per armed step (a branch on armed()
// otherwise). These calls take no lock, allocate nothing, make no system call and never throw: they
// reduce and copy into the rank segment's rings. Two background threads (drain, seal) do the rest.
// docs/design/life-of-a-step.md follows one step through all of it.
//
// Every hot entry point goes through one fuse: after `capture.max_errors` internal errors capture
// becomes a no-op, a final record says why, training goes on. With WHEELTAPPER_STRICT=1 (all tests)
// errors are kept for last_error() at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/config.h"
#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/tensor/stats.h"
#include "wheeltapper/tensor/tensor_view.h"

namespace wheeltapper::capture {

// What a tensor is to the training loop; decides its built-in collection.
enum class Role : uint8_t {
  kWeight,     // collection "weights"
  kBias,       // "biases"
  kGradient,   // "gradients"
  kOptimizer,  // "optimizer": optimizer state
  kOutput,  // "activations" and "outputs" (outputs: of the root module only, see TensorSpec::root)
  kInput,   // "inputs"
  kLoss,    // "losses"
  kMetric,  // "metrics"
  kOther,   // no built-in collection: save_tensor
};

struct TensorSpec {
  std::string name = {};  // stable for the whole run (DESIGN §3)
  Role role = Role::kOther;
  tensor::DType dtype = tensor::DType::kF32;
  std::vector<int64_t> shape = {};
  bool root = false;            // an input or output of the root module
  std::string collection = {};  // an extra collection the caller names (save_tensor); may be empty
};

// Id of a registered tensor or scalar within the session, also its journal desc id.
using CaptureId = uint32_t;

// What will be taken of a tensor in the current plan: a bit set.
enum Take : uint32_t {
  kTakeNothing = 0,
  kTakeStats = 1,
  kTakeHistogram = 2,
  kTakeRaw = 4,
  kTakeProduct = 8,
  kTakeMedian = 16,
};

struct TensorItem {
  CaptureId id = 0;
  tensor::TensorView
      view;  // borrowed until Record returns; shape may differ from the registered one (last batch)
  double scale = 1.0;  // the recorded values are element · scale (GradScaler with a fused
                       // optimizer: 1 / loss scale)
  // When not null and the plan takes statistics: receives them (of element · scale); untouched
  // otherwise.
  tensor::TensorStats* stats_out = nullptr;
};

struct ScalarItem {
  CaptureId id;
  double value;
};

struct StepTimes {
  TimeNs data_wait_ns = 0;  // of this step, inside the dataloader
  // Time the caller's hooks held the training thread for capture outside the calls of this class
  // (gathering in Python): counted as blocked, so that the governor sees all of the cost.
  TimeNs hooks_ns = 0;
};

struct SessionOptions {
  std::string run_dir;  // must hold run.json
  Rank rank;
  int32_t world_size = 1;
  std::string framework;  // "torch 2.13.0"
  std::string device;     // "cpu"
  // Null: of the disk that the run is on. Nothing where the file system does not say.
  std::function<std::optional<uint64_t>()> free_disk_bytes = nullptr;
};

// Numbers for people: shown by `show`, the report and governor tests.
struct SessionCounters {
  int64_t steps = 0;
  int64_t armed_steps = 0;
  int64_t gaps = 0;
  int64_t errors = 0;
  bool fuse_blown = false;
  int64_t interval =
      1;  // the governor's present multiplier of the configured interval (a power of two)
  TimeNs blocked_ns = 0;  // total time capture held the training thread
  TimeNs elapsed_ns = 0;  // total step time
  double overhead = 0;    // blocked / elapsed over the last steps (moving average)
  double ring_fill = 0;
  uint64_t bytes_drained = 0;
};

// Thread-safety: Register*, Start, Stop from any one thread at a time; hot calls from any thread,
// mutually excluded by a try-acquire flag (a second thread's Log waits by spinning briefly, then
// counts a gap; it never blocks in the kernel).
class Session {
 public:
  // Creates the segment, writes ranks/rRRRRR.json, starts the threads. The error of whatever
  // failed; nothing is left running.
  static Result<std::unique_ptr<Session>> Start(const SessionOptions& options, const Config& config,
                                                const Clock& clock);
  virtual ~Session() = default;

  // --- set-up: may allocate; not on the hot path ---
  // The id for a name; the same id when it is registered again (a changed shape or dtype is noted).
  // Which collections it falls into and what is taken of it is decided here, once, from the
  // configuration.
  virtual Result<CaptureId> RegisterTensor(const TensorSpec& spec) = 0;
  virtual Result<CaptureId> RegisterScalar(const std::string& name, Role role) = 0;
  // What is taken of `id` on an armed step in `mode`: kTakeNothing when no collection wants it.
  // Fixed after registration.
  [[nodiscard]] virtual uint32_t take(CaptureId id, Mode mode) const noexcept = 0;
  // Records a JSON object with a "kind" (framework events, hyperparameters, a traceback).
  virtual void Meta(const std::string& json) noexcept = 0;
  // Rewrites ranks/rRRRRR.json with a one-line description of the model.
  virtual Status DescribeModel(const std::string& summary) = 0;

  // --- hot path ---
  // True when the present step of `mode` is to be captured (tensors). Scalars are recorded on every
  // step. Also says which mode the job is in: Record and RecordScalars belong to the mode last
  // asked about.
  [[nodiscard]] virtual bool armed(Mode mode) const noexcept = 0;
  // Time that hot calls have held their callers so far, in all; what hooks take out of their own.
  [[nodiscard]] virtual TimeNs held_ns() const noexcept = 0;
  // Takes what the plan wants of each item into the open step transaction.
  virtual void Record(std::span<const TensorItem> items) noexcept = 0;
  // Scalars of the open step transaction (loss, learning rate): visible with its commit.
  virtual void RecordScalars(std::span<const ScalarItem> items) noexcept = 0;
  // Scalars of their own (`log()`), visible at once, at an explicit step (−1: the current one).
  virtual void Log(std::span<const ScalarItem> items, int64_t step, Mode mode) noexcept = 0;
  // Closes the step transaction: COMMIT, publish, governor, and the step counters move on. Unarmed
  // steps with no scalars write nothing but still count.
  virtual void FinishStep(Mode mode, const StepTimes& times) noexcept = 0;
  // The script itself says that a step ends here: the coming FinishStep writes a COMMIT whatever
  // was recorded, so that readers count the step too.
  virtual void MarkStep() noexcept = 0;
  // What has been recorded since the last FinishStep belongs to the last finished step of `mode`,
  // whatever steps of other modes came behind it: a second COMMIT of that step. No step is counted;
  // nothing is written where there is nothing, or no such step.
  virtual void AmendStep(Mode mode) noexcept = 0;
  // A thing that could not be captured (sparse, meta, quantised, GPU without a kernel): a GAP
  // record, once per name.
  virtual void RecordUnsupported(CaptureId id) noexcept = 0;
  // Steps that the optimizer skipped (GradScaler found inf): counted, recorded as scalar
  // "amp/skipped_steps".
  [[nodiscard]] virtual int64_t global_step() const noexcept = 0;
  [[nodiscard]] virtual int64_t mode_step(Mode mode) const noexcept = 0;
  virtual void SetPhase(uint32_t phase) noexcept = 0;
  // Resume: the next step to finish will be `step`. The training mode's own step becomes what is
  // left of it without the other modes' steps; SetModeStep says better where the caller knows
  // better.
  virtual void SetGlobalStep(int64_t step) noexcept = 0;
  virtual void SetModeStep(Mode mode, int64_t step) noexcept = 0;

  // --- life ---
  // Publishes the open transaction if it has data, drains, seals within `deadline_ns`, marks the
  // rank as cleanly ended. Idempotent. Called from atexit; whatever is not sealed by then is
  // finished by the watcher or `fsck --repair`.
  virtual Status Stop(TimeNs deadline_ns) = 0;
  // For tests and `wheeltapper.flush()`: returns when everything published so far is readable by
  // others.
  virtual Status Flush(TimeNs deadline_ns) = 0;
  [[nodiscard]] virtual SessionCounters counters() const = 0;
  [[nodiscard]] virtual Status last_error() const = 0;
  // The caller's own fuse has blown: records nothing from here on, as after this session's own,
  // with a GAP (kFuse) as the last record. `what` is a string literal. Any thread; idempotent.
  virtual void Disable(const char* what) noexcept = 0;
  // In a forked child: true; every call above is then a no-op.
  [[nodiscard]] virtual bool inert() const noexcept = 0;
};

}  // namespace wheeltapper::capture
