#include "routing.h"

#include <algorithm>

#include "wheeltapper/core/suggest.h"
#include "wheeltapper/rules/engine.h"
#include "wheeltapper/rules/rule.h"

namespace wheeltapper::actions {
namespace {

bool Contains(const std::vector<std::string>& texts, const std::string& text) {
  return std::find(texts.begin(), texts.end(), text) != texts.end();
}

// The rules that a configuration names, and which of them are evaluated.
class NamedRules {
 public:
  explicit NamedRules(const Config& config) {
    for (const rules::RuleType& type : rules::BuiltinRules()) {
      all_.emplace_back(type.info->name);
    }
    for (const std::string& file : config.GetTexts("rules.custom")) {
      if (const auto custom = rules::SelectPythonRule(config, file); custom.ok()) {
        all_.push_back(custom->name);
      }
    }
    Problems mistakes;
    for (const rules::RuleSelection& rule : rules::SelectRules(config, &mistakes)) {
      evaluated_.push_back(rule.name);
    }
    // Those are told by who evaluates; a misspelt name in rules.select may be the one asked for.
    selection_is_sound_ = mistakes.empty();
  }
  [[nodiscard]] bool Knows(const std::string& name) const { return Contains(all_, name); }
  [[nodiscard]] bool Evaluates(const std::string& name) const {
    return Contains(evaluated_, name) || !selection_is_sound_;
  }
  [[nodiscard]] const std::vector<std::string>& all() const { return all_; }

 private:
  std::vector<std::string> all_;
  std::vector<std::string> evaluated_;
  bool selection_is_sound_ = false;
};

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
  Problems problems;
  routing.AddStops(config, &problems);
  if (HasWebhook(config)) {
    routing.webhook_ = LevelFrom(config.GetText("actions.webhook.on"));
  }
  if (!config.GetTexts("actions.command.argv").empty()) {
    routing.command_ = LevelFrom(config.GetText("actions.command.on"));
  }
  routing.AddRuleActions(config, &problems);
  return problems.empty() ? Result<Routing>(std::move(routing)) : problems.status();
}

void Routing::AddStops(const Config& config, Problems* problems) {
  constexpr const char* kKey = "actions.stop.on";
  const NamedRules rules(config);
  for (const std::string& text : config.GetTexts(kKey)) {
    if (rules::SeverityFromName(text)) {
      stop_level_ = LevelFrom(text);
    } else if (!rules.Knows(text)) {
      std::vector<std::string> candidates = rules.all();
      candidates.insert(candidates.end(), {"info", "warning", "error", "critical"});
      problems->Add(BadConfigValue(config, kKey,
                                   "\"" + text + "\" is neither a rule nor a severity" +
                                       DidYouMean(text, candidates) +
                                       "; `wheeltapper rules` lists the rules"));
    } else if (!rules.Evaluates(text)) {
      problems->Add(BadConfigValue(
          config, kKey,
          "the rule \"" + text +
              "\" is not evaluated, so it would never stop the job; add it to rules.select "
              "(--rules), or take it out of rules.ignore (--ignore)"));
    } else {
      stop_rules_.push_back(text);
    }
  }
}

void Routing::AddRuleActions(const Config& config, Problems* problems) {
  for (const std::string& rule : config.ChildrenOf("rules")) {
    const std::string key = "rules." + rule + ".action";
    if (config.Find(key) == nullptr) {
      continue;
    }
    const std::vector<std::string> wanted = config.GetTexts(key);
    if (Contains(wanted, "webhook") && !HasWebhook(config)) {
      problems->Add(
          BadConfigValue(config, key, "it asks for a webhook, but actions.webhook.url is not set"));
    }
    if (Contains(wanted, "command") && config.GetTexts("actions.command.argv").empty()) {
      problems->Add(BadConfigValue(config, key,
                                   "it asks for a command, but actions.command.argv is not set"));
    }
    by_rule_[rule] = wanted;
  }
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
