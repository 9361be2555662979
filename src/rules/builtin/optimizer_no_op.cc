// Steps that change nothing, of three causes:
//   ""             parameters that receive a gradient and stay as they are
//   never_stepped  so do those of an optimizer whose step() is not called, or of every one
//   no_gradient    step() is called, but no parameter of the optimizer ever has a gradient
//   detached       some of its parameters never have one, while others do (missing_gradients.h)
#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "gradient_absence.h"
#include "growth.h"
#include "missing_gradients.h"
#include "missing_steps.h"
#include "model_description.h"
#include "persistence.h"
#include "robust.h"
#include "stats_index.h"
#include "tensor_names.h"
#include "update_size.h"

namespace wheeltapper::rules {
namespace {

// Below this mean |g| (vanishing_gradient's threshold) it is the gradient that is at fault.
constexpr double kVanished = 1e-7;

constexpr std::array<ParameterSpec, 2> kParameters = {{
    {"num_steps", ParameterType::kInteger, "5",
     "Captured steps in a row without a change, or without any gradient, before it is reported; at "
     "least 1.",
     kOurs},
    {"late_start_steps", ParameterType::kInteger, "100",
     "Steps of training within which an optimizer that is there may make its first step, or, "
     "beside others that train, may get its first gradient. At the end of the run it is reported "
     "whatever their number.",
     kOurs},
}};

constexpr std::array<Explanation, 1> kExplainedBy = {{
    {kNoGradient, "dead_relu", kAnyCause, Reach::kWholeModel},
}};

const RuleInfo kInfo = {
    .name = "optimizer_no_op",
    .title = "Optimizer did nothing",
    .summary =
        "Parameters that receive a gradient but do not change, or steps without any gradient.",
    .smdebug_name = "",
    .severity = Severity::kError,
    .on_by_default = true,
    .warm_up_steps = 5,
    .parameters = kParameters,
    .needs = {.collections = {"gradients", "weights"}},
    .what_it_means =
        "A parameter had a finite, non-zero gradient on `num_steps` captured steps in a row, and "
        "all its statistics stayed the same, bit for bit (or the captured update was exactly "
        "zero, or it belongs to no optimizer). The step() calls do not reach it, or add what the "
        "weights' dtype rounds away, which the finding tells by the learning rate, the gradient "
        "and "
        "the size of the weights. Where that is so and the gradient's mean |g| is below 1e-7, the "
        "cause is the gradient: that is left to vanishing_gradient. If its optimizer "
        "has not stepped at all, the finding says so, after `late_start_steps` steps of training "
        "or at the end of the run; it is a warning then while others train or the run was shorter. "
        "So it does where no optimizer has ever stepped: at the end of a run of 8 backward passes "
        "(a warning) or 128, and at the 1024th while it goes on, as long as the weights rest. "
        "Also reported: step() was called on `num_steps` captured steps, "
        "from the first on, while no parameter of the optimizer has ever had a gradient and the "
        "weights do not move, because backward() was not called, zero_grad() came between "
        "backward() and step(), or the loss is detached from the parameters. When the weights are "
        "not captured, or there are gradients but all have been exactly zero, it is a warning; so "
        "it is, after `late_start_steps` steps or at the end of the run, where other optimizers "
        "have had gradients. So is a parameter that has not had a gradient on `num_steps` captured "
        "steps, and rests, while others of its optimizer have: detach() or no_grad() cuts the "
        "graph there, or forward() does not use it.",
    .false_alarms =
        "Parameters left out of the optimizer on purpose while requires_grad is still true: the "
        "gradient is computed for nothing; set requires_grad = False. A second optimizer that "
        "makes its first step later than `late_start_steps`, or has not had its turn when a run "
        "ends. Steps of a schedule whose learning "
        "rate is zero. A reward that is zero for many episodes. An expert of a mixture, or the "
        "head of a task, that has had no input for `late_start_steps` steps.",
    .how_to_fix =
        "Call loss.backward() before optimizer.step(), and zero_grad() before backward() or after "
        "step(). Take detach() and no_grad() away from what is to learn, and set requires_grad = "
        "False for what is not. Pass the parameters to the optimizer after the model is on its "
        "device and "
        "wrapped; call "
        "optimizer.step() on the optimizer that holds them; check the learning rate of each "
        "parameter group; keep a float32 copy of the weights when training in bfloat16 or "
        "float16.",
    .explained_by = kExplainedBy,
};

bool IsUnreadable(const format::GapRow& row) {
  return row.gap.reason == format::GapReason::kUnsupported;
}

class OptimizerNoOp final : public Rule {
 public:
  explicit OptimizerNoOp(const Parameters& parameters)
      : num_steps_(std::max<int64_t>(1, parameters.Integer("num_steps"))),
        late_start_steps_(parameters.Integer("late_start_steps")) {}

  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    model_.Add(batch.metas);
    unreadable_ = unreadable_ || std::any_of(batch.gaps.begin(), batch.gaps.end(), IsUnreadable);
    growth_.Add(batch, context.names());
    index_.Fill(batch);
    bool judged = false;
    found_.clear();
    moved_now_ = false;
    unsure_now_ = false;
    at_step_.clear();
    judged_now_.clear();
    for (const format::StatsRow& row : batch.stats) {
      if (roles_.Of(context.names(), row.name).kind == TensorKind::kGradient) {
        judged = true;
        Judge(batch.key, row, context.names());
      }
    }
    if (judged) {
      whole_model_now_ = !moved_now_ && !unsure_now_ && !found_.empty() && SeesAll(context.names());
      Report(batch.key, context);
    }
    JudgeGradients(batch, context);
    JudgeMissing(batch, context);
    if (auto never = missing_steps_.Add(batch, context.names(), model_.optimizer_known())) {
      context.Observe(std::move(*never));
    }
    return {};
  }

  // No step comes any more: what has waited for a late start is so, unless the optimizer has
  // stepped since the last gradient was captured. Of a short run it says little.
  Status OnIdle(TimeNs /*now_ns*/, bool ended, RuleContext& context) override {
    if (!ended) {
      return {};
    }
    for (Observation* observation : WaitingByModel()) {
      if (model_.IdleOptimizerOf(*observation->tensor) != nullptr) {
        observation->severity = Severity::kWarning;
        context.Observe(std::move(*observation));
      }
    }
    for (auto& [optimizer, observation] : held_absences_) {
      if (gradients_.Lacks(optimizer)) {
        context.Observe(std::move(observation));
      }
    }
    if (auto never = missing_steps_.AtEnd()) {
      context.Observe(std::move(*never));
    }
    for (Observation& observation : held_missing_) {
      context.Observe(std::move(observation));
    }
    held_.clear();
    held_absences_.clear();
    held_missing_.clear();
    return {};
  }

  [[nodiscard]] std::string NothingJudged() const override {
    if (!tracks_.empty() || looked_ || missing_steps_.looked()) {
      return "";
    }
    const std::string why =
        "no gradient was recorded, so that weights that do not move are not told from weights that "
        "are not meant to; capture gradients: capture.gradients=stats";
    return unreadable_ ? why +
                             "; some tensors could not be read and stay unread whatever is set "
                             "(gaps of the kind unsupported: on a GPU, of a sparse layout, or "
                             "outputs of modules under torch.compile)"
                       : why;
  }

 private:
  struct Track {
    bool has_weight = false;
    bool pending = false;  // the step before had a gradient that should have moved the weight
    tensor::TensorStats weight;
    Persistence idle;            // steps without a change
    const char* cause_key = "";  // of the latest report
  };

  // kIdle: at rest, though its gradient should have moved it. kResting: at rest without one.
  enum class Verdict { kMoved, kIdle, kResting, kUnknown };

  // Whether every parameter was looked at: by its gradient, or, where it has none, by its weight.
  // Others may train unseen, where a part of the model is captured.
  [[nodiscard]] bool SeesAll(const format::NameTable& names) const {
    return model_.EveryTrained([&](const std::string& parameter) {
      return judged_now_.contains(parameter) || index_.Find(names, parameter) != nullptr;
    });
  }

  // What Judge has found at this step, and which causes are clear. Where nothing moves, and that is
  // known of every parameter, the model does not learn for this reason.
  void Report(const format::StepKey& key, RuleContext& context) {
    for (Observation& observation : found_) {
      observation.whole_model = whole_model_now_;
      if (observation.cause_key == kNeverStepped && any_moved_) {
        observation.severity = Severity::kWarning;  // a stage of the training may come later still
      }
      context.Observe(std::move(observation));
    }
    for (const char* cause : {"", kNeverStepped}) {
      at_step_[cause].Tell(cause, key, context);
    }
  }

  void Judge(const format::StepKey& key, const format::StatsRow& gradient,
             const format::NameTable& names) {
    const std::string parameter = roles_.Of(names, gradient.name).subject;
    if (!model_.RequiresGrad(parameter)) {
      return;
    }
    judged_now_.insert(parameter);
    Track& track = tracks_[gradient.name];
    const format::StatsRow* weight = index_.Find(names, parameter);
    const Verdict verdict = VerdictOn(parameter, weight, names, track);
    moved_now_ = moved_now_ || verdict == Verdict::kMoved;
    any_moved_ = any_moved_ || moved_now_;
    unsure_now_ = unsure_now_ || verdict == Verdict::kUnknown;
    if (weight != nullptr) {
      track.has_weight = true;
      track.weight = weight->stats;
    }
    track.pending = gradient.stats.nonfinite_count() == 0 && gradient.stats.abs_max > 0 &&
                    !IsFaint(parameter, gradient, weight);
    if (verdict == Verdict::kMoved || !track.pending) {
      track.idle.Note(verdict == Verdict::kMoved ? Seen::kOver : Seen::kNear, key.step.value);
      held_.erase(gradient.name);
    } else if (verdict == Verdict::kIdle) {
      track.idle.Note(Seen::kMet, key.step.value);
    }
    const bool shows = verdict == Verdict::kIdle && track.idle.streak() >= num_steps_;
    const Persisting persisting = track.idle.Judge(shows, num_steps_);
    if (persisting == Persisting::kShown) {
      Find(key, gradient, weight, parameter, &track);
    } else {
      at_step_[track.cause_key].Add(persisting);
    }
  }

  // In the order of the model: names have their numbers in the order in which a reader came to
  // them.
  [[nodiscard]] std::vector<Observation*> WaitingByModel() {
    std::vector<Observation*> waiting;
    for (auto& [name, observation] : held_) {
      waiting.push_back(&observation);
    }
    std::stable_sort(waiting.begin(), waiting.end(), [this](const auto* a, const auto* b) {
      return model_.OrderOfParameter(*a->tensor) < model_.OrderOfParameter(*b->tensor);
    });
    return waiting;
  }

  // A parameter that has been at rest for long enough: found, or held back while its optimizer may
  // still start.
  void Find(const format::StepKey& key, const format::StatsRow& gradient,
            const format::StatsRow* weight, const std::string& parameter, Track* track) {
    Observation observation = Describe(key, gradient, parameter, *track);
    Explain(parameter, gradient, weight, &observation);
    const bool never_stepped = observation.cause_key == kNeverStepped;
    track->cause_key = never_stepped ? kNeverStepped : "";
    if (never_stepped && key.step.value - track->idle.since_step() < late_start_steps_) {
      at_step_[kNeverStepped].Add(Persisting::kHeld);
      held_.insert_or_assign(gradient.name, std::move(observation));
      return;
    }
    at_step_[track->cause_key].Add(Persisting::kShown);
    held_.erase(gradient.name);
    found_.push_back(std::move(observation));
  }

  // A gradient so small that no weight would show the optimizer's step, if there is one.
  [[nodiscard]] bool IsFaint(const std::string& parameter, const format::StatsRow& gradient,
                             const format::StatsRow* weight) const {
    const bool is_stepped = !model_.optimizer_known() || model_.Optimized(parameter);
    return gradient.stats.abs_mean() < kVanished && is_stepped && growth_.learning_rate() != 0.0 &&
           weight != nullptr && !UpdateShows(UpdateOf(parameter, gradient), *weight);
  }

  // The largest that is to be expected, taking 1 for a learning rate that is not known.
  [[nodiscard]] double UpdateOf(const std::string& parameter,
                                const format::StatsRow& gradient) const {
    return LargestUpdate(model_.OptimizerOf(parameter), growth_.learning_rate().value_or(1),
                         gradient.stats.abs_max);
  }

  void JudgeGradients(const format::StepBatch& batch, RuleContext& context) {
    const std::optional<GradientAbsence> absence =
        gradients_.Add(batch, index_, context.names(), model_);
    looked_ = looked_ || absence;
    if (!absence) {
      if (batch.is_step && gradients_.present()) {
        context.Clear(kNoGradient, batch.key);
      }
      return;
    }
    held_absences_.erase(absence->optimizer);
    if (absence->steps < num_steps_) {
      return;
    }
    Observation observation =
        DescribeAbsence(*absence, batch.key, model_, gradients_.backward_seen());
    // Beside others that have theirs its turn may come: a task, or a stage of the training.
    if (absence->alone && batch.key.step.value - absence->since_step < late_start_steps_) {
      held_absences_.emplace(absence->optimizer, std::move(observation));
    } else {
      context.Observe(std::move(observation));
    }
  }

  // Some parameters of an optimizer without a gradient. An expert of a mixture, or a task, may have
  // its turn late.
  void JudgeMissing(const format::StepBatch& batch, RuleContext& context) {
    if (!missing_.Add(batch, index_, context.names(), model_)) {
      return;
    }
    held_missing_.clear();
    bool found = false;
    for (const ModuleWithoutGradient& group : missing_.Found(num_steps_, model_)) {
      const bool waits = batch.key.step.value - group.since_step < late_start_steps_;
      found = found || !waits;
      for (Observation& observation : DescribeMissing(group, batch.key)) {
        if (waits) {
          held_missing_.push_back(std::move(observation));
        } else {
          context.Observe(std::move(observation));
        }
      }
    }
    if (!found) {
      context.Clear(kDetached, batch.key);
    }
  }

  // Whether the parameter moved between the captured step before and this one.
  Verdict VerdictOn(const std::string& parameter, const format::StatsRow* weight,
                    const format::NameTable& names, const Track& track) const {
    const format::StatsRow* update = index_.Find(names, "update/" + parameter);
    if (update != nullptr) {
      return update->stats.abs_max > 0 ? Verdict::kMoved : Verdict::kIdle;
    }
    if (weight != nullptr && track.has_weight) {
      if (!SameStats(weight->stats, track.weight)) {
        return Verdict::kMoved;
      }
      return track.pending ? Verdict::kIdle : Verdict::kResting;
    }
    if (weight == nullptr && model_.optimizer_known() && !model_.Optimized(parameter)) {
      return Verdict::kIdle;
    }
    return Verdict::kUnknown;
  }

  [[nodiscard]] Observation Describe(const format::StepKey& key, const format::StatsRow& gradient,
                                     const std::string& parameter, const Track& track) const {
    return {
        .cause_key = "",
        .tensor = parameter,
        .module = ModuleOfParameter(parameter),
        .key = key,
        .message = fmt::format("{} has not changed in {} captured steps up to step {}, though its "
                               "gradient is not zero (largest |g| {})",
                               parameter, track.idle.streak(), key.step.value,
                               NumberForPeople(gradient.stats.abs_max)),
        .cause = {},
        .try_ = {},
        .evidence = {},
        .severity = {},
        .since = Step{track.idle.since_step()},
        .patience = num_steps_,
        .lasts = true};
  }

  // The likeliest cause, most certain first, and what to do about it.
  void Explain(const std::string& parameter, const format::StatsRow& gradient,
               const format::StatsRow* weight, Observation* observation) const {
    if (const std::string* idle = model_.IdleOptimizerOf(parameter)) {
      observation->cause_key = kNeverStepped;
      observation->cause =
          fmt::format("its optimizer{} is never stepped", idle->empty() ? "" : " (" + *idle + ")");
      observation->try_ =
          "call step() of that optimizer too, or set requires_grad = False if it is to stay";
      return;
    }
    const bool narrow = weight != nullptr && (weight->dtype == tensor::DType::kBF16 ||
                                              weight->dtype == tensor::DType::kF16);
    const double update = UpdateOf(parameter, gradient);
    const bool is_rounded_away = weight != nullptr && (!UpdateShows(update, *weight) ||
                                                       (narrow && !growth_.learning_rate()));
    if (model_.optimizer_known() && !model_.Optimized(parameter)) {
      observation->cause = "it belongs to no optimizer";
      observation->try_ = "pass it to the optimizer, or set requires_grad = False if it is to stay";
    } else if (growth_.learning_rate() == 0.0) {
      observation->cause = "the learning rate is 0";
      observation->try_ = "check the learning rate schedule";
    } else if (is_rounded_away) {
      const std::string updates = fmt::format(
          "its updates{} are smaller than {} can add to weights of this size (rms {})",
          growth_.learning_rate() ? ", about " + NumberForPeople(update) + "," : "",
          tensor::DTypeFrameworkName(weight->dtype), NumberForPeople(weight->stats.rms()));
      // With a wide dtype and a gradient that is none of the smallest it is the rate that is.
      const bool is_rate = !narrow && growth_.learning_rate() && gradient.stats.rms() > kVanished;
      observation->cause = is_rate ? fmt::format("the learning rate ({}) is too small: {}",
                                                 NumberForPeople(*growth_.learning_rate()), updates)
                                   : updates;
      observation->try_ =
          narrow    ? "keep a float32 copy of the weights, or raise the learning rate"
          : is_rate ? "check the learning rate schedule: how often it is stepped, and its "
                      "factor"
                    : "raise the learning rate, or the gradient: check the scale of the "
                      "loss";
    } else {
      observation->cause =
          "the optimizer's step does not reach it: made before the model was moved "
          "or wrapped, step() of another optimizer, or a learning rate of 0";
      observation->try_ =
          "create the optimizer from model.parameters() after moving and wrapping "
          "the model";
    }
  }

  const int64_t num_steps_;
  const int64_t late_start_steps_;
  TensorRoles roles_;
  ModelDescription model_;
  GrowthTracker growth_;
  StatsIndex index_;
  GradientWatch gradients_;
  bool unreadable_ = false;  // a tensor was of a kind that cannot be read
  bool looked_ = false;      // some step showed whether there are gradients at all
  std::unordered_map<format::NameId, Track> tracks_;
  bool moved_now_ = false;                      // a parameter, at this batch
  bool unsure_now_ = false;                     // of a parameter, whether it moved
  std::set<std::string> judged_now_;            // parameters with a gradient, at this batch
  bool whole_model_now_ = false;                // what is found holds of every parameter
  std::map<std::string, CauseAtStep> at_step_;  // by cause, at this batch
  bool any_moved_ = false;                      // so it did once: some optimizer trains
  std::vector<Observation> found_;              // at this batch
  std::map<format::NameId, Observation> held_;  // by gradient: what a late start may still undo
  std::map<std::string, Observation> held_absences_;  // by optimizer, likewise
  MissingSteps missing_steps_;
  MissingGradients missing_;
  std::vector<Observation> held_missing_;  // likewise
};

}  // namespace

const RuleType kOptimizerNoOp = {&kInfo, [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                                   return std::make_unique<OptimizerNoOp>(parameters);
                                 }};

}  // namespace wheeltapper::rules
