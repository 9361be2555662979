#include "plan.h"

#include <algorithm>

#include "wheeltapper/core/suggest.h"

namespace wheeltapper::capture {
namespace {

// What each role's tensors fall into, and the configuration key that says what is taken.
struct Builtin {
  const char* name;
  const char* key;  // nullptr: statistics, always
};
constexpr std::array<Builtin, 9> kBuiltins{{
    {"weights", "capture.weights"},
    {"biases", "capture.biases"},
    {"gradients", "capture.gradients"},
    {"optimizer", "capture.optimizer"},
    {"activations", "capture.activations"},
    {"inputs", "capture.inputs"},
    {"outputs", "capture.outputs"},
    {"losses", "capture.losses"},
    {"metrics", nullptr},
}};

// Tensors handed to save_tensor without a configured collection.
constexpr const char* kSaved = "";
constexpr const char* kSavedKey = "capture.saved";

const std::vector<std::string>& ReductionNames() {
  // Leaked on purpose: usable until the process is gone.
  static const auto* const kNames =  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory)
      new std::vector<std::string>{"min",          "max",
                                   "mean",         "std",
                                   "variance",     "sum",
                                   "prod",         "product",
                                   "median",       "l1",
                                   "l2",           "rms",
                                   "abs_min",      "abs_max",
                                   "abs_mean",     "abs_std",
                                   "abs_variance", "abs_sum",
                                   "nan_count",    "inf_count",
                                   "zero_count",   "negative_count",
                                   "numel"};
  return *kNames;
}

// The takes that reductions ask for beyond what every statistics pass yields.
Result<uint32_t> ExtraTakes(const Config& config, const std::string& key) {
  uint32_t take = kTakeNothing;
  for (const std::string& name : config.GetTexts(key)) {
    const auto& known = ReductionNames();
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return InvalidArgumentError("reading " + key + ": unknown reduction: \"" + name + "\"" +
                                  DidYouMean(name, known));
    }
    if (name == "prod" || name == "product") {
      take |= kTakeProduct;
    } else if (name == "median") {
      take |= kTakeMedian;
    }
  }
  return take;
}

std::string RoleCollection(Role role) {
  switch (role) {
    case Role::kWeight:
      return "weights";
    case Role::kBias:
      return "biases";
    case Role::kGradient:
      return "gradients";
    case Role::kOptimizer:
      return "optimizer";
    case Role::kOutput:
      return "activations";
    case Role::kInput:
      return "inputs";
    case Role::kLoss:
      return "losses";
    case Role::kMetric:
      return "metrics";
    case Role::kOther:
      return "";
  }
  return "";
}

bool TakenInMode(Role role, Mode mode) {
  const bool trains = mode == Mode::kTrain || mode == Mode::kGlobal;
  return trains || (role != Role::kGradient && role != Role::kOptimizer);
}

// The schedule of one mode; `prefix` is the collection's own table, or "".
Schedule ReadSchedule(const Config& config, const std::string& prefix, Mode mode) {
  const std::string mode_prefix = "capture." + std::string(ModeName(mode)) + ".";
  // The most specific table that has the key decides, key by key.
  const auto key = [&](const char* name) {
    for (const std::string& table : {prefix, mode_prefix}) {
      if (!table.empty() && config.Find(table + name) != nullptr) {
        return table + name;
      }
    }
    return std::string("capture.") + name;
  };
  Schedule schedule;
  schedule.every = config.GetInt(key("every"));
  schedule.start = config.GetInt(key("start"));
  schedule.end = config.Find(key("end")) == nullptr ? kNever : config.GetInt(key("end"));
  schedule.steps = config.GetInts(key("steps"));
  std::sort(schedule.steps.begin(), schedule.steps.end());
  schedule.steps.erase(std::unique(schedule.steps.begin(), schedule.steps.end()),
                       schedule.steps.end());
  // An interval that somebody wrote down is kept unless they also wrote down what may thin it.
  schedule.governed = schedule.every == 0 || config.WasChosen("budget") ||
                      config.GetText("capture.on_full") == "thin";
  return schedule;
}

void AddMembership(std::vector<Membership>* memberships, uint32_t schedule, uint32_t take) {
  const auto same =
      std::find_if(memberships->begin(), memberships->end(),
                   [&](const Membership& other) { return other.schedule == schedule; });
  if (same == memberships->end()) {
    memberships->push_back({schedule, take});
  } else {
    same->take |= take;
  }
}

}  // namespace

uint32_t TakeFromName(const std::string& name) {
  if (name == "stats" || name == "value") {
    return kTakeStats;
  }
  if (name == "hist") {
    return kTakeStats | kTakeHistogram;
  }
  if (name == "raw") {
    return kTakeStats | kTakeRaw;
  }
  return kTakeNothing;
}

Result<CapturePlan> CapturePlan::Create(const Config& config) {
  CapturePlan plan;
  const std::vector<std::string> include = config.GetTexts("capture.include");
  WT_ASSIGN_OR_RETURN(plan.include_, RegexSet::Compile(include));
  WT_ASSIGN_OR_RETURN(plan.exclude_, RegexSet::Compile(config.GetTexts("capture.exclude")));
  plan.any_include_ = !include.empty();
  plan.loss_scalars_ = config.GetText("capture.losses") != "off";
  WT_ASSIGN_OR_RETURN(const uint32_t extra, ExtraTakes(config, "capture.reductions"));
  WT_RETURN_IF_ERROR(plan.AddBuiltins(config, extra));
  for (const std::string& name : config.ChildrenOf("capture.collections")) {
    WT_RETURN_IF_ERROR(plan.AddUserCollection(config, name, extra));
  }
  for (const Collection& collection : plan.collections_) {
    plan.takes_raw_ |= (collection.take & kTakeRaw) != 0 && collection.name != kSaved;
  }
  return plan;
}

Status CapturePlan::AddBuiltins(const Config& config, uint32_t extra) {
  const auto add = [&](const char* name, uint32_t take) {
    Collection collection;
    collection.name = name;
    collection.take = take == kTakeNothing ? take : take | extra;
    WT_RETURN_IF_ERROR(AddSchedules(config, "", &collection));
    collections_.push_back(std::move(collection));
    return Status::Ok();
  };
  for (const Builtin& builtin : kBuiltins) {
    const uint32_t take =
        builtin.key == nullptr ? kTakeStats : TakeFromName(config.GetText(builtin.key));
    WT_RETURN_IF_ERROR(add(builtin.name, take));
  }
  return add(kSaved, TakeFromName(config.GetText(kSavedKey)));
}

Status CapturePlan::AddUserCollection(const Config& config, const std::string& name,
                                      uint32_t extra) {
  const std::string prefix = "capture.collections." + name + ".";
  Collection collection;
  collection.name = name;
  collection.user = true;
  WT_ASSIGN_OR_RETURN(collection.include, RegexSet::Compile(config.GetTexts(prefix + "include")));
  WT_ASSIGN_OR_RETURN(collection.exclude, RegexSet::Compile(config.GetTexts(prefix + "exclude")));
  collection.take = kTakeStats | extra;
  if (config.Find(prefix + "reductions") != nullptr) {
    WT_ASSIGN_OR_RETURN(const uint32_t own, ExtraTakes(config, prefix + "reductions"));
    collection.take = kTakeStats | own;
  }
  collection.take |= config.GetBool(prefix + "histogram") ? kTakeHistogram : kTakeNothing;
  collection.take |= config.GetBool(prefix + "raw") ? kTakeRaw : kTakeNothing;
  WT_RETURN_IF_ERROR(AddSchedules(config, prefix, &collection));
  // A user's collection named like a built-in one configures that one.
  const auto same = std::find_if(collections_.begin(), collections_.end(),
                                 [&](const Collection& other) { return other.name == name; });
  if (same != collections_.end()) {
    *same = std::move(collection);
    return Status::Ok();
  }
  if (collection.include.empty()) {
    return InvalidArgumentError("reading capture.collections: no include pattern: \"" + name +
                                "\"; add include = [\"…\"]");
  }
  collections_.push_back(std::move(collection));
  return Status::Ok();
}

Status CapturePlan::AddSchedules(const Config& config, const std::string& prefix,
                                 Collection* collection) {
  for (size_t mode = 0; mode < kModes; ++mode) {
    Schedule schedule = ReadSchedule(config, prefix, static_cast<Mode>(mode));
    any_governed_ |= schedule.governed;
    auto& known = schedules_[mode];
    const auto same = std::find(known.begin(), known.end(), schedule);
    collection->schedule[mode] = static_cast<uint32_t>(same - known.begin());
    if (same == known.end()) {
      if (known.size() == kMaxSchedules) {
        return InvalidArgumentError(
            "reading capture.collections: more than 64 different schedules: \"" + collection->name +
            "\"");
      }
      known.push_back(std::move(schedule));
    }
  }
  return Status::Ok();
}

const CapturePlan::Collection* CapturePlan::Find(const std::string& name) const {
  const auto found = std::find_if(collections_.begin(), collections_.end(),
                                  [&](const Collection& other) { return other.name == name; });
  return found == collections_.end() ? nullptr : &*found;
}

Result<bool> CapturePlan::Contains(const Collection& collection, const TensorSpec& spec,
                                   bool built_ins_allowed) const {
  const bool named = !spec.collection.empty() && collection.name == spec.collection;
  const std::string role = RoleCollection(spec.role);
  const bool by_role = built_ins_allowed && !role.empty() &&
                       (collection.name == role ||
                        (spec.root && spec.role == Role::kOutput && collection.name == "outputs"));
  if (named || by_role) {
    return true;
  }
  if (!collection.user) {
    return false;
  }
  WT_ASSIGN_OR_RETURN(const bool wanted, collection.include.MatchesAny(spec.name));
  if (!wanted) {
    return false;
  }
  WT_ASSIGN_OR_RETURN(const bool unwanted, collection.exclude.MatchesAny(spec.name));
  return !unwanted;
}

Result<std::vector<const CapturePlan::Collection*>> CapturePlan::CollectionsOf(
    const TensorSpec& spec) const {
  std::vector<const Collection*> found;
  bool built_ins_allowed = true;
  if (any_include_) {
    WT_ASSIGN_OR_RETURN(built_ins_allowed, include_.MatchesAny(spec.name));
  }
  for (const Collection& collection : collections_) {
    WT_ASSIGN_OR_RETURN(const bool inside, Contains(collection, spec, built_ins_allowed));
    if (inside) {
      found.push_back(&collection);
    }
  }
  const bool saved = spec.role == Role::kOther && found.empty();
  if (saved) {
    found.push_back(Find(kSaved));
  }
  return found;
}

Result<Decision> CapturePlan::Decide(const TensorSpec& spec) const {
  Decision decision;
  WT_ASSIGN_OR_RETURN(const auto collections, CollectionsOf(spec));
  for (const Collection* collection : collections) {
    if (collection->name != kSaved) {
      decision.collections.push_back(collection->name);
    }
  }
  if (!spec.collection.empty() && Find(spec.collection) == nullptr) {
    decision.collections.push_back(spec.collection);
  }
  WT_ASSIGN_OR_RETURN(const bool excluded, exclude_.MatchesAny(spec.name));
  if (excluded) {
    return decision;
  }
  for (size_t mode = 0; mode < kModes; ++mode) {
    if (!TakenInMode(spec.role, static_cast<Mode>(mode))) {
      continue;
    }
    auto& memberships = decision.by_mode[mode];
    for (const Collection* collection : collections) {
      if (collection->take == kTakeNothing) {
        continue;
      }
      AddMembership(&memberships, collection->schedule[mode], collection->take);
      decision.take[mode] |= collection->take;
    }
  }
  return decision;
}

bool CapturePlan::TakesScalar(Role role) const { return role != Role::kLoss || loss_scalars_; }

}  // namespace wheeltapper::capture
