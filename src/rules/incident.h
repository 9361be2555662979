// One incident of a rule: where it is open, how far it reaches, and what is known of it.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/rules/finding.h"
#include "wheeltapper/rules/rule.h"

namespace wheeltapper::rules {

inline constexpr int kClearsToResolve = 3;
inline constexpr int64_t kLongAway = 16;

// The names of where an observation was made.
std::set<std::string> SubjectsOf(const Observation& observation);

using IncidentKey = std::pair<std::string, std::string>;  // rule, cause

struct IncidentPlace {  // where a tensor was first seen with the cause
  int64_t step = 0;
  int64_t causal_order = 0;
  int32_t rank = 0;
  size_t arrival = 0;
  auto operator<=>(const IncidentPlace&) const = default;
};

struct IncidentOnRank {
  bool open = false;
  int64_t clears = 0;  // in a row, also once it is not open any more
};

// An incident on each of its ranks.
struct IncidentRanks {
  std::map<int32_t, IncidentOnRank> states;
  int64_t clears_needed = kClearsToResolve;
  void See(const Observation& observation);
  // Counts one clear step of a rank; true when with that no rank shows the cause any more.
  bool Clear(int32_t rank, bool for_certain = false);
  void Hold(int32_t rank);
  [[nodiscard]] bool Open() const;  // on some rank
  [[nodiscard]] bool WasLongAway() const;
};

// When an incident was open before.
struct EarlierIncident {
  int64_t first_step = 0;
  int64_t last_step = 0;
};

// How far the cause reaches on one rank, as of its latest steps.
struct RankReach {
  bool whole_model = false;  // says the latest observation
  int64_t step = 0;          // of that observation
  int64_t sightings = 0;     // steps that showed the cause
  // Parameters and modules concerned, by the sighting that showed them last; those that the
  // latest kClearsToResolve sightings did not show are forgotten.
  std::map<std::string, int64_t> subjects;
  void Take(const Observation& observation);
};

// What the latest observation says, by step, then the lowest rank.
struct LatestMessage {
  std::optional<int64_t> step;
  int32_t rank = 0;
  std::string message;
  void Take(const Observation& observation);
};

// What another rule sees of an incident's cause.
struct HiddenIncident {
  Severity severity = Severity::kInfo;
  LatestMessage latest;
  IncidentRanks ranks;
  std::set<std::string> tensors;
  bool outlasts = false;  // keeps the incident open (Explanation::outlasts)
  int64_t silent = 0;     // clear steps of the incident since its rule last said anything of it
};

struct Incident {
  size_t index = 0;     // in findings_
  IncidentPlace first;  // of the observation that the texts come from
  std::string message;  // before the other tensors are counted
  LatestMessage latest;
  IncidentRanks ranks;
  int times_resolved = 0;
  std::optional<EarlierIncident> earlier;
  std::map<int32_t, RankReach> reach;
  std::unordered_map<std::string, IncidentPlace> tensors;
  std::span<const Explanation> explained_by;
  std::map<IncidentKey, HiddenIncident> also;
  bool changed = false;
  bool announce = false;  // opened, open again, more severe, or seen by one more rule: tell at once
  bool reopened = false;
  TimeNs told_ns = 0;
  // Whether nothing that keeps it open is seen any more.
  [[nodiscard]] bool Over() const;
  // On every rank that shows it: those that do not agree have several causes.
  [[nodiscard]] bool ReachesWholeModel() const;
  // One of the names a place goes by, on some rank that shows it.
  [[nodiscard]] bool Reaches(const std::set<std::string>& place) const;
};

}  // namespace wheeltapper::rules
