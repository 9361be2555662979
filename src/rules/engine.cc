#include "wheeltapper/rules/engine.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "wheeltapper/rules/python_rules.h"

#include "incidents.h"
#include "row_order.h"
#include "tensor_names.h"

namespace wheeltapper::rules {
namespace {

// Collects what a rule says about one batch.
class CollectingContext final : public RuleContext {
 public:
  explicit CollectingContext(const format::NameTable& names,
                             const std::set<std::string>* nonfinite = nullptr)
      : names_(names) {
    verdicts_.nonfinite = nonfinite;
  }
  [[nodiscard]] const format::NameTable& names() const override { return names_; }
  void Observe(Observation observation) override {
    verdicts_.observations.push_back(std::move(observation));
  }
  void Clear(const std::string& cause_key, const format::StepKey& key) override {
    verdicts_.cleared.push_back({.cause_key = cause_key, .key = key});
  }
  void ClearForCertain(const std::string& cause_key, const format::StepKey& key) override {
    verdicts_.cleared.push_back({.cause_key = cause_key, .key = key, .for_certain = true});
  }
  void Hold(const std::string& cause_key, const format::StepKey& key) override {
    verdicts_.held.push_back({.cause_key = cause_key, .key = key});
  }
  [[nodiscard]] const Verdicts& verdicts() const { return verdicts_; }
  [[nodiscard]] bool empty() const {
    return verdicts_.observations.empty() && verdicts_.cleared.empty() && verdicts_.held.empty();
  }

 private:
  const format::NameTable& names_;
  Verdicts verdicts_;
};

// What has come by so far, to tell which rules have what they need.
class SeenData {
 public:
  void Add(const format::StepBatch& batch, const format::NameTable& names) {
    scalars_ = scalars_ || !batch.scalars.empty();
    for (const format::StatsRow& row : batch.stats) {
      if (row.name < known_.size() && known_[row.name]) {
        continue;
      }
      known_.resize(std::max<size_t>(known_.size(), row.name + 1));
      known_[row.name] = true;
      AddName(names, row.name);
    }
  }
  [[nodiscard]] bool Satisfies(const RuleNeeds& needs) const {
    if (needs.collections.empty() && !needs.scalars) {
      return true;
    }
    return (needs.scalars && scalars_) ||
           std::any_of(needs.collections.begin(), needs.collections.end(),
                       [&](const char* name) { return collections_.contains(name); });
  }

 private:
  void AddName(const format::NameTable& names, format::NameId id) {
    for (const std::string& collection : names.info(id).collections) {
      collections_.insert(collection);
    }
    switch (roles_.Of(names, id).kind) {
      case TensorKind::kParameter:
        collections_.insert("weights");
        break;
      case TensorKind::kGradient:
        collections_.insert("gradients");
        break;
      case TensorKind::kOptimizer:
        collections_.insert("optimizer");
        break;
      case TensorKind::kInput:
        collections_.insert("inputs");
        break;
      case TensorKind::kOutput:
        collections_.insert("activations");
        break;
      case TensorKind::kLoss:
        collections_.insert("losses");
        break;
      case TensorKind::kUpdate:
      case TensorKind::kOther:
        break;
    }
  }

  bool scalars_ = false;
  std::vector<bool> known_;
  std::set<std::string, std::less<>> collections_;
  TensorRoles roles_;
};

std::string MissingText(const RuleNeeds& needs) {
  std::string names;
  for (const char* collection : needs.collections) {
    names += fmt::format("{}{}", names.empty() ? "collection " : " or ", collection);
  }
  if (needs.scalars) {
    names += names.empty() ? "a loss" : " or a loss";
  }
  return names.empty() ? "nothing captured so far" : "needs " + names + ", none captured so far";
}

// One selected rule: its instances and how it fares.
struct RunningRule {
  FindingSource source;
  RuleSelection selection;
  const RuleType* type = nullptr;  // null: a user's rule
  Parameters parameters;
  std::map<int32_t, std::unique_ptr<Rule>> by_rank;
  PythonRule* python = nullptr;  // the one instance of a user's rule, for all ranks
  RuleStatus status;
};

// The names of what is not finite in the batch.
std::set<std::string> NonfiniteIn(const format::StepBatch& batch, const format::NameTable& names) {
  std::set<std::string> nonfinite;
  for (const format::StatsRow& row : batch.stats) {
    if (row.stats.nonfinite_count() > 0) {
      nonfinite.insert(names.info(row.name).name);
    }
  }
  for (const format::ScalarRow& row : batch.scalars) {
    if (!std::isfinite(row.value)) {
      nonfinite.insert(names.info(row.name).name);
    }
  }
  return nonfinite;
}

bool IsDamage(const format::GapRow& row) {
  return row.gap.reason == format::GapReason::kCorruption;
}

class Engine final : public RuleEngine {
 public:
  Engine(std::vector<RunningRule> rules, const Clock& clock)
      : rules_(std::move(rules)), clock_(clock), book_(clock) {}

  void AddSink(FindingSink* sink) override { book_.AddSink(sink); }
  void OnBatch(std::function<void(const format::StepKey&)> listener) override {
    listener_ = std::move(listener);
  }

  Status Advance(trial::Trial& trial) override {
    StartPythonRules(trial);
    const Status status =
        trial.FollowSteps([&](const format::StepBatch& batch) { Evaluate(batch, trial.names()); });
    Idle(trial, false);
    book_.Flush(false);
    return status;
  }

  Status Finish(trial::Trial& trial) override {
    const Status status = Advance(trial);
    for (RunningRule& rule : rules_) {
      if (rule.python != nullptr) {
        CollectingContext context(trial.names());
        Take(&rule, rule.python->Drain(context), context, clock_.WallNs());
      }
    }
    Idle(trial, true);
    book_.Flush(true);
    return status;
  }

  [[nodiscard]] std::vector<RuleStatus> rule_states() const override {
    std::vector<RuleStatus> states;
    for (const RunningRule& rule : rules_) {
      states.push_back(rule.status);
      states.back().findings = book_.CountOf(rule.status.name);
      if (rule.status.state == RuleState::kWaiting && damaged_places_ > 0) {
        states.back().detail += "; it may lie in what cannot be read";
      }
      if (rule.status.state != RuleState::kActive) {
        continue;
      }
      const std::string nothing = NothingJudged(rule);
      if (!nothing.empty()) {
        states.back().state = RuleState::kWaiting;
        states.back().detail = nothing;
      } else if (rule.python == nullptr) {
        states.back().left_out = LeftOut(rule);
      }
    }
    return states;
  }
  [[nodiscard]] const std::vector<Finding>& findings() const override { return book_.findings(); }
  [[nodiscard]] int64_t damaged_places() const override { return damaged_places_; }

 private:
  void StartPythonRules(trial::Trial& trial) {
    for (RunningRule& rule : rules_) {
      if (rule.type != nullptr || rule.python != nullptr ||
          rule.status.state == RuleState::kErrored) {
        continue;
      }
      auto started = PythonRule::Start(OptionsOf(rule.selection, trial.path()), clock_);
      if (!started.ok()) {
        MarkErrored(&rule, started.status());
        continue;
      }
      rule.python = started->get();
      rule.status.state = RuleState::kActive;
      rule.status.detail.clear();
      rule.status.sandbox_note = rule.python->sandbox_note();
      rule.by_rank[0] = std::move(*started);
    }
  }

  static PythonRuleOptions OptionsOf(const RuleSelection& selection, const std::string& run_dir) {
    PythonRuleOptions options;
    options.file = selection.python_file;
    options.run_dir = run_dir;
    options.parameters = selection.parameters;
    options.deadline_ns = static_cast<TimeNs>(selection.python_deadline_s * 1e9);
    options.memory_mb = selection.python_memory_mb;
    return options;
  }

  void Evaluate(const format::StepBatch& as_it_came, const format::NameTable& names) {
    const format::StepBatch& batch = row_order_.Ordered(as_it_came, names);
    seen_.Add(batch, names);
    last_wall_ns_ = batch.wall_ns;
    damaged_places_ += std::count_if(batch.gaps.begin(), batch.gaps.end(), IsDamage);
    const std::set<std::string> nonfinite = NonfiniteIn(batch, names);
    for (RunningRule& rule : rules_) {
      if (rule.status.state == RuleState::kErrored) {
        continue;
      }
      // A user's rule answers later, of another step than the batch's.
      CollectingContext context(names, rule.python == nullptr ? &nonfinite : nullptr);
      ++rule.status.batches;
      Take(&rule, InstanceFor(&rule, batch.key.rank)->OnBatch(batch, context), context,
           batch.wall_ns);
      if (rule.status.state == RuleState::kWaiting && rule.type != nullptr &&
          seen_.Satisfies(rule.type->info->needs)) {
        rule.status.state = RuleState::kActive;
        rule.status.detail.clear();
      }
    }
    if (listener_) {
      listener_(batch.key);
    }
  }

  // Why the rule has had nothing to judge on any rank; "" when it had.
  static std::string NothingJudged(const RunningRule& rule) {
    if (rule.python != nullptr) {
      const std::string& why = rule.python->passed_over();
      return why.empty() ? "" : "every step was passed over: " + why;
    }
    std::string why;
    for (const auto& [rank, instance] : rule.by_rank) {
      why = instance->NothingJudged();
      if (why.empty()) {
        break;
      }
    }
    return why;
  }

  // What a built-in rule leaves out on some rank.
  static std::string LeftOut(const RunningRule& rule) {
    for (const auto& [rank, instance] : rule.by_rank) {
      if (std::string what = instance->LeftOut(); !what.empty()) {
        return what;
      }
    }
    return "";
  }

  static Rule* InstanceFor(RunningRule* rule, Rank rank) {
    if (rule->python != nullptr) {
      return rule->python;
    }
    std::unique_ptr<Rule>& instance = rule->by_rank[rank.value];
    if (instance == nullptr) {
      instance = rule->type->make(rule->parameters);
    }
    return instance.get();
  }

  // What is found at the end was written with the last batch, whenever that is looked at. In a run
  // that is over nothing more is waited for: its silence says nothing. A rule in Python still has
  // steps to answer then.
  void Idle(trial::Trial& trial, bool ended) {
    const TimeNs now = ended && last_wall_ns_ ? *last_wall_ns_ : clock_.WallNs();
    const bool is_over = !ended && trial.state() != trial::RunState::kRunning;
    for (RunningRule& rule : rules_) {
      if (is_over && rule.python == nullptr) {
        continue;
      }
      for (auto& [rank, instance] : rule.by_rank) {
        CollectingContext context(trial.names());
        if (!Take(&rule, instance->OnIdle(now, ended, context), context, now)) {
          break;
        }
      }
    }
  }

  // Applies what a rule said; an error isolates the rule instead, and what it said is dropped.
  bool Take(RunningRule* rule, const Status& status, const CollectingContext& context,
            TimeNs wall_ns) {
    if (!status.ok()) {
      MarkErrored(rule, status);
      return false;
    }
    if (!context.verdicts().observations.empty() && rule->status.state == RuleState::kWaiting) {
      rule->status.state = RuleState::kActive;  // it has judged, whatever else it needs
      rule->status.detail.clear();
    }
    if (!context.empty()) {
      book_.Apply(rule->source, context.verdicts(), wall_ns);
    }
    return true;
  }

  static void MarkErrored(RunningRule* rule, const Status& status) {
    rule->status.state = RuleState::kErrored;
    rule->status.detail = status.message();
    rule->python = nullptr;
    rule->by_rank.clear();
  }

  std::vector<RunningRule> rules_;
  const Clock& clock_;
  int64_t damaged_places_ = 0;
  std::optional<TimeNs> last_wall_ns_;  // of the newest batch
  IncidentBook book_;
  SeenData seen_;
  RowOrder row_order_;
  std::function<void(const format::StepKey&)> listener_;
};

Result<RunningRule> Prepare(const RuleSelection& selection) {
  RunningRule rule;
  rule.selection = selection;
  rule.status.name = selection.name;
  rule.source.rule = selection.name;
  rule.source.severity_is_configured = selection.severity.has_value();
  if (!selection.python_file.empty()) {
    rule.source.severity = selection.severity.value_or(Severity::kWarning);
    rule.source.parameters = selection.parameters;
    rule.status.detail = "not started yet";
    return rule;
  }
  rule.type = FindRule(selection.name);
  if (rule.type == nullptr) {
    return InvalidArgumentError("unknown rule \"" + selection.name + "\"");
  }
  WT_ASSIGN_OR_RETURN(rule.parameters, Parameters::Make(*rule.type->info, selection.parameters));
  rule.source.severity = selection.severity.value_or(rule.type->info->severity);
  rule.source.explained_by = rule.type->info->explained_by;
  rule.source.parameters = rule.parameters.all();
  rule.status.detail = MissingText(rule.type->info->needs);
  return rule;
}

}  // namespace

Result<std::unique_ptr<RuleEngine>> RuleEngine::Create(const std::vector<RuleSelection>& rules,
                                                       const Clock& clock) {
  std::vector<RunningRule> running;
  for (const RuleSelection& selection : rules) {
    WT_ASSIGN_OR_RETURN(RunningRule rule, Prepare(selection));
    running.push_back(std::move(rule));
  }
  return std::unique_ptr<RuleEngine>(std::make_unique<Engine>(std::move(running), clock));
}

}  // namespace wheeltapper::rules
