#include "tensor_names.h"

#include <algorithm>
#include <array>
#include <utility>

#include "wheeltapper/format/scalar_names.h"

namespace wheeltapper::rules {
namespace {

constexpr std::array<std::pair<std::string_view, TensorKind>, 6> kPrefixes = {{
    {"gradient/", TensorKind::kGradient},
    {"update/", TensorKind::kUpdate},
    {"optimizer/", TensorKind::kOptimizer},
    {"input/", TensorKind::kInput},
    {"output/", TensorKind::kOutput},
    {"loss/", TensorKind::kLoss},
}};

bool InCollection(const format::NameInfo& info, std::string_view collection) {
  return std::find(info.collections.begin(), info.collections.end(), collection) !=
         info.collections.end();
}

// "output/encoder.0:1" → "encoder.0"; "optimizer/fc.weight/exp_avg" → "fc.weight".
std::string SubjectOf(TensorKind kind, std::string_view rest) {
  if (kind == TensorKind::kOptimizer) {
    return std::string(rest.substr(0, rest.rfind('/')));
  }
  if (kind == TensorKind::kInput || kind == TensorKind::kOutput) {
    return std::string(rest.substr(0, rest.rfind(':')));
  }
  return std::string(rest);
}

// What the prefix says; kOther without one.
TensorRole RoleByPrefix(std::string_view name) {
  for (const auto& [prefix, kind] : kPrefixes) {
    if (name.starts_with(prefix)) {
      return {.kind = kind, .subject = SubjectOf(kind, name.substr(prefix.size()))};
    }
  }
  return {.kind = TensorKind::kOther, .subject = std::string(name)};
}

TensorRole Classify(const format::NameTable& names, const format::NameInfo& info) {
  TensorRole by_prefix = RoleByPrefix(info.name);
  if (by_prefix.kind == TensorKind::kLoss && !format::NamesLoss(info.name)) {
    return {.kind = TensorKind::kOther, .subject = info.name};  // "loss/kl_weight"
  }
  if (by_prefix.kind != TensorKind::kOther) {
    return by_prefix;
  }
  if (InCollection(info, "weights") || InCollection(info, "biases") ||
      names.Find("gradient/" + info.name) != nullptr) {
    return {.kind = TensorKind::kParameter, .subject = info.name};
  }
  if (InCollection(info, "losses") || format::NamesLoss(info.name)) {
    return {.kind = TensorKind::kLoss, .subject = info.name};
  }
  return {.kind = TensorKind::kOther, .subject = info.name};
}

}  // namespace

const TensorRole& TensorRoles::Of(const format::NameTable& names, format::NameId id) {
  if (id >= roles_.size()) {
    roles_.resize(names.size());
  }
  std::optional<TensorRole>& role = roles_[id];
  if (!role || role->kind == TensorKind::kOther) {
    role = Classify(names, names.info(id));
  }
  return *role;
}

std::string SubjectOfName(std::string_view name) { return RoleByPrefix(name).subject; }

bool HoldsSquares(std::string_view name) {
  // Adam and its kin, Adadelta and RMSprop, Adagrad, Adafactor; Adamax's exp_inf is no square.
  constexpr std::array<std::string_view, 8> kSquares = {
      "exp_avg_sq", "max_exp_avg_sq", "square_avg", "acc_delta",
      "sum",        "row_var",        "col_var",    "variance"};
  const std::string_view state = name.substr(name.rfind('/') + 1);
  return RoleByPrefix(name).kind == TensorKind::kOptimizer &&
         (std::find(kSquares.begin(), kSquares.end(), state) != kSquares.end() ||
          state.starts_with("exp_avg_sq_"));  // the rows and columns of other Adafactors
}

std::string ModuleOfParameter(std::string_view parameter) {
  const size_t dot = parameter.rfind('.');
  return dot == std::string_view::npos ? "" : std::string(parameter.substr(0, dot));
}

std::optional<std::string> ModuleOf(const TensorRole& role) {
  switch (role.kind) {
    case TensorKind::kParameter:
    case TensorKind::kGradient:
    case TensorKind::kUpdate:
    case TensorKind::kOptimizer:
      return ModuleOfParameter(role.subject);
    case TensorKind::kInput:
    case TensorKind::kOutput:
      return role.subject;
    case TensorKind::kLoss:
    case TensorKind::kOther:
      return std::nullopt;
  }
  return std::nullopt;
}

bool NamesValidation(std::string_view name) {
  constexpr std::array<std::string_view, 7> kWords = {"val",  "valid", "validation", "eval",
                                                      "test", "dev",   "valloss"};
  const std::vector<std::string> words = format::WordsOfName(name);
  return std::any_of(words.begin(), words.end(), [&](const std::string& word) {
    return std::find(kWords.begin(), kWords.end(), word) != kWords.end();
  });
}

bool NamesLearningRate(std::string_view name) {
  const std::vector<std::string> words = format::WordsOfName(name);
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "lr" ||
        (words[i] == "learning" && i + 1 < words.size() && words[i + 1] == "rate")) {
      return true;
    }
  }
  return false;
}

std::vector<std::string> SplitCommas(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    std::string_view part = text.substr(0, comma);
    while (part.starts_with(' ')) {
      part.remove_prefix(1);
    }
    while (part.ends_with(' ')) {
      part.remove_suffix(1);
    }
    if (!part.empty()) {
      parts.emplace_back(part);
    }
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return parts;
}

Result<TensorChoice> TensorChoice::Make(const std::string& collection_names,
                                        const std::string& tensor_regex) {
  TensorChoice choice;
  choice.collections_ = SplitCommas(collection_names);
  if (!tensor_regex.empty()) {
    WT_ASSIGN_OR_RETURN(choice.regex_, Regex::Compile(tensor_regex));
  }
  return choice;
}

bool TensorChoice::Has(const format::NameInfo& info) const {
  // A search that runs into its limit counts as no match: the pattern is at fault, not the tensor.
  return std::any_of(collections_.begin(), collections_.end(),
                     [&](const std::string& name) { return InCollection(info, name); }) ||
         (regex_ && regex_->Search(info.name).value_or(false));
}

}  // namespace wheeltapper::rules
