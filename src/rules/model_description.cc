#include "model_description.h"

#include <utility>

#include <nlohmann/json.hpp>

namespace wheeltapper::rules {
namespace {

using Json = nlohmann::json;

std::string TextOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

const Json& ArrayOf(const Json& object, const char* key) {
  static const Json none = Json::array();
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : none;
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

void ModelDescription::Add(const std::vector<std::string>& metas) {
  for (const std::string& meta : metas) {
    const Json json = Json::parse(meta, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) {
      continue;
    }
    const std::string kind = TextOf(json, "kind");
    if (kind == "optimizer") {
      for (std::string& name : TextsOf(json, "parameters")) {
        optimized_.insert(std::move(name));
      }
    }
    if (kind != "model") {
      continue;
    }
    for (const Json& module : ArrayOf(json, "modules")) {
      if (module.is_object()) {
        AddModule({.path = TextOf(module, "path"),
                   .type = TextOf(module, "type"),
                   .parameters = TextsOf(module, "parameters")});
      }
    }
    for (const Json& parameter : ArrayOf(json, "parameters")) {
      if (!parameter.is_object()) {
        continue;
      }
      const auto [slot, is_new] =
          parameters_.try_emplace(TextOf(parameter, "name"), Parameter{parameters_.size(), true});
      const auto flag = parameter.find("requires_grad");
      slot->second.requires_grad =
          flag == parameter.end() || !flag->is_boolean() || flag->get<bool>();
    }
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

bool ModelDescription::RequiresGrad(std::string_view parameter) const {
  const auto found = parameters_.find(parameter);
  return found == parameters_.end() || found->second.requires_grad;
}

}  // namespace wheeltapper::rules
