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

std::vector<std::string> Routing::ActionsOf(const std::string& rule,
                                            rules::Severity severity) const {
  std::vector<std::string> wanted;
  if (const auto own = by_rule_.find(rule); own != by_rule_.end()) {
    wanted = own->second;
    std::erase(wanted, "none");
    return wanted;
  }
  if (stop_level_.Covers(severity) || Contains(stop_rules_, rule)) {
    wanted.emplace_back("stop");
  }
  if (webhook_.Covers(severity)) {
    wanted.emplace_back("webhook");
  }
  if (command_.Covers(severity)) {
    wanted.emplace_back("command");
  }
  return wanted;
}

std::vector<Routing::Wanted> Routing::ActionsFor(const rules::Finding& finding) const {
  std::vector<Wanted> all;
  const auto add = [&](const auto& seen) {
    for (const std::string& action : ActionsOf(seen.rule, seen.severity)) {
      auto known = std::find_if(all.begin(), all.end(),
                                [&](const Wanted& each) { return each.action == action; });
      if (known == all.end()) {
        known = all.insert(known, Wanted());
      } else if (seen.severity <= known->severity) {
        continue;
      }
      *known = {
          .action = action, .rule = seen.rule, .severity = seen.severity, .message = seen.message};
    }
  };
  add(finding);
  std::for_each(finding.also.begin(), finding.also.end(), add);
  return all;
}

Cooldown::Answer Cooldown::Ask(const Routing::Wanted& wanted, const rules::Finding& finding,
                               TimeNs now_ns) {
  const auto [slot, is_new] = open_[finding.id].try_emplace(wanted.action);
  Open& open = slot->second;
  if (!is_new && wanted.severity <= open.severity) {
    return Answer::kSettled;
  }
  open.severity = wanted.severity;
  const bool again = open.told;
  const auto [cause, unknown] = told_.try_emplace(CauseOf(wanted.action, finding));
  Told& told = cause->second;
  if (!unknown && now_ns - told.at_ns < cooldown_ns_ && wanted.severity <= told.severity) {
    return Answer::kSuppressed;
  }
  told = {.at_ns = now_ns, .severity = wanted.severity};
  open.told = true;
  return again ? Answer::kTellAgain : Answer::kTell;
}

std::vector<std::string> Cooldown::Resolve(const rules::Finding& finding) {
  std::vector<std::string> told;
  const auto open = open_.find(finding.id);
  if (open == open_.end()) {
    return told;
  }
  for (const auto& [action, state] : open->second) {
    if (state.told) {
      told.push_back(action);
    }
  }
  open_.erase(open);
  return told;
}

}  // namespace wheeltapper::actions
