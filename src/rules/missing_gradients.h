// Parameters that never have a gradient while others of their optimizer do: the graph is cut before
// them (detach(), no_grad()), or forward() leaves their module out.
//
// What is not captured may have gone unseen, so a parameter counts only as long as its weights rest
// where they were at first, and at the steps at which its optimizer had a gradient elsewhere: one
// that waits for its turn, as in a GAN, says nothing.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "wheeltapper/format/rows.h"
#include "wheeltapper/rules/rule.h"

#include "model_description.h"
#include "stats_index.h"
#include "tensor_names.h"

namespace wheeltapper::rules {

// Parameters of one module, or of all of it, in the order of the model.
struct ModuleWithoutGradient {
  std::string module;
  bool is_whole = false;  // none of the module has a gradient
  // Whether it, or a part of it, was called in training so that gradients can reach it; unknown
  // where no outputs are captured.
  std::optional<bool> is_called;
  std::vector<std::string> parameters;
  int64_t steps = 0;  // captured ones, of the parameter that shows fewest
  int64_t since_step = 0;
};

inline constexpr const char* kDetached = "detached";  // the cause key of what is said about them

// One observation for each of the parameters.
std::vector<Observation> DescribeMissing(const ModuleWithoutGradient& group,
                                         const format::StepKey& key);

class MissingGradients {
 public:
  // Takes in a batch; true when an optimizer had a gradient there, so that some could be missing.
  bool Add(const format::StepBatch& batch, const StatsIndex& index, const format::NameTable& names,
           const ModelDescription& model);
  // The parameters that have been without for `steps` captured steps at least, by the largest
  // module of which all are, in the order of the model.
  [[nodiscard]] std::vector<ModuleWithoutGradient> Found(int64_t steps,
                                                         const ModelDescription& model) const;

 private:
  struct Track {
    tensor::TensorStats weight;
    int64_t steps = 0;
    int64_t since_step = 0;
    bool trains = false;  // it has had a gradient, or has moved
  };
  // Notes who has a gradient; the optimizers that have one.
  std::set<size_t> NoteGradients(const format::StepBatch& batch, const format::NameTable& names,
                                 const ModelDescription& model);
  [[nodiscard]] bool IsWithout(const std::string& parameter, int64_t steps) const;
  // The largest module around the parameter of which nothing has a gradient; its own module, where
  // others in it have.
  [[nodiscard]] std::string GroupOf(const std::string& parameter, int64_t steps,
                                    const ModelDescription& model) const;
  [[nodiscard]] bool IsCalled(const std::string& module) const;

  TensorRoles roles_;
  std::unordered_map<std::string, Track> tracks_;  // by parameter
  std::set<std::string> called_;                   // modules of which an output was captured
};

}  // namespace wheeltapper::rules
