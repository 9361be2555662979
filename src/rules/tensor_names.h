// What a captured name stands for, from the naming scheme of DESIGN §3.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wheeltapper/core/regex.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/rows.h"

namespace wheeltapper::rules {

enum class TensorKind : uint8_t {
  kOther,
  kParameter,  // <parameter path>
  kGradient,   // gradient/<parameter path>
  kUpdate,     // update/<parameter path>: what the last step added to it
  kOptimizer,  // optimizer/<parameter path>/<state>
  kInput,      // input/<module path>[:i]
  kOutput,     // output/<module path>[:i]
  kLoss,       // loss/<name>, or a free name that says loss
};

struct TensorRole {
  TensorKind kind = TensorKind::kOther;
  std::string subject;  // the parameter or module path, or the name itself
};

// Roles by id, remembered. A name without prefix counts as a parameter once it is in the
// collection weights or biases, or a gradient of it exists.
class TensorRoles {
 public:
  const TensorRole& Of(const format::NameTable& names, format::NameId id);

 private:
  std::vector<std::optional<TensorRole>> roles_;
};

// TensorRole::subject by the prefix alone, for whom no names are at hand; a name without one is its
// own subject.
std::string SubjectOfName(std::string_view name);

// Whether a tensor of the optimizer's state holds squares of gradients or of updates
// (optimizer/fc.weight/exp_avg_sq): it grows by the square of what they grow by.
bool HoldsSquares(std::string_view name);

// "conv1.weight" → "conv1"; the root module's own parameter → "".
std::string ModuleOfParameter(std::string_view parameter);
// The module a finding about this tensor points to, where there is one.
std::optional<std::string> ModuleOf(const TensorRole& role);

// True for names that say val, valid, validation, eval, test or dev.
bool NamesValidation(std::string_view name);
// True for "lr", "learning_rate", "lr/group0".
bool NamesLearningRate(std::string_view name);

// The user's choice of tensors: the union of `collection_names` (comma-separated) and
// `tensor_regex`.
class TensorChoice {
 public:
  static Result<TensorChoice> Make(const std::string& collection_names,
                                   const std::string& tensor_regex);
  // Nothing was chosen.
  [[nodiscard]] bool empty() const { return collections_.empty() && !regex_; }
  [[nodiscard]] bool Has(const format::NameInfo& info) const;

 private:
  std::vector<std::string> collections_;
  std::optional<Regex> regex_;
};

std::vector<std::string> SplitCommas(std::string_view text);

}  // namespace wheeltapper::rules
