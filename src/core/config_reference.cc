#include "config_layers.h"

namespace wheeltapper {
namespace {

// A table cell: a bar would end it.
std::string Cell(const std::string& text) {
  std::string cell;
  for (const char letter : text) {
    cell += letter == '|' ? std::string("\\|") : std::string{letter};
  }
  return cell;
}

void AddRow(const ConfigKey& key, std::string* page) {
  std::string kind = DescribeConfigType(key);
  if (!key.unit.empty()) {
    kind += " (" + key.unit + ")";
  }
  const std::string initial = key.default_toml.empty() ? "unset" : "`" + key.default_toml + "`";
  *page +=
      "| `" + key.name + "` | " + Cell(kind) + " | " + initial + " | " + Cell(key.meaning) + " |\n";
}

}  // namespace

std::string ConfigReferenceMarkdown() {
  std::string page =
      "# Configuration\n\n"
      "This page is generated from the key table (`src/core/config_keys.cc`); a test compares "
      "them.\n\n"
      "Each key is looked for in this order, and the first place that has it wins:\n\n"
      "1. a flag: `--set capture.every=10`, or the flag of its own that a verb offers;\n"
      "2. the environment: key `a.b` is the variable `WHEELTAPPER_A_B`, lists are written with "
      "commas or as in TOML;\n"
      "3. the project: `wheeltapper.toml`, or `[tool.wheeltapper]` in `pyproject.toml`, of the "
      "nearest folder at or above the working directory that has one;\n"
      "4. the user: `$XDG_CONFIG_HOME/wheeltapper/wheeltapper.toml` (`~/.config` when that is "
      "unset);\n"
      "5. the default.\n\n"
      "A list replaces the list below it. An unknown key, a value of the wrong type or out of "
      "range, and a bad regular expression are errors that name file and line.\n\n"
      "| key | value | default | meaning |\n|---|---|---|---|\n";
  for (const ConfigKey& key : ConfigKeys()) {
    AddRow(key, &page);
  }
  page +=
      "\nRegular expressions are Perl-compatible (PCRE2) and match anywhere in the name; anchor "
      "with `^` and `$`.\n\n"
      "## Variables that are no keys\n\n| variable | meaning |\n|---|---|\n";
  for (const ReservedVariable& variable : ReservedVariables()) {
    page += "| `" + std::string(variable.name) + "` | " + std::string(variable.meaning) + " |\n";
  }
  page += "| `WHEELTAPPER_JOB_…` | Set by `wheeltapper run` for the job it starts. |\n";
  return page;
}

}  // namespace wheeltapper
