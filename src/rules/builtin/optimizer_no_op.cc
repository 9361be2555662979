// Steps that change nothing: parameters that receive a gradient and stay as they are.
#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "growth.h"
#include "model_description.h"
#include "robust.h"
#include "stats_index.h"
#include "tensor_names.h"

namespace wheeltapper::rules {
namespace {

constexpr std::array<ParameterSpec, 1> kParameters = {{
    {"num_steps", ParameterType::kInteger, "5",
     "Captured steps in a row without a change before it is reported; at least 1.", kOurs},
}};

const RuleInfo kInfo = {
    .name = "optimizer_no_op",
    .title = "Optimizer did nothing",
    .summary = "Parameters that receive a gradient but do not change.",
    .smdebug_name = "",
    .severity = Severity::kError,
    .on_by_default = true,
    .warm_up_steps = 5,
    .parameters = kParameters,
    .needs = {.collections = {"gradients"}},
    .what_it_means =
        "A parameter had a finite, non-zero gradient on `num_steps` captured steps in a row, and "
        "all its statistics stayed the same, bit for bit (or the captured update was exactly "
        "zero, or it belongs to no optimizer). The step() calls do not reach it.",
    .false_alarms =
        "Parameters left out of the optimizer on purpose while requires_grad is still true: the "
        "gradient is computed for nothing; set requires_grad = False. A second optimizer that "
        "makes its first step late. Steps of a schedule whose learning rate is zero.",
    .how_to_fix =
        "Pass the parameters to the optimizer after the model is on its device and wrapped; call "
        "optimizer.step() on the optimizer that holds them; check the learning rate of each "
        "parameter group; keep a float32 copy of the weights when training in bfloat16 or "
        "float16.",
};

class OptimizerNoOp final : public Rule {
 public:
  explicit OptimizerNoOp(const Parameters& parameters)
      : num_steps_(std::max<int64_t>(1, parameters.Integer("num_steps"))) {}

  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    model_.Add(batch.metas);
    growth_.Add(batch, context.names());
    index_.Fill(batch);
    bool judged = false;
    bool any = false;
    for (const format::StatsRow& row : batch.stats) {
      if (roles_.Of(context.names(), row.name).kind == TensorKind::kGradient) {
        judged = true;
        any = Judge(batch.key, row, context) || any;
      }
    }
    if (judged && !any) {
      context.Clear("", batch.key);
    }
    return {};
  }

 private:
  struct Track {
    bool has_weight = false;
    bool pending = false;  // the step before had a gradient that should have moved the weight
    tensor::TensorStats weight;
    int64_t idle = 0;  // steps without a change
    int64_t since_step = 0;
  };

  enum class Verdict { kMoved, kIdle, kUnknown };

  bool Judge(const format::StepKey& key, const format::StatsRow& gradient, RuleContext& context) {
    const std::string parameter = roles_.Of(context.names(), gradient.name).subject;
    if (!model_.RequiresGrad(parameter)) {
      return false;
    }
    Track& track = tracks_[gradient.name];
    const format::StatsRow* weight = index_.Find(context.names(), parameter);
    const Verdict verdict = VerdictOn(parameter, weight, context.names(), &track);
    if (weight != nullptr) {
      track.has_weight = true;
      track.weight = weight->stats;
    }
    track.pending = gradient.stats.nonfinite_count() == 0 && gradient.stats.abs_max > 0;
    if (verdict == Verdict::kMoved || !track.pending) {
      track.idle = 0;
      return false;
    }
    if (verdict == Verdict::kUnknown) {
      return false;
    }
    track.since_step = track.idle == 0 ? key.step.value : track.since_step;
    if (++track.idle < num_steps_) {
      return false;
    }
    Observation observation = Describe(key, gradient, parameter, track);
    Explain(parameter, weight, &observation);
    context.Observe(std::move(observation));
    return true;
  }

  // Whether the parameter moved between the captured step before and this one.
  Verdict VerdictOn(const std::string& parameter, const format::StatsRow* weight,
                    const format::NameTable& names, Track* track) const {
    const format::StatsRow* update = index_.Find(names, "update/" + parameter);
    if (update != nullptr) {
      return update->stats.abs_max > 0 ? Verdict::kMoved : Verdict::kIdle;
    }
    if (weight != nullptr && track->has_weight) {
      if (!SameStats(weight->stats, track->weight)) {
        return Verdict::kMoved;
      }
      return track->pending ? Verdict::kIdle : Verdict::kUnknown;
    }
    if (weight == nullptr && model_.optimizer_known() && !model_.Optimized(parameter)) {
      return Verdict::kIdle;
    }
    return Verdict::kUnknown;
  }

  static Observation Describe(const format::StepKey& key, const format::StatsRow& gradient,
                              const std::string& parameter, const Track& track) {
    return {.cause_key = "",
            .tensor = parameter,
            .module = ModuleOfParameter(parameter),
            .key = key,
            .message = fmt::format(
                "{} has not changed in {} captured steps up to step {}, though its "
                "gradient is not zero (largest |g| {})",
                parameter, track.idle, key.step.value, NumberForPeople(gradient.stats.abs_max)),
            .cause = {},
            .try_ = {},
            .evidence = {},
            .severity = {}};
  }

  // The likeliest cause, most certain first, and what to do about it.
  void Explain(const std::string& parameter, const format::StatsRow* weight,
               Observation* observation) const {
    const bool narrow = weight != nullptr && (weight->dtype == tensor::DType::kBF16 ||
                                              weight->dtype == tensor::DType::kF16);
    if (model_.optimizer_known() && !model_.Optimized(parameter)) {
      observation->cause = "it belongs to no optimizer";
      observation->try_ = "pass it to the optimizer, or set requires_grad = False if it is to stay";
    } else if (growth_.learning_rate() == 0.0) {
      observation->cause = "the learning rate is 0";
      observation->try_ = "check the learning rate schedule";
    } else if (narrow) {
      observation->cause = "its updates are smaller than the dtype can add";
      observation->try_ = "keep a float32 copy of the weights, or raise the learning rate";
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
  TensorRoles roles_;
  ModelDescription model_;
  GrowthTracker growth_;
  StatsIndex index_;
  std::unordered_map<format::NameId, Track> tracks_;
};

}  // namespace

const RuleType kOptimizerNoOp = {&kInfo, [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                                   return std::make_unique<OptimizerNoOp>(parameters);
                                 }};

}  // namespace wheeltapper::rules
