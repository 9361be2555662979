#include "help_page.h"

#include <algorithm>
#include <array>

namespace wheeltapper::cli {
namespace {

// What most verbs that only read have in common.
constexpr const char* kReadingCodes =
    "Exit codes: 0 fine; 2 wrong arguments, or no such run; 6 internal.\n";

constexpr std::array kPages = {
    HelpPage{
        .verb = "",
        .summary = "Makes any training job visible and self-checking",
        .arguments = "VERB",
        .details = "A RUN is the path of a run directory or the name of a run under "
                   "./wheeltapper-runs; left out, the\n"
                   "newest command is meant, with the runs of all its trainings. `wheeltapper VERB "
                   "--help` explains a\n"
                   "verb.\n",
        .examples =
            "  wheeltapper run -- python train.py     watch a training script; nothing in it "
            "changes\n"
            "  wheeltapper show                       the newest command: verdict; of a run "
            "overhead, gaps\n"
            "  wheeltapper findings                   what the rules found, with cause and "
            "advice\n",
        .exit_codes = "Exit codes: of `run` the command's own, or 2 usage, 3 --fail-on reached, 4 "
                      "stopped by a rule,\n"
                      "5 reserved, 6 internal; of the other verbs 0 fine, 1 something was found or "
                      "could not be read,\n"
                      "2 usage, 6 internal.\n"},
    HelpPage{
        .verb = "run",
        .summary = "Run a command and watch it",
        .arguments = "-- COMMAND [ARGUMENTS]...",
        .details =
            "Everything after -- is the command, started as it stands: its output, exit status, "
            "signals and\n"
            "terminal are untouched. Python processes in it attach by themselves. Findings are "
            "printed to stderr\n"
            "as they are opened; a report is left in the run directory. A command that trains "
            "several "
            "times\n"
            "leaves a run for each training: NAME, NAME-2, NAME-3, ....\n",
        .examples =
            "  wheeltapper run -- python train.py --lr 0.1\n"
            "  wheeltapper run --stop-on error -- torchrun --nproc-per-node 2 train.py\n"
            "  wheeltapper run --fail-on warning --set capture.every=1 -- python -m my.training\n",
        .exit_codes =
            "Exit codes: the command's own, 128 + n when it died of signal n; 2 wrong arguments or "
            "settings, or\n"
            "the command cannot be started; 3 --fail-on reached; 4 stopped by a rule; 6 "
            "internal.\n"},
    HelpPage{.verb = "ls",
             .summary = "List runs",
             .arguments = "",
             .details = "One line a run, oldest first: name, state, start, number of findings, "
                        "command. A run of which not\n"
                        "everything can be read is marked; `wheeltapper show` says what it is. "
                        "A further training of a\n"
                        "command names the run of the first one.\n",
             .examples = "  wheeltapper ls\n"
                         "  wheeltapper ls /data/runs --json\n",
             .exit_codes = "Exit codes: 0 fine; 2 wrong arguments, or no such folder; 6 "
                           "internal.\n"},
    HelpPage{.verb = "show",
             .summary = "Show a run: state, verdict, overhead, gaps",
             .arguments = "",
             .details = "The verdict is one sentence. Overhead is the share of the step time that "
                        "watching cost, gaps are\n"
                        "what was to be recorded and was not. The findings follow.\n"
                        "Without RUN, a command with several trainings is shown by its worst "
                        "one's verdict and a line for\n"
                        "each; overhead and gaps are those of a RUN. With --json `trainings` "
                        "holds them all.\n",
             .examples = "  wheeltapper show\n"
                         "  wheeltapper show swift-otter-12 --json\n",
             .exit_codes = "Exit codes: 0 fine; 1 of a command's trainings one cannot be read; 2 "
                           "wrong arguments, or no such\n"
                           "run; 6 internal.\n"},
    HelpPage{.verb = "findings",
             .summary = "List what the rules found",
             .arguments = "",
             .details =
                 "Each with tensor, layer, step, cause and advice. One finding tells all "
                 "that has the same cause.\n"
                 "Without RUN, those of all trainings of the newest command; one that cannot "
                 "be read is told.\n",
             .examples = "  wheeltapper findings\n"
                         "  wheeltapper findings swift-otter-12 --severity error\n"
                         "  wheeltapper findings --rule dead_relu --json\n",
             .exit_codes = "Exit codes: 0 fine; 1 with --severity: there are findings at or above "
                           "it; or something could not be\n"
                           "read; 2 wrong arguments, no such run or no such rule; 6 "
                           "internal.\n"},
    HelpPage{.verb = "explain",
             .summary = "Explain a rule: what it means, when it is wrong, how to fix it",
             .arguments = "",
             .details = "Also its parameters with their defaults and where those come from.\n",
             .examples = "  wheeltapper explain exploding_tensor\n"
                         "  wheeltapper explain nonfinite --json\n",
             .exit_codes = "Exit codes: 0 fine; 2 wrong arguments, or no such rule; 6 "
                           "internal.\n"},
    HelpPage{
        .verb = "check",
        .summary = "Evaluate rules over finished runs",
        .arguments = "",
        .details =
            "The rules see the run as if it were watched now. The first check of a run that is "
            "over and that no\n"
            "rule has looked at is recorded in it, unless --rules or --ignore leave some out.\n"
            "Without RUN, all trainings of the newest command are checked. Of several runs the "
            "worst makes the\n"
            "exit code, and a last line says which it is.\n",
        .examples = "  wheeltapper check\n"
                    "  wheeltapper check swift-otter-12 brave-ibex-7 --severity error\n"
                    "  wheeltapper check --rule my_rule.py:WeightsTooLarge\n",
        .exit_codes =
            "Exit codes: 0 fine; 1 a finding at or above --severity is open, a rule failed, or not "
            "everything\n"
            "could be read; 2 wrong arguments or settings, or no such run; 6 internal.\n"},
    HelpPage{.verb = "rules",
             .summary = "List the rules with their parameters",
             .arguments = "",
             .details = "Each built-in rule with the severity of its findings, and its parameters "
                        "as keys of the\n"
                        "configuration with their defaults.\n",
             .examples = "  wheeltapper rules\n"
                         "  wheeltapper rules --json\n",
             .exit_codes = "Exit codes: 0 fine; 2 wrong arguments; 6 internal.\n"},
    HelpPage{.verb = "report",
             .summary = "Write a run's report as one HTML file, or JSON",
             .arguments = "",
             .details = "Prints the path of the HTML file; beside it the same lies as "
                        "report.json. `run` has left one\n"
                        "already, unless it was told not to.\n"
                        "Without RUN, one for each training of the newest command; -o and --json "
                        "then need a RUN if it has\n"
                        "several.\n",
             .examples = "  wheeltapper report\n"
                         "  wheeltapper report swift-otter-12 -o report.html\n"
                         "  wheeltapper report --json > report.json\n",
             .exit_codes = kReadingCodes},
    HelpPage{
        .verb = "export",
        .summary = "Export a run's tables or raw tensors",
        .arguments = "",
        .details =
            "Tables: scalars (losses and what was logged), stats (a row per tensor and captured "
            "step), steps\n"
            "(times, in ns), tensors (an index of the raw ones). What cannot be read of a damaged "
            "run is told,\n"
            "the rest is exported. With --json and -o: one object that tells what was written.\n"
            "Of a command with several trainings a RUN is needed.\n",
        .examples = "  wheeltapper export > stats.csv\n"
                    "  wheeltapper export --table scalars --regex loss -o losses.csv\n"
                    "  wheeltapper export --table tensors --format npz -o tensors.npz\n",
        .exit_codes =
            "Exit codes: 0 fine; 1 not everything could be read; 2 wrong arguments, or no "
            "such run; 6 internal.\n"},
    HelpPage{
        .verb = "fsck",
        .summary = "Check every file of a run; repair what a kill left behind",
        .arguments = "",
        .details = "Checksums, structure and sequence of all tables, blobs and journals. Nothing "
                   "is written without\n"
                   "--repair. Of a command with several trainings a RUN is needed.\n",
        .examples = "  wheeltapper fsck\n"
                    "  wheeltapper fsck swift-otter-12 --repair\n",
        .exit_codes = "Exit codes: 0 clean; 1 problems are left; 2 wrong arguments, or no such "
                      "run; 6 internal.\n"},
    HelpPage{
        .verb = "config",
        .summary = "Show every setting: what it means, its value and where that comes from",
        .arguments = "",
        .details =
            "Keys as they stand in wheeltapper.toml; each is also a flag of `--set`, and a "
            "variable:\n"
            "capture.every is WHEELTAPPER_CAPTURE_EVERY. A flag wins over a variable, that over "
            "the project's\n"
            "file, that over the user's ($XDG_CONFIG_HOME/wheeltapper/wheeltapper.toml), that over "
            "the default.\n",
        .examples = "  wheeltapper config\n"
                    "  wheeltapper config --config other.toml --json\n",
        .exit_codes = "Exit codes: 0 fine; 2 wrong arguments or settings; 6 internal.\n"},
};

}  // namespace

const HelpPage& HelpPageOf(std::string_view verb) {
  const auto* page = std::find_if(kPages.begin(), kPages.end(),
                                  [verb](const HelpPage& each) { return each.verb == verb; });
  return page == kPages.end() ? kPages.front() : *page;
}

std::string Wrapped(std::string_view text, size_t width) {
  std::string lines;
  size_t column = 0;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (column > 0 && column + 1 + word.size() > width) {
      lines += '\n';
      column = 0;
    }
    lines += column > 0 ? " " : "";
    lines += word;
    column += (column > 0 ? 1 : 0) + word.size();
  }
  return lines;
}

}  // namespace wheeltapper::cli
