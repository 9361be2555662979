// Activations with two ends, all of whose outputs lie at them: they have no slope there, so that no
// gradient passes.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "wheeltapper/format/rows.h"

#include "growth_cause.h"
#include "model_description.h"

namespace wheeltapper::rules {

class Saturation {
 public:
  // Of the output of `module`.
  void Add(const ModuleDescription& module, const tensor::TensorStats& output);

  struct Found {
    Cause why;
    bool is_next = false;  // the very next module; another one may be applied elsewhere
  };
  // Of the layer at `path`: that what follows it, up to the next layer with parameters, was
  // saturated when it was last captured.
  [[nodiscard]] std::optional<Found> After(const std::string& path,
                                           const ModelDescription& model) const;

 private:
  std::set<std::string> saturated_;  // paths
};

}  // namespace wheeltapper::rules
