#include "missing_gradients.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace wheeltapper::rules {

namespace {

// The outputs of a module that is called under no_grad() are not captured.
std::string CauseOf(const ModuleWithoutGradient& group) {
  if (!group.is_called) {
    return "the loss does not depend on it: detach() or no_grad() cuts the graph there, or "
           "forward() "
           "does not use it";
  }
  return *group.is_called
             ? "the loss does not depend on it: detach() or item() cuts the graph behind it"
             : "in training it is called under no_grad(), or forward() does not use it";
}

}  // namespace

std::vector<Observation> DescribeMissing(const ModuleWithoutGradient& group,
                                         const format::StepKey& key) {
  std::vector<Observation> observations;
  for (const std::string& parameter : group.parameters) {
    observations.push_back(
        {.cause_key = kDetached,
         .tensor = parameter,
         .module = group.module,
         .key = key,
         .message = fmt::format(
             "{} has had no gradient at {} captured steps, {} to {}, while other parameters of its "
             "optimizer have",
             group.is_whole ? fmt::format("{} ({})", group.module, parameter) : parameter,
             group.steps, group.since_step, key.step.value),
         .cause = CauseOf(group),
         .try_ =
             "take detach() or no_grad() away if it is to learn; else set requires_grad = False, "
             "or leave it out of the optimizer",
         .evidence = {},
         .severity = Severity::kWarning,
         .since = Step{group.since_step}});
  }
  return observations;
}

std::set<size_t> MissingGradients::NoteGradients(const format::StepBatch& batch,
                                                 const format::NameTable& names,
                                                 const ModelDescription& model) {
  std::set<size_t> optimizers;
  for (const format::StatsRow& row : batch.stats) {
    const TensorRole& role = roles_.Of(names, row.name);
    if (role.kind == TensorKind::kOutput && batch.key.mode == Mode::kTrain) {
      called_.insert(role.subject);
    } else if (role.kind == TensorKind::kGradient) {
      tracks_[role.subject].trains = true;
      if (const auto number = model.OptimizerNumberOf(role.subject)) {
        optimizers.insert(*number);
      }
    }
  }
  return optimizers;
}

bool MissingGradients::Add(const format::StepBatch& batch, const StatsIndex& index,
                           const format::NameTable& names, const ModelDescription& model) {
  const std::set<size_t> optimizers = NoteGradients(batch, names, model);
  if (optimizers.empty()) {
    return false;
  }
  for (const format::StatsRow& row : batch.stats) {
    const TensorRole& role = roles_.Of(names, row.name);
    const auto number = model.OptimizerNumberOf(role.subject);
    if (role.kind != TensorKind::kParameter || !number || !optimizers.contains(*number)) {
      continue;
    }
    Track& track = tracks_[role.subject];
    const format::StatsRow* update = index.Find(names, "update/" + role.subject);
    track.trains = track.trains || !model.RequiresGrad(role.subject) ||
                   (track.steps > 0 && !SameStats(track.weight, row.stats)) ||
                   (update != nullptr && update->stats.abs_max > 0);
    track.weight = row.stats;
    track.since_step = track.steps == 0 ? batch.key.step.value : track.since_step;
    ++track.steps;
  }
  return true;
}

bool MissingGradients::IsWithout(const std::string& parameter, int64_t steps) const {
  const auto found = tracks_.find(parameter);
  return found != tracks_.end() && !found->second.trains && found->second.steps >= steps;
}

std::string MissingGradients::GroupOf(const std::string& parameter, int64_t steps,
                                      const ModelDescription& model) const {
  std::string group = ModuleOfParameter(parameter);
  for (std::string module = group; !module.empty(); module = ModuleOfParameter(module)) {
    const std::vector<std::string> all = model.ParametersIn(module);
    if (!std::all_of(all.begin(), all.end(), [&](const std::string& name) {
          return !model.RequiresGrad(name) || IsWithout(name, steps);
        })) {
      break;
    }
    group = module;
  }
  return group;
}

bool MissingGradients::IsCalled(const std::string& module) const {
  // A container, of which a part is called, may have no output of its own; the root was called.
  const std::string prefix = module + ".";
  const auto part = called_.lower_bound(prefix);
  return module.empty() || called_.contains(module) ||
         (part != called_.end() && part->starts_with(prefix));
}

std::vector<ModuleWithoutGradient> MissingGradients::Found(int64_t steps,
                                                           const ModelDescription& model) const {
  std::vector<ModuleWithoutGradient> found;
  if (std::none_of(tracks_.begin(), tracks_.end(),
                   [&](const auto& track) { return IsWithout(track.first, steps); })) {
    return found;  // nearly always
  }
  std::map<std::string, size_t> slots;
  for (const std::string& name : model.ParametersIn("")) {
    if (!IsWithout(name, steps)) {
      continue;
    }
    const std::string module = GroupOf(name, steps, model);
    const auto [slot, is_new] = slots.try_emplace(module, found.size());
    const Track& track = tracks_.at(name);
    if (is_new) {
      const std::vector<std::string> all = model.ParametersIn(module);
      const auto without = [&](const std::string& other) {
        return !model.RequiresGrad(other) || IsWithout(other, steps);
      };
      found.push_back(
          {.module = module,
           .is_whole = std::all_of(all.begin(), all.end(), without),
           .is_called = called_.empty() ? std::nullopt : std::optional(IsCalled(module)),
           .parameters = {},
           .steps = track.steps,
           .since_step = track.since_step});
    }
    ModuleWithoutGradient& group = found[slot->second];
    group.parameters.push_back(name);
    group.steps = std::min(group.steps, track.steps);
    group.since_step = std::min(group.since_step, track.since_step);
  }
  return found;
}

}  // namespace wheeltapper::rules
