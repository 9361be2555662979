// What the user typed, parsed. The only file that knows CLI11 is arguments.cc.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "wheeltapper/core/config.h"

namespace wheeltapper::cli {

enum class Verb {
  kNone,
  kRun,
  kLs,
  kShow,
  kFindings,
  kExplain,
  kCheck,
  kRules,
  kReport,
  kExport,
  kFsck,
  kConfig
};

struct Arguments {
  Verb verb = Verb::kNone;

  // every verb
  bool json = false;
  bool quiet = false;
  std::optional<std::string> config_file;
  std::vector<ConfigFlag> flags;  // --set, and the flags that stand for keys

  // run
  std::vector<std::string> command;
  std::string run_dir;
  bool no_report = false;

  // verbs on runs: paths, names under storage.path; empty means those of the newest command
  std::vector<std::string> runs;

  std::string severity;         // findings: lowest shown; check: lowest that makes exit code 1
  std::string rule;             // explain; findings --rule
  std::string table = "stats";  // export
  std::string format = "csv";   // export
  std::string output;           // export, report: file; "" = stdout / the run's folder
  std::string regex;            // export
  bool repair = false;          // fsck
  bool save = false;            // check: write the findings into the run
};

struct ParseOutcome {
  Arguments arguments;
  std::optional<int> exit_code;  // set: print `text` and end with it (help, version, a mistake)
  std::string text;
  bool to_stdout = false;
};

ParseOutcome ParseArguments(const std::vector<std::string>& args);

}  // namespace wheeltapper::cli
