#include "incidents.h"

#include <algorithm>
#include <utility>

namespace wheeltapper::rules {
namespace {

int64_t FirstStepOf(const Observation& observation) {
  return observation.since.value_or(observation.key.step).value;
}

Severity SeverityOf(const FindingSource& source, const Observation& observation) {
  return source.severity_is_configured ? source.severity
                                       : observation.severity.value_or(source.severity);
}

bool Explains(const std::pair<std::string, std::string>& other, const std::string& cause_key,
              const Explanation& explanation) {
  return cause_key == explanation.cause_key && other.first == explanation.rule &&
         (std::string_view(explanation.rule_cause) == kAnyCause ||
          other.second == explanation.rule_cause);
}

bool ExplainsAny(const std::pair<std::string, std::string>& other, const std::string& cause_key,
                 std::span<const Explanation> explained_by) {
  return std::any_of(explained_by.begin(), explained_by.end(), [&](const Explanation& explanation) {
    return Explains(other, cause_key, explanation);
  });
}

}  // namespace

int64_t IncidentBook::CountOf(const std::string& rule) const {
  const auto found = opened_.find(rule);
  return found == opened_.end() ? 0 : found->second;
}

void IncidentBook::Apply(const FindingSource& source, const Verdicts& verdicts, TimeNs wall_ns) {
  for (const Verdicts::ClearedCause& cleared : verdicts.cleared) {
    Clear(source.rule, cleared);
  }
  for (const Observation& observation : verdicts.observations) {
    Add(source, observation, wall_ns);
  }
  if (verdicts.observations.empty()) {
    return;
  }
  for (auto& [key, incident] : incidents_) {
    if (!incident.announce || key.first != source.rule) {
      continue;
    }
    incident.announce = false;
    Compose(&incident);
    // A sink that has not heard of a finding takes any change as its opening.
    const bool known = incident.told_ns != 0;
    const bool severity_only =
        known && findings_[incident.index].state == FindingState::kOpen && !incident.reopened;
    TakeOver(key);
    Tell(&incident, severity_only ? &FindingSink::Updated : &FindingSink::Opened);
    incident.reopened = false;
  }
}

IncidentBook::Incident& IncidentBook::IncidentOf(const FindingSource& source,
                                                 const Observation& observation, TimeNs wall_ns) {
  const auto [slot, is_new] = incidents_.try_emplace(std::pair(source.rule, observation.cause_key));
  Incident& incident = slot->second;
  if (!is_new) {
    return incident;
  }
  incident.index = findings_.size();
  incident.announce = true;
  incident.explained_by = source.explained_by;
  Finding finding;
  finding.id = source.rule + "-" + std::to_string(++opened_[source.rule]);
  finding.rule = source.rule;
  finding.severity = SeverityOf(source, observation);
  finding.parameters = source.parameters;
  finding.wall_ns = wall_ns;
  finding.last_step = observation.key.step.value;
  finding.rank = observation.key.rank;
  findings_.push_back(std::move(finding));
  incident.first = {
      .step = FirstStepOf(observation), .rank = observation.key.rank.value, .arrival = arrivals_};
  TakeTexts(observation, &incident);
  return incident;
}

void IncidentBook::TakeTexts(const Observation& observation, Incident* incident) {
  Finding& finding = findings_[incident->index];
  finding.tensor = observation.tensor;
  finding.module = observation.module;
  finding.step = FirstStepOf(observation);
  finding.mode = observation.key.mode;
  finding.cause = observation.cause;
  finding.try_ = observation.try_;
  finding.evidence = observation.evidence;
  incident->message = observation.message;
}

void IncidentBook::Add(const FindingSource& source, const Observation& observation,
                       TimeNs wall_ns) {
  const Severity severity = SeverityOf(source, observation);
  if (Incident* explainer = ExplainerOf(source, observation.cause_key, severity)) {
    explainer->changed =
        explainer->also.try_emplace(source.rule, observation.message).second || explainer->changed;
    return;
  }
  Incident& incident = IncidentOf(source, observation, wall_ns);
  Finding& finding = findings_[incident.index];
  const int64_t step = observation.key.step.value;
  const Place place{
      .step = FirstStepOf(observation), .rank = observation.key.rank.value, .arrival = arrivals_++};
  if (std::pair(place.step, place.rank) < std::pair(incident.first.step, incident.first.rank)) {
    incident.first = place;
    TakeTexts(observation, &incident);
    finding.wall_ns = std::min(finding.wall_ns, wall_ns);
  }
  ++finding.count;
  finding.last_step = std::max(finding.last_step, step);
  incident.changed = true;
  if (observation.tensor) {
    const auto [slot, is_new] = incident.tensors.try_emplace(*observation.tensor, place);
    slot->second = std::min(slot->second, place);
  }
  if (finding.rank && finding.rank->value != place.rank) {
    finding.rank = std::nullopt;  // several ranks
  }
  if (severity > finding.severity) {
    finding.severity = severity;
    incident.announce = true;
  }
  if (finding.state == FindingState::kResolved) {
    finding.state = FindingState::kOpen;
    finding.part_of = std::nullopt;
    incident.announce = true;
    incident.reopened = true;
  }
  incident.ranks[place.rank] = {.open = true, .clears = 0};
}

IncidentBook::Incident* IncidentBook::ExplainerOf(const FindingSource& source,
                                                  const std::string& cause_key, Severity severity) {
  const auto own = incidents_.find({source.rule, cause_key});
  if (own != incidents_.end() && findings_[own->second.index].state == FindingState::kOpen) {
    return nullptr;
  }
  for (const Explanation& explanation : source.explained_by) {
    for (auto other = incidents_.lower_bound({explanation.rule, ""});
         other != incidents_.end() && other->first.first == explanation.rule; ++other) {
      const Finding& finding = findings_[other->second.index];
      if (Explains(other->first, cause_key, explanation) && finding.state == FindingState::kOpen &&
          finding.severity >= severity) {
        return &other->second;
      }
    }
  }
  return nullptr;
}

void IncidentBook::TakeOver(const IncidentKey& by) {
  Incident& explainer = incidents_.at(by);
  const Finding& reason = findings_[explainer.index];
  for (auto& [key, incident] : incidents_) {
    Finding& finding = findings_[incident.index];
    if (finding.state != FindingState::kOpen || finding.severity > reason.severity ||
        !ExplainsAny(by, key.second, incident.explained_by) ||
        ExplainsAny(key, by.second, explainer.explained_by)) {
      continue;
    }
    explainer.also.try_emplace(key.first, incident.message);
    for (auto& [rank, state] : incident.ranks) {
      state.open = false;
    }
    finding.state = FindingState::kResolved;
    finding.part_of = reason.id;
    Compose(&incident);
    Tell(&incident, &FindingSink::Resolved);
  }
  Compose(&explainer);
}

void IncidentBook::Clear(const std::string& rule, const Verdicts::ClearedCause& cleared) {
  const auto found = incidents_.find(std::pair(rule, cleared.cause_key));
  if (found == incidents_.end()) {
    return;
  }
  Incident& incident = found->second;
  const auto rank = incident.ranks.find(cleared.key.rank.value);
  if (rank == incident.ranks.end() || !rank->second.open) {
    return;
  }
  if (++rank->second.clears < kClearsToResolve) {
    return;
  }
  rank->second.open = false;
  const bool still_open = std::any_of(incident.ranks.begin(), incident.ranks.end(),
                                      [](const auto& entry) { return entry.second.open; });
  if (!still_open) {
    findings_[incident.index].state = FindingState::kResolved;
    Compose(&incident);
    Tell(&incident, &FindingSink::Resolved);
  }
}

void IncidentBook::Compose(Incident* incident) {
  Finding& finding = findings_[incident->index];
  std::vector<std::pair<Place, const std::string*>> ordered;
  ordered.reserve(incident->tensors.size());
  for (const auto& [name, place] : incident->tensors) {
    ordered.emplace_back(place, &name);
  }
  std::sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return std::tuple(a.first.step, a.first.rank, a.first.arrival) <
           std::tuple(b.first.step, b.first.rank, b.first.arrival);
  });
  finding.tensors.clear();
  for (const auto& [place, name] : ordered) {
    if (finding.tensors.size() == kMaxTensorsShown) {
      break;
    }
    finding.tensors.push_back(*name);
  }
  finding.also.clear();
  for (const auto& [rule, message] : incident->also) {
    finding.also.push_back(rule + ": " + message);
  }
  const size_t others = ordered.empty() ? 0 : ordered.size() - 1;
  finding.message = incident->message;
  if (others > 0) {
    finding.message +=
        " (and " + std::to_string(others) + " more tensor" + (others > 1 ? "s)" : ")");
  }
}

void IncidentBook::Tell(Incident* incident, void (FindingSink::*what)(const Finding&)) {
  incident->changed = false;
  incident->told_ns = clock_.MonotonicNs();
  for (FindingSink* sink : sinks_) {
    (sink->*what)(findings_[incident->index]);
  }
}

void IncidentBook::Flush(bool all) {
  const TimeNs now = clock_.MonotonicNs();
  for (auto& [key, incident] : incidents_) {
    if (!incident.changed) {
      continue;
    }
    Compose(&incident);
    if (all || now - incident.told_ns >= kUpdateIntervalNs) {
      Tell(&incident, &FindingSink::Updated);
    }
  }
}

}  // namespace wheeltapper::rules
