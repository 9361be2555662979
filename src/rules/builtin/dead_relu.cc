// Layers that no longer answer: a ReLU whose output is zero, or a module whose gradient is exactly
// zero while others learn.
//
// Only statistics of a whole output are known, not of each unit. If the share of active elements of
// a layer is a, then by Markov's inequality at most a share a/i of its units is active in a share i
// of the samples or more; so at least 1 − a/i of them are dead, and a < i·(1 − l) proves that more
// than l are. That is what is tested: never a false alarm, at the price of missing layers where
// just half of the units are dead and the others are busy.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "builtin/builtin.h"
#include "builtin/dead_relu_info.h"
#include "growth.h"
#include "growth_cause.h"
#include "model_description.h"
#include "persistence.h"
#include "relu_cause.h"
#include "robust.h"
#include "saturation.h"
#include "stats_index.h"
#include "tensor_names.h"

namespace wheeltapper::rules {
namespace {

// Sparse captures prove a dead layer with half of `zero_gradient_steps` captured steps, when these
// span this many times `zero_gradient_steps` steps of training.
constexpr int64_t kSparseSpan = 4;
constexpr int64_t kLeastSparseCaptures = 5;
// At the end of a run fewer will do, when no captured step since has shown anything else.
constexpr int64_t kFewestAtEnd = 2;
constexpr int64_t kLeastSpanAtEnd = 50;
// A layer is clearly not dead when it is active this many times as much as one that is.
constexpr double kClearlyActive = 2;

bool IsReluType(const std::string& type) { return type == "ReLU" || type == "ReLU6"; }

class DeadRelu final : public Rule {
 public:
  explicit DeadRelu(const Parameters& parameters)
      : choice_(TensorChoice::Make("", parameters.Text("tensor_regex"))),
        inactivity_(parameters.Number("threshold_inactivity") / 100),
        layer_(parameters.Number("threshold_layer") / 100),
        patience_(parameters.Integer("patience")),
        zero_gradient_steps_(parameters.Integer("zero_gradient_steps")) {}

  Status OnBatch(const format::StepBatch& batch, RuleContext& context) override {
    WT_RETURN_IF_ERROR(choice_.status());
    model_.Add(batch.metas);
    index_.Fill(batch);
    Remember(batch, context.names());
    bool judged = false;
    CauseAtStep dead;
    JudgeOutputs(batch, context, &judged, &dead);
    if (zero_gradient_steps_ > 0) {
      JudgeGradients(batch, context, &judged, &dead);
    }
    if (judged) {
      dead.Tell("", batch.key, context);
    }
    return {};
  }

  // Short runs have few captured steps: what every one of the last has shown is so.
  Status OnIdle(TimeNs /*now_ns*/, bool ended, RuleContext& context) override {
    if (!ended || !choice_.ok()) {
      return {};
    }
    std::vector<std::pair<size_t, format::NameId>> dead;
    for (const auto& [id, track] : outputs_) {
      if (track.dead.streak() < patience_ &&
          IsSoAtEnd(track.dead, track.key, track.dead.since_step())) {
        dead.emplace_back(OrderOf(context.names(), id), id);
      }
    }
    std::sort(dead.begin(), dead.end());
    for (const auto& [order, id] : dead) {
      ReportOutput(outputs_.at(id).key, id, context);
    }
    const std::pair<const std::string, ModuleGradient>* blocking = nullptr;
    for (const auto& entry : gradients_) {
      const auto& [path, gradient] = entry;
      const Persistence& zero = zero_streaks_.at(path);
      if (IsSoAtEnd(zero, gradient.key, std::max(zero.since_step(), gradient.rests_since)) &&
          (blocking == nullptr || gradient.order > blocking->second.order)) {
        blocking = &entry;
      }
    }
    if (blocking != nullptr && dead.empty() && !gradient_shown_) {
      ReportGradient(blocking->second.key, *blocking, context);
    }
    return {};
  }

 private:
  struct OutputTrack {
    Persistence dead;
    double most_active = 0;  // share, while it is dead
    format::StepKey key;     // of the latest output
    tensor::TensorStats latest;
    std::vector<EvidencePoint> active;
  };
  struct ModuleGradient {
    std::string tensor;  // the first parameter's gradient
    size_t order = 0;
    bool all_zero = true;
    format::StepKey key;
    int64_t rests_since = 0;  // the first captured step that shows all its weights as they are
  };
  struct Resting {
    tensor::TensorStats weight;
    int64_t since_step = 0;
  };

  // Every captured step of a run that is over has shown it from `since_step` on, the last one too.
  [[nodiscard]] bool IsSoAtEnd(const Persistence& condition, const format::StepKey& key,
                               int64_t since_step) const {
    return key.step.value == latest_step_ && condition.streak() >= kFewestAtEnd &&
           key.step.value - since_step >= kLeastSpanAtEnd;
  }

  size_t OrderOf(const format::NameTable& names, format::NameId output) {
    return model_.OrderOfModule(roles_.Of(names, output).subject).value_or(output);
  }

  // What may push a ReLU off, and how much of the model has a gradient.
  void Remember(const format::StepBatch& batch, const format::NameTable& names) {
    int64_t gradients = 0;
    int64_t zero = 0;
    latest_step_ = batch.stats.empty() ? latest_step_ : batch.key.step.value;
    for (const format::StatsRow& row : batch.stats) {
      const TensorKind kind = roles_.Of(names, row.name).kind;
      gradients += kind == TensorKind::kGradient ? 1 : 0;
      zero += kind == TensorKind::kGradient && row.stats.zero_count == row.stats.numel ? 1 : 0;
      outputs_captured_ = outputs_captured_ || kind == TensorKind::kOutput;
      if (kind == TensorKind::kParameter || kind == TensorKind::kOutput) {
        cause_.Add(row);
      }
      const ModuleDescription* module =
          kind == TensorKind::kOutput ? model_.Module(roles_.Of(names, row.name).subject) : nullptr;
      if (module != nullptr) {
        saturation_.Add(*module, row.stats);
      }
    }
    blocks_most_ = gradients > 0 && 2 * zero >= gradients;
  }

  bool IsRelu(const format::NameTable& names, format::NameId id) {
    if (!choice_->empty()) {
      return choice_->Has(names.info(id));
    }
    const TensorRole& role = roles_.Of(names, id);
    const ModuleDescription* module =
        role.kind == TensorKind::kOutput ? model_.Module(role.subject) : nullptr;
    return module != nullptr && IsReluType(module->type);
  }

  void JudgeOutputs(const format::StepBatch& batch, RuleContext& context, bool* judged,
                    CauseAtStep* verdict) {
    std::vector<std::pair<size_t, format::NameId>> dead;
    for (const format::StatsRow& row : batch.stats) {
      // Of what is not finite nobody knows whether it was active: nonfinite reports it.
      if (!IsRelu(context.names(), row.name) || row.stats.finite() < row.stats.numel ||
          row.stats.numel == 0) {
        continue;
      }
      *judged = true;
      const Persisting persisting = Add(batch.key, row);
      verdict->Add(persisting);
      if (persisting == Persisting::kShown) {
        dead.emplace_back(OrderOf(context.names(), row.name), row.name);
      }
    }
    // The first dead layer starves the ones after it.
    std::sort(dead.begin(), dead.end());
    for (const auto& [order, id] : dead) {
      ReportOutput(batch.key, id, context);
    }
  }

  static int64_t ActiveIn(const tensor::TensorStats& stats) {
    return stats.finite() - stats.zero_count - stats.negative_count;
  }

  // What is the least active share of a layer that is not called dead.
  [[nodiscard]] double Bound() const { return inactivity_ * (1 - layer_); }

  Persisting Add(const format::StepKey& key, const format::StatsRow& row) {
    const int64_t step = key.step.value;
    const double share =
        static_cast<double>(ActiveIn(row.stats)) / static_cast<double>(row.stats.finite());
    OutputTrack& track = outputs_[row.name];
    track.key = key;
    track.latest = row.stats;
    constexpr size_t kEvidencePoints = 64;
    if (track.active.size() == kEvidencePoints) {
      track.active.erase(track.active.begin());
    }
    track.active.push_back({.step = step, .value = share});
    // Nothing active at all proves it for any thresholds.
    const bool is_dead = share == 0 || share < Bound();
    const Seen seen = is_dead                            ? Seen::kMet
                      : share < kClearlyActive * Bound() ? Seen::kNear
                                                         : Seen::kOver;
    const Persisting persisting = track.dead.Add(seen, step, patience_);
    track.most_active = track.dead.streak() == 1 ? share : std::max(track.most_active, share);
    return persisting;
  }

  void ReportOutput(const format::StepKey& key, format::NameId id, RuleContext& context) {
    const std::string& name = context.names().info(id).name;
    const std::string path = roles_.Of(context.names(), id).subject;
    const OutputTrack& track = outputs_.at(id);
    const ModuleDescription* layer = model_.LastWithParametersBefore(path);
    const std::string who = path + (layer == nullptr ? "" : " (after " + layer->path + ")");
    Observation observation{
        .cause_key = "",
        .tensor = name,
        .module = path,
        .key = key,
        .message = MessageOf(who, track, key.step.value),
        .cause = fmt::format("{}, so {} gradient passes", InputsOf("its", track),
                             track.most_active > 0 ? "next to no" : "no"),
        .try_ = "lower the learning rate, start biases at 0, or use LeakyReLU or GELU",
        .evidence = {{.label = "share of active outputs of " + path,
                      .points = track.active,
                      .threshold = Bound()}},
        .severity = {},
        .since = Step{track.dead.since_step()},
        .whole_model = blocks_most_,
        .patience = patience_,
        .lasts = true};
    if (layer != nullptr) {
      if (std::optional<Cause> why =
              cause_.Of(*layer, InputsOf("the ReLU's", track), context.names())) {
        observation.cause = std::move(why->cause);
        observation.try_ = std::move(why->try_);
      }
    }
    if (std::optional<Cause> adds_up = GradientsAddUp(model_)) {
      observation.cause = fmt::format("{}; {}", *observation.cause, adds_up->cause);
      observation.try_ = std::move(adds_up->try_);
    }
    context.Observe(std::move(observation));
  }

  static std::string InputsOf(const char* whose, const OutputTrack& track) {
    return track.most_active > 0
               ? fmt::format("all but {} % of {} inputs are zero or negative",
                             NumberForPeople(100 * track.most_active), whose)
               : fmt::format("{} inputs are zero or negative for every sample", whose);
  }

  // Where some outputs are active, how many units are dead is what the bound proves.
  [[nodiscard]] std::string MessageOf(const std::string& who, const OutputTrack& track,
                                      int64_t step) const {
    const tensor::TensorStats& stats = track.latest;
    const std::string counts = fmt::format("{} of {} outputs", CountForPeople(ActiveIn(stats)),
                                           CountForPeople(stats.finite()));
    const std::string span = fmt::format("{} captured steps since step {}", track.dead.streak(),
                                         track.dead.since_step());
    if (track.most_active == 0) {
      return fmt::format("{} is dead: {} are active at step {}, and so at {}", who, counts, step,
                         span);
    }
    const double share = static_cast<double>(ActiveIn(stats)) / static_cast<double>(stats.finite());
    return fmt::format(
        "at least {:.0f} % of the units of {} are dead, active for less than {} % of samples: {} "
        "({} %) are active at step {}, at most {} % at {}",
        std::floor(100 * (1 - track.most_active / inactivity_)), who,
        NumberForPeople(100 * inactivity_), counts, NumberForPeople(100 * share), step,
        NumberForPeople(100 * track.most_active), span);
  }

  // Modules with exactly zero gradients while a later one learns. The last of them in forward order
  // is the one that blocks.
  void JudgeGradients(const format::StepBatch& batch, RuleContext& context, bool* judged,
                      CauseAtStep* verdict) {
    bool alive = false;
    bool any = false;
    for (const format::StatsRow& row : batch.stats) {
      const TensorRole& role = roles_.Of(context.names(), row.name);
      if (role.kind != TensorKind::kGradient) {
        continue;
      }
      if (!any) {
        gradients_.clear();
      }
      any = true;
      const bool zero = row.stats.zero_count == row.stats.numel;
      alive = alive || !zero;
      const auto [slot, is_new] = gradients_.try_emplace(
          ModuleOfParameter(role.subject),
          ModuleGradient{.tensor = context.names().info(row.name).name,
                         .order = model_.OrderOfParameter(role.subject).value_or(row.name),
                         .all_zero = true,
                         .key = batch.key});
      slot->second.all_zero = slot->second.all_zero && zero;
      slot->second.rests_since = std::max(
          slot->second.rests_since,
          RestsSince(row.name, batch.key.step.value, index_.Find(context.names(), role.subject)));
    }
    if (!any) {
      return;
    }
    *judged = true;
    const std::pair<const std::string, ModuleGradient>* blocking = nullptr;
    for (const auto& entry : gradients_) {
      // Where no other layer learns either, a zero says nothing.
      const Seen seen = !entry.second.all_zero ? Seen::kOver : alive ? Seen::kMet : Seen::kNear;
      const Persisting persisting =
          AddToStreak(batch.key.step.value, seen, &zero_streaks_[entry.first]);
      verdict->Add(persisting);
      if (persisting == Persisting::kShown &&
          (blocking == nullptr || entry.second.order > blocking->second.order)) {
        blocking = &entry;
      }
    }
    gradient_shown_ = blocking != nullptr;
    if (blocking != nullptr) {
      ReportGradient(batch.key, *blocking, context);
    }
  }

  // The first captured step that shows the weight of a gradient as it is now; never where it is not
  // captured.
  int64_t RestsSince(format::NameId gradient, int64_t step, const format::StatsRow* weight) {
    if (weight == nullptr) {
      return std::numeric_limits<int64_t>::max();
    }
    Resting& resting = resting_[gradient];
    if (!SameStats(resting.weight, weight->stats)) {
      resting = {.weight = weight->stats, .since_step = step};
    }
    return resting.since_step;
  }

  // Captured steps that may be enough.
  [[nodiscard]] int64_t SparseSteps() const {
    return std::max(kLeastSparseCaptures, zero_gradient_steps_ / 2);
  }

  [[nodiscard]] Persisting AddToStreak(int64_t step, Seen seen, Persistence* zero) const {
    zero->Note(seen, step);
    const bool long_enough = zero->streak() >= zero_gradient_steps_ ||
                             (zero->streak() >= SparseSteps() &&
                              step - zero->since_step() >= kSparseSpan * zero_gradient_steps_);
    return zero->Judge(long_enough, SparseSteps());
  }

  // Where nothing that was captured shows what switches a layer off.
  [[nodiscard]] Cause CauseOfZeros() const {
    return {.cause =
                "what follows it is switched off for every sample: a dead ReLU, a saturated "
                "tanh or sigmoid, or a mask",
            .try_ = outputs_captured_
                        ? "look at what the code applies after it: a ReLU or tanh called as a "
                          "function, or a mask, has no output of its own to capture; start biases "
                          "at 0, lower the learning rate, scale the inputs, or use LeakyReLU or "
                          "GELU"
                        : "capture activations to see which; start biases at 0, lower the "
                          "learning rate, scale the inputs, or use LeakyReLU or GELU"};
  }

  void ReportGradient(const format::StepKey& key,
                      const std::pair<const std::string, ModuleGradient>& entry,
                      RuleContext& context) const {
    const auto& [path, gradient] = entry;
    const std::optional<Saturation::Found> saturated = saturation_.After(path, model_);
    const bool is_proven = saturated && saturated->is_next;
    Cause why = saturated ? saturated->why : CauseOfZeros();
    context.Observe({.cause_key = "",
                     .tensor = gradient.tensor,
                     .module = path,
                     .key = key,
                     .message = fmt::format(
                         "{} does not learn: its gradients are exactly zero for {} captured steps "
                         "up to step {}, while other layers learn",
                         path.empty() ? gradient.tensor : path, zero_streaks_.at(path).streak(),
                         key.step.value),
                     .cause = std::move(why.cause),
                     .try_ = std::move(why.try_),
                     .evidence = {},
                     // A mask gives zeros as well.
                     .severity = is_proven ? std::nullopt : std::optional(Severity::kWarning),
                     .since = Step{zero_streaks_.at(path).since_step()},
                     .whole_model = blocks_most_,
                     .patience = SparseSteps(),
                     .lasts = true});
  }

  const Result<TensorChoice> choice_;
  const double inactivity_;
  const double layer_;
  const int64_t patience_;
  bool blocks_most_ = false;  // at this batch most gradients are exactly zero
  const int64_t zero_gradient_steps_;
  TensorRoles roles_;
  ModelDescription model_;
  StatsIndex index_;
  std::unordered_map<format::NameId, OutputTrack> outputs_;
  std::unordered_map<std::string, Persistence> zero_streaks_;
  std::unordered_map<std::string, ModuleGradient> gradients_;  // at the latest step that has any
  bool gradient_shown_ = false;                                // at that step
  std::unordered_map<format::NameId, Resting> resting_;        // by gradient
  int64_t latest_step_ = -1;                                   // at which tensors were captured
  bool outputs_captured_ = false;
  ReluCause cause_;
  Saturation saturation_;
};

}  // namespace

const RuleType kDeadRelu = {&kDeadReluInfo,
                            [](const Parameters& parameters) -> std::unique_ptr<Rule> {
                              return std::make_unique<DeadRelu>(parameters);
                            }};

}  // namespace wheeltapper::rules
