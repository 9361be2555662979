// `wheeltapper fsck`: every file of a run is checked; --repair first brings in what a killed job
// left behind, and cuts off lines that were never finished.
#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/cli/main.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_reader.h"

#include "chosen_runs.h"
#include "context.h"
#include "progress.h"
#include "verbs.h"

namespace wheeltapper::cli {
namespace {

using nlohmann::json;

json RepairJson(const format::RecoveryReport& report, const std::vector<std::string>& cut) {
  return {{"ranks_recovered", report.ranks_recovered},
          {"ranks_alive", report.ranks_alive},
          {"records_replayed", report.records_replayed},
          {"steps_discarded", report.steps_discarded},
          {"files_sealed", report.files_sealed},
          {"damaged_places", report.skipped.size()},
          {"torn_lines_cut", cut}};
}

json CheckJson(const format::FsckReport& report) {
  json problems = json::array();
  for (const format::FsckProblem& problem : report.problems) {
    problems.push_back(
        {{"file", problem.file}, {"what", problem.what}, {"data_lost", problem.data_lost}});
  }
  return {{"files_checked", report.files_checked},
          {"records_checked", report.records_checked},
          {"problems", problems}};
}

void PrintText(const format::FsckReport& report, const json& repaired) {
  if (!repaired.is_null()) {
    Print(fmt::format(
        "repaired: {} ranks, {} records brought in, {} files sealed, {} unfinished steps left "
        "out\n",
        repaired["ranks_recovered"].get<int>(), repaired["records_replayed"].get<uint64_t>(),
        repaired["files_sealed"].get<uint64_t>(), repaired["steps_discarded"].get<uint64_t>()));
    for (const json& file : repaired["torn_lines_cut"]) {
      Print(fmt::format("cut off a line that was never finished: {}\n", file.get<std::string>()));
    }
  }
  Print(
      fmt::format("checked: {} files, {} records\n", report.files_checked, report.records_checked));
  for (const format::FsckProblem& problem : report.problems) {
    Print(fmt::format("{}: {}: {}\n", problem.data_lost ? "damaged" : "repairable", problem.file,
                      problem.what));
  }
  if (report.problems.empty()) {
    Print("clean\n");
  } else if (repaired.is_null() &&
             std::any_of(report.problems.begin(), report.problems.end(),
                         [](const format::FsckProblem& p) { return !p.data_lost; })) {
    Say("`wheeltapper fsck --repair` mends what is repairable");
  }
}

Result<format::FsckReport> Check(const std::string& run, bool quiet) {
  Progress progress("checking " + BaseName(run), ProgressOutput(quiet));
  return format::CheckRun(
      run, [&progress](uint64_t files) { progress.Count(static_cast<int64_t>(files), "file"); });
}

}  // namespace

int FsckVerb(const Arguments& arguments) {
  const Result<std::string> run = ChosenRun(arguments);
  if (!run.ok()) {
    return Fail(run.status());
  }
  json repaired;
  if (arguments.repair) {
    const Result<format::RecoveryReport> report = format::RecoverRun(*run);
    if (!report.ok()) {
      return Fail(report.status());
    }
    const Result<std::vector<std::string>> cut = format::CutTornLines(*run);
    if (!cut.ok()) {
      return Fail(cut.status());
    }
    repaired = RepairJson(*report, *cut);
  }
  const Result<format::FsckReport> report = Check(*run, arguments.quiet);
  if (!report.ok()) {
    return Fail(report.status());
  }
  if (arguments.json) {
    json all = CheckJson(*report);
    all["repaired"] = repaired;
    PrintJson(all);
  } else {
    PrintText(*report, repaired);
  }
  return report->problems.empty() ? kExitOk : kExitFindings;
}

}  // namespace wheeltapper::cli
