#include "wheeltapper/format/trainings.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/host.h"
#include "wheeltapper/core/json.h"
#include "wheeltapper/core/json_lines.h"
#include "wheeltapper/core/process.h"
#include "wheeltapper/core/random.h"
#include "wheeltapper/format/run_directory.h"

#include "file_lock.h"
#include "run_names.h"

namespace wheeltapper::format {
namespace {

using Json = nlohmann::json;

// More than 10,000 processes of a command have lines for.
constexpr uint64_t kMaxBytes = uint64_t{64} << 20;
// Making a run takes milliseconds: a process that holds the lock for longer hangs, or its disk
// does.
constexpr TimeNs kLockWaitNs = 5'000'000'000;
constexpr uint64_t kMaxCommandBytes = uint64_t{2} << 20;
constexpr std::string_view kBegan = "began";
constexpr std::string_view kEnded = "ended";
constexpr std::string_view kFinished = "finished";
constexpr std::string_view kFailed = "failed";

// One start of a process of a training, as its line says.
struct Start {
  int64_t training = 0;
  int64_t attempt = 0;
  Rank rank;
  std::string group;
  std::string run;  // the name of its folder
  std::vector<std::string> argv;
  std::string host;
  std::string boot_id;
  int64_t pid = 0;
  uint64_t pid_start = 0;
  int32_t world_size = 1;
  std::string cwd;
  std::string launcher;
  std::string child;
  TimeNs began_wall_ns = 0;
  std::string state = {};  // once it has ended
  int exit_code = 0;
  TimeNs ended_wall_ns = 0;
};

std::vector<std::string> TextsOf(const Json& line, const char* key) {
  std::vector<std::string> texts;
  if (const auto found = line.find(key); found != line.end() && found->is_array()) {
    for (const Json& text : *found) {
      texts.push_back(text.is_string() ? text.get<std::string>() : "");
    }
  }
  return texts;
}

Rank RankOf(const Json& line) { return Rank{static_cast<int32_t>(JsonInteger(line, "rank"))}; }

// Whether `run` can be the name of a folder beside the first run.
bool IsName(const std::string& run) {
  return !run.empty() && run != "." && run != ".." && run.find('/') == std::string::npos;
}

Start ParseStart(const Json& line) {
  return {.training = JsonInteger(line, "training"),
          .attempt = JsonInteger(line, "attempt"),
          .rank = RankOf(line),
          .group = JsonText(line, "group"),
          .run = JsonText(line, "run"),
          .argv = TextsOf(line, "argv"),
          .host = JsonText(line, "host"),
          .boot_id = JsonText(line, "boot_id"),
          .pid = JsonInteger(line, "pid"),
          .pid_start = static_cast<uint64_t>(JsonInteger(line, "pid_start")),
          .world_size = static_cast<int32_t>(JsonInteger(line, "world_size")),
          .cwd = JsonText(line, "cwd"),
          .launcher = JsonText(line, "launcher"),
          .child = JsonText(line, "child"),
          .began_wall_ns = JsonInteger(line, "wall_ns")};
}

void NoteEnd(const Json& line, std::vector<Start>* starts) {
  for (Start& start : *starts) {
    if (start.training == JsonInteger(line, "training") &&
        start.attempt == JsonInteger(line, "attempt") && start.rank == RankOf(line)) {
      start.exit_code = static_cast<int>(JsonInteger(line, "exit_code"));
      start.state = start.exit_code == 0 ? kFinished : kFailed;
      start.ended_wall_ns = JsonInteger(line, "wall_ns");
    }
  }
}

std::vector<Start> ParseStarts(const std::vector<std::string>& lines) {
  std::vector<Start> starts;
  for (const std::string& text : lines) {
    const Json line = ParseJson(text);
    if (!line.is_object()) {
      continue;
    }
    if (const std::string event = JsonText(line, "event"); event == kEnded) {
      NoteEnd(line, &starts);
    } else if (Start start = ParseStart(line);
               event == kBegan && start.training > 0 && start.attempt > 0 && IsName(start.run)) {
      starts.push_back(std::move(start));
    }
  }
  return starts;
}

std::string LineOf(const Start& start) {
  return JsonLine(Json{{"event", kBegan},
                       {"training", start.training},
                       {"attempt", start.attempt},
                       {"rank", start.rank.value},
                       {"world_size", start.world_size},
                       {"group", start.group},
                       {"launcher", start.launcher},
                       {"child", start.child},
                       {"cwd", start.cwd},
                       {"run", start.run},
                       {"argv", start.argv},
                       {"host", start.host},
                       {"boot_id", start.boot_id},
                       {"pid", start.pid},
                       {"pid_start", start.pid_start},
                       {"wall_ns", start.began_wall_ns}});
}

std::vector<std::string> CommandOf(const std::string& process) {
  const std::string text =
      ReadWholeFile("/proc/" + process + "/cmdline", kMaxCommandBytes).value_or("");
  std::vector<std::string> words;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\0', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

std::string WorkingFolder() {
  std::error_code none;
  return std::filesystem::current_path(none).string();
}

Start Introduce(const TrainingProcess& process, const Clock& clock) {
  Start self;
  self.rank = process.rank;
  self.world_size = process.world_size;
  self.group = process.group;
  self.launcher = process.launcher;
  self.child = process.child;
  // What multiprocessing starts a child with says nothing of what it does.
  self.argv = CommandOf(process.parent_pid > 0 ? std::to_string(process.parent_pid) : "self");
  self.cwd = WorkingFolder();
  self.host = HostName();
  self.boot_id = BootId();
  self.pid = getpid();
  self.pid_start = ProcessStart(getpid()).value_or(0);
  self.began_wall_ns = clock.WallNs();
  return self;
}

// Of processes of other machines nothing is known: they may live.
bool MayLive(const Start& start) {
  if (start.host != HostName()) {
    return start.state.empty();
  }
  return start.boot_id == BootId() &&
         ProcessStart(static_cast<pid_t>(start.pid)) == start.pid_start;
}

bool SameAttempt(const Start& a, const Start& b) {
  return a.training == b.training && a.attempt == b.attempt;
}

// The last start that `test` holds for.
template <typename Test>
const Start* FindLast(const std::vector<Start>& starts, const Test& test) {
  const auto found = std::find_if(starts.rbegin(), starts.rend(), test);
  return found == starts.rend() ? nullptr : &*found;
}

bool SameCommand(const Start& a, const Start& b) { return a.argv == b.argv && a.cwd == b.cwd; }

// Whether `test` holds for some process of the attempt that `start` is of.
template <typename Test>
bool AnyOfAttempt(const std::vector<Start>& starts, const Start& start, const Test& test) {
  return std::any_of(starts.begin(), starts.end(),
                     [&](const Start& other) { return SameAttempt(other, start) && test(other); });
}

// A start of this process's own launcher, in which its rank has not begun yet. One whose processes
// are all dead is another one, of the same address.
const Start* FindGroup(const std::vector<Start>& starts, const Start& self) {
  if (self.group.empty()) {
    return nullptr;
  }
  return FindLast(starts, [&](const Start& start) {
    return start.group == self.group && start.world_size == self.world_size &&
           SameCommand(start, self) &&
           AnyOfAttempt(starts, start,
                        [](const Start& any) { return any.state == kFinished || MayLive(any); }) &&
           !AnyOfAttempt(starts, start, [&](const Start& any) { return any.rank == self.rank; });
  });
}

int64_t NextAttempt(const std::vector<Start>& starts, int64_t training) {
  int64_t most = 0;
  for (const Start& start : starts) {
    most = start.training == training ? std::max(most, start.attempt) : most;
  }
  return most + 1;
}

// A start of the attempt that this process's own is the next one after.
const Start* FindFailed(const std::vector<Start>& starts, const Start& self, bool restarted) {
  return FindLast(starts, [&](const Start& start) {
    const bool last_attempt = NextAttempt(starts, start.training) == start.attempt + 1;
    return last_attempt && SameCommand(start, self) && start.launcher == self.launcher &&
           start.child == self.child && !AnyOfAttempt(starts, start, [&](const Start& any) {
             const bool ended_well = any.state == kFinished && !restarted;
             return ended_well || (any.state.empty() && MayLive(any));
           });
  });
}

std::string Beside(const std::string& run_dir, const std::string& name) {
  return JoinPath(FolderOf(run_dir), name);
}

// A run beside the first one, with its configuration; the name that it got.
Result<std::string> MakeRun(const std::string& run_dir, int64_t training, const Start& self,
                            const Clock& clock) {
  WT_ASSIGN_OR_RETURN(RunInfo info, ReadRunInfo(run_dir));
  info.first_run = BaseName(run_dir);
  info.run_id = RandomBits();
  info.started_wall_ns = clock.WallNs();
  info.argv = self.argv;
  info.cwd = self.cwd;
  WT_ASSIGN_OR_RETURN(const std::string config, ReadWholeFile(ConfigPath(run_dir), kMaxTextBytes));
  for (int64_t number = training;; ++number) {
    const std::string name = BaseName(run_dir) + "-" + std::to_string(number);
    const std::string path = Beside(run_dir, name);
    if (PathExists(path)) {
      continue;  // someone else's
    }
    info.name = name;
    const Status made = CreateRunDirectory(path, info);
    if (made.code() == StatusCode::kAlreadyExists) {
      continue;
    }
    const Status whole = made.ok() ? WriteFileAtomically(ConfigPath(path), config) : made;
    if (!whole.ok()) {
      std::error_code left;  // no line names it
      std::filesystem::remove_all(path, left);
      return whole.WithContext("making the run of another training");
    }
    return name;
  }
}

Result<Start> Place(const std::string& run_dir, const std::vector<Start>& starts,
                    const TrainingProcess& process, const Clock& clock) {
  Start self = Introduce(process, clock);
  if (const Start* group = FindGroup(starts, self); group != nullptr) {
    self.training = group->training;
    self.attempt = group->attempt;
    self.run = group->run;
    return self;
  }
  if (const Start* failed = FindFailed(starts, self, process.restarted); failed != nullptr) {
    self.training = failed->training;
    self.attempt = NextAttempt(starts, failed->training);
    self.run = failed->run;
    return self;
  }
  for (const Start& start : starts) {
    self.training = std::max(self.training, start.training);
  }
  ++self.training;
  self.attempt = 1;
  if (self.training == 1) {
    self.run = BaseName(run_dir);
    return self;
  }
  WT_ASSIGN_OR_RETURN(self.run, MakeRun(run_dir, self.training, self, clock));
  return self;
}

// The run of the first training of the command, as a further one's run.json names it, where it is
// there; "" of a first one.
std::string FirstRunOf(const std::string& run_dir) {
  const Result<RunInfo> info = ReadRunInfo(run_dir);
  if (!info.ok() || !IsName(info->first_run)) {
    return "";
  }
  std::string first = Beside(run_dir, info->first_run);
  return PathExists(RunInfoPath(first)) ? first : "";
}

// The first training's run and those of the further ones that are there.
std::vector<std::string> RunsListedIn(const std::string& first_run) {
  std::vector<std::string> runs = {first_run};
  // What cannot be read names no runs; `fsck` says so.
  for (const TrainingRecord& training :
       ListTrainings(first_run).value_or(std::vector<TrainingRecord>())) {
    if (training.number > 1 && PathExists(RunInfoPath(training.run_dir))) {
      runs.push_back(training.run_dir);
    }
  }
  return runs;
}

TrainingRecord RecordOf(const std::string& run_dir, const std::vector<Start>& ranks) {
  const auto ended = [&ranks](std::string_view state) {
    return std::count_if(ranks.begin(), ranks.end(),
                         [state](const Start& start) { return start.state == state; });
  };
  const Start& any = ranks.front();
  TrainingRecord record;
  record.number = any.training;
  record.run_dir = any.training == 1 ? run_dir : Beside(run_dir, any.run);
  if (ended(kFailed) > 0) {
    record.state = kFailed;
  } else if (ended(kFinished) > 0) {
    record.state = kFinished;
  }
  record.living = std::any_of(ranks.begin(), ranks.end(), MayLive);
  record.over = record.state == kFinished && ended(kFinished) >= any.world_size && !record.living;
  record.began_wall_ns = any.began_wall_ns;
  for (const Start& start : ranks) {
    record.ended_wall_ns = std::max(record.ended_wall_ns, start.ended_wall_ns);
    record.exit_code = record.exit_code == 0 ? start.exit_code : record.exit_code;
  }
  return record;
}

}  // namespace

std::string TrainingsPath(const std::string& run_dir) {
  return JoinPath(run_dir, "trainings.jsonl");
}

Result<Training> JoinTraining(const std::string& run_dir, const TrainingProcess& process,
                              const Clock& clock) {
  const std::string path = TrainingsPath(run_dir);
  WT_ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(path, O_RDWR | O_CREAT | O_APPEND));
  const Status locked = LockWithin(file, kLockWaitNs);
  if (locked.code() == StatusCode::kUnavailable) {
    return locked.WithContext("joining a training: \"" + path + "\"");
  }
  // Where the file system has no locks, processes seldom begin in the same moment.
  const auto join = [&]() -> Result<Training> {
    WT_ASSIGN_OR_RETURN(const std::vector<std::string> lines, ReadJsonLines(path, kMaxBytes));
    WT_ASSIGN_OR_RETURN(const Start self, Place(run_dir, ParseStarts(lines), process, clock));
    WT_RETURN_IF_ERROR(AppendJsonLineHeld(file, LineOf(self)).WithContext("joining a training"));
    return Training{.run_dir = self.training == 1 ? run_dir : Beside(run_dir, self.run),
                    .number = self.training,
                    .attempt = self.attempt};
  };
  Result<Training> joined = join();
  ForgetLock(file);
  return joined;
}

Status LeaveTraining(const std::string& run_dir, const Training& training, Rank rank, int exit_code,
                     const Clock& clock) {
  return AppendJsonLine(TrainingsPath(run_dir), JsonLine(Json{{"event", kEnded},
                                                              {"training", training.number},
                                                              {"attempt", training.attempt},
                                                              {"rank", rank.value},
                                                              {"exit_code", exit_code},
                                                              {"wall_ns", clock.WallNs()}}));
}

Result<std::vector<TrainingRecord>> ListTrainings(const std::string& run_dir) {
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> lines,
                      ReadJsonLines(TrainingsPath(run_dir), kMaxBytes));
  std::map<int64_t, std::vector<Start>> last_attempts;  // by training
  for (Start& start : ParseStarts(lines)) {
    std::vector<Start>& ranks = last_attempts[start.training];
    if (!ranks.empty() && ranks.front().attempt < start.attempt) {
      ranks.clear();
    }
    ranks.push_back(std::move(start));
  }
  std::vector<TrainingRecord> trainings;
  for (const auto& [number, ranks] : last_attempts) {
    trainings.push_back(RecordOf(run_dir, ranks));
  }
  return trainings;
}

const TrainingRecord* FindTraining(const std::vector<TrainingRecord>& trainings, int64_t number) {
  const auto found =
      std::find_if(trainings.begin(), trainings.end(),
                   [number](const TrainingRecord& training) { return training.number == number; });
  return found == trainings.end() ? nullptr : &*found;
}

std::vector<std::string> RunsOfCommand(const std::string& run_dir) {
  const std::string first = FirstRunOf(run_dir);
  if (first.empty()) {
    return RunsListedIn(run_dir);
  }
  std::vector<std::string> runs = RunsListedIn(first);
  const bool named = std::any_of(runs.begin(), runs.end(), [&](const std::string& run) {
    return BaseName(run) == BaseName(run_dir);
  });
  return named ? runs : std::vector<std::string>{run_dir};
}

}  // namespace wheeltapper::format
