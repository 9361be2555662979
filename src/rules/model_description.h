// The model as the framework's attach describes it in META records of kind "model" and "optimizer":
//   {"kind":"model","modules":[{"path","type","parameters":[…]}…],
//    "parameters":[{"name","numel","requires_grad"}…]}       both in registration order
//   {"kind":"optimizer","parameters":[names…]}                one per optimizer
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace wheeltapper::rules {

struct ModuleDescription {
  std::string path;
  std::string type;  // last part: "ReLU" of "torch.nn.modules.activation.ReLU"
  std::vector<std::string> parameters;
};

// Grows with every META; later descriptions of the same path replace earlier ones. Anything that is
// not of these kinds, or malformed, is passed over.
class ModelDescription {
 public:
  void Add(const std::vector<std::string>& metas);

  [[nodiscard]] bool known() const { return !modules_.empty(); }
  [[nodiscard]] const std::vector<ModuleDescription>& modules() const { return modules_; }
  [[nodiscard]] const ModuleDescription* Module(std::string_view path) const;
  // Place in registration order, which is forward order in nearly every model.
  [[nodiscard]] std::optional<size_t> OrderOfModule(std::string_view path) const;
  [[nodiscard]] std::optional<size_t> OrderOfParameter(std::string_view name) const;
  // The nearest module before `path`, in registration order, that has parameters of its own.
  [[nodiscard]] const ModuleDescription* LastWithParametersBefore(std::string_view path) const;
  // False when the description says so; true when it says nothing.
  [[nodiscard]] bool RequiresGrad(std::string_view parameter) const;
  [[nodiscard]] bool optimizer_known() const { return !optimized_.empty(); }
  [[nodiscard]] bool Optimized(std::string_view parameter) const {
    return optimized_.contains(parameter);
  }

 private:
  struct Parameter {
    size_t order = 0;
    bool requires_grad = true;
  };
  void AddMeta(const std::string& meta);
  void AddModule(ModuleDescription module);
  void AddParameter(const std::string& name, bool requires_grad);

  std::vector<ModuleDescription> modules_;
  std::map<std::string, size_t, std::less<>> module_order_;
  std::map<std::string, Parameter, std::less<>> parameters_;
  std::set<std::string, std::less<>> optimized_;
};

}  // namespace wheeltapper::rules
