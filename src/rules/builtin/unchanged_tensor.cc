// Tensors that should vary from step to step and do not.
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "persistence.h"
#include "robust.h"
#include "stats_index.h"
#include "tensor_names.h"

namespace wheeltapper::rules {
namespace {

constexpr std::array<ParameterSpec, 6> kParameters = {{
    {"collection_names", ParameterType::kText, "",
     "Collections to look at, separated by commas; nothing chosen: gradients, exact "
     "repetition only.",
     kSageMaker},
    {"tensor_regex", ParameterType::kRegex, "", "Names to look at, in addition.", kSageMaker},
    {"num_steps", ParameterType::kInteger, "3", "Captured steps that must agree; at least 2.",
     kSageMaker},
    {"rtol", ParameterType::kNumber, "0.00001", "Relative tolerance, for chosen tensors.",
     kSageMaker},
    {"atol", ParameterType::kNumber, "0.00000001", "Absolute tolerance, for chosen tensors.",
     kSageMaker},
    {"equal_nan", ParameterType::kBool, "false", "NaN equals NaN.", kSageMaker},
}};

constexpr std::array<Explanation, 1> kExplainedBy = {{
    {"", "optimizer_no_op", kAnyCause, Reach::kSamePlace},
}};

const RuleInfo kInfo = {
    .name = "unchanged_tensor",
    .title = "Unchanged tensor",
    .summary = "Gradients, or chosen tensors, that repeat themselves exactly.",
    .smdebug_name = "UnchangedTensor",
    .severity = Severity::kWarning,
    .on_by_default = true,
    .warm_up_steps = 3,
    .parameters = kParameters,
    .needs = {.collections = {"gradients", "activations", "weights", "losses"}},
    .what_it_means =
        "All statistics of a tensor (counts, extremes, mean, variance, norms) were the same on "
        "`num_steps` captured steps in a row of the same mode. A gradient that repeats "
        "bit for bit says that the same batch comes again and again while the weights do not move, "
        "or that a module ignores its input. Outputs are not looked at unless chosen: behind a "
        "dead "
        "layer they are constant, which dead_relu reports. For tensors that are chosen, values "
        "within "
        "atol + rtol·|value| count as the same.",
    .false_alarms =
        "Statistics stand for the elements: a permutation of the same values is taken as "
        "unchanged. Full-batch training that has come to rest to the last bit. Tensors that are "
        "all zero are not reported unless chosen.",
    .how_to_fix =
        "Check that the data loader is re-created or shuffled per epoch, that the batch is moved "
        "into the model (not a cached one), and that the optimizer updates the weights.",
    .explained_by = kExplainedBy,
};

class UnchangedTensor final : public Rule {
 public:
  explicit UnchangedTensor(const Parameters& parameters)
      : choice_(TensorChoice::Make(parameters.Text("collection_names"),
                                   parameters.Text("tensor_regex"))),
        num_steps_(std::max<int64_t>(2, parameters.Integer("num_steps"))),
        rtol_(parameters.Number("rtol")),
        atol_(parameters.Number("atol")),
        equal_nan_(parameters.Bool("equal_nan")) {}

  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    WT_RETURN_IF_ERROR(choice_.status());
    CauseAtStep unchanged;
    bool judged = false;
    for (const format::StatsRow& row : batch.stats) {
      if (!Wanted(context.names(), row)) {
        continue;
      }
      judged = true;
      unchanged.Add(Judge(batch.key, row, context));
    }
    if (judged) {
      unchanged.Tell("", batch.key, context);
    }
    return {};
  }

 private:
  struct Track {
    std::optional<Mode> mode;
    tensor::TensorStats last;
    int64_t since_step = 0;
    Persistence same;  // of a step with the one before it
  };

  bool Wanted(const format::NameTable& names, const format::StatsRow& row) {
    if (!choice_->empty()) {
      return choice_->Has(names.info(row.name));
    }
    const TensorKind kind = roles_.Of(names, row.name).kind;
    // One element has only a few states it can be in.
    constexpr int64_t kLeastElements = 8;
    return kind == TensorKind::kGradient && row.stats.numel >= kLeastElements &&
           row.stats.abs_max > 0;
  }

  [[nodiscard]] bool Close(double a, double b) const {
    if (std::isnan(a) || std::isnan(b)) {
      return equal_nan_ && std::isnan(a) && std::isnan(b);
    }
    return a == b || std::abs(a - b) <= atol_ + rtol_ * std::abs(b);
  }

  // As numpy.allclose would see it: NaN elements agree only with equal_nan.
  [[nodiscard]] bool Same(const tensor::TensorStats& a, const tensor::TensorStats& b) const {
    if (choice_->empty()) {
      return SameStats(a, b);
    }
    if (a.numel != b.numel || a.nan_count != b.nan_count || a.posinf_count != b.posinf_count ||
        a.neginf_count != b.neginf_count || (a.nan_count > 0 && !equal_nan_)) {
      return false;
    }
    return a.finite() == 0 || (Close(a.min, b.min) && Close(a.max, b.max) &&
                               Close(a.mean, b.mean) && Close(a.std(0), b.std(0)) &&
                               Close(a.abs_min, b.abs_min) && Close(a.abs_max, b.abs_max) &&
                               Close(a.abs_mean(), b.abs_mean()) && Close(a.rms(), b.rms()));
  }

  Persisting Judge(const format::StepKey& key, const format::StatsRow& row, RuleContext& context) {
    Track& track = tracks_[row.name];
    const bool same = track.mode == key.mode && Same(row.stats, track.last);
    const Persisting persisting =
        track.same.Add(same ? Seen::kMet : Seen::kOver, key.step.value, num_steps_ - 1);
    if (!same) {
      track.mode = key.mode;
      track.last = row.stats;
      track.since_step = key.step.value;
    }
    if (persisting != Persisting::kShown) {
      return persisting;
    }
    const std::string& name = context.names().info(row.name).name;
    context.Observe(
        {.cause_key = "",
         .tensor = name,
         .module = ModuleOf(roles_.Of(context.names(), row.name)),
         .key = key,
         .message = fmt::format("{} is the same at {} captured steps, {} to {}", name,
                                track.same.streak() + 1, track.since_step, key.step.value),
         .cause = "the same batch is used again and the weights do not move, or the "
                  "module ignores its input",
         .try_ = "check that each step loads a new batch and that the optimizer holds "
                 "these parameters",
         .evidence = {},
         .severity = {},
         .patience = num_steps_,
         .lasts = true});
    return persisting;
  }

  const Result<TensorChoice> choice_;
  const int64_t num_steps_;
  const double rtol_;
  const double atol_;
  const bool equal_nan_;
  TensorRoles roles_;
  std::unordered_map<format::NameId, Track> tracks_;
};

}  // namespace

const RuleType kUnchangedTensor = {&kInfo,
                                   [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                                     return std::make_unique<UnchangedTensor>(parameters);
                                   }};

}  // namespace wheeltapper::rules
