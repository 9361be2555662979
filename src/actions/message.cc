#include "message.h"

#include <nlohmann/json.hpp>

#include "wheeltapper/core/json.h"

namespace wheeltapper::actions {
namespace {

using nlohmann::json;

}  // namespace

Message MakeMessage(const std::string& action, const std::string& event, const std::string& run,
                    const rules::Finding& finding) {
  const json body = {
      {"event", event}, {"run", run}, {"finding", ParseJson(rules::FindingToJson(finding))}};
  return {.action = action, .event = event, .finding_id = finding.id, .body = JsonLine(body)};
}

std::string MessageToText(const Message& message) {
  return JsonLine(json{{"action", message.action},
                       {"event", message.event},
                       {"finding_id", message.finding_id},
                       {"body", message.body}});
}

Result<Message> MessageFromText(std::string_view text) {
  const json value = ParseJson(text);
  if (!value.is_object()) {
    return DataLossError("reading a spooled message: no JSON object");
  }
  Message message;
  for (const auto& [key, field] :
       {std::pair{"action", &message.action}, std::pair{"event", &message.event},
        std::pair{"finding_id", &message.finding_id}, std::pair{"body", &message.body}}) {
    const auto found = value.find(key);
    if (found == value.end() || !found->is_string()) {
      return DataLossError(std::string("reading a spooled message: no text under \"") + key + "\"");
    }
    *field = found->get<std::string>();
  }
  return message;
}

}  // namespace wheeltapper::actions
