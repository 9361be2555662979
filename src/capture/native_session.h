// The Session of a training job: recorder, background threads, run directory. Private: tests put a
// writer of their own in.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "wheeltapper/capture/session.h"
#include "wheeltapper/core/mutex.h"
#include "wheeltapper/format/journal_writer.h"
#include "wheeltapper/format/run_directory.h"

#include "background.h"
#include "recorder.h"

namespace wheeltapper::capture {

class NativeSession final : public Session {
 public:
  // `writer` null: the run directory's journal writer.
  static Result<std::unique_ptr<Session>> Open(const SessionOptions& options, const Config& config,
                                               const Clock& clock,
                                               std::unique_ptr<format::JournalWriter> writer);
  NativeSession(const NativeSession&) = delete;
  NativeSession& operator=(const NativeSession&) = delete;
  ~NativeSession() override;

  Result<CaptureId> RegisterTensor(const TensorSpec& spec) override;
  Result<CaptureId> RegisterScalar(const std::string& name, Role role) override;
  [[nodiscard]] uint32_t take(CaptureId id, Mode mode) const noexcept override;
  void Meta(const std::string& json) noexcept override;
  Status DescribeModel(const std::string& summary) override;

  [[nodiscard]] bool armed(Mode mode) const noexcept override { return recorder_->armed(mode); }
  [[nodiscard]] TimeNs held_ns() const noexcept override { return recorder_->held_ns(); }
  void Record(std::span<const TensorItem> items) noexcept override { recorder_->Record(items); }
  void RecordScalars(std::span<const ScalarItem> items) noexcept override {
    recorder_->RecordScalars(items);
  }
  void Log(std::span<const ScalarItem> items, int64_t step, Mode mode) noexcept override {
    recorder_->Log(items, step, mode);
  }
  void FinishStep(Mode mode, const StepTimes& times) noexcept override {
    recorder_->FinishStep(mode, times);
  }
  void MarkStep() noexcept override { recorder_->MarkStep(); }
  void AmendStep(Mode mode) noexcept override { recorder_->AmendStep(mode); }
  void RecordUnsupported(CaptureId id) noexcept override { recorder_->RecordUnsupported(id); }
  [[nodiscard]] int64_t global_step() const noexcept override { return recorder_->global_step(); }
  [[nodiscard]] int64_t mode_step(Mode mode) const noexcept override {
    return recorder_->mode_step(mode);
  }
  void SetPhase(uint32_t phase) noexcept override;
  void SetGlobalStep(int64_t step) noexcept override { recorder_->SetGlobalStep(step); }
  void SetModeStep(Mode mode, int64_t step) noexcept override {
    recorder_->SetModeStep(mode, step);
  }

  Status Stop(TimeNs deadline_ns) override;
  Status Flush(TimeNs deadline_ns) override;
  [[nodiscard]] SessionCounters counters() const override;
  [[nodiscard]] Status last_error() const override;
  void Disable(const char* what) noexcept override;
  [[nodiscard]] bool inert() const noexcept override { return recorder_->inert(); }

 private:
  NativeSession(std::shared_ptr<Background> background, format::RankInfo info, std::string run_dir,
                bool strict);

  struct Registered {
    CaptureId id = 0;
    tensor::DType dtype = tensor::DType::kF32;
    std::vector<int64_t> shape;
  };

  std::shared_ptr<Background> background_;
  Recorder* const recorder_;  // background_'s
  const std::string run_dir_;
  const bool strict_;

  mutable Mutex mutex_;  // never taken on the hot path, nor in a forked child
  std::unordered_map<std::string, Registered> ids_ WT_GUARDED_BY(mutex_);
  // Takes per mode, by id: what take() answers without touching the recorder's table.
  std::vector<std::array<uint32_t, kModes>> takes_ WT_GUARDED_BY(mutex_);
  format::RankInfo info_ WT_GUARDED_BY(mutex_);
  bool stopped_ WT_GUARDED_BY(mutex_) = false;
  Status stop_status_ WT_GUARDED_BY(mutex_);
};

}  // namespace wheeltapper::capture
