#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/json.h"
#include "wheeltapper/rules/engine.h"

namespace wheeltapper::rules {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxBytes = 16 << 20;
constexpr std::array kStateNames = {"waiting", "active", "errored"};

std::string PathOf(const std::string& run_dir) { return JoinPath(run_dir, "rules.json"); }

RuleState StateOf(const std::string& name) {
  const auto found = std::find(kStateNames.begin(), kStateNames.end(), name);
  return found == kStateNames.end() ? RuleState::kWaiting
                                    : static_cast<RuleState>(found - kStateNames.begin());
}

// Before there were the two keys, the detail of an active rule was the one for a built-in rule and
// the other for a user's.
void ReadActiveNotes(const json& row, RuleStatus* status) {
  status->left_out = JsonText(row, "left_out");
  status->sandbox_note = JsonText(row, "sandbox_note");
  if (!row.contains("left_out")) {
    (FindRule(status->name) != nullptr ? status->left_out : status->sandbox_note) =
        JsonText(row, "detail");
  }
}

}  // namespace

const std::string& RuleStatus::note() const {
  if (state != RuleState::kActive) {
    return detail;
  }
  return left_out.empty() ? sandbox_note : left_out;
}

const char* RuleStateName(RuleState state) { return kStateNames.at(static_cast<size_t>(state)); }

Status WriteRuleStates(const std::string& run_dir, const std::vector<RuleStatus>& states) {
  json rows = json::array();
  for (const RuleStatus& status : states) {
    rows.push_back({{"name", status.name},
                    {"state", RuleStateName(status.state)},
                    {"detail", status.note()},
                    {"left_out", status.left_out},
                    {"sandbox_note", status.sandbox_note},
                    {"batches", status.batches},
                    {"findings", status.findings}});
  }
  return WriteFileAtomically(PathOf(run_dir), JsonIndented(rows) + "\n");
}

Result<std::vector<RuleStatus>> ReadRuleStates(const std::string& run_dir) {
  std::vector<RuleStatus> states;
  if (!PathExists(PathOf(run_dir))) {
    return states;
  }
  WT_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(PathOf(run_dir), kMaxBytes));
  const json rows = ParseJson(text);
  if (!rows.is_array()) {
    return DataLossError("reading rules.json: it holds no JSON array");
  }
  for (const json& row : rows) {
    if (!row.is_object()) {
      return DataLossError("reading rules.json: a row is no JSON object");
    }
    RuleStatus status;
    status.name = JsonText(row, "name");
    status.state = StateOf(JsonText(row, "state"));
    if (status.state == RuleState::kActive) {
      ReadActiveNotes(row, &status);
    } else {
      status.detail = JsonText(row, "detail");
    }
    status.batches = JsonInteger(row, "batches", 1);  // else by a version that did not count
    status.findings = JsonInteger(row, "findings", 0);
    states.push_back(std::move(status));
  }
  return states;
}

}  // namespace wheeltapper::rules
