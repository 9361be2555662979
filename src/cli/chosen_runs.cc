#include "chosen_runs.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>
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

struct FoundRun {
  TimeNs started_wall_ns = 0;
  std::string path;
  std::string first_run =
      {};  // of a further training of a command: the name of the first one's run
};

// Oldest first.
Result<std::vector<FoundRun>> FindRuns(const std::string& folder) {
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(folder));
  std::vector<FoundRun> found;
  for (const std::string& name : names) {
    const std::string path = JoinPath(folder, name);
    if (!IsRun(path)) {
      continue;
    }
    FoundRun run{.started_wall_ns = 0, .path = path};  // unreadable ones are listed too, first
    if (const Result<format::RunInfo> info = format::ReadRunInfo(path); info.ok()) {
      run.started_wall_ns = info->started_wall_ns;
      run.first_run = info->first_run;
    }
    found.push_back(std::move(run));
  }
  std::sort(found.begin(), found.end(), [](const FoundRun& a, const FoundRun& b) {
    return std::tie(a.started_wall_ns, a.path) < std::tie(b.started_wall_ns, b.path);
  });
  return found;
}

std::vector<std::string> PathsOf(const std::vector<FoundRun>& runs) {
  std::vector<std::string> paths;
  std::transform(runs.begin(), runs.end(), std::back_inserter(paths),
                 [](const FoundRun& run) { return run.path; });
  return paths;
}

// A command begins when its first training's run is made: another one may have begun while the
// trainings of this one went on. `runs`: of one folder, oldest first, not empty. Each command's
// lines are read once: it may have hundreds of trainings.
std::vector<std::string> NewestCommand(const std::vector<FoundRun>& runs) {
  std::map<std::string, std::vector<std::string>> commands;  // by the first run's name
  for (auto run = runs.rbegin(); run != runs.rend(); ++run) {
    if (run->first_run.empty()) {
      return format::RunsOfCommand(run->path);
    }
    const auto [command, is_new] = commands.try_emplace(run->first_run);
    if (is_new) {
      command->second = format::RunsOfCommand(JoinPath(FolderOf(run->path), run->first_run));
    }
    const bool named = std::any_of(
        command->second.begin(), command->second.end(),
        [&](const std::string& other) { return BaseName(other) == BaseName(run->path); });
    if (!named) {
      return {run->path};
    }
  }
  return {runs.back().path};
}

}  // namespace

Result<std::vector<std::string>> ListRuns(const std::string& folder) {
  WT_ASSIGN_OR_RETURN(const std::vector<FoundRun> found, FindRuns(folder));
  return PathsOf(found);
}

Result<std::vector<std::string>> ResolveRuns(const std::string& run, const Config& config) {
  const std::string folder = config.GetText("storage.path");
  if (!run.empty() && IsRun(run)) {
    return std::vector<std::string>{run};
  }
  if (!run.empty() && run.find('/') == std::string::npos && IsRun(JoinPath(folder, run))) {
    return std::vector<std::string>{JoinPath(folder, run)};
  }
  const std::vector<FoundRun> known = FindRuns(folder).value_or(std::vector<FoundRun>());
  if (!run.empty()) {
    return NoSuchRun(run, folder, PathsOf(known));
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
