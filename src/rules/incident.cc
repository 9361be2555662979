#include "incident.h"

#include <algorithm>

#include "tensor_names.h"

namespace wheeltapper::rules {

std::set<std::string> SubjectsOf(const Observation& observation) {
  std::set<std::string> subjects;
  if (observation.tensor) {
    subjects.insert(SubjectOfName(*observation.tensor));
  }
  if (observation.module && !observation.module->empty()) {
    subjects.insert(*observation.module);
  }
  return subjects;
}

void IncidentRanks::See(const Observation& observation) {
  states[observation.key.rank.value] = {.open = true, .clears = 0};
  clears_needed = std::max(clears_needed, observation.patience);
}

bool IncidentRanks::Clear(int32_t rank, bool for_certain) {
  const auto found = states.find(rank);
  if (found == states.end() || (++found->second.clears < clears_needed && !for_certain) ||
      !found->second.open) {
    return false;
  }
  found->second.open = false;
  return !Open();
}

void IncidentRanks::Hold(int32_t rank) {
  if (const auto found = states.find(rank); found != states.end()) {
    found->second.clears = 0;
  }
}

bool IncidentRanks::WasLongAway() const {
  return std::all_of(states.begin(), states.end(), [this](const auto& entry) {
    return entry.second.clears >= kLongAway * clears_needed;
  });
}

void RankReach::Take(const Observation& observation) {
  if (sightings == 0 || observation.key.step.value != step) {
    ++sightings;
    std::erase_if(subjects, [this](const auto& subject) {
      return sightings - subject.second >= kClearsToResolve;
    });
  }
  step = observation.key.step.value;
  whole_model = observation.whole_model;
  for (const std::string& subject : SubjectsOf(observation)) {
    subjects.insert_or_assign(subject, sightings);
  }
}

void LatestMessage::Take(const Observation& observation) {
  const int64_t its_step = observation.key.step.value;
  const int32_t its_rank = observation.key.rank.value;
  if (!step || its_step > *step || (its_step == *step && its_rank < rank)) {
    step = its_step;
    rank = its_rank;
    message = observation.message;
  }
}

bool IncidentRanks::Open() const {
  return std::any_of(states.begin(), states.end(),
                     [](const auto& entry) { return entry.second.open; });
}

bool Incident::Over() const {
  return !ranks.Open() && std::none_of(also.begin(), also.end(),
                                       [](const auto& hidden) { return hidden.second.outlasts; });
}

bool Incident::ReachesWholeModel() const {
  return ranks.Open() &&
         std::none_of(ranks.states.begin(), ranks.states.end(), [this](const auto& entry) {
           return entry.second.open && !reach.at(entry.first).whole_model;
         });
}

bool Incident::Reaches(const std::set<std::string>& place) const {
  return std::any_of(ranks.states.begin(), ranks.states.end(), [&](const auto& entry) {
    const auto seen = [&](const std::string& name) {
      return reach.at(entry.first).subjects.contains(name);
    };
    return entry.second.open && std::any_of(place.begin(), place.end(), seen);
  });
}

}  // namespace wheeltapper::rules
