// The extension module wheeltapper._native: capture, trial and tensor reductions for Python. It
// links no framework.
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/config.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/host.h"
#include "wheeltapper/core/random.h"
#include "wheeltapper/format/journal.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/run_reader.h"
#include "wheeltapper/format/scalar_names.h"
#include "wheeltapper/format/trainings.h"

#include "array.h"
#include "arrow.h"
#include "gather.h"
#include "reduce.h"
#include "session.h"
#include "status.h"
#include "tap.h"
#include "trial.h"

namespace wheeltapper::python {
namespace {

namespace nb = nanobind;

// Makes a run directory for a job that has no watcher, with its resolved configuration.
void CreateRun(const std::string& run_dir, const std::string& name,
               const std::vector<std::string>& argv, const std::string& cwd,
               const std::map<std::string, std::string>& environment) {
  Unwrap(WithoutGil([&]() -> Status {
    WT_ASSIGN_OR_RETURN(const Config config, Config::Load(ConfigSources::Current()));
    format::RunInfo info;
    info.format_version = format::kFormatVersion;
    info.min_reader = format::kMinReaderVersion;
    info.name = name.empty() ? BaseName(run_dir) : name;
    info.run_id = RandomBits();
    info.started_wall_ns = SystemClock().WallNs();
    info.argv = argv;
    info.cwd = cwd;
    info.host = HostName();
    info.wheeltapper_version = WT_VERSION;
    info.environment = environment;
    WT_RETURN_IF_ERROR(format::CreateRunDirectory(run_dir, info));
    // As `wheeltapper run` does: addresses of actions may be secrets.
    return WriteFileAtomically(format::ConfigPath(run_dir), config.Without("actions").ToJson());
  }));
}

std::string StoragePath() {
  return Unwrap(WithoutGil([]() -> Result<std::string> {
    WT_ASSIGN_OR_RETURN(const Config config, Config::Load(ConfigSources::Current()));
    return config.GetText("storage.path");
  }));
}

nb::tuple JoinTraining(const std::string& run_dir, int32_t rank, int32_t world_size,
                       const std::string& group, const std::string& launcher, bool restarted,
                       int64_t parent_pid, const std::string& child) {
  format::TrainingProcess process;
  process.rank = Rank{rank};
  process.world_size = world_size;
  process.group = group;
  process.launcher = launcher;
  process.restarted = restarted;
  process.parent_pid = parent_pid;
  process.child = child;
  const format::Training training =
      Unwrap(WithoutGil([&] { return format::JoinTraining(run_dir, process, SystemClock()); }));
  return nb::make_tuple(training.run_dir, training.number, training.attempt);
}

format::Training TrainingOf(int64_t number, int64_t attempt) {
  return {.run_dir = "", .number = number, .attempt = attempt};
}

void LeaveTraining(const std::string& run_dir, int64_t number, int64_t attempt, int32_t rank,
                   int exit_code) {
  Unwrap(WithoutGil([&] {
    return format::LeaveTraining(run_dir, TrainingOf(number, attempt), Rank{rank}, exit_code,
                                 SystemClock());
  }));
}

// What is left to be written when the process exits. Lives as long as the process.
struct PendingEnd {
  std::function<void(int exit_code)> write;
  pid_t process;
};

// Runs when the interpreter is gone already: touches nothing of Python.
void WriteEndOnExit(int status, void* argument) {
  const auto* pending = static_cast<const PendingEnd*>(argument);
  if (getpid() == pending->process) {  // else a forked child, which ends for itself alone
    pending->write(status & 0xFF);
  }
}

void WriteAtExit(std::function<void(int exit_code)> write) {
  auto* pending =
      new PendingEnd{std::move(write), getpid()};  // NOLINT(cppcoreguidelines-owning-memory)
  if (on_exit(WriteEndOnExit, pending) != 0) {
    Unwrap(ResourceExhaustedError("ending run: no room for an exit handler"));
  }
}

void EndRunAtExit(const std::string& run_dir) {
  WriteAtExit([run_dir](int exit_code) {
    const format::EndInfo end{.state = exit_code == 0 ? "finished" : "failed",
                              .exit_code = exit_code,
                              .reason = "",
                              .ended_wall_ns = SystemClock().WallNs()};
    format::WriteEnd(run_dir, end).IgnoreError("nobody is left to be told");
  });
}

void LeaveTrainingAtExit(const std::string& run_dir, int64_t number, int64_t attempt,
                         int32_t rank) {
  WriteAtExit([=](int exit_code) {
    format::LeaveTraining(run_dir, TrainingOf(number, attempt), Rank{rank}, exit_code,
                          SystemClock())
        .IgnoreError("nobody is left to be told");
  });
}

nb::dict Recover(const std::string& run_dir) {
  const format::RecoveryReport report =
      Unwrap(WithoutGil([&] { return format::RecoverRun(run_dir); }));
  nb::dict out;
  out["ranks_recovered"] = report.ranks_recovered;
  out["ranks_alive"] = report.ranks_alive;
  out["records_replayed"] = report.records_replayed;
  out["steps_discarded"] = report.steps_discarded;
  out["files_sealed"] = report.files_sealed;
  nb::list skipped;
  for (const format::SkippedBytes& place : report.skipped) {
    skipped.append(nb::make_tuple(place.file, place.offset, place.nbytes, place.reason));
  }
  out["skipped"] = skipped;
  return out;
}

nb::dict Fsck(const std::string& run_dir) {
  const format::FsckReport report = Unwrap(WithoutGil([&] { return format::CheckRun(run_dir); }));
  nb::dict out;
  out["files_checked"] = report.files_checked;
  out["records_checked"] = report.records_checked;
  nb::list problems;
  for (const format::FsckProblem& problem : report.problems) {
    nb::dict one;
    one["file"] = problem.file;
    one["what"] = problem.what;
    one["data_lost"] = problem.data_lost;
    problems.append(one);
  }
  out["problems"] = problems;
  return out;
}

void BindRuns(nb::module_& m) {
  m.def("names_loss", &format::NamesLoss, nb::arg("name"),
        "Whether a value logged under this name is a loss.");
  m.def("storage_path", &StoragePath, "The configured folder that holds the run directories.");
  m.def("create_run", &CreateRun, nb::arg("run_dir"), nb::kw_only(), nb::arg("name") = "",
        nb::arg("argv") = std::vector<std::string>(), nb::arg("cwd") = "",
        nb::arg("environment") = std::map<std::string, std::string>(),
        "Makes a run directory with run.json and the resolved configuration.");
  m.def("join_training", &JoinTraining, nb::arg("run_dir"), nb::kw_only(), nb::arg("rank"),
        nb::arg("world_size"), nb::arg("group"), nb::arg("launcher"), nb::arg("restarted"),
        nb::arg("parent_pid"), nb::arg("child"),
        "The run that this process records into, of the command that `run_dir` was made for:\n"
        "(run directory, number of the training, attempt).");
  m.def("leave_training", &LeaveTraining, nb::arg("run_dir"), nb::kw_only(), nb::arg("number"),
        nb::arg("attempt"), nb::arg("rank"), nb::arg("exit_code"),
        "Notes with which status this process's part of a training ends.");
  m.def("leave_training_at_exit", &LeaveTrainingAtExit, nb::arg("run_dir"), nb::kw_only(),
        nb::arg("number"), nb::arg("attempt"), nb::arg("rank"),
        "Does so when the process exits, after the interpreter. A process that dies of a signal\n"
        "or leaves through os._exit notes nothing.");
  m.def(
      "end_run_at_exit", &EndRunAtExit, nb::arg("run_dir"),
      "Writes END with this process's exit status when it exits, after the interpreter. A process "
      "that dies of a signal or leaves through os._exit writes none.");
  m.def("recover_run", &Recover, nb::arg("run_dir"),
        "Makes a run whose writers are dead whole; what was done, as a dict.");
  m.def("check_run", &Fsck, nb::arg("run_dir"), "Checks every file of a run; never writes.");
}

}  // namespace
}  // namespace wheeltapper::python

// NOLINTNEXTLINE(misc-use-internal-linkage)
NB_MODULE(_native, m) {
  // Sessions and plans live until the process is gone; nothing is to be reported then.
  nanobind::set_leak_warnings(false);
  m.doc() = "Wheeltapper's native half. Private: use the package `wheeltapper`.";
  m.attr("__version__") = WT_VERSION;
  wheeltapper::python::BindArray(m);
  wheeltapper::python::BindTable(m);
  wheeltapper::python::BindTap(m);
  wheeltapper::python::BindSession(m);
  wheeltapper::python::BindGather(m);
  wheeltapper::python::BindTrial(m);
  wheeltapper::python::BindReduce(m);
  wheeltapper::python::BindRuns(m);
}
