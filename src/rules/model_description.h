// The model as the framework's attach describes it in META records of kind "model" and "optimizer":
//   {"kind":"model","modules":[{"path","type","parameters":[…]}…],
//    "parameters":[{"name","numel","requires_grad"}…]}       both in registration order
//   {"kind":"optimizer","type","parameters":[names…],"defaults":{"betas":[b1,b2],"weight_decay",…}}
//                                                             one per optimizer that steps
//   "new_at" in it: the step at which it had no state, so that its first step was that one;
//   "first_at": that of its first step of all in the process, whatever state it came with
//   {"kind":"kept_gradient","parameter","step","read"}        backward() began on what the step
//   before had left; read: its values were looked at, and not only how often it was changed
//   {"kind":"loss_input",…}                                   loss_input.h
//   {"kind":"guess","classes":10}                             of how many classes the loss is the
//   mean cross entropy; 0: it has several terms or numbers of classes
//   {"kind":"loss_anew"}                                      what both have said is over: another
//   training may begin
//   {"kind":"idle_optimizer","type","parameters":[names…]}    one per optimizer that has not
//   stepped
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loss_input.h"

namespace wheeltapper::rules {

struct ModuleDescription {
  std::string path;
  std::string type;                     // last part: "ReLU" of "torch.nn.modules.activation.ReLU"
  std::vector<std::string> parameters;  // its own, by their names in the model: "conv1.weight"
};

// What Adam and the like keep of a parameter's gradients.
struct RunningMeans {
  // The shares of the means of gradients and of their squares that a step keeps; Adam's own
  // defaults where nothing says so.
  std::pair<double, double> betas = {0.9, 0.999};
  // The first step of all that they hold; nothing where they may hold some from before the run.
  std::optional<int64_t> new_at;
  // What is added to the root that an update is divided by; nothing where nothing says so.
  std::optional<double> eps = std::nullopt;
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
  // Whether `holds` of every described parameter that requires a gradient.
  [[nodiscard]] bool EveryTrained(const std::function<bool(const std::string&)>& holds) const;
  // Ranks that train together; 1 where nothing says so.
  [[nodiscard]] int64_t world_size() const { return world_size_; }
  // How many optimizers step, each over parameters that no other one has.
  [[nodiscard]] size_t optimizers() const { return optimizers_; }
  // Whether two of them train models that have no parameter in common.
  [[nodiscard]] bool trains_apart() const { return trains_apart_; }
  // The step at which the newest of all optimizers made its first step; nothing where none is
  // known.
  [[nodiscard]] std::optional<int64_t> newest_optimizer_at() const { return newest_optimizer_at_; }
  [[nodiscard]] bool optimizer_known() const { return !optimized_.empty(); }
  [[nodiscard]] bool Optimized(std::string_view parameter) const {
    return optimized_.contains(parameter);
  }
  // The first parameter of a model that is to be trained as a whole and of which no optimizer holds
  // anything; "" where there is none.
  [[nodiscard]] std::string FirstOfModelWithoutOptimizer() const;
  // Which of the optimizers that step it is, counted from 0; nothing where none is known to.
  [[nodiscard]] std::optional<size_t> OptimizerNumberOf(std::string_view parameter) const;
  // In registration order.
  [[nodiscard]] std::vector<std::string> ParametersIn(std::string_view module) const;
  // The type of the optimizer that steps the parameter, "SGD"; "" where nothing says so.
  [[nodiscard]] std::string OptimizerOf(std::string_view parameter) const;
  // A parameter that still had the gradient of the step before when backward() began.
  struct KeptGradient {
    std::string parameter;
    int64_t step = 0;
    bool is_read = true;
  };
  [[nodiscard]] const std::optional<KeptGradient>& kept_gradient() const { return kept_gradient_; }
  // What the losses of the present training are given that does not fit them, each once.
  [[nodiscard]] const std::vector<LossInput>& loss_inputs() const { return loss_inputs_; }
  // The classes of the cross entropy that is minimised, if it alone is; 0 where it is not known.
  [[nodiscard]] int64_t classes() const { return classes_; }
  // The largest weight decay of any optimizer; 0 where nothing says so.
  [[nodiscard]] double weight_decay() const { return weight_decay_; }
  [[nodiscard]] RunningMeans RunningMeansOf(std::string_view parameter) const;
  // The type of the optimizer that holds the parameter and has made no step; null when there is
  // none, or another one steps it.
  [[nodiscard]] const std::string* IdleOptimizerOf(std::string_view parameter) const;

 private:
  struct Parameter {
    size_t order = 0;
    bool requires_grad = true;
    size_t model = 0;  // the description it came with
  };
  struct Stepped {
    std::string type;  // of its optimizer
    size_t optimizer = 0;
    RunningMeans means = {};
  };
  void AddOptimizer(const std::string& type, std::vector<std::string> parameters,
                    const RunningMeans& means);
  void AddMeta(const std::string& meta);
  void AddModule(ModuleDescription module);
  void AddParameter(const std::string& name, bool requires_grad);
  // The models that hold the parameters, as far as they are described.
  [[nodiscard]] std::set<size_t> ModelsOf(const std::vector<std::string>& parameters) const;

  std::vector<ModuleDescription> modules_;
  std::map<std::string, size_t, std::less<>> module_order_;
  std::map<std::string, Parameter, std::less<>> parameters_;
  std::map<std::string, Stepped, std::less<>> optimized_;  // by parameter
  size_t optimizers_ = 0;
  double weight_decay_ = 0;
  std::optional<KeptGradient> kept_gradient_;
  std::optional<int64_t> newest_optimizer_at_;
  std::vector<LossInput> loss_inputs_;
  int64_t classes_ = 0;
  int64_t world_size_ = 1;
  size_t models_ = 0;
  std::vector<std::set<size_t>> trained_;  // the models of each optimizer
  bool trains_apart_ = false;
  std::map<std::string, std::string, std::less<>> idle_;  // parameter → type of its optimizer
};

}  // namespace wheeltapper::rules
