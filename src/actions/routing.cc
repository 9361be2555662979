#include "routing.h"

#include <algorithm>

#include "wheeltapper/core/suggest.h"
#include "wheeltapper/rules/rule.h"

namespace wheeltapper::actions {
namespace {

std::vector<std::string> RuleNames() {
  std::vector<std::string> names;
  for (const rules::RuleType& type : rules::BuiltinRules()) {
    names.emplace_back(type.info->name);
  }
  return names;
}

bool Contains(const std::vector<std::string>& texts, const std::string& text) {
  return std::find(texts.begin(), texts.end(), text) != texts.end();
}

// One incident per cause: what is told apart is the rule and where it happened, not the finding's
// number.
std::string CauseOf(const std::string& action, const rules::Finding& finding) {
  return action + "|" + finding.rule + "|" + finding.module.value_or("") + "|" +
         finding.tensor.value_or("");
}

}  // namespace

bool HasWebhook(const Config& config) {
  return !config.GetText("actions.webhook.url").empty() ||
         !config.GetText("actions.webhook.url_env").empty();
}

Routing::Level Routing::LevelFrom(const std::string& text) {
  const std::optional<rules::Severity> severity = rules::SeverityFromName(text);
  return severity ? Level{.on = true, .lowest = *severity} : Level{};
}

Result<Routing> Routing::FromConfig(const Config& config) {
  Routing routing;
  const std::vector<std::string> names = RuleNames();
  const bool custom_rules = !config.GetTexts("rules.custom").empty();
  for (const std::string& text : config.GetTexts("actions.stop.on")) {
    if (rules::SeverityFromName(text)) {
      routing.stop_level_ = LevelFrom(text);
    } else if (Contains(names, text) || custom_rules) {
      routing.stop_rules_.push_back(text);
    } else {
      std::vector<std::string> candidates = names;
      candidates.insert(candidates.end(), {"info", "warning", "error", "critical"});
      return InvalidArgumentError(
          "actions.stop.on: \"" + text + "\" is neither a rule nor a severity" +
          DidYouMean(text, candidates) + "; `wheeltapper rules` lists the rules");
    }
  }
  if (HasWebhook(config)) {
    routing.webhook_ = LevelFrom(config.GetText("actions.webhook.on"));
  }
  if (!config.GetTexts("actions.command.argv").empty()) {
    routing.command_ = LevelFrom(config.GetText("actions.command.on"));
  }
  WT_RETURN_IF_ERROR(routing.AddRuleActions(config));
  return routing;
}

Status Routing::AddRuleActions(const Config& config) {
  for (const std::string& rule : config.ChildrenOf("rules")) {
    const std::string key = "rules." + rule + ".action";
    if (config.Find(key) == nullptr) {
      continue;
    }
    const std::vector<std::string> wanted = config.GetTexts(key);
    if (Contains(wanted, "webhook") && !HasWebhook(config)) {
      return InvalidArgumentError(key + " asks for a webhook, but actions.webhook.url is not set");
    }
    if (Contains(wanted, "command") && config.GetTexts("actions.command.argv").empty()) {
      return InvalidArgumentError(key + " asks for a command, but actions.command.argv is not set");
    }
    by_rule_[rule] = wanted;
  }
  return {};
}

std::vector<std::string> Routing::ActionsFor(const rules::Finding& finding) const {
  std::vector<std::string> wanted;
  if (const auto own = by_rule_.find(finding.rule); own != by_rule_.end()) {
    wanted = own->second;
    std::erase(wanted, "none");
    return wanted;
  }
  if (stop_level_.Covers(finding) || Contains(stop_rules_, finding.rule)) {
    wanted.emplace_back("stop");
  }
  if (webhook_.Covers(finding)) {
    wanted.emplace_back("webhook");
  }
  if (command_.Covers(finding)) {
    wanted.emplace_back("command");
  }
  return wanted;
}

bool Cooldown::Open(const std::string& action, const rules::Finding& finding, TimeNs now_ns) {
  const std::string cause = CauseOf(action, finding);
  const auto told = told_.find(cause);
  if (told != told_.end() && now_ns - told->second < cooldown_ns_) {
    return false;
  }
  told_[cause] = now_ns;
  open_[action + "|" + finding.id] = true;
  return true;
}

bool Cooldown::Resolve(const std::string& action, const rules::Finding& finding) {
  return open_.erase(action + "|" + finding.id) > 0;
}

}  // namespace wheeltapper::actions
