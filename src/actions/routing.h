// Which findings lead to which actions, and when the same cause is told again.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/config.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/rules/finding.h"

namespace wheeltapper::actions {

// True when an address for webhooks is configured, as itself or by a variable.
bool HasWebhook(const Config& config);

class Routing {
 public:
  // InvalidArgument for an unknown rule in actions.stop.on, or an action that a rule asks for and
  // that is not set up.
  static Result<Routing> FromConfig(const Config& config);

  // The actions for a finding: "stop", "webhook", "command".
  [[nodiscard]] std::vector<std::string> ActionsFor(const rules::Finding& finding) const;

 private:
  struct Level {
    bool on = false;
    rules::Severity lowest = rules::Severity::kCritical;
    [[nodiscard]] bool Covers(const rules::Finding& finding) const {
      return on && finding.severity >= lowest;
    }
  };
  static Level LevelFrom(const std::string& text);
  Status AddRuleActions(const Config& config);

  Level stop_level_;
  std::vector<std::string> stop_rules_;
  Level webhook_;
  Level command_;
  std::map<std::string, std::vector<std::string>>
      by_rule_;  // rules.<rule>.action; replaces the above for that rule
};

// Not more than one message per cause within the cooldown; a resolve follows every message that was
// sent, and only these.
class Cooldown {
 public:
  explicit Cooldown(TimeNs cooldown_ns) : cooldown_ns_(cooldown_ns) {}
  // True when this opening is to be told.
  bool Open(const std::string& action, const rules::Finding& finding, TimeNs now_ns);
  // True when the opening of this finding was told.
  bool Resolve(const std::string& action, const rules::Finding& finding);

 private:
  TimeNs cooldown_ns_;
  std::map<std::string, TimeNs> told_;  // action + cause → when
  std::map<std::string, bool> open_;    // action + finding id
};

}  // namespace wheeltapper::actions
