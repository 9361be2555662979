#include "arguments.h"

#include <algorithm>
#include <map>
#include <sstream>

#include <CLI/CLI.hpp>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/suggest.h"

namespace wheeltapper::cli {
namespace {

constexpr const char* kDescription =
    "Makes any training job visible and self-checking.\n"
    "\n"
    "  wheeltapper run -- python train.py     watch a training script; nothing in it changes\n"
    "  wheeltapper show                       the latest run: verdict, overhead, gaps\n"
    "  wheeltapper findings                   what the rules found, with cause and advice\n"
    "\n"
    "A RUN is the path of a run directory or the name of a run under ./wheeltapper-runs; left out, "
    "the latest one.";

constexpr const char* kFooter =
    "Exit codes of `run`: the command's own; 2 usage; 3 --fail-on reached; 4 stopped by a rule; 5 "
    "reserved;\n"
    "6 internal. Of the other verbs: 0 fine; 1 findings at or above the level asked "
    "for; 2 usage; 6 internal.\n"
    "Settings: wheeltapper.toml, WHEELTAPPER_* variables, flags; `wheeltapper config` shows them "
    "all with their origin.";

constexpr const char* kRunDescription =
    "Runs a command and watches it.\n"
    "\n"
    "Everything after -- is the command, started as it stands: its output, exit status, signals "
    "and terminal are\n"
    "untouched. Python processes in it attach by themselves. Findings are printed to stderr as "
    "they are opened; a report is\n"
    "left in the run directory.\n"
    "\n"
    "  wheeltapper run -- python train.py --lr 0.1\n"
    "  wheeltapper run --stop-on error -- torchrun --nproc-per-node 2 train.py\n"
    "  wheeltapper run --fail-on warning --set capture.every=1 -- python -m my.training";

// A flag that stands for a configuration key.
void AddKeyFlag(CLI::App* app, Arguments* out, const std::string& flag, const std::string& key,
                const std::string& help) {
  app->add_option_function<std::string>(
         flag,
         [out, flag, key](const std::string& text) {
           out->flags.push_back({.key = key, .text = text, .spelled = flag});
         },
         help)
      ->trigger_on_parse();
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
         "Set a configuration key (repeatable)")
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

void AddRun(CLI::App* app, Arguments* out) {
  AddKeyFlag(app, out, "--name", "run.name", "Name of the run and of its folder");
  app->add_option("--run-dir", out->run_dir,
                  "The run directory itself, instead of ./wheeltapper-runs/<name>")
      ->type_name("DIR");
  AddKeyFlag(app, out, "--budget", "budget",
             "Most that observing may cost, as a share of step time (default 1%)");
  AddKeyFlag(app, out, "--every", "capture.every",
             "Capture tensors every N steps, or auto (default auto)");
  AddKeyFlag(app, out, "--rules", "rules.select",
             "Rules to evaluate, separated by commas (default all)");
  AddKeyFlag(app, out, "--ignore", "rules.ignore", "Rules not to evaluate, separated by commas");
  AddKeyFlag(app, out, "--rule", "rules.custom",
             "Your own rule in Python: file.py or file.py:ClassName");
  AddKeyFlag(app, out, "--stop-on", "actions.stop.on",
             "Stop the job on a rule's finding, or on a severity and above");
  AddKeyFlag(app, out, "--fail-on", "run.fail_on",
             "Exit with 3 when a finding of this severity or above is open at the end");
  app->add_flag("--no-report", out->no_report, "Leave no report");
}

void AddRunArgument(CLI::App* app, Arguments* out, bool many) {
  auto* option = app->add_option("RUN", out->runs,
                                 many ? "Run directories or names (default: the latest)"
                                      : "Run directory or name (default: the latest)");
  if (!many) {
    option->expected(0, 1);
  }
}

struct VerbRow {
  const char* name;
  Verb verb;
  const char* summary;
  void (*add)(CLI::App*, Arguments*);
};

void AddLs(CLI::App* app, Arguments* out) {
  app->add_option("DIR", out->runs, "Folder that holds runs (default: storage.path)")
      ->expected(0, 1);
}
void AddShow(CLI::App* app, Arguments* out) { AddRunArgument(app, out, false); }
void AddFindings(CLI::App* app, Arguments* out) {
  AddRunArgument(app, out, false);
  app->add_option("--severity", out->severity,
                  "Lowest severity shown: info, warning, error, critical");
  app->add_option("--rule", out->rule, "Only findings of this rule, or that tell what it saw");
}
void AddExplain(CLI::App* app, Arguments* out) {
  app->add_option("RULE", out->rule, "A rule's name, as in a finding")->required();
}
void AddCheck(CLI::App* app, Arguments* out) {
  AddRunArgument(app, out, true);
  AddKeyFlag(app, out, "--rules", "rules.select",
             "Rules to evaluate, separated by commas (default all)");
  AddKeyFlag(app, out, "--ignore", "rules.ignore", "Rules not to evaluate, separated by commas");
  AddKeyFlag(app, out, "--rule", "rules.custom",
             "Your own rule in Python: file.py or file.py:ClassName");
  app->add_option("--severity", out->severity,
                  "Exit with 1 when a finding is at or above this (default warning)");
  app->footer(
      "The first check of a run that is over and that no rule has looked at is recorded in it,\n"
      "unless --rules or --ignore leave some out. A rule that fails makes exit code 1.");
  app->add_flag("--save", out->save,
                "Write the findings into the run, in place of those of the live evaluation");
}
void AddRules(CLI::App* /*app*/, Arguments* /*out*/) {}
void AddReport(CLI::App* app, Arguments* out) {
  AddRunArgument(app, out, false);
  app->add_option("-o,--output", out->output,
                  "Write the HTML here instead of RUN/report/report.html")
      ->type_name("FILE");
}
void AddExport(CLI::App* app, Arguments* out) {
  AddRunArgument(app, out, false);
  app->add_option("--table", out->table, "scalars, stats, steps or tensors (default stats)")
      ->check(CLI::IsMember({"scalars", "stats", "steps", "tensors"}));
  app->add_option("--format", out->format,
                  "csv, parquet or npz (default csv); npz of tensors holds the raw values")
      ->check(CLI::IsMember({"csv", "parquet", "npz"}));
  app->add_option("--regex", out->regex, "Only names that match");
  app->add_option("-o,--output", out->output, "File to write (csv: default stdout)")
      ->type_name("FILE");
  app->footer("With --json and -o: one object that tells what was written.");
}
void AddFsck(CLI::App* app, Arguments* out) {
  AddRunArgument(app, out, false);
  app->add_flag("--repair", out->repair,
                "Bring in what a killed job left in memory and journals, seal it, and cut off the "
                "unfinished last line of findings.jsonl and actions.jsonl");
}
void AddConfig(CLI::App* /*app*/, Arguments* /*out*/) {}

constexpr VerbRow kVerbs[] = {
    {"run", Verb::kRun, "Run a command and watch it", AddRun},
    {"ls", Verb::kLs, "List runs", AddLs},
    {"show", Verb::kShow, "Show a run: state, verdict, overhead, gaps", AddShow},
    {"findings", Verb::kFindings, "List what the rules found", AddFindings},
    {"explain", Verb::kExplain, "Explain a rule: what it means, when it is wrong, how to fix it",
     AddExplain},
    {"check", Verb::kCheck, "Evaluate rules over finished runs", AddCheck},
    {"rules", Verb::kRules, "List the rules with their parameters", AddRules},
    {"report", Verb::kReport, "Write a run's report as one HTML file, or JSON", AddReport},
    {"export", Verb::kExport, "Export a run's tables or raw tensors", AddExport},
    {"fsck", Verb::kFsck, "Check every file of a run; repair what a kill left behind", AddFsck},
    {"config", Verb::kConfig, "Show every setting, its value and where it comes from", AddConfig},
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
  return dashes ? "\"" + *word + "\" stands before --; the command goes behind it"
                : "put \"--\" before the command: wheeltapper" + Words(ours.begin(), word) + " --" +
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
  CLI::App app(kDescription, "wheeltapper");
  app.footer(kFooter);
  app.set_version_flag("--version", "wheeltapper " WT_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  std::map<const CLI::App*, Verb> verbs;
  for (const VerbRow& row : kVerbs) {
    CLI::App* verb = app.add_subcommand(row.name, row.summary);
    if (row.verb == Verb::kRun) {
      verb->description(kRunDescription);
    }
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
    const std::string verb = args.empty() ? "" : " " + args.front();
    return Mistake(std::string(error.what()) + "; `wheeltapper" + verb +
                   " --help` shows what is accepted");
  }
  outcome.arguments.verb = verbs[app.get_subcommands().front()];
  return CheckCommand(std::move(outcome), dashes != args.end(), command);
}

}  // namespace wheeltapper::cli
