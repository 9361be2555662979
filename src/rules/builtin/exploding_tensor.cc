// Values that explode while they are still finite: each tensor is compared with its own history on
// a logarithmic scale. SageMaker's ExplodingTensor reports NaN and infinity only; that is the
// parameter `nonfinite` here, because the rule nonfinite says more about them.
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "growth.h"
#include "growth_cause.h"
#include "model_description.h"
#include "persistence.h"
#include "robust.h"
#include "tensor_names.h"

namespace wheeltapper::rules {
namespace {

constexpr size_t kHistory = 64;
// Medians and MADs of fewer values say little.
constexpr size_t kLeastHistory = 3;
// Spread of log10(rms) that is always granted, in decades: quiet tensors are not judged by a MAD of
// zero.
constexpr double kSpreadFloorDecades = 0.1;
constexpr double kDeviations = 6;
// Below what it takes by so many decades (a factor of 2), a tensor has clearly come back.
constexpr double kClearDecades = 0.3;
// What grew less since the captured step before it does not jump, as long as no loss has risen by
// more than kRisen times.
constexpr double kJumpDecades = 1;
constexpr double kRisen = 2;

constexpr std::array<ParameterSpec, 6> kParameters = {{
    {"collection_names", ParameterType::kText, "",
     "Collections to look at, separated by commas; nothing chosen: everything.", kSageMaker},
    {"tensor_regex", ParameterType::kRegex, "", "Names to look at, in addition.", kSageMaker},
    {"only_nan", ParameterType::kBool, "false", "With `nonfinite`: NaN counts, infinity does not.",
     kSageMaker},
    {"nonfinite", ParameterType::kBool, "false",
     "Report NaN and infinity here too, as SageMaker's rule does (the rule nonfinite does so with "
     "the origin).",
     kOurs},
    {"growth_factor", ParameterType::kNumber, "1000",
     "How many times the median of its own history a tensor's rms must reach; 0 = never.", kOurs},
    {"absolute_threshold", ParameterType::kNumber, "1000000",
     "And the largest |x| must be above this.", kOurs},
}};

// A divergence that has led to NaN goes on in that finding.
constexpr std::array<Explanation, 4> kExplainedBy = {{
    {"growth", "nonfinite", kAnyCause},
    {"growth", "weight_update_ratio", "large", Reach::kAnywhere, /*outlasts=*/true},
    {"growth", "loss_not_decreasing", "diverged"},
    {"growth", "gradients_add_up", kAnyCause},
}};

const RuleInfo kInfo = {
    .name = "exploding_tensor",
    .title = "Exploding tensor",
    .summary = "A tensor's values jump far above their own history, before they become NaN.",
    .smdebug_name = "ExplodingTensor",
    .severity = Severity::kError,
    .on_by_default = true,
    .warm_up_steps = 3,
    .parameters = kParameters,
    .needs = {.collections = {"weights", "gradients", "activations", "losses", "optimizer"}},
    .what_it_means =
        "The root mean square of a tensor is more than `growth_factor` times the median of its "
        "last 64 captured steps, more than six robust deviations (of its logarithm) away from it, "
        "and its largest element is above `absolute_threshold`. Of optimizer state that holds "
        "squares of gradients (Adam's exp_avg_sq and the like) the square roots are compared. "
        "While "
        "no loss is twice its first value, it must also be ten times what it was at the captured "
        "step "
        "before: the gradients of a network that learns to predict millions grow that far, slowly. "
        "What has jumped is reported for as long as it stays that far above its history. "
        "Training that does this usually "
        "ends in NaN within a few steps.",
    .false_alarms =
        "Data on a scale of millions whose magnitude changes by factors of a thousand from batch "
        "to batch. Inputs are left out unless chosen.",
    .how_to_fix =
        "Lower the learning rate, add warm-up, clip gradients by norm, check the weight "
        "initialisation and the scale of the data.",
    .explained_by = kExplainedBy,
};

class ExplodingTensor final : public Rule {
 public:
  explicit ExplodingTensor(const Parameters& parameters)
      : choice_(TensorChoice::Make(parameters.Text("collection_names"),
                                   parameters.Text("tensor_regex"))),
        only_nan_(parameters.Bool("only_nan")),
        nonfinite_(parameters.Bool("nonfinite")),
        growth_factor_(parameters.Number("growth_factor")),
        absolute_threshold_(parameters.Number("absolute_threshold")) {}

  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    WT_RETURN_IF_ERROR(choice_.status());
    growth_.Add(batch, context.names());
    model_.Add(batch.metas);
    CauseAtStep exploding;
    bool bad = false;
    for (const format::StatsRow& row : batch.stats) {
      if (!Chosen(context.names(), row.name)) {
        continue;
      }
      bad = (nonfinite_ && ReportNonfinite(batch.key, row, context)) || bad;
      if (growth_factor_ > 0) {
        exploding.Add(JudgeGrowth(batch.key, row, context));
      }
    }
    if (!batch.stats.empty()) {
      exploding.Tell("growth", batch.key, context);
    }
    if (!bad && !batch.stats.empty()) {
      context.Clear("nonfinite", batch.key);
    }
    return {};
  }

 private:
  bool Chosen(const format::NameTable& names, format::NameId id) {
    if (!choice_->empty()) {
      return choice_->Has(names.info(id));
    }
    return roles_.Of(names, id).kind != TensorKind::kInput;
  }

  bool ReportNonfinite(const format::StepKey& key, const format::StatsRow& row,
                       RuleContext& context) {
    const int64_t count = only_nan_ ? row.stats.nan_count : row.stats.nonfinite_count();
    if (count == 0) {
      return false;
    }
    const std::string& name = context.names().info(row.name).name;
    context.Observe(
        {.cause_key = "nonfinite",
         .tensor = name,
         .module = ModuleOf(roles_.Of(context.names(), row.name)),
         .key = key,
         .message = fmt::format("{} holds {} {} of {} values at step {}", name,
                                CountForPeople(count), only_nan_ ? "NaN" : "non-finite values",
                                CountForPeople(row.stats.numel), key.step.value),
         .cause = {},
         .try_ = "`wheeltapper explain nonfinite`: the rule nonfinite names the origin",
         .evidence = {},
         .severity = {}});
    return true;
  }

  Persisting JudgeGrowth(const format::StepKey& key, const format::StatsRow& row,
                         RuleContext& context) {
    const double rms = row.stats.rms();
    if (!(rms > 0) || !std::isfinite(rms)) {
      return Persisting::kClear;
    }
    History& history = HistoryOf(row.name, context.names());
    const double level = LevelOf(rms, key.step.value, history);
    const std::vector<double> before = history.levels.AllBut(0);
    history.levels.Add(level);
    history.steps.Add(static_cast<double>(key.step.value));
    if (before.size() < kLeastHistory) {
      return Persisting::kClear;
    }
    const double median = Median(before);
    const double allowed = std::max(std::log10(growth_factor_),
                                    kDeviations * (RobustSigma(before) + kSpreadFloorDecades));
    const bool is_large = std::pow(row.stats.abs_max, 1.0 / history.power) > absolute_threshold_;
    // What has jumped goes on exploding where it stays.
    const bool counts =
        is_large && (history.exploding.open() || !GrowsInStep(level, before.back()));
    const Seen seen = counts && level - median > allowed                   ? Seen::kMet
                      : counts && level - median > allowed - kClearDecades ? Seen::kNear
                                                                           : Seen::kOver;
    const Persisting persisting = history.exploding.Add(seen, key.step.value, 1);
    if (persisting != Persisting::kShown) {
      return persisting;
    }
    const std::string& name = context.names().info(row.name).name;
    Cause why = ShownCauseOfGrowth(growth_, model_)
                    .value_or(Cause{.cause = growth_.LearningRateCause() +
                                             " for this model, or gradients are not clipped",
                                    .try_ = growth_.LearningRateAdvice()});
    context.Observe({.cause_key = "growth",
                     .tensor = name,
                     .module = ModuleOf(roles_.Of(context.names(), row.name)),
                     .key = key,
                     .message = fmt::format(
                         "{}{} reaches {} at step {}; {} is {} times the median of the {} "
                         "captured steps before",
                         name, history.power == 2 ? ", which holds squares," : "",
                         NumberForPeople(row.stats.abs_max), key.step.value, history.measure(),
                         NumberForPeople(std::pow(10.0, level - median)), before.size()),
                     .cause = std::move(why.cause),
                     .try_ = std::move(why.try_),
                     .evidence = {EvidenceOf(name, history, std::pow(10.0, median))},
                     .severity = {}});
    return persisting;
  }

  struct History;

  // Adam's means start at zero: after t steps they are 1 - beta^t of what they come to, and are
  // divided by that, as Adam does before it uses them (Kingma & Ba 2015, algorithm 1). Those of an
  // optimizer that is resumed, or of which nobody knows, are taken as they are.
  double LevelOf(double rms, int64_t step, const History& history) const {
    const RunningMeans means =
        history.mean_of.empty() ? RunningMeans() : model_.RunningMeansOf(history.mean_of);
    if (means.new_at && step >= *means.new_at) {
      const double beta = history.power == 2 ? means.betas.second : means.betas.first;
      rms /= 1 - std::pow(beta, static_cast<double>(step - *means.new_at + 1));
    }
    return std::log10(rms) / history.power;
  }

  // Whether it is the growth of a network that learns large numbers: over many steps, while no loss
  // rises.
  [[nodiscard]] bool GrowsInStep(double level, double previous) const {
    const std::optional<Growth> loss = growth_.Loss();
    return level - previous < kJumpDecades && loss && loss->factor < kRisen;
  }

  struct History {
    int power = 1;        // 2: the tensor holds squares, and the root of its rms is compared
    std::string mean_of;  // the parameter of whose gradients it is a running mean; "": it is none
    Window levels{kHistory};  // log10 of the rms, or of its root
    Window steps{kHistory};
    Persistence exploding;

    [[nodiscard]] const char* measure() const {
      return power == 2 ? "the root of its rms" : "its rms";
    }
  };

  History& HistoryOf(format::NameId id, const format::NameTable& names) {
    const auto [slot, is_new] = histories_.try_emplace(id);
    if (const std::string& name = names.info(id).name; is_new) {
      slot->second.power = HoldsSquares(name) ? 2 : 1;
      if (name.starts_with("optimizer/") && name.find("exp_avg") != std::string::npos) {
        slot->second.mean_of = SubjectOfName(name);
      }
    }
    return slot->second;
  }

  [[nodiscard]] Evidence EvidenceOf(const std::string& name, const History& history,
                                    double median) const {
    Evidence evidence{.label = (history.power == 2 ? "root of the rms of " : "rms of ") + name,
                      .points = {},
                      .threshold = median * growth_factor_};
    const std::vector<double> levels = history.levels.AllBut(0);
    const std::vector<double> steps = history.steps.AllBut(0);
    for (size_t i = 0; i < levels.size(); ++i) {
      evidence.points.push_back(
          {.step = static_cast<int64_t>(steps[i]), .value = std::pow(10.0, levels[i])});
    }
    return evidence;
  }

  const Result<TensorChoice> choice_;
  const bool only_nan_;
  const bool nonfinite_;
  const double growth_factor_;
  const double absolute_threshold_;
  TensorRoles roles_;
  GrowthTracker growth_;
  ModelDescription model_;
  std::unordered_map<format::NameId, History> histories_;
};

}  // namespace

const RuleType kExplodingTensor = {&kInfo,
                                   [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                                     return std::make_unique<ExplodingTensor>(parameters);
                                   }};

}  // namespace wheeltapper::rules
