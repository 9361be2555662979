// Turns observations into findings: one finding per (rule, cause), however many tensors, steps and
// ranks show it.
//
// An incident opens with the first observation of its cause and resolves when every rank that
// showed it has been clear for as many evaluated steps in a row as it took to be reported
// (Observation::patience), kClearsToResolve at least. If the cause comes back, the same finding is
// open again, and the steps it takes to resolve double (to kMostClearsToResolve), so that one that
// comes and goes is told more and more rarely; not where it stayed away for kLongAway times as many
// steps as had resolved it, which is no coming and going. Steps that a rule holds
// (RuleContext::Hold), and those at which a tensor that shows the cause is not finite, are not
// clear: NaN is no recovery.
//
// What a finding says comes from its earliest observation since it opened last (by step, then
// rank), so the order in which ranks are read does not change it; how long it has lasted
// (Observation::lasts) comes from the latest one of the same tensor and rank. Sinks hear of an
// opening, a resolving, a higher severity and another rule that sees the same at once, of other
// changes at most every kUpdateIntervalNs.
//
// One cause that several rules see is one finding: an observation that an open finding of another
// rule explains (RuleInfo::explained_by) is added to that finding's `also`, and a finding that
// opens takes over, and resolves, those that it explains, with what they have in their `also`, but
// not one that explains it in turn and is as severe. What explains wherever it was seen goes on
// doing so from the `also` of such a finding. What is in `also` follows its rule: the latest
// message, gone once the rule has been clear as long as resolves a finding. Where it outlasts its
// explanation (Explanation::outlasts), the finding is open, and last seen, as long as it is, and as
// its rule says anything of it; else it opens by itself once the finding is resolved. Nothing is
// hidden behind a finding less severe.
//
// Single-threaded.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/rules/finding.h"
#include "wheeltapper/rules/rule.h"

#include "incident.h"

namespace wheeltapper::rules {

inline constexpr int64_t kMostClearsToResolve = 96;
inline constexpr TimeNs kUpdateIntervalNs = 10'000'000'000;
inline constexpr size_t kMaxTensorsShown = 20;

// What a rule said about one batch, in the order it said it.
struct Verdicts {
  struct Cause {
    std::string cause_key;
    format::StepKey key;
    bool for_certain = false;
  };
  std::vector<Observation> observations = {};
  std::vector<Cause> cleared = {};
  std::vector<Cause> held = {};
  // Tensors and scalars that are not finite in that batch; may be null.
  const std::set<std::string>* nonfinite = nullptr;
};

// The rule an observation comes from, as findings show it.
struct FindingSource {
  std::string rule;
  Severity severity = Severity::kWarning;
  bool severity_is_configured = false;  // then it goes before what an observation says
  std::map<std::string, std::string> parameters = {};
  std::span<const Explanation> explained_by = {};
};

class IncidentBook {
 public:
  explicit IncidentBook(const Clock& clock) : clock_(clock) {}

  void AddSink(FindingSink* sink) { sinks_.push_back(sink); }
  // Takes in what one rule said about one batch that was written at `wall_ns`.
  void Apply(const FindingSource& source, const Verdicts& verdicts, TimeNs wall_ns);
  // Tells the sinks about changes whose time has come; with `all`, about every one.
  void Flush(bool all);
  // In order of opening.
  [[nodiscard]] const std::vector<Finding>& findings() const { return findings_; }
  [[nodiscard]] int64_t CountOf(const std::string& rule) const;

 private:
  Incident& IncidentOf(const FindingSource& source, const Observation& observation, TimeNs wall_ns);
  void Add(const FindingSource& source, const Observation& observation, TimeNs wall_ns);
  struct Explainer {
    Incident* incident = nullptr;
    bool outlasts = false;  // Explanation::outlasts
  };
  // The open incident of another rule that explains what this one says of `cause_key`; none when
  // none does, or the rule has an open incident of its own.
  Explainer ExplainerOf(const FindingSource& source, const Observation& observation,
                        Severity severity);
  // Whether the incident `other` explains what is observed under `cause_key` at all of the places,
  // each by the names it goes by.
  [[nodiscard]] bool Explains(const IncidentKey& other, const std::string& cause_key,
                              const std::vector<std::set<std::string>>& places,
                              const Explanation& explanation) const;
  // Whether another rule's part of the incident explains what is observed under `cause_key`,
  // wherever that is: how far such a part reaches is not known.
  [[nodiscard]] bool HoldsReason(const Incident& incident, const std::string& cause_key,
                                 const Explanation& explanation) const;
  // By what the incident `other` explains all that the incident `key` tells; null when it does not.
  [[nodiscard]] const Explanation* ExplanationOfAll(const IncidentKey& other,
                                                    const IncidentKey& key) const;
  // Adds what another rule sees to an open incident.
  void Hide(const IncidentKey& key, const Observation& observation, Severity severity,
            const Explainer& explainer);
  // Takes out of the open incidents what is a finding of its own now.
  void Unhide(const IncidentKey& key);
  [[nodiscard]] bool IsOpen(const IncidentKey& key) const;
  // Resolves the open incidents that `by` explains.
  void TakeOver(const IncidentKey& by);
  // Makes the incident `key`, with its parts, a part of its explainer.
  void Absorb(const IncidentKey& key, const Explanation& explanation, Incident* explainer);
  [[nodiscard]] IncidentPlace PlaceOf(const Observation& observation) const;
  void TakeTexts(const Observation& observation, Incident* incident);
  // Opens a resolved incident again: it tells what is so now.
  void Reopen(const Observation& observation, Severity severity, const IncidentPlace& place,
              TimeNs wall_ns, Incident* incident);
  void Hold(const IncidentKey& key, int32_t rank);
  void Clear(const IncidentKey& key, const Verdicts::Cause& cleared,
             const std::set<std::string>* nonfinite);
  void ClearHidden(const IncidentKey& key, int32_t rank, const std::set<std::string>* nonfinite);
  void Resolve(Incident* incident);
  // Writes the grouped tensors and the message into the finding.
  void Compose(Incident* incident);
  void Tell(Incident* incident, void (FindingSink::*what)(const Finding&));

  const Clock& clock_;
  std::vector<FindingSink*> sinks_;
  std::vector<Finding> findings_;
  std::map<IncidentKey, Incident> incidents_;
  std::map<std::string, int64_t> opened_;  // by rule
  size_t arrivals_ = 0;
};

}  // namespace wheeltapper::rules
