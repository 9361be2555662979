// The capture plan: which collections a tensor is in, what is taken of it, and on which steps.
// Everything is decided from the configuration when a tensor is registered, never on a step.
//
// Collections. A tensor is in the built-in collection of its role, in the collection its caller
// names, and in every user collection whose patterns match its name. What is taken on a step is the
// union over the collections whose schedule fires there.
//
// Filters. capture.exclude leaves a tensor out of everything. capture.include restricts the
// built-in collections only: a user collection has patterns of its own, and save_tensor names its
// tensor explicitly.
//
// In eval and predict, gradients and optimizer state are not taken: nothing new is in them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "wheeltapper/capture/session.h"
#include "wheeltapper/core/config.h"
#include "wheeltapper/core/regex.h"

#include "schedule.h"

namespace wheeltapper::capture {

inline constexpr size_t kModes = 4;
// Distinct schedules of one mode: one bit each in a step's mask of fired schedules.
inline constexpr size_t kMaxSchedules = 64;

// "When schedule number `schedule` of the mode fires, take `take`."
struct Membership {
  uint32_t schedule;
  uint32_t take;
};

struct Decision {
  std::vector<std::string> collections;
  std::array<std::vector<Membership>, kModes> by_mode;
  // The union over all schedules, per mode.
  std::array<uint32_t, kModes> take{};
};

class CapturePlan {
 public:
  // InvalidArgument: an unknown reduction, a collection without include, too many collections.
  static Result<CapturePlan> Create(const Config& config);

  // ResourceExhausted when a pattern takes too long on this name.
  [[nodiscard]] Result<Decision> Decide(const TensorSpec& spec) const;
  // Whether scalars of this role are recorded at all.
  [[nodiscard]] bool TakesScalar(Role role) const;
  [[nodiscard]] const std::vector<Schedule>& schedules(Mode mode) const {
    return schedules_[static_cast<size_t>(mode)];
  }
  // True when the configuration takes raw tensors without being asked tensor by tensor.
  [[nodiscard]] bool takes_raw() const { return takes_raw_; }
  // False when every schedule was written down and none may be thinned.
  [[nodiscard]] bool any_governed() const { return any_governed_; }

 private:
  struct Collection {
    std::string name;
    bool user = false;
    uint32_t take = kTakeNothing;
    RegexSet include;
    RegexSet exclude;
    std::array<uint32_t, kModes> schedule{};
  };

  Status AddBuiltins(const Config& config, uint32_t extra);
  Status AddUserCollection(const Config& config, const std::string& name, uint32_t extra);
  Status AddSchedules(const Config& config, const std::string& prefix, Collection* collection);
  [[nodiscard]] const Collection* Find(const std::string& name) const;
  [[nodiscard]] Result<std::vector<const Collection*>> CollectionsOf(const TensorSpec& spec) const;
  [[nodiscard]] Result<bool> Contains(const Collection& collection, const TensorSpec& spec,
                                      bool built_ins_allowed) const;

  std::vector<Collection> collections_;
  std::array<std::vector<Schedule>, kModes> schedules_;
  RegexSet include_;
  RegexSet exclude_;
  bool any_include_ = false;
  bool takes_raw_ = false;
  bool any_governed_ = false;
  bool loss_scalars_ = true;
};

// "stats" → kTakeStats, … as in the configuration.
uint32_t TakeFromName(const std::string& name);

}  // namespace wheeltapper::capture
