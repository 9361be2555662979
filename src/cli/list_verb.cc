// `wheeltapper ls`
#include <ctime>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/report/report.h"
#include "wheeltapper/rules/finding.h"
#include "wheeltapper/trial/trial.h"

#include "chosen_runs.h"
#include "context.h"
#include "render.h"
#include "verbs.h"

namespace wheeltapper::cli {
namespace {

struct RunRow {
  std::string name;
  std::string path;
  std::string state;
  std::string started = {};  // local time; "" when unknown
  int64_t started_wall_ns = 0;
  int64_t findings = 0;
  int64_t damaged = 0;  // places that cannot be read; `show` names them
  std::string command = {};
  std::string first_run = {};  // of a further training: the name of the first one's run
  std::string problem = {};    // why the run cannot be read; "" when it can
};

std::string LocalTime(TimeNs wall_ns) {
  const std::time_t seconds = wall_ns / 1'000'000'000;
  std::tm parts{};
  localtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  (void)std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts);
  return text.data();
}

RunRow Describe(const std::string& path) {
  RunRow row{.name = BaseName(path), .path = path, .state = "unreadable"};
  const Result<std::unique_ptr<trial::Trial>> trial = trial::Trial::Open(path);
  if (!trial.ok()) {
    row.problem = trial.status().message();
    return row;
  }
  const format::RunInfo& info = (*trial)->info();
  row.state = trial::RunStateName((*trial)->state());
  row.started_wall_ns = info.started_wall_ns;
  row.started = LocalTime(info.started_wall_ns);
  row.first_run = info.first_run;
  for (const std::string& word : info.argv) {
    row.command += (row.command.empty() ? "" : " ") + word;
  }
  std::vector<trial::Damage> damaged;
  const Result<std::vector<rules::Finding>> findings = report::ReadFindings(**trial, &damaged);
  row.findings = findings.ok() ? report::CountOwn(*findings) : 0;
  row.damaged = std::max(report::CountDamagedPlaces(**trial), static_cast<int64_t>(damaged.size()));
  return row;
}

void PrintRowsAsJson(const std::vector<RunRow>& rows) {
  nlohmann::json all = nlohmann::json::array();
  for (const RunRow& row : rows) {
    all.push_back(
        {{"name", row.name},
         {"path", row.path},
         {"state", row.state},
         {"started_wall_ns", row.started_wall_ns},
         {"findings", row.findings},
         {"damaged", row.damaged},
         {"command", row.command},
         {"first_run", row.first_run.empty() ? nlohmann::json() : nlohmann::json(row.first_run)},
         {"problem", row.problem.empty() ? nlohmann::json() : nlohmann::json(row.problem)}});
  }
  PrintJson(all);
}

std::string StateText(const RunRow& row) {
  return row.state + (row.damaged > 0 ? " (damaged)" : "");
}

std::string CommandText(const RunRow& row) {
  return row.first_run.empty() ? row.command
                               : fmt::format("{} (a training of {})", row.command, row.first_run);
}

void PrintTable(const std::vector<RunRow>& rows) {
  size_t name_width = 4;
  size_t state_width = 10;
  for (const RunRow& row : rows) {
    name_width = std::max(name_width, row.name.size());
    state_width = std::max(state_width, StateText(row).size());
  }
  Print(fmt::format("{:<{}}  {:<{}}  {:<19}  {:>8}  {}\n", "NAME", name_width, "STATE", state_width,
                    "STARTED", "FINDINGS", "COMMAND"));
  for (const RunRow& row : rows) {
    Print(fmt::format("{:<{}}  {:<{}}  {:<19}  {:>8}  {}\n", Printable(row.name), name_width,
                      StateText(row), state_width, row.started, row.findings,
                      Printable(row.problem.empty() ? CommandText(row) : row.problem)));
  }
}

}  // namespace

int LsVerb(const Arguments& arguments) {
  const Result<Config> config = LoadConfigToRead(arguments);
  if (!config.ok()) {
    return Fail(config.status());
  }
  const std::string folder =
      arguments.runs.empty() ? config->GetText("storage.path") : arguments.runs.front();
  const Result<std::vector<std::string>> runs = ListRuns(folder);
  if (!runs.ok() && (runs.status().code() != StatusCode::kNotFound || !arguments.runs.empty())) {
    return Fail(runs.status());
  }
  std::vector<RunRow> rows;
  for (const std::string& path : runs.ok() ? *runs : std::vector<std::string>()) {
    rows.push_back(Describe(path));
  }
  if (arguments.json) {
    PrintRowsAsJson(rows);
  } else if (rows.empty()) {
    Say("no runs in \"" + folder + "\"; start one: wheeltapper run -- python train.py");
  } else {
    PrintTable(rows);
  }
  return kExitOk;
}

}  // namespace wheeltapper::cli
