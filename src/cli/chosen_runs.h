// Which runs the user means.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "wheeltapper/core/config.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/trial/trial.h"

#include "arguments.h"

namespace wheeltapper::cli {

// Run directories under `folder`, oldest first by start time; folders without run.json are left
// out.
Result<std::vector<std::string>> ListRuns(const std::string& folder);

// A path, or a name under storage.path: that run alone. "": the runs of the command that was
// started last, in the order in which its trainings began; never none. NotFound says where was
// looked and what is there.
Result<std::vector<std::string>> ResolveRuns(const std::string& run, const Config& config);

// The runs that the command line names, else those of the newest command.
Result<std::vector<std::string>> ChosenRuns(const Arguments& arguments, const Config& config);
// With the configuration of verbs that only read.
Result<std::vector<std::string>> ChosenRuns(const Arguments& arguments);
// Of a verb that takes one run; InvalidArgument names them where the newest command has several.
Result<std::string> ChosenRun(const Arguments& arguments);
// The same of runs that were chosen.
Result<std::string> TheOnlyRun(const std::vector<std::string>& runs);

// "exp, exp-2 and exp-3"
std::string NamesOf(const std::vector<std::string>& runs);

}  // namespace wheeltapper::cli
