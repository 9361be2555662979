#include "incidents.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "tensor_names.h"

namespace wheeltapper::rules {
namespace {

constexpr int kMostDoublings = 10;  // past kMostClearsToResolve whatever it began with

int64_t FirstStepOf(const Observation& observation) {
  return observation.since.value_or(observation.key.step).value;
}

Severity SeverityOf(const FindingSource& source, const Observation& observation) {
  return source.severity_is_configured ? source.severity
                                       : observation.severity.value_or(source.severity);
}

// Of "flat@2": "flat".
std::string_view CauseOf(std::string_view key) { return key.substr(0, key.find(kCauseOccurrence)); }

// Whether one of the names is of something that is not finite.
template <typename Names>
bool AnyNonfinite(const std::set<std::string>* nonfinite, const Names& names) {
  return nonfinite != nullptr &&
         std::any_of(nonfinite->begin(), nonfinite->end(),
                     [&names](const std::string& name) { return names.contains(name); });
}

}  // namespace

int64_t IncidentBook::CountOf(const std::string& rule) const {
  const auto found = opened_.find(rule);
  return found == opened_.end() ? 0 : found->second;
}

void IncidentBook::Apply(const FindingSource& source, const Verdicts& verdicts, TimeNs wall_ns) {
  for (const Verdicts::Cause& cleared : verdicts.cleared) {
    Clear({source.rule, cleared.cause_key}, cleared, verdicts.nonfinite);
  }
  for (const Verdicts::Cause& held : verdicts.held) {
    Hold({source.rule, held.cause_key}, held.key.rank.value);
  }
  for (const Observation& observation : verdicts.observations) {
    Add(source, observation, wall_ns);
  }
  if (verdicts.observations.empty()) {
    return;
  }
  for (auto& [key, incident] : incidents_) {
    if (!incident.announce) {
      continue;
    }
    incident.announce = false;
    if (findings_[incident.index].state != FindingState::kOpen) {
      continue;  // one that was announced before it has just taken it over
    }
    Compose(&incident);
    // A sink that has not heard of a finding takes any change as its opening.
    const bool known = incident.told_ns != 0;
    const bool open_before = known && !incident.reopened;
    TakeOver(key);
    Tell(&incident, open_before ? &FindingSink::Updated : &FindingSink::Opened);
    incident.reopened = false;
  }
}

IncidentPlace IncidentBook::PlaceOf(const Observation& observation) const {
  return {.step = FirstStepOf(observation),
          .causal_order = observation.causal_order,
          .rank = observation.key.rank.value,
          .arrival = arrivals_};
}

Incident& IncidentBook::IncidentOf(const FindingSource& source, const Observation& observation,
                                   TimeNs wall_ns) {
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
  incident.first = PlaceOf(observation);
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
  if (const Explainer explainer = ExplainerOf(source, observation, severity); explainer.incident) {
    Hide({source.rule, observation.cause_key}, observation, severity, explainer);
    return;
  }
  Incident& incident = IncidentOf(source, observation, wall_ns);
  Finding& finding = findings_[incident.index];
  const int64_t step = observation.key.step.value;
  const IncidentPlace place = PlaceOf(observation);
  ++arrivals_;
  if (finding.state == FindingState::kResolved) {
    Reopen(observation, severity, place, wall_ns, &incident);
  }
  const bool is_of_now = !incident.earlier || place.step > incident.earlier->last_step;
  if (is_of_now &&
      std::tuple(place.step, place.causal_order, place.rank) <
          std::tuple(incident.first.step, incident.first.causal_order, incident.first.rank)) {
    incident.first = place;
    TakeTexts(observation, &incident);
    finding.wall_ns = std::min(finding.wall_ns, wall_ns);
  } else if (is_of_now && observation.lasts && observation.tensor == finding.tensor &&
             place.rank == incident.first.rank) {
    incident.message = observation.message;
  }
  ++finding.count;
  finding.last_step = std::max(finding.last_step, step);
  incident.changed = true;
  incident.latest.Take(observation);
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
  RankReach& reach = incident.reach[place.rank];
  if (!incident.ranks.states[place.rank].open) {
    reach = {};  // where it was before says nothing of where it is now
  }
  incident.ranks.See(observation);
  reach.Take(observation);
  if (incident.announce) {
    Unhide({source.rule, observation.cause_key});
  }
}

void IncidentBook::Reopen(const Observation& observation, Severity severity,
                          const IncidentPlace& place, TimeNs wall_ns, Incident* incident) {
  Finding& finding = findings_[incident->index];
  incident->earlier = {
      .first_step = incident->earlier ? incident->earlier->first_step : finding.step,
      .last_step = finding.last_step};
  if (incident->ranks.WasLongAway()) {
    incident->times_resolved = 0;
  } else if (!finding.part_of) {  // one that went on in another was not over
    ++incident->times_resolved;
  }
  const int64_t clears = std::max<int64_t>(kClearsToResolve, observation.patience);
  incident->ranks.clears_needed = std::max(
      clears,
      std::min(kMostClearsToResolve, clears << std::min(incident->times_resolved, kMostDoublings)));
  incident->first = place;
  incident->tensors.clear();
  incident->also.clear();
  incident->announce = true;
  incident->reopened = true;
  finding.state = FindingState::kOpen;
  finding.part_of = std::nullopt;
  finding.severity = severity;
  finding.rank = observation.key.rank;
  finding.wall_ns = wall_ns;
  TakeTexts(observation, incident);
}

void IncidentBook::Hide(const IncidentKey& key, const Observation& observation, Severity severity,
                        const Explainer& explainer) {
  Incident& incident = *explainer.incident;
  const auto [slot, is_new] = incident.also.try_emplace(key);
  HiddenIncident& hidden = slot->second;
  incident.changed = true;
  if (is_new || severity > hidden.severity) {
    hidden.severity = severity;
    incident.announce = true;
  }
  hidden.outlasts = explainer.outlasts;
  hidden.silent = 0;
  if (hidden.outlasts) {
    Finding& finding = findings_[incident.index];
    finding.last_step = std::max(finding.last_step, observation.key.step.value);
  }
  hidden.latest.Take(observation);
  hidden.ranks.See(observation);
  if (observation.tensor) {
    hidden.tensors.insert(*observation.tensor);
  }
}

void IncidentBook::Unhide(const IncidentKey& key) {
  for (auto& [other, incident] : incidents_) {
    if (findings_[incident.index].state == FindingState::kOpen && incident.also.erase(key) > 0) {
      incident.changed = true;
    }
  }
}

bool IncidentBook::Explains(const IncidentKey& other, const std::string& cause_key,
                            const std::vector<std::set<std::string>>& places,
                            const Explanation& explanation) const {
  const bool same_cause = CauseOf(cause_key) == explanation.cause_key &&
                          other.first == explanation.rule &&
                          (std::string_view(explanation.rule_cause) == kAnyCause ||
                           CauseOf(other.second) == explanation.rule_cause);
  if (!same_cause || explanation.reach == Reach::kAnywhere) {
    return same_cause;
  }
  const Incident& incident = incidents_.at(other);
  return incident.ReachesWholeModel() ||
         (explanation.reach == Reach::kSamePlace &&
          std::all_of(places.begin(), places.end(),
                      [&](const std::set<std::string>& place) { return incident.Reaches(place); }));
}

const Explanation* IncidentBook::ExplanationOfAll(const IncidentKey& other,
                                                  const IncidentKey& key) const {
  const Incident& explained = incidents_.at(key);
  std::vector<std::set<std::string>> places;
  for (const auto& [tensor, place] : explained.tensors) {
    const std::string subject = SubjectOfName(tensor);
    places.push_back({subject, ModuleOfParameter(subject)});
  }
  const auto found = std::find_if(explained.explained_by.begin(), explained.explained_by.end(),
                                  [&](const Explanation& explanation) {
                                    return Explains(other, key.second, places, explanation);
                                  });
  return found == explained.explained_by.end() ? nullptr : &*found;
}

bool IncidentBook::IsOpen(const IncidentKey& key) const {
  const auto found = incidents_.find(key);
  return found != incidents_.end() && findings_[found->second.index].state == FindingState::kOpen;
}

IncidentBook::Explainer IncidentBook::ExplainerOf(const FindingSource& source,
                                                  const Observation& observation,
                                                  Severity severity) {
  const std::string& cause_key = observation.cause_key;
  if (IsOpen({source.rule, cause_key})) {
    return {};
  }
  const std::vector<std::set<std::string>> place = {SubjectsOf(observation)};
  Explainer goes_on_in;
  for (const Explanation& explanation : source.explained_by) {
    for (auto& [other, incident] : incidents_) {
      const Finding& finding = findings_[incident.index];
      if (finding.state != FindingState::kOpen || finding.severity < severity) {
        continue;
      }
      if (Explains(other, cause_key, place, explanation)) {
        return {.incident = &incident, .outlasts = explanation.outlasts};
      }
      if (other.first != source.rule && HoldsReason(incident, cause_key, explanation)) {
        goes_on_in = {.incident = &incident};
      }
    }
  }
  return goes_on_in;
}

bool IncidentBook::HoldsReason(const Incident& incident, const std::string& cause_key,
                               const Explanation& explanation) const {
  return explanation.reach == Reach::kAnywhere &&
         std::any_of(incident.also.begin(), incident.also.end(), [&](const auto& hidden) {
           return Explains(hidden.first, cause_key, {}, explanation);
         });
}

void IncidentBook::TakeOver(const IncidentKey& by) {
  Incident& explainer = incidents_.at(by);
  const Finding& reason = findings_[explainer.index];
  for (auto& [key, incident] : incidents_) {
    const Finding& finding = findings_[incident.index];
    if (finding.state != FindingState::kOpen || finding.severity > reason.severity) {
      continue;
    }
    const Explanation* explanation = ExplanationOfAll(by, key);
    const bool mutual = finding.severity == reason.severity && ExplanationOfAll(key, by) != nullptr;
    if (explanation != nullptr && !mutual) {
      Absorb(key, *explanation, &explainer);
    }
  }
  Compose(&explainer);
}

void IncidentBook::Absorb(const IncidentKey& key, const Explanation& explanation,
                          Incident* explainer) {
  Incident& incident = incidents_.at(key);
  Finding& finding = findings_[incident.index];
  Finding& reason = findings_[explainer->index];
  HiddenIncident hidden{.severity = finding.severity,
                        .latest = incident.latest,
                        .ranks = incident.ranks,
                        .tensors = {},
                        .outlasts = explanation.outlasts};
  for (const auto& [tensor, place] : incident.tensors) {
    hidden.tensors.insert(tensor);
  }
  if (hidden.outlasts) {
    reason.last_step = std::max(reason.last_step, finding.last_step);
  }
  if (incident.ranks.Open()) {  // else it was open for its parts only
    explainer->also.insert_or_assign(key, std::move(hidden));
  }
  for (const auto& [part, seen] : incident.also) {
    const auto [slot, is_new] = explainer->also.try_emplace(part, seen);
    // What explains it now may not be what did.
    if (is_new) {
      slot->second.outlasts = false;
    }
  }
  for (auto& [rank, state] : incident.ranks.states) {
    state.open = false;
  }
  finding.part_of = reason.id;
  Resolve(&incident);
}

void IncidentBook::Hold(const IncidentKey& key, int32_t rank) {
  for (auto& [other, incident] : incidents_) {
    if (const auto hidden = incident.also.find(key); hidden != incident.also.end()) {
      hidden->second.ranks.Hold(rank);
      hidden->second.silent = 0;
    }
  }
  if (const auto found = incidents_.find(key); found != incidents_.end()) {
    found->second.ranks.Hold(rank);
  }
}

void IncidentBook::Clear(const IncidentKey& key, const Verdicts::Cause& cleared,
                         const std::set<std::string>* nonfinite) {
  const int32_t rank = cleared.key.rank.value;
  ClearHidden(key, rank, nonfinite);
  const auto found = incidents_.find(key);
  if (found == incidents_.end()) {
    return;
  }
  Incident& incident = found->second;
  if (AnyNonfinite(nonfinite, incident.tensors)) {
    incident.ranks.Hold(rank);
    return;
  }
  incident.ranks.Clear(rank, cleared.for_certain);
  if (findings_[incident.index].state != FindingState::kOpen || incident.ranks.Open()) {
    return;
  }
  for (auto& [other, hidden] : incident.also) {
    ++hidden.silent;
    if (hidden.silent >= hidden.ranks.clears_needed) {
      hidden.outlasts =
          false;  // its rule judges something else by now, as the next training's loss
    }
  }
  if (incident.Over() || cleared.for_certain) {
    Resolve(&incident);
  }
}

void IncidentBook::Resolve(Incident* incident) {
  findings_[incident->index].state = FindingState::kResolved;
  Compose(incident);
  Tell(incident, &FindingSink::Resolved);
}

void IncidentBook::ClearHidden(const IncidentKey& key, int32_t rank,
                               const std::set<std::string>* nonfinite) {
  for (auto& [other, incident] : incidents_) {
    const auto hidden = incident.also.find(key);
    // What a resolved finding says of others is what was so while it was open.
    if (hidden == incident.also.end() || findings_[incident.index].state != FindingState::kOpen) {
      continue;
    }
    hidden->second.silent = 0;
    if (AnyNonfinite(nonfinite, hidden->second.tensors)) {
      hidden->second.ranks.Hold(rank);
    } else if (hidden->second.ranks.Clear(rank)) {
      incident.changed = true;
      auto was_so = incident.also.extract(hidden);
      if (incident.Over()) {  // this kept it open, and is what it goes on telling
        incident.also.insert(std::move(was_so));
        Resolve(&incident);
      }
    }
  }
}

void IncidentBook::Compose(Incident* incident) {
  Finding& finding = findings_[incident->index];
  std::vector<std::pair<IncidentPlace, const std::string*>> ordered;
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
  finding.tensors_total = static_cast<int64_t>(ordered.size());
  finding.also.clear();
  for (const auto& [key, hidden] : incident->also) {
    finding.also.push_back(
        {.rule = key.first, .severity = hidden.severity, .message = hidden.latest.message});
  }
  const size_t others = ordered.empty() ? 0 : ordered.size() - 1;
  finding.message = incident->message;
  if (others > 0) {
    finding.message +=
        " (and " + std::to_string(others) + " more tensor" + (others > 1 ? "s)" : ")");
  }
  if (const auto& earlier = incident->earlier) {
    const std::string first = std::to_string(earlier->first_step);
    const std::string last = std::to_string(earlier->last_step);
    finding.message +=
        "; before that at step" + (first == last ? " " + first : "s " + first + " to " + last);
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
