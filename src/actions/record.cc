#include <map>
#include <sstream>

#include <nlohmann/json.hpp>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/json.h"
#include "wheeltapper/format/run_directory.h"

#include "leftovers.h"
#include "spool.h"

namespace wheeltapper::actions {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxLogBytes = uint64_t{1} << 30;

}  // namespace

std::string ActionRecordToJson(const ActionRecord& record) {
  json value = {{"wall_time_ns", record.wall_ns}, {"action", record.action},
                {"finding", record.finding_id},   {"event", record.event},
                {"outcome", record.outcome},      {"detail", record.detail},
                {"attempts", record.attempts}};
  if (!record.output.empty()) {
    value["output"] = record.output;
  }
  return JsonLine(value);
}

Result<std::vector<ActionRecord>> ReadActions(const std::string& run_dir) {
  const std::string path = format::ActionsPath(run_dir);
  std::vector<ActionRecord> records;
  if (!PathExists(path)) {
    return records;
  }
  WT_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxLogBytes));
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    const json value = ParseJson(line);
    if (!value.is_object()) {
      if (lines.peek() == std::istringstream::traits_type::eof()) {
        break;  // a torn last line: the writer was killed
      }
      return DataLossError("reading \"" + path + "\": a line is no JSON object");
    }
    records.push_back({.wall_ns = JsonInteger(value, "wall_time_ns"),
                       .action = JsonText(value, "action"),
                       .finding_id = JsonText(value, "finding"),
                       .event = JsonText(value, "event"),
                       .outcome = JsonText(value, "outcome"),
                       .detail = JsonText(value, "detail"),
                       .attempts = static_cast<int>(JsonInteger(value, "attempts")),
                       .output = JsonText(value, "output")});
  }
  return records;
}

Result<std::vector<WaitingMessages>> ReadWaiting(const std::string& run_dir) {
  WT_ASSIGN_OR_RETURN(const std::vector<Message> messages,
                      Spool::Peek(JoinPath(run_dir, kSpoolFolder)));
  std::map<std::string, WaitingMessages> by_action;
  for (const Message& message : messages) {
    WaitingMessages& waiting = by_action[message.action];
    waiting.action = message.action;
    ++waiting.count;
  }
  if (by_action.empty()) {
    return std::vector<WaitingMessages>();
  }
  WT_ASSIGN_OR_RETURN(const std::vector<ActionRecord> records, ReadActions(run_dir));
  for (const ActionRecord& record : records) {
    const auto waiting = by_action.find(record.action);
    if (waiting != by_action.end() && record.outcome == "retrying") {
      waiting->second.why = record.detail;
    }
  }
  std::vector<WaitingMessages> all;
  all.reserve(by_action.size());
  for (auto& [action, waiting] : by_action) {
    all.push_back(std::move(waiting));
  }
  return all;
}

}  // namespace wheeltapper::actions
