// Which findings lead to which actions, and when the same cause is told again.
#pragma once

#include <cstdint>
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
  // InvalidArgument with every mistake, one a line: a rule in actions.stop.on that there is not or
  // that is not evaluated (it would never stop anything), and an action that a rule asks for and
  // that is not set up.
  static Result<Routing> FromConfig(const Config& config);

  // An action and what asks for it: the finding's rule, or one in its `also`; of several the most
  // severe, the finding's own before others.
  struct Wanted {
    std::string action;  // "stop", "webhook", "command"
    std::string rule;
    rules::Severity severity = rules::Severity::kInfo;
    std::string message = {};  // what that rule says
  };
  // The actions for a finding: those that its rule and its severity lead to, and those that each
  // rule in its `also` would lead to with a finding of its own. One entry per action.
  [[nodiscard]] std::vector<Wanted> ActionsFor(const rules::Finding& finding) const;

 private:
  struct Level {
    bool on = false;
    rules::Severity lowest = rules::Severity::kCritical;
    [[nodiscard]] bool Covers(rules::Severity severity) const { return on && severity >= lowest; }
  };
  [[nodiscard]] std::vector<std::string> ActionsOf(const std::string& rule,
                                                   rules::Severity severity) const;
  static Level LevelFrom(const std::string& text);
  void AddStops(const Config& config, Problems* problems);
  void AddRuleActions(const Config& config, Problems* problems);

  Level stop_level_;
  std::vector<std::string> stop_rules_;
  Level webhook_;
  Level command_;
  std::map<std::string, std::vector<std::string>>
      by_rule_;  // rules.<rule>.action; replaces the above for that rule
};

// Each action is taken once for a finding while it is open, and once more when it has become more
// severe; not more than one message per cause within the cooldown, unless the later one is the more
// severe; a resolve follows every message that was sent, and only these.
class Cooldown {
 public:
  enum class Answer : uint8_t {
    kTell,
    kTellAgain,   // told of this finding, which was less severe then
    kSuppressed,  // the same cause was told within the cooldown
    kSettled,     // this was answered before
  };
  explicit Cooldown(TimeNs cooldown_ns) : cooldown_ns_(cooldown_ns) {}
  // What to do about an open finding that wants an action.
  Answer Ask(const Routing::Wanted& wanted, const rules::Finding& finding, TimeNs now_ns);
  // The actions that told of this finding.
  std::vector<std::string> Resolve(const rules::Finding& finding);

 private:
  struct Told {
    TimeNs at_ns = 0;
    rules::Severity severity = rules::Severity::kInfo;
  };
  struct Open {
    rules::Severity severity = rules::Severity::kInfo;
    bool told = false;  // not suppressed
  };
  TimeNs cooldown_ns_;
  std::map<std::string, Told> told_;                         // by action and cause
  std::map<std::string, std::map<std::string, Open>> open_;  // by the finding's id, by action
};

}  // namespace wheeltapper::actions
