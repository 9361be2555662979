// RUN/trainings.jsonl: which trainings a command has begun, and the run of each.
//
// A run holds one training. A command that trains several times, at once (a sweep) or one after the
// other (a script of scripts), has a run for each: the first training gets the run directory that
// the command was given, the others get runs beside it, "<name>-2", "<name>-3", …. A training that
// is started again after a failure stays in its run, as another attempt. See docs/format.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::format {

// The process that asks for its run.
struct TrainingProcess {
  Rank rank;
  int32_t world_size = 1;
  // The same text in every process of one start of a launcher; "" for a process by itself.
  std::string group;
  // The same text at every start of one launcher's job: torchrun's run id. "" without one.
  std::string launcher;
  // The launcher says that it starts the training again (torchrun after a failure).
  bool restarted = false;
  // Of a process that another Python process started with multiprocessing: its parent's number, and
  // a text that tells it from its siblings. 0 and "" of others.
  int64_t parent_pid = 0;
  std::string child;
};

// What one process is part of.
struct Training {
  std::string run_dir;
  int64_t number = 1;   // from 1, in the order in which they began
  int64_t attempt = 1;  // from 1
};

// The run that this process records into: that of its group; its training's, when it is the next
// attempt of one; else a new one, made beside `run_dir` with its configuration. It is the next
// attempt of the last training that was begun as it was (command line, working folder, launcher,
// child) when no process of that lives, and either the launcher says `restarted` or none has ended
// well. Appends to RUN/trainings.jsonl, under its lock: all processes of the command agree.
// Unavailable when another process holds that for long; errors of the files.
Result<Training> JoinTraining(const std::string& run_dir, const TrainingProcess& process,
                              const Clock& clock);

// Notes that this process's part of the training is over, with its exit status.
Status LeaveTraining(const std::string& run_dir, const Training& training, Rank rank, int exit_code,
                     const Clock& clock);

// What is known of one training of a command.
struct TrainingRecord {
  int64_t number = 1;
  std::string run_dir;
  // Of its last attempt: "failed" when one of its processes says so; "finished" when one does, and
  // none of the others; "" when none has said anything.
  std::string state;
  int exit_code = 0;    // of the first process that failed
  bool living = false;  // a process of it may live
  // Every rank of its last attempt has finished, and its process is gone: nothing will be added.
  bool over = false;
  TimeNs began_wall_ns = 0;
  TimeNs ended_wall_ns = 0;  // of the last process that said; 0 when none has
};

// The trainings of the command that `run_dir` was made for, by number; none when none has begun, or
// when that run is not its first. Lines that are no part of one are passed over.
Result<std::vector<TrainingRecord>> ListTrainings(const std::string& run_dir);

// The record of a training among those listed; null when it is not there.
const TrainingRecord* FindTraining(const std::vector<TrainingRecord>& trainings, int64_t number);

// The runs of the command whose training `run_dir` holds, in the order in which they began; those
// that are gone are left out. `run_dir` alone where nothing says otherwise: a further run belongs
// to the first one only if that one's lines name it.
std::vector<std::string> RunsOfCommand(const std::string& run_dir);

std::string TrainingsPath(const std::string& run_dir);

}  // namespace wheeltapper::format
