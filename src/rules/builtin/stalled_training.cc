// No progress: nothing captured or logged for a long time.
#include <array>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "robust.h"

namespace wheeltapper::rules {
namespace {

constexpr double kNsPerSecond = 1e9;

constexpr std::array<ParameterSpec, 1> kParameters = {{
    {"threshold", ParameterType::kNumber, "1800", "Seconds without a step, a tensor or a value.",
     kSageMaker},
}};

const RuleInfo kInfo = {
    .name = "stalled_training",
    .title = "Stalled training",
    .summary = "No new step, tensor or logged value for a long time.",
    .smdebug_name = "StalledTrainingRule",
    .severity = Severity::kError,
    .on_by_default = true,
    .warm_up_steps = 0,
    .parameters = kParameters,
    .needs = {},
    .what_it_means =
        "The job runs, but for `threshold` seconds no step was finished and nothing was logged. It "
        "waits: for data, for another rank, for a lock, or for a device that hangs. Over a "
        "finished run the rule reports pauses of that length between two steps.",
    .false_alarms =
        "Long evaluations or checkpoints that log nothing. Raise `threshold` above the longest "
        "pause that is normal for the job.",
    .how_to_fix =
        "Look at where each process stands (`py-spy dump --pid PID`). Usual reasons: a data loader "
        "that waits for storage, a collective that one rank never reached, a full disk.",
};

class StalledTraining final : public Rule {
 public:
  explicit StalledTraining(const Parameters& parameters)
      : threshold_s_(parameters.Number("threshold")) {}

  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    const bool progress =
        batch.is_step || !batch.scalars.empty() || !batch.stats.empty() || !batch.tensors.empty();
    if (!progress) {
      return {};
    }
    if (seen_ && TooLong(batch.wall_ns)) {
      Report(context);
    } else {
      context.Clear("", batch.key);
    }
    reported_ = false;
    seen_ = true;
    last_ns_ = batch.wall_ns;
    last_key_ = batch.key;
    return {};
  }

  // The same observation as OnBatch would make later of the same pause, so that a live run and its
  // replay agree.
  Status OnIdle(TimeNs now_ns, bool ended, RuleContext& context) override {
    if (!ended && seen_ && TooLong(now_ns)) {
      Report(context);
    }
    return {};
  }

 private:
  [[nodiscard]] bool TooLong(TimeNs now_ns) const {
    return static_cast<double>(now_ns - last_ns_) / kNsPerSecond > threshold_s_;
  }

  void Report(RuleContext& context) {
    if (reported_) {
      return;
    }
    reported_ = true;
    context.Observe({.cause_key = "",
                     .tensor = {},
                     .module = {},
                     .key = last_key_,
                     .message = fmt::format("Nothing happened for more than {} s after step {}",
                                            NumberForPeople(threshold_s_), last_key_.step.value),
                     .cause = "the job waits: for data, another rank, a lock or a device",
                     .try_ = "see where it stands: py-spy dump --pid PID of each rank",
                     .evidence = {},
                     .severity = {}});
  }

  const double threshold_s_;
  bool seen_ = false;
  bool reported_ = false;  // this pause
  TimeNs last_ns_ = 0;
  format::StepKey last_key_;
};

}  // namespace

const RuleType kStalledTraining = {&kInfo,
                                   [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                                     return std::make_unique<StalledTraining>(parameters);
                                   }};

}  // namespace wheeltapper::rules
