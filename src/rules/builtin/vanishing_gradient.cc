// Gradients so small that layers stop learning.
#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "model_description.h"
#include "persistence.h"
#include "robust.h"
#include "tensor_names.h"

namespace wheeltapper::rules {
namespace {

// A gradient this many times above the threshold shows that the loss still has something to teach.
constexpr double kAliveFactor = 1000;
// A gradient this many times the threshold, or a decay this many decades below its own, is clearly
// none.
constexpr double kClearlyAbove = 2;
constexpr double kClearDecades = 0.5;
// A gradient this many times smaller than that of another layer was lost on the way.
constexpr double kFadesBy = 100;
// Fewer layers have no slope worth the name.
constexpr size_t kLeastLayers = 4;

constexpr std::array<ParameterSpec, 4> kParameters = {{
    {"threshold", ParameterType::kNumber, "0.0000001",
     "A gradient whose mean |g| is below this has vanished.", kSageMaker},
    {"patience", ParameterType::kInteger, "5",
     "Captured steps in a row before it is reported (SageMaker: 1).", kOurs},
    {"ignore_converged", ParameterType::kBool, "true",
     "Say nothing when every gradient of the model is small: that is convergence.", kOurs},
    {"decay_decades", ParameterType::kNumber, "6",
     "Also report when mean |g| falls by this many powers of ten from the last layer to the first; "
     "0 = never.",
     kOurs},
}};

constexpr std::array<Explanation, 3> kExplainedBy = {{
    {"small", "vanishing_gradient", "decay", Reach::kWholeModel},
    {"small", "optimizer_no_op", kAnyCause, Reach::kSamePlace},
    {"decay", "optimizer_no_op", kAnyCause, Reach::kSamePlace},
}};

const RuleInfo kInfo = {
    .name = "vanishing_gradient",
    .title = "Vanishing gradient",
    .summary =
        "Gradients so small that layers stop learning, or that fade from the last layer to "
        "the first.",
    .smdebug_name = "VanishingGradient",
    .severity = Severity::kWarning,
    .on_by_default = true,
    .warm_up_steps = 5,
    .parameters = kParameters,
    .needs = {.collections = {"gradients"}},
    .what_it_means =
        "The mean |g| of a gradient is below `threshold`, or falls by `decay_decades` powers of "
        "ten over the depth of the network (a straight line through log10 mean |g| of the weight "
        "matrices, which must fit), for `patience` captured steps in a row, while other layers "
        "still receive a gradient. The layers named learn nothing. A bias counts only together "
        "with its weight: in front of a normalisation its gradient is zero by mathematics.",
    .false_alarms =
        "Gradients that are zero on purpose. A network that has converged has small gradients "
        "everywhere: it is left alone unless `ignore_converged` is false. Gradients that are "
        "exactly zero in a network whose other gradients are healthy come from a dead layer or a "
        "mask, which dead_relu reports. With a loss divided by a large constant, lower the "
        "threshold by the same factor.",
    .how_to_fix =
        "Where all gradients are as small: check the scale of the loss and the threshold of "
        "gradient clipping. Else use residual connections, normalisation, ReLU-like activations in "
        "place of sigmoid or "
        "tanh, and an initialisation that suits them (He for ReLU, Xavier for tanh).",
    .explained_by = kExplainedBy,
};

struct GradientLevel {
  format::NameId id = 0;
  std::string name;
  std::string parameter;
  double mean_abs = 0;
  size_t order = 0;
  bool is_matrix = false;
  // False for a bias whose weight decides: see WeightOfBias.
  bool is_judged = true;
};

// The weight that a bias belongs to: "conv1.bias" → "conv1.weight", "rnn.bias_ih_l0" →
// "rnn.weight_ih_l0"; "" for other parameters. A bias in front of BatchNorm, or of the keys of
// attention, has a gradient of zero by mathematics (what follows subtracts it again), which says
// nothing about the layer: the gradient of its weight does.
std::string WeightOfBias(const std::string& parameter) {
  const size_t name = parameter.rfind('.') + 1;  // 0 without a dot
  const size_t bias = parameter.find("bias", name);
  return bias == std::string::npos ? "" : std::string(parameter).replace(bias, 4, "weight");
}

class VanishingGradient final : public Rule {
 public:
  explicit VanishingGradient(const Parameters& parameters)
      : threshold_(parameters.Number("threshold")),
        patience_(parameters.Integer("patience")),
        ignore_converged_(parameters.Bool("ignore_converged")),
        decay_decades_(parameters.Number("decay_decades")) {}

  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    model_.Add(batch.metas);
    const std::vector<GradientLevel> levels = LevelsOf(batch, context.names());
    if (levels.empty()) {
      return {};
    }
    if (decay_decades_ > 0) {
      JudgeDecay(levels, batch.key, context);
    }
    JudgeSmall(levels, batch.key, context);
    return {};
  }

 private:
  std::vector<GradientLevel> LevelsOf(const format::StepBatch& batch,
                                      const format::NameTable& names) {
    std::vector<GradientLevel> levels;
    for (const format::StatsRow& row : batch.stats) {
      const TensorRole& role = roles_.Of(names, row.name);
      if (role.kind != TensorKind::kGradient || row.stats.finite() == 0) {
        continue;
      }
      levels.push_back({.id = row.name,
                        .name = names.info(row.name).name,
                        .parameter = role.subject,
                        .mean_abs = row.stats.abs_mean(),
                        .order = model_.OrderOfParameter(role.subject).value_or(row.name),
                        .is_matrix = names.info(row.name).shape.size() >= 2});
    }
    std::sort(levels.begin(), levels.end(),
              [](const GradientLevel& a, const GradientLevel& b) { return a.order < b.order; });
    LeaveBiasesToTheirWeights(&levels);
    return levels;
  }

  // A bias is judged only where its weight's gradient is small too, or where it has no weight.
  void LeaveBiasesToTheirWeights(std::vector<GradientLevel>* levels) const {
    std::unordered_map<std::string, bool> is_small;
    for (const GradientLevel& level : *levels) {
      is_small[level.parameter] = level.mean_abs < threshold_;
    }
    for (GradientLevel& level : *levels) {
      const std::string weight = WeightOfBias(level.parameter);
      const auto found = is_small.find(weight);
      level.is_judged = found == is_small.end() ? !model_.OrderOfParameter(weight) : found->second;
    }
  }

  // Exact zeros count as vanished only beside other vanished gradients: alone they are the mark of
  // a dead layer or a mask.
  void JudgeSmall(const std::vector<GradientLevel>& levels, const format::StepKey& key,
                  RuleContext& context) {
    double largest = 0;
    bool fading = false;
    for (const GradientLevel& level : levels) {
      largest = std::max(largest, level.mean_abs);
      fading = fading || (level.is_judged && level.mean_abs > 0 && level.mean_abs < threshold_);
    }
    ever_alive_ = ever_alive_ || largest >= kAliveFactor * threshold_;
    const bool converged = ever_alive_ && largest < kAliveFactor * threshold_;
    const bool all_zero = largest == 0;
    const bool judge = !ignore_converged_ || ((fading || all_zero) && !converged);
    const auto vanished = std::count_if(
        levels.begin(), levels.end(), [this](const auto& it) { return it.mean_abs < threshold_; });
    CauseAtStep small;
    for (const GradientLevel& level : levels) {
      Persistence& persistence = streaks_[level.id];
      const bool judged = judge && level.is_judged;
      const Seen seen = judged && level.mean_abs < threshold_                   ? Seen::kMet
                        : judged && level.mean_abs < kClearlyAbove * threshold_ ? Seen::kNear
                                                                                : Seen::kOver;
      const Persisting persisting = persistence.Add(seen, key.step.value, patience_);
      small.Add(persisting);
      if (persisting != Persisting::kShown) {
        continue;
      }
      context.Observe(
          {.cause_key = "small",
           .tensor = level.name,
           .module = ModuleOfParameter(level.parameter),
           .key = key,
           .message = fmt::format("{}: mean |g| is {} at step {}, below {} for {} captured steps",
                                  level.name, NumberForPeople(level.mean_abs), key.step.value,
                                  NumberForPeople(threshold_), persistence.streak()),
           .cause = CauseOf(level, largest),
           .try_ =
               Fades(level, largest)
                   ? "use ReLU-like activations, normalisation or residual connections; check "
                     "the initialisation"
                   : "check the scale of the loss and the threshold of gradient clipping; raise "
                     "the loss, or the threshold",
           .evidence = {EvidenceOf(levels)},
           .severity = {},
           .since = Step{persistence.since_step()},
           .whole_model = 2 * static_cast<size_t>(vanished) >= levels.size(),
           .patience = patience_,
           .lasts = true});
    }
    small.Tell("small", key, context);
  }

  // Whether some other layer has a gradient well above that of this one, which was lost between.
  static bool Fades(const GradientLevel& level, double largest) {
    return largest >= kFadesBy * level.mean_abs && largest > 0;
  }
  static std::string CauseOf(const GradientLevel& level, double largest) {
    if (Fades(level, largest)) {
      return "the gradient fades on its way back through the layers after it";
    }
    return largest == 0 ? std::string(
                              "every gradient of the model is zero: the loss is constant, "
                              "or is multiplied by zero")
                        : fmt::format(
                              "every gradient of the model is as small (the largest mean "
                              "|g| is {}): the loss or its scale is tiny, or gradients are "
                              "clipped to next to nothing",
                              NumberForPeople(largest));
  }

  // log10 mean |g| of the weight matrices as a straight line over depth.
  void JudgeDecay(const std::vector<GradientLevel>& levels, const format::StepKey& key,
                  RuleContext& context) {
    std::vector<const GradientLevel*> layers;
    for (const GradientLevel& level : levels) {
      if (level.is_matrix && level.mean_abs > 0) {
        layers.push_back(&level);
      }
    }
    const double decades = layers.size() < kLeastLayers ? 0 : FittedRise(layers);
    const Seen seen = decades >= decay_decades_                   ? Seen::kMet
                      : decades >= decay_decades_ - kClearDecades ? Seen::kNear
                                                                  : Seen::kOver;
    CauseAtStep decay;
    decay.Add(decay_.Add(seen, key.step.value, patience_));
    decay.Tell("decay", key, context);
    if (!decay.shown()) {
      return;
    }
    const GradientLevel& first = *layers.front();
    context.Observe({.cause_key = "decay",
                     .tensor = first.name,
                     .module = ModuleOfParameter(first.parameter),
                     .key = key,
                     .message = fmt::format(
                         "Gradients fade by {} powers of ten from {} to {}: mean |g| {} → {} over "
                         "{} layers at step {}",
                         NumberForPeople(decades), layers.back()->name, first.name,
                         NumberForPeople(layers.back()->mean_abs), NumberForPeople(first.mean_abs),
                         layers.size(), key.step.value),
                     .cause = "each layer passes on only a part of the gradient",
                     .try_ = "use residual connections or normalisation; replace sigmoid and tanh",
                     .evidence = {EvidenceOf(levels)},
                     .severity = {},
                     .since = Step{decay_.since_step()},
                     .whole_model = true,
                     .patience = patience_});
  }

  // Decades gained from the first to the last layer by the least-squares line; 0 when the line
  // explains less than two thirds of the variance.
  static double FittedRise(const std::vector<const GradientLevel*>& layers) {
    const auto n = static_cast<double>(layers.size());
    double sum_x = 0;
    double sum_y = 0;
    double sum_xx = 0;
    double sum_xy = 0;
    double sum_yy = 0;
    for (size_t i = 0; i < layers.size(); ++i) {
      const auto x = static_cast<double>(i);
      const double y = std::log10(layers[i]->mean_abs);
      sum_x += x;
      sum_y += y;
      sum_xx += x * x;
      sum_xy += x * y;
      sum_yy += y * y;
    }
    const double var_x = sum_xx - sum_x * sum_x / n;
    const double var_y = sum_yy - sum_y * sum_y / n;
    const double cov = sum_xy - sum_x * sum_y / n;
    constexpr double kLeastFit = 2.0 / 3.0;
    const bool fits = var_y > 0 && cov * cov / (var_x * var_y) >= kLeastFit;
    return fits ? cov / var_x * (n - 1) : 0;
  }

  [[nodiscard]] Evidence EvidenceOf(const std::vector<GradientLevel>& levels) const {
    Evidence evidence{
        .label = "mean |g| by depth, first layer = 0", .points = {}, .threshold = threshold_};
    constexpr size_t kMostPoints = 200;
    const size_t stride = levels.size() / kMostPoints + 1;
    for (size_t i = 0; i < levels.size(); i += stride) {
      evidence.points.push_back({.step = static_cast<int64_t>(i), .value = levels[i].mean_abs});
    }
    return evidence;
  }

  const double threshold_;
  const int64_t patience_;
  const bool ignore_converged_;
  const double decay_decades_;
  TensorRoles roles_;
  ModelDescription model_;
  bool ever_alive_ = false;
  std::unordered_map<format::NameId, Persistence> streaks_;
  Persistence decay_;
};

}  // namespace

const RuleType kVanishingGradient = {&kInfo,
                                     [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                                       return std::make_unique<VanishingGradient>(parameters);
                                     }};

}  // namespace wheeltapper::rules
