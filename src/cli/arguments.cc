#include "arguments.h"

#include <algorithm>
#include <map>
#include <memory>
#include <sstream>
#include <utility>

#include <CLI/CLI.hpp>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/suggest.h"

#include "help_page.h"

namespace wheeltapper::cli {
namespace {

constexpr size_t kColumn = 34;  // where what an option means begins
constexpr size_t kWidth = 100;

constexpr const char* kSettings =
    "Settings: wheeltapper.toml, WHEELTAPPER_* variables, flags; `wheeltapper config` shows them "
    "all with\ntheir origin.\n";

// The pages of HelpPageOf around CLI11's list of options. CLI11 2.1 cannot be given a usage line,
// and lists verbs by their whole description.
class PageFormatter final : public CLI::Formatter {
 public:
  PageFormatter() { column_width(kColumn); }

  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override {
    const HelpPage& page = HelpPageOf(app->get_parent() == nullptr ? "" : app->get_name());
    std::string text = std::string(page.summary) + ".\n\n" + page.details + "\n";
    text += make_usage(app, std::move(name));
    text += make_positionals(app) + make_groups(app, mode) + make_subcommands(app, mode);
    return text + "\nExamples:\n" + page.examples + "\n" + page.exit_codes + kSettings;
  }

  std::string make_usage(const CLI::App* app, std::string name) const override {
    const HelpPage& page = HelpPageOf(app->get_parent() == nullptr ? "" : app->get_name());
    if (*page.arguments == '\0') {
      return CLI::Formatter::make_usage(app, std::move(name));
    }
    return "Usage: " + name + " [OPTIONS] " + page.arguments + "\n";
  }

  std::string make_option_desc(const CLI::Option* option) const override {
    return Wrapped(option->get_description(), kWidth - kColumn);
  }
};

// A flag that stands for a configuration key; `value` names what it takes.
struct KeyFlag {
  const char* flag;
  const char* key;
  const char* value;
  const char* help;
};

void AddKeyFlag(CLI::App* app, Arguments* out, const KeyFlag& row) {
  app->add_option_function<std::string>(
         row.flag,
         [out, row](const std::string& text) {
           out->flags.push_back({.key = row.key, .text = text, .spelled = row.flag});
         },
         row.help)
      ->trigger_on_parse()
      ->type_name(row.value);
}

// What each verb leaves out with --quiet.
std::string QuietHelp(const std::string& verb) {
  if (verb == "run") {
    return "Print findings as they open or become more severe, warnings and errors only. Left out: "
           "the run's name, findings that resolve or go on in others, what other rules see of "
           "them, "
           "the line about the whole run, the report's path";
  }
  if (verb == "check") {
    return "Print findings, warnings and errors only. Left out: progress, rules that had nothing "
           "to "
           "look at, that the result was recorded, and the line about the whole run where all was "
           "checked (of several runs it stays to name those with findings)";
  }
  return "Print data and errors only. Left out: progress, settings that were passed over, what was "
         "written where";
}

void AddCommonFlags(CLI::App* app, Arguments* out) {
  app->add_option_function<std::string>(
         "--set",
         [out](const std::string& text) {
           const size_t equals = text.find('=');
           if (equals == std::string::npos) {
             throw CLI::ValidationError("--set " + text,
                                        "write KEY=VALUE, for example --set capture.every=10");
           }
           out->flags.push_back({.key = text.substr(0, equals),
                                 .text = text.substr(equals + 1),
                                 .spelled = "--set " + text.substr(0, equals)});
         },
         "Set a configuration key (repeatable); `wheeltapper config` lists them")
      ->trigger_on_parse()
      ->type_name("KEY=VALUE");
  app->add_option("--config", out->config_file,
                  "Read this file instead of the project's wheeltapper.toml")
      ->type_name("FILE");
  if (app->get_name() != "run") {  // stdout of `run` belongs to the command
    app->add_flag("--json", out->json, "Print JSON on stdout");
  }
  app->add_flag("-q,--quiet", out->quiet, QuietHelp(app->get_name()));
}

constexpr KeyFlag kRuleFlags[] = {
    {"--rules", "rules.select", "RULES",
     "Rules to evaluate, by name and separated by commas (default all; `wheeltapper rules` lists "
     "them)"},
    {"--ignore", "rules.ignore", "RULES", "Rules not to evaluate, separated by commas"},
    {"--rule", "rules.custom", "FILE[:CLASS]",
     "Your own rules in Python, separated by commas: file.py:ClassName, or file.py for each class "
     "in it"},
};

constexpr KeyFlag kRunFlags[] = {
    {"--name", "run.name", "NAME",
     "Name of the run and of its folder (default two words and a number)"},
    {"--budget", "budget", "PERCENT",
     "Most that observing may cost, as a share of the step time (default 1%); short steps, and "
     "few of them, can cost more: `wheeltapper show` then says why"},
    {"--every", "capture.every", "STEPS",
     "Capture tensors every so many steps, or auto: as the budget allows (default auto)"},
    {"--stop-on", "actions.stop.on", "WHAT",
     "Stop the job on the findings of these rules, or on a severity and above: info, warning, "
     "error, critical (default none)"},
    {"--fail-on", "run.fail_on", "SEVERITY",
     "Exit with 3 when a finding of this severity or above is open at the end (default never)"},
};

void AddRuleFlags(CLI::App* app, Arguments* out) {
  for (const KeyFlag& row : kRuleFlags) {
    AddKeyFlag(app, out, row);
  }
}

void AddRun(CLI::App* app, Arguments* out) {
  app->add_option("--run-dir", out->run_dir,
                  "The run directory itself, instead of ./wheeltapper-runs/NAME")
      ->type_name("DIR");
  for (const KeyFlag& row : kRunFlags) {
    AddKeyFlag(app, out, row);
  }
  AddRuleFlags(app, out);
  app->add_flag("--no-report", out->no_report, "Leave no report");
}

void AddRunArgument(CLI::App* app, Arguments* out, bool many) {
  auto* option = app->add_option("RUN", out->runs,
                                 many ? "Run directories or names (default the newest command's)"
                                      : "Run directory or name (default the newest command's)");
  option->type_name("");
  if (!many) {
    option->expected(0, 1);
  }
}

struct VerbRow {
  const char* name;
  Verb verb;
  void (*add)(CLI::App*, Arguments*);
};

// What is one of a few words, each of which its help names.
void AddChoice(CLI::App* app, const char* flag, std::string* out, std::vector<std::string> words,
               const char* help) {
  app->add_option(flag, *out, help)
      ->check(CLI::IsMember(std::move(words)).description(""))
      ->type_name("WORD");
}

void AddLs(CLI::App* app, Arguments* out) {
  app->add_option("DIR", out->runs,
                  "Folder that holds runs (default storage.path, that is ./wheeltapper-runs)")
      ->type_name("")
      ->expected(0, 1);
}
void AddShow(CLI::App* app, Arguments* out) { AddRunArgument(app, out, false); }
void AddFindings(CLI::App* app, Arguments* out) {
  AddRunArgument(app, out, false);
  app->add_option("--severity", out->severity,
                  "Lowest severity shown: info, warning, error or critical (default info)")
      ->type_name("SEVERITY");
  app->add_option("--rule", out->rule, "Only findings of this rule, or that tell what it saw")
      ->type_name("RULE");
}
void AddExplain(CLI::App* app, Arguments* out) {
  app->add_option("RULE", out->rule,
                  "A rule's name, as in a finding (`wheeltapper rules` lists them)")
      ->option_text(" ")
      ->required();
}
void AddCheck(CLI::App* app, Arguments* out) {
  AddRunArgument(app, out, true);
  AddRuleFlags(app, out);
  app->add_option("--severity", out->severity,
                  "Exit with 1 when a finding at or above this is open: info, warning, error or "
                  "critical (default warning)")
      ->type_name("SEVERITY");
  app->add_flag("--save", out->save,
                "Write the findings into the run, in place of those of the live evaluation");
}
void AddNothing(CLI::App* /*app*/, Arguments* /*out*/) {}
void AddReport(CLI::App* app, Arguments* out) {
  AddRunArgument(app, out, false);
  app->add_option("-o,--output", out->output,
                  "Write the HTML here (default report/report.html in the run)")
      ->type_name("FILE");
}
void AddExport(CLI::App* app, Arguments* out) {
  AddRunArgument(app, out, false);
  AddChoice(app, "--table", &out->table, {"scalars", "stats", "steps", "tensors"},
            "scalars, stats, steps or tensors (default stats)");
  AddChoice(app, "--format", &out->format, {"csv", "parquet", "npz"},
            "csv, parquet or npz (default csv); npz of tensors holds the raw values");
  app->add_option("--regex", out->regex,
                  "Only names in which this regular expression is found (default all)")
      ->type_name("REGEX");
  app->add_option("-o,--output", out->output,
                  "File to write (default stdout, which csv alone can go to)")
      ->type_name("FILE");
}
void AddFsck(CLI::App* app, Arguments* out) {
  AddRunArgument(app, out, false);
  app->add_flag("--repair", out->repair,
                "Bring in what a killed job left in memory and journals, seal it, and cut off the "
                "unfinished last line of findings.jsonl and actions.jsonl");
}

constexpr VerbRow kVerbs[] = {
    {"run", Verb::kRun, AddRun},
    {"ls", Verb::kLs, AddLs},
    {"show", Verb::kShow, AddShow},
    {"findings", Verb::kFindings, AddFindings},
    {"explain", Verb::kExplain, AddExplain},
    {"check", Verb::kCheck, AddCheck},
    {"rules", Verb::kRules, AddNothing},
    {"report", Verb::kReport, AddReport},
    {"export", Verb::kExport, AddExport},
    {"fsck", Verb::kFsck, AddFsck},
    {"config", Verb::kConfig, AddNothing},
};

ParseOutcome Mistake(const std::string& text) {
  ParseOutcome outcome;
  outcome.exit_code = kExitUsage;
  outcome.text = text;
  return outcome;
}

std::vector<std::string> VerbNames() {
  std::vector<std::string> names;
  for (const VerbRow& row : kVerbs) {
    names.emplace_back(row.name);
  }
  return names;
}

std::vector<std::string> FlagNames(const CLI::App& verb) {
  std::vector<std::string> names;
  for (const CLI::Option* option : verb.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      names.push_back("--" + name);
    }
  }
  return names;
}

std::string Words(std::vector<std::string>::const_iterator begin,
                  std::vector<std::string>::const_iterator end) {
  std::string text;
  for (; begin != end; ++begin) {
    text += " " + *begin;
  }
  return text;
}

using Word = std::vector<std::string>::const_iterator;

// A word of `run` that is no flag begins the command.
std::string NoDashesBefore(Word word, const std::vector<std::string>& ours, bool dashes) {
  if (dashes) {
    return "\"" + *word + "\" stands before --; the command goes behind it";
  }
  const char* python = word->ends_with(".py") ? " python" : "";
  return "put \"--\" before the command: wheeltapper" + Words(ours.begin(), word) + " --" + python +
         Words(word, ours.end());
}

// CLI11 tells what it does not know too, but without advice and in reverse. "" when it can have it
// all.
std::string CheckWords(const CLI::App& verb, const std::vector<std::string>& ours, bool dashes) {
  for (auto word = ours.begin() + 1; word != ours.end(); ++word) {
    if (word->rfind('-', 0) != 0) {
      if (verb.get_name() == "run") {
        return NoDashesBefore(word, ours, dashes);
      }
      continue;
    }
    const size_t equals = word->find('=');
    const std::string flag = word->substr(0, equals);
    const CLI::Option* option = verb.get_option_no_throw(flag);
    if (option == nullptr && flag.rfind("--", 0) == 0) {
      return "`" + verb.get_name() + "` has no flag \"" + flag + "\"" +
             DidYouMean(flag, FlagNames(verb)) + "; `wheeltapper " + verb.get_name() +
             " --help` lists them";
    }
    const bool takes_next =
        option != nullptr && option->get_expected_min() > 0 && equals == std::string::npos;
    word += takes_next && word + 1 != ours.end() ? 1 : 0;
  }
  return "";
}

// What is wrong with `ours` as far as it can be said before parsing; "" when nothing is.
std::string CheckOurs(const CLI::App& app, const std::vector<std::string>& ours, bool dashes) {
  if (ours.empty() || ours.front().rfind('-', 0) == 0) {
    return "";
  }
  const std::vector<std::string> names = VerbNames();
  if (std::find(names.begin(), names.end(), ours.front()) == names.end()) {
    return "there is no verb \"" + ours.front() + "\"" + DidYouMean(ours.front(), names) +
           "; `wheeltapper --help` lists them";
  }
  return CheckWords(*app.get_subcommand(ours.front()), ours, dashes);
}

ParseOutcome CheckCommand(ParseOutcome outcome, bool dashes,
                          const std::vector<std::string>& command) {
  if (outcome.arguments.verb != Verb::kRun) {
    return dashes ? Mistake("only `run` takes a command after --") : outcome;
  }
  if (command.empty()) {
    return Mistake(
        "`run` needs a command after --, for example: wheeltapper run -- python train.py");
  }
  outcome.arguments.command = command;
  return outcome;
}

}  // namespace

ParseOutcome ParseArguments(const std::vector<std::string>& args) {
  // CLI11 would eat flags of the command: cut at the first --.
  const auto dashes = std::find(args.begin(), args.end(), "--");
  std::vector<std::string> ours(args.begin(), dashes);
  const std::vector<std::string> command(dashes == args.end() ? dashes : dashes + 1, args.end());

  ParseOutcome outcome;
  CLI::App app("", "wheeltapper");
  app.formatter(std::make_shared<PageFormatter>());  // the verbs inherit it
  app.set_version_flag("--version", "wheeltapper " WT_VERSION);
  app.require_subcommand(1);
  std::map<const CLI::App*, Verb> verbs;
  for (const VerbRow& row : kVerbs) {
    CLI::App* verb = app.add_subcommand(row.name, HelpPageOf(row.name).summary);
    row.add(verb, &outcome.arguments);
    AddCommonFlags(verb, &outcome.arguments);
    verbs[verb] = row.verb;
  }
  if (const std::string mistake = CheckOurs(app, ours, dashes != args.end()); !mistake.empty()) {
    return Mistake(mistake);
  }
  std::reverse(ours.begin(), ours.end());  // CLI11 takes them last first
  try {
    app.parse(ours);
  } catch (const CLI::Success& success) {  // --help, --version
    std::ostringstream out;
    std::ostringstream err;
    outcome.exit_code = app.exit(success, out, err);
    outcome.text = out.str();
    outcome.to_stdout = true;
    return outcome;
  } catch (const CLI::ParseError& error) {
    if (args.empty()) {
      outcome.exit_code = kExitUsage;
      outcome.text = app.help();
      return outcome;
    }
    const std::string& verb = args.front();
    const bool needs_rule = verb == "explain" && error.get_name() == "RequiredError";
    return Mistake(std::string(error.what()) +
                   (needs_rule ? "; `wheeltapper rules` lists them"
                               : "; `wheeltapper " + verb + " --help` shows what is accepted"));
  }
  outcome.arguments.verb = verbs[app.get_subcommands().front()];
  return CheckCommand(std::move(outcome), dashes != args.end(), command);
}

}  // namespace wheeltapper::cli
