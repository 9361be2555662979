// What people should know of the rules beside their findings.
#include <map>

#include "wheeltapper/report/report.h"
#include "wheeltapper/rules/engine.h"

namespace wheeltapper::report {

std::vector<std::string> RuleNotes(const std::vector<rules::RuleStatus>& states) {
  std::vector<std::string> notes;
  std::map<std::string, std::string> waiting;  // what is missing → the rules that miss it
  for (const rules::RuleStatus& status : states) {
    if (status.state == rules::RuleState::kErrored) {
      notes.push_back(status.name + " failed: " + status.detail);
    } else if (status.state == rules::RuleState::kWaiting) {
      if (status.batches == 0) {
        continue;  // it has not looked yet: what it lacks may be there
      }
      std::string& names = waiting[status.detail];
      names += (names.empty() ? "" : ", ") + status.name;
    } else if (!status.left_out.empty()) {
      notes.push_back(status.name + ": " + status.left_out);
    } else if (!status.sandbox_note.empty()) {
      notes.push_back(status.name + " runs in a sandbox that is not whole: " + status.sandbox_note);
    }
  }
  for (const auto& [detail, names] : waiting) {
    notes.push_back(names + " had nothing to judge: " + detail);
  }
  return notes;
}

}  // namespace wheeltapper::report
