#include "model_description.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "wheeltapper/core/json.h"

namespace wheeltapper::rules {
namespace {

using Json = nlohmann::json;

const Json& ArrayOf(const Json& object, const char* key) {
  static const Json kNone = Json::array();
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : kNone;
}

std::vector<std::string> TextsOf(const Json& object, const char* key) {
  std::vector<std::string> texts;
  for (const Json& item : ArrayOf(object, key)) {
    if (item.is_string()) {
      texts.push_back(item.get<std::string>());
    }
  }
  return texts;
}

std::vector<ModuleDescription> ModulesOf(const Json& model) {
  std::vector<ModuleDescription> modules;
  for (const Json& module : ArrayOf(model, "modules")) {
    if (module.is_object()) {
      modules.push_back({.path = JsonText(module, "path"),
                         .type = JsonText(module, "type"),
                         .parameters = TextsOf(module, "parameters")});
    }
  }
  return modules;
}

double WeightDecayOf(const Json& optimizer) {
  double largest = 0;
  for (const Json& group : ArrayOf(optimizer, "groups")) {
    const auto decay = group.is_object() ? group.find("weight_decay") : group.end();
    if (decay != group.end() && decay->is_number()) {
      largest = std::max(largest, decay->get<double>());
    }
  }
  return largest;
}

std::optional<std::pair<double, double>> BetasOf(const Json& optimizer) {
  const auto defaults = optimizer.find("defaults");
  if (defaults == optimizer.end() || !defaults->is_object()) {
    return std::nullopt;
  }
  const Json& betas = ArrayOf(*defaults, "betas");
  if (betas.size() != 2 || !betas[0].is_number() || !betas[1].is_number()) {
    return std::nullopt;
  }
  return std::pair(betas[0].get<double>(), betas[1].get<double>());
}

std::optional<double> EpsOf(const Json& optimizer) {
  const auto defaults = optimizer.find("defaults");
  if (defaults == optimizer.end() || !defaults->is_object()) {
    return std::nullopt;
  }
  const auto eps = defaults->find("eps");
  return eps != defaults->end() && eps->is_number() ? std::optional(eps->get<double>())
                                                    : std::nullopt;
}

RunningMeans MeansOf(const Json& optimizer) {
  RunningMeans means;
  means.betas = BetasOf(optimizer).value_or(means.betas);
  means.eps = EpsOf(optimizer);
  const auto new_at = optimizer.find("new_at");
  if (new_at != optimizer.end() && new_at->is_number_integer()) {
    means.new_at = new_at->get<int64_t>();
  }
  return means;
}

// Anything but a plain `false` counts as trainable: rules then judge the parameter.
bool RequiresGradOf(const Json& parameter) {
  const auto flag = parameter.find("requires_grad");
  return flag == parameter.end() || !flag->is_boolean() || flag->get<bool>();
}

}  // namespace

void ModelDescription::AddModule(ModuleDescription module) {
  module.type.erase(0, module.type.rfind('.') + 1);
  const auto [slot, is_new] = module_order_.try_emplace(module.path, modules_.size());
  if (is_new) {
    modules_.push_back(std::move(module));
  } else {
    modules_[slot->second] = std::move(module);
  }
}

void ModelDescription::AddParameter(const std::string& name, bool requires_grad) {
  const auto [slot, is_new] = parameters_.try_emplace(
      name, Parameter{.order = parameters_.size(), .requires_grad = true, .model = models_});
  slot->second.requires_grad = requires_grad;
}

std::set<size_t> ModelDescription::ModelsOf(const std::vector<std::string>& parameters) const {
  std::set<size_t> models;
  for (const std::string& name : parameters) {
    if (const auto found = parameters_.find(name); found != parameters_.end()) {
      models.insert(found->second.model);
    }
  }
  return models;
}

std::string ModelDescription::FirstOfModelWithoutOptimizer() const {
  std::set<size_t> excluded;
  for (const auto& [name, parameter] : parameters_) {
    if (!parameter.requires_grad || Optimized(name) || IdleOptimizerOf(name) != nullptr) {
      excluded.insert(parameter.model);
    }
  }
  const std::pair<const std::string, Parameter>* first = nullptr;
  for (const auto& entry : parameters_) {
    if (!excluded.contains(entry.second.model) &&
        (first == nullptr || entry.second.order < first->second.order)) {
      first = &entry;
    }
  }
  return first == nullptr ? "" : first->first;
}

// An optimizer is described again when its groups change: it then shares some parameter.
void ModelDescription::AddOptimizer(const std::string& type, std::vector<std::string> parameters,
                                    const RunningMeans& means) {
  const auto known = std::find_if(parameters.begin(), parameters.end(),
                                  [this](const std::string& name) { return Optimized(name); });
  const bool is_new = !parameters.empty() && known == parameters.end();
  const size_t number = is_new || parameters.empty() ? optimizers_ : *OptimizerNumberOf(*known);
  optimizers_ += is_new ? 1 : 0;
  std::set<size_t> models = ModelsOf(parameters);
  if (is_new && !models.empty()) {
    const auto apart = [&](const std::set<size_t>& others) {
      return std::none_of(models.begin(), models.end(),
                          [&](size_t model) { return others.contains(model); });
    };
    trains_apart_ = trains_apart_ || std::any_of(trained_.begin(), trained_.end(), apart);
    trained_.push_back(std::move(models));
  }
  for (std::string& name : parameters) {
    Stepped& stepped = optimized_[std::move(name)];
    // Described again, it has state, and is as new as it was.
    const std::optional<int64_t> new_at = means.new_at ? means.new_at : stepped.means.new_at;
    stepped = {.type = type, .optimizer = number, .means = means};
    stepped.means.new_at = new_at;
  }
}

void ModelDescription::AddMeta(const std::string& meta) {
  const Json json = ParseJson(meta);
  if (!json.is_object()) {
    return;
  }
  const std::string kind = JsonText(json, "kind");
  if (kind == "hyperparameters") {
    world_size_ = JsonInteger(json, "world_size", 1);
  } else if (kind == "optimizer") {
    AddOptimizer(JsonText(json, "type"), TextsOf(json, "parameters"), MeansOf(json));
    weight_decay_ = std::max(weight_decay_, WeightDecayOf(json));
    if (json.contains("first_at")) {
      newest_optimizer_at_ = JsonInteger(json, "first_at");
    }
  } else if (kind == "kept_gradient") {
    kept_gradient_ = {.parameter = JsonText(json, "parameter"),
                      .step = JsonInteger(json, "step"),
                      .is_read = json.value("read", Json(true)) != Json(false)};
  } else if (kind == "loss_input") {
    if (std::optional<LossInput> input = LossInputFrom(json)) {
      loss_inputs_.push_back(*std::move(input));
    }
  } else if (kind == "loss_anew") {
    loss_inputs_.clear();
    classes_ = 0;
  } else if (kind == "guess") {
    classes_ = JsonInteger(json, "classes");
  } else if (kind == "idle_optimizer") {
    for (std::string& name : TextsOf(json, "parameters")) {
      idle_[std::move(name)] = JsonText(json, "type");
    }
  } else if (kind == "model") {
    ++models_;
    for (ModuleDescription& module : ModulesOf(json)) {
      AddModule(std::move(module));
    }
    for (const Json& parameter : ArrayOf(json, "parameters")) {
      if (parameter.is_object()) {
        AddParameter(JsonText(parameter, "name"), RequiresGradOf(parameter));
      }
    }
  }
}

void ModelDescription::Add(const std::vector<std::string>& metas) {
  for (const std::string& meta : metas) {
    AddMeta(meta);
  }
}

const ModuleDescription* ModelDescription::Module(std::string_view path) const {
  const auto found = module_order_.find(path);
  return found == module_order_.end() ? nullptr : &modules_[found->second];
}

std::optional<size_t> ModelDescription::OrderOfModule(std::string_view path) const {
  const auto found = module_order_.find(path);
  return found == module_order_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<size_t> ModelDescription::OrderOfParameter(std::string_view name) const {
  const auto found = parameters_.find(name);
  return found == parameters_.end() ? std::nullopt : std::optional(found->second.order);
}

const ModuleDescription* ModelDescription::LastWithParametersBefore(std::string_view path) const {
  size_t place = OrderOfModule(path).value_or(0);
  while (place > 0) {
    --place;
    if (!modules_[place].parameters.empty()) {
      return &modules_[place];
    }
  }
  return nullptr;
}

std::string ModelDescription::OptimizerOf(std::string_view parameter) const {
  const auto found = optimized_.find(parameter);
  return found == optimized_.end() ? "" : found->second.type;
}

RunningMeans ModelDescription::RunningMeansOf(std::string_view parameter) const {
  const auto found = optimized_.find(parameter);
  return found == optimized_.end() ? RunningMeans() : found->second.means;
}

std::optional<size_t> ModelDescription::OptimizerNumberOf(std::string_view parameter) const {
  const auto found = optimized_.find(parameter);
  return found == optimized_.end() ? std::nullopt : std::optional(found->second.optimizer);
}

std::vector<std::string> ModelDescription::ParametersIn(std::string_view module) const {
  std::vector<std::pair<size_t, std::string>> ordered;
  for (const auto& [name, parameter] : parameters_) {
    const bool inside = module.empty() || (name.size() > module.size() &&
                                           name.starts_with(module) && name[module.size()] == '.');
    if (inside) {
      ordered.emplace_back(parameter.order, name);
    }
  }
  std::sort(ordered.begin(), ordered.end());
  std::vector<std::string> names;
  names.reserve(ordered.size());
  for (auto& [order, name] : ordered) {
    names.push_back(std::move(name));
  }
  return names;
}

const std::string* ModelDescription::IdleOptimizerOf(std::string_view parameter) const {
  const auto found = idle_.find(parameter);
  return found == idle_.end() || Optimized(parameter) ? nullptr : &found->second;
}

bool ModelDescription::RequiresGrad(std::string_view parameter) const {
  const auto found = parameters_.find(parameter);
  return found == parameters_.end() || found->second.requires_grad;
}

bool ModelDescription::EveryTrained(const std::function<bool(const std::string&)>& holds) const {
  return std::all_of(parameters_.begin(), parameters_.end(), [&](const auto& parameter) {
    return !parameter.second.requires_grad || holds(parameter.first);
  });
}

}  // namespace wheeltapper::rules
