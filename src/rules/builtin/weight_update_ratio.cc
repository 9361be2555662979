// How large each update is beside the weight it changes.
#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <optional>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "growth.h"
#include "growth_cause.h"
#include "model_description.h"
#include "persistence.h"
#include "robust.h"
#include "stats_index.h"
#include "tensor_names.h"

namespace wheeltapper::rules {
namespace {

// Of the per-parameter history when num_steps reaches far back.
constexpr size_t kMostHistory = 1024;
// A ratio this many times inside its threshold is clearly fine.
constexpr double kClearly = 2;

constexpr std::array<ParameterSpec, 7> kParameters = {{
    {"num_steps", ParameterType::kInteger, "",
     "Compare with the weight at least this many steps ago; unset: the captured step before.",
     kSageMaker},
    {"large_threshold", ParameterType::kNumber, "10", "Update over weight above this is too large.",
     kSageMaker},
    {"small_threshold", ParameterType::kNumber, "0.00000001",
     "Update over weight below this is too small.", kSageMaker},
    {"epsilon", ParameterType::kNumber, "0.000000001", "Added to the weight's norm.", kSageMaker},
    {"least_rms", ParameterType::kNumber, "0.001",
     "Weights with a smaller rms are not judged too fast: they start at or near zero.", kOurs},
    {"least_elements", ParameterType::kInteger, "4",
     "Parameters of fewer elements are not judged too fast: one number passes zero on its way.",
     kOurs},
    {"patience", ParameterType::kInteger, "10",
     "Captured steps in a row with too small an update before it is reported.", kOurs},
}};

constexpr std::array<Explanation, 5> kExplainedBy = {{
    {"small", "optimizer_no_op", kAnyCause, Reach::kSamePlace},
    {"large", "nonfinite", kAnyCause},
    {"large", "exploding_tensor", "growth"},
    {"large", "loss_not_decreasing", "diverged"},
    {"large", "gradients_add_up", kAnyCause},
}};

const RuleInfo kInfo = {
    .name = "weight_update_ratio",
    .title = "Weight update ratio",
    .summary = "Updates far too large or far too small for the weights they change.",
    .smdebug_name = "WeightUpdateRatio",
    .severity = Severity::kWarning,
    .on_by_default = true,
    .warm_up_steps = 1,
    .parameters = kParameters,
    .needs = {.collections = {"weights"}},
    .what_it_means =
        "The l2 norm of what a step added to a parameter, over the parameter's own l2 norm before "
        "that step. About "
        "0.001 per step is usual; above `large_threshold` the step overwrites what was learned (an "
        "error, on one captured step), "
        "below `small_threshold` nothing is learned. The update's norm comes from the tensor "
        "update/<parameter> where it is captured; the weights' norm from the step before, or, "
        "where that was not captured, from the captured step before it, from the difference of the "
        "norms after the step and of the update where that is larger. The first captured step is "
        "not "
        "judged: it overwrites what was drawn, not what was learned. Without the update its norm "
        "is bounded from below by the "
        "change of the norm and of the mean (max(|‖w‖ − ‖w′‖|, √n·|mean − mean′|)), which can show "
        "that an update was too large, never that it was too small.",
    .false_alarms =
        "Parameters that start at zero have an infinite ratio at first: `least_rms` leaves them "
        "out. A single number, as the bias of one output, is near zero by chance now and then: "
        "`least_elements` leaves such parameters out. At the end of a learning rate schedule "
        "updates are tiny on purpose: too small counts "
        "only while the parameter's gradient is not tiny itself and the recorded learning rate is "
        "not zero.",
    .how_to_fix =
        "Too large: lower the learning rate or add warm-up. Too small: raise it, check that the "
        "optimizer's parameter group has the learning rate you think, and that the dtype can hold "
        "the sum (bfloat16 rounds small updates away).",
    .explained_by = kExplainedBy,
};

struct WeightState {
  int64_t step = 0;
  tensor::TensorStats stats;
};

// About the l2 norm of the weights that an update was added to. Where those of the step before were
// not captured, the norms of earlier ones and after the step tell: their difference to the update's
// is the least that the weights can have had.
double NormBefore(const WeightState& earlier, int64_t step, double after, double update) {
  const double norm = earlier.stats.l2();
  return earlier.step + 1 == step ? norm : std::max(norm, std::abs(after - update));
}

class WeightUpdateRatio final : public Rule {
 public:
  explicit WeightUpdateRatio(const Parameters& parameters)
      : num_steps_(parameters.empty("num_steps") ? std::nullopt
                                                 : std::optional(parameters.Integer("num_steps"))),
        large_(parameters.Number("large_threshold")),
        small_(parameters.Number("small_threshold")),
        epsilon_(parameters.Number("epsilon")),
        least_rms_(parameters.Number("least_rms")),
        least_elements_(parameters.Integer("least_elements")),
        patience_(parameters.Integer("patience")) {}

  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    growth_.Add(batch, context.names());
    model_.Add(batch.metas);
    index_.Fill(batch);
    large_now_ = small_now_ = {};
    judged_ = false;
    for (const format::StatsRow& row : batch.stats) {
      if (roles_.Of(context.names(), row.name).kind == TensorKind::kParameter) {
        JudgeParameter(batch, row, context);
      }
    }
    if (judged_) {
      large_now_.Tell("large", batch.key, context);
      small_now_.Tell("small", batch.key, context);
    }
    return {};
  }

  [[nodiscard]] std::string LeftOut() const override {
    return left_out_ && !judges_large_
               ? fmt::format(
                     "every parameter has fewer than {} elements, so that no update of "
                     "theirs is called too large; to judge them: "
                     "rules.weight_update_ratio.least_elements",
                     least_elements_)
               : "";
  }

 private:
  // The newest state at least num_steps old, or simply the newest.
  [[nodiscard]] const WeightState* Before(const std::deque<WeightState>& history,
                                          int64_t step) const {
    for (auto state = history.rbegin(); state != history.rend(); ++state) {
      if (!num_steps_ || state->step <= step - *num_steps_) {
        return &*state;
      }
    }
    return nullptr;
  }

  // Whether the parameter is large enough for its updates to be called too large.
  bool JudgesLarge(const format::StatsRow& row) {
    const bool judges = row.stats.numel >= least_elements_;
    (judges ? judges_large_ : left_out_) = true;
    return judges;
  }

  void JudgeParameter(const format::StepBatch& batch, const format::StatsRow& row,
                      RuleContext& context) {
    const std::string name = context.names().info(row.name).name;
    const format::StatsRow* update = index_.Find(context.names(), "update/" + name);
    std::deque<WeightState>& history = histories_[row.name];
    const WeightState* before = Before(history, batch.key.step.value);
    const double root_n = std::sqrt(static_cast<double>(row.stats.numel));
    if (update != nullptr) {
      judged_ = true;
      const double size = update->stats.l2();
      const double after = row.stats.l2();
      // The first captured step has nothing to compare with, and overwrites only what was drawn.
      if (!history.empty() && JudgesLarge(row)) {
        const double norm = NormBefore(history.back(), batch.key.step.value, after, size);
        JudgeLarge(batch.key, name, size / (norm + epsilon_), norm / root_n, context);
      }
      JudgeSmall(batch.key, name, size / (after + epsilon_), context);
    } else if (before != nullptr && JudgesLarge(row)) {
      judged_ = true;
      const double least_update = std::max(std::abs(row.stats.l2() - before->stats.l2()),
                                           root_n * std::abs(row.stats.mean - before->stats.mean));
      JudgeLarge(batch.key, name, least_update / (before->stats.l2() + epsilon_),
                 before->stats.rms(), context);
    }
    history.push_back({.step = batch.key.step.value, .stats = row.stats});
    const size_t keep = num_steps_ ? kMostHistory : 1;
    if (history.size() > keep) {
      history.pop_front();
    }
  }

  void JudgeLarge(const format::StepKey& key, const std::string& name, double ratio, double rms,
                  RuleContext& context) {
    const Seen seen = ratio > large_ && rms >= least_rms_ ? Seen::kMet
                      : ratio > large_ / kClearly         ? Seen::kNear
                                                          : Seen::kOver;
    const Persisting persisting = large_streaks_[name].Add(seen, key.step.value, 1);
    large_now_.Add(persisting);
    if (persisting != Persisting::kShown) {
      return;
    }
    Cause why = CauseOfGrowth(growth_, model_);
    context.Observe({.cause_key = "large",
                     .tensor = name,
                     .module = ModuleOfParameter(name),
                     .key = key,
                     .message = fmt::format("{} changed by {} times its own norm up to step {} "
                                            "(more than {} is too large)",
                                            name, NumberForPeople(ratio), key.step.value,
                                            NumberForPeople(large_)),
                     .cause = std::move(why.cause),
                     .try_ = std::move(why.try_),
                     .evidence = EvidenceOf(context.names(), name),
                     .severity = Severity::kError});
  }

  void JudgeSmall(const format::StepKey& key, const std::string& name, double ratio,
                  RuleContext& context) {
    const format::StatsRow* gradient = index_.Find(context.names(), "gradient/" + name);
    // A gradient this small explains a small update.
    constexpr double kTinyGradientRms = 1e-6;
    const bool gradient_is_alive = gradient != nullptr && gradient->stats.rms() > kTinyGradientRms;
    const bool rate_is_zero = growth_.learning_rate() == 0.0;
    const bool judged = gradient_is_alive && !rate_is_zero;
    const Seen seen = judged && ratio < small_              ? Seen::kMet
                      : judged && ratio < kClearly * small_ ? Seen::kNear
                                                            : Seen::kOver;
    Persistence& persistence = small_streaks_[name];
    const Persisting persisting = persistence.Add(seen, key.step.value, patience_);
    small_now_.Add(persisting);
    if (persisting != Persisting::kShown) {
      return;
    }
    context.Observe({.cause_key = "small",
                     .tensor = name,
                     .module = ModuleOfParameter(name),
                     .key = key,
                     .message = fmt::format(
                         "{} changes by only {} of its own norm per step, for {} captured steps up "
                         "to step {} (less than {} teaches nothing)",
                         name, NumberForPeople(ratio), persistence.streak(), key.step.value,
                         NumberForPeople(small_)),
                     .cause = "the learning rate is too low for this parameter",
                     .try_ = "raise the learning rate of its parameter group",
                     .evidence = EvidenceOf(context.names(), "update/" + name),
                     .severity = {},
                     .patience = patience_,
                     .lasts = true});
  }

  [[nodiscard]] std::vector<Evidence> EvidenceOf(const format::NameTable& names,
                                                 const std::string& name) const {
    const format::NameId* id = names.Find(name);
    if (id == nullptr) {
      return {};
    }
    Growth growth;
    growth.name = *id;
    growth.tensor = name;
    Evidence evidence = growth_.EvidenceOf(growth);
    return evidence.points.empty() ? std::vector<Evidence>() : std::vector{std::move(evidence)};
  }

  const std::optional<int64_t> num_steps_;
  const double large_;
  const double small_;
  const double epsilon_;
  const double least_rms_;
  const int64_t least_elements_;
  const int64_t patience_;
  TensorRoles roles_;
  GrowthTracker growth_;
  ModelDescription model_;
  StatsIndex index_;
  std::unordered_map<format::NameId, std::deque<WeightState>> histories_;
  std::unordered_map<std::string, Persistence> large_streaks_;
  std::unordered_map<std::string, Persistence> small_streaks_;
  CauseAtStep large_now_;
  CauseAtStep small_now_;
  bool judged_ = false;
  bool judges_large_ = false;
  bool left_out_ = false;
};

}  // namespace

const RuleType kWeightUpdateRatio = {&kInfo,
                                     [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                                       return std::make_unique<WeightUpdateRatio>(parameters);
                                     }};

}  // namespace wheeltapper::rules
