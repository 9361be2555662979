#include "chosen_runs.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/suggest.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/trainings.h"

#include "context.h"

namespace wheeltapper::cli {
namespace {

bool IsRun(const std::string& path) { return PathExists(format::RunInfoPath(path)); }

Status NoSuchRun(const std::string& run, const std::string& folder,
                 const std::vector<std::string>& runs) {
  if (PathExists(run)) {
    return NotFoundError("\"" + run + "\" is no run directory (it has no run.json)");
  }
  std::vector<std::string> names;
  std::transform(runs.begin(), runs.end(), std::back_inserter(names), BaseName);
  return NotFoundError("there is no run \"" + run + "\", neither as a path nor in \"" + folder +
                       "\"" + DidYouMean(run, names) + "; `wheeltapper ls` lists the runs");
}

// A command begins when its first training's run is made: another one may have begun while the
// trainings of this one went on. `runs`: oldest first, not empty.
std::vector<std::string> NewestCommand(const std::vector<std::string>& runs) {
  for (auto run = runs.rbegin(); run != runs.rend(); ++run) {
    std::vector<std::string> of_command = format::RunsOfCommand(*run);
    if (of_command.front() == *run) {
      return of_command;
    }
  }
  return {runs.back()};
}

}  // namespace

Result<std::vector<std::string>> ListRuns(const std::string& folder) {
  Result<std::vector<std::string>> names = ListDirectory(folder);
  if (!names.ok()) {
    return names.status();
  }
  std::vector<std::pair<TimeNs, std::string>> found;
  for (const std::string& name : *names) {
    const std::string path = JoinPath(folder, name);
    if (!IsRun(path)) {
      continue;
    }
    const Result<format::RunInfo> info = format::ReadRunInfo(path);
    found.emplace_back(info.ok() ? info->started_wall_ns : 0,
                       path);  // unreadable ones are listed too, first
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> paths;
  paths.reserve(found.size());
  for (auto& [started, path] : found) {
    paths.push_back(std::move(path));
  }
  return paths;
}

Result<std::vector<std::string>> ResolveRuns(const std::string& run, const Config& config) {
  const std::string folder = config.GetText("storage.path");
  if (!run.empty() && IsRun(run)) {
    return std::vector<std::string>{run};
  }
  if (!run.empty() && run.find('/') == std::string::npos && IsRun(JoinPath(folder, run))) {
    return std::vector<std::string>{JoinPath(folder, run)};
  }
  const std::vector<std::string> known = ListRuns(folder).value_or(std::vector<std::string>());
  if (!run.empty()) {
    return NoSuchRun(run, folder, known);
  }
  if (known.empty()) {
    return NotFoundError("there are no runs in \"" + folder +
                         "\"; start one: wheeltapper run -- python train.py");
  }
  return NewestCommand(known);
}

Result<std::vector<std::string>> ChosenRuns(const Arguments& arguments, const Config& config) {
  std::vector<std::string> chosen;
  for (const std::string& name :
       arguments.runs.empty() ? std::vector<std::string>{""} : arguments.runs) {
    WT_ASSIGN_OR_RETURN(const std::vector<std::string> runs, ResolveRuns(name, config));
    chosen.insert(chosen.end(), runs.begin(), runs.end());
  }
  return chosen;
}

Result<std::vector<std::string>> ChosenRuns(const Arguments& arguments) {
  WT_ASSIGN_OR_RETURN(const Config config, LoadConfigToRead(arguments));
  return ChosenRuns(arguments, config);
}

Result<std::string> ChosenRun(const Arguments& arguments) {
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> runs, ChosenRuns(arguments));
  return TheOnlyRun(runs);
}

Result<std::string> TheOnlyRun(const std::vector<std::string>& runs) {
  if (runs.size() > 1) {
    return InvalidArgumentError(
        fmt::format("the newest command has {} trainings: name the run of "
                    "one: {}",
                    runs.size(), NamesOf(runs)));
  }
  return runs.front();
}

std::string NamesOf(const std::vector<std::string>& runs) {
  std::string names;
  for (size_t i = 0; i < runs.size(); ++i) {
    const bool last = i + 1 == runs.size();
    names += (i == 0 ? "" : last ? " and " : ", ") + BaseName(runs[i]);
  }
  return names;
}

}  // namespace wheeltapper::cli
