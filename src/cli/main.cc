#include "wheeltapper/cli/main.h"

#include <exception>

#include "wheeltapper/core/log.h"

#include "arguments.h"
#include "context.h"
#include "verbs.h"

namespace wheeltapper::cli {
namespace {

int Dispatch(const Arguments& arguments) {
  switch (arguments.verb) {
    case Verb::kRun:
      return RunVerb(arguments);
    case Verb::kLs:
      return LsVerb(arguments);
    case Verb::kShow:
      return ShowVerb(arguments);
    case Verb::kFindings:
      return FindingsVerb(arguments);
    case Verb::kExplain:
      return ExplainVerb(arguments);
    case Verb::kCheck:
      return CheckVerb(arguments);
    case Verb::kRules:
      return RulesVerb(arguments);
    case Verb::kReport:
      return ReportVerb(arguments);
    case Verb::kExport:
      return ExportVerb(arguments);
    case Verb::kFsck:
      return FsckVerb(arguments);
    case Verb::kConfig:
      return ConfigVerb(arguments);
    case Verb::kNone:
      break;
  }
  return kExitUsage;
}

}  // namespace

int Main(const std::vector<std::string>& args) {
  SetLogSink([](LogLevel /*level*/, std::string_view line) { Say(line); }, LogLevel::kWarning);
  const ParseOutcome outcome = ParseArguments(args);
  if (outcome.exit_code) {
    if (outcome.to_stdout) {
      Print(outcome.text);
    } else if (args.empty()) {
      Say("say what to do:\n\n" + outcome.text);
    } else {
      SayError(outcome.text);
    }
    return *outcome.exit_code;
  }
  try {
    return Dispatch(outcome.arguments);
  } catch (const std::exception&
               error) {  // only what libraries throw: out of memory, a bad std::string index
    SayError(std::string("internal: ") + error.what());
    return kExitInternal;
  }
}

}  // namespace wheeltapper::cli
