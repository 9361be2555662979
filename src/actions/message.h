// What an action sends: one event about one finding, as a JSON text that the spool keeps until it
// is delivered.
#pragma once

#include <string>
#include <string_view>

#include "wheeltapper/core/status.h"
#include "wheeltapper/rules/finding.h"

namespace wheeltapper::actions {

struct Message {
  std::string action;  // "webhook", "command"
  std::string event;   // "opened", "resolved"
  std::string finding_id;
  std::string body;  // {"event", "run", "finding"}: what the receiver gets
};

Message MakeMessage(const std::string& action, const std::string& event, const std::string& run,
                    const rules::Finding& finding);

// The spool's file content. DataLoss for anything that MessageToText did not write.
std::string MessageToText(const Message& message);
Result<Message> MessageFromText(std::string_view text);

}  // namespace wheeltapper::actions
