#include "wheeltapper/format/trainings.h"

#include <array>
#include <filesystem>
#include <set>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_directory.h"

#include "support/scratch_folder.h"

namespace wheeltapper::format {
namespace {

class TrainingsTest : public testing::Test {
 protected:
  void SetUp() override {
    RunInfo info;
    info.name = "swift-otter-12";
    info.run_id = 7;
    info.argv = {"bash", "sweep.sh"};
    ASSERT_TRUE(CreateRunDirectory(run_, info).ok());
    ASSERT_TRUE(WriteFileAtomically(ConfigPath(run_), "{\"budget\":0.5}").ok());
  }

  [[nodiscard]] Training Join(const TrainingProcess& process = {}) const {
    return JoinTraining(run_, process, SystemClock()).value();
  }
  void Leave(const Training& training, std::string_view state, Rank rank = Rank{0}) const {
    const int exit_code = state == "finished" ? 0 : 3;
    ASSERT_TRUE(LeaveTraining(run_, training, rank, exit_code, SystemClock()).ok());
  }
  // As a process that is gone by the time that this returns, without a word unless `state` is one.
  [[nodiscard]] int64_t JoinElsewhere(const TrainingProcess& process,
                                      std::string_view state = "") const {
    std::array<int, 2> pipe_ends{};
    EXPECT_EQ(pipe(pipe_ends.data()), 0);
    const pid_t child = fork();
    if (child == 0) {
      const Training joined = Join(process);
      if (!state.empty()) {
        Leave(joined, state, process.rank);
      }
      _exit(write(pipe_ends[1], &joined.number, sizeof(joined.number)) > 0 ? 0 : 1);
    }
    close(pipe_ends[1]);
    int64_t number = 0;
    EXPECT_EQ(read(pipe_ends[0], &number, sizeof(number)), ssize_t{sizeof(number)});
    close(pipe_ends[0]);
    EXPECT_EQ(waitpid(child, nullptr, 0), child);
    return number;
  }
  [[nodiscard]] std::string Text() const {
    return ReadWholeFile(TrainingsPath(run_), 1 << 20).value();
  }

  const ScratchFolder folder_;
  const std::string run_ = folder_.file("first");
};

TrainingProcess OfGroup(const std::string& group, int32_t rank, bool restarted = false,
                        const std::string& launcher = "") {
  TrainingProcess process;
  process.rank = Rank{rank};
  process.world_size = 2;
  process.group = group;
  process.launcher = launcher;
  process.restarted = restarted;
  return process;
}

TrainingProcess ChildNamed(const std::string& name) {
  TrainingProcess process;
  process.parent_pid = getpid();
  process.child = name;
  return process;
}

TEST_F(TrainingsTest, TheFirstTrainingGetsTheRunOfTheCommand) {
  EXPECT_TRUE(ListTrainings(run_)->empty());
  const Training first = Join();
  EXPECT_EQ(first.run_dir, run_);
  EXPECT_EQ(first.number, 1);
  EXPECT_EQ(first.attempt, 1);
  Leave(first, "finished");
  ASSERT_EQ(ListTrainings(run_)->size(), 1U);
  EXPECT_EQ(ListTrainings(run_)->front().state, "finished");
  EXPECT_FALSE(ListTrainings(run_)->front().over) << "its process is still there";
  EXPECT_GT(ListTrainings(run_)->front().ended_wall_ns, 0);
}

TEST_F(TrainingsTest, ATrainingBesideOneThatGoesOnGetsARunOfItsOwnWithTheSameConfiguration) {
  (void)Join();
  const Training second = Join();
  EXPECT_EQ(second.run_dir, folder_.file("first-2"));
  EXPECT_EQ(second.number, 2);
  const RunInfo info = ReadRunInfo(second.run_dir).value();
  EXPECT_EQ(info.name, "first-2");
  EXPECT_EQ(info.first_run, "first") << "the name of its folder, as verbs take it";
  EXPECT_NE(info.run_id, 7U);
  EXPECT_NE(info.argv, (std::vector<std::string>{"bash", "sweep.sh"})) << "its own command";
  EXPECT_EQ(ReadWholeFile(ConfigPath(second.run_dir), 100).value(), "{\"budget\":0.5}");
  const std::vector<TrainingRecord> all = ListTrainings(run_).value();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[1].run_dir, second.run_dir);
  EXPECT_EQ(all[1].state, "");
}

TEST_F(TrainingsTest, ATrainingAfterOneThatEndedWellGetsARunOfItsOwn) {
  EXPECT_EQ(JoinElsewhere({}, "finished"), 1);
  EXPECT_EQ(JoinElsewhere({}, "finished"), 2);
}

TEST_F(TrainingsTest, TheRunsOfACommandAreFoundFromAnyOfThem) {
  EXPECT_EQ(RunsOfCommand(run_), std::vector<std::string>{run_}) << "no training has begun";
  for (int i = 0; i < 3; ++i) {
    (void)Join();
  }
  const std::vector<std::string> all = {run_, folder_.file("first-2"), folder_.file("first-3")};
  for (const std::string& run : all) {
    EXPECT_EQ(RunsOfCommand(run), all) << run;
  }
  std::filesystem::remove_all(all[1]);
  EXPECT_EQ(RunsOfCommand(run_), (std::vector<std::string>{all[0], all[2]}));
  std::filesystem::remove_all(run_);
  EXPECT_EQ(RunsOfCommand(all[2]), std::vector<std::string>{all[2]}) << "its first run is gone";
}

TEST_F(TrainingsTest, ARunWhoseNameEndsInANumberBelongsToNoCommandThatDoesNotNameIt) {
  (void)Join();
  const std::string other = folder_.file("first-7");
  RunInfo info;
  info.name = "first-7";
  ASSERT_TRUE(CreateRunDirectory(other, info).ok());
  EXPECT_EQ(RunsOfCommand(other), std::vector<std::string>{other});
  EXPECT_EQ(RunsOfCommand(run_), std::vector<std::string>{run_});
}

TEST_F(TrainingsTest, ATrainingStartedAgainAfterAFailureIsAnotherAttemptOfIt) {
  for (const char* state : {"", "failed"}) {
    EXPECT_EQ(JoinElsewhere({}, state), 1);
  }
  const Training third = Join();
  EXPECT_EQ(third.number, 1);
  EXPECT_EQ(third.attempt, 3);
  EXPECT_EQ(third.run_dir, run_);
  Leave(third, "finished");
  EXPECT_EQ(ListTrainings(run_)->front().state, "finished") << "of the last attempt";
}

TEST_F(TrainingsTest, ADifferentCommandIsAnotherTrainingThoughTheFirstFailed) {
  ASSERT_EQ(JoinElsewhere({}, "failed"), 1);
  std::string text = Text();
  const size_t at = text.find("\"argv\":[\"");
  ASSERT_NE(at, std::string::npos);
  text.insert(at + 9, "other-");
  ASSERT_TRUE(WriteFileAtomically(TrainingsPath(run_), text).ok());
  EXPECT_EQ(Join().number, 2);
}

TEST_F(TrainingsTest, TheRanksOfALauncherShareARunInAnyOrder) {
  EXPECT_EQ(Join(OfGroup("a", 1)).number, 1);
  EXPECT_EQ(JoinElsewhere(OfGroup("b", 1)), 2) << "as the first goes on";
  EXPECT_EQ(JoinElsewhere(OfGroup("a", 0)), 1);
  EXPECT_EQ(JoinElsewhere(OfGroup("b", 0)), 2);
}

TEST_F(TrainingsTest, ALauncherThatStartsItsRanksAgainStaysInItsRun) {
  for (const int32_t rank : {0, 1}) {
    EXPECT_EQ(JoinElsewhere(OfGroup("a:29500", rank), "finished"), 1);
  }
  for (const int32_t rank : {1, 0}) {
    const Training again = Join(OfGroup("a:29501", rank, true));
    EXPECT_EQ(again.number, 1);
    EXPECT_EQ(again.attempt, 2);
  }
}

TEST_F(TrainingsTest, ALauncherThatTrainsTwiceUnderOneNameHasTwoRuns) {
  for (const int64_t training : {1, 2}) {
    for (const int32_t rank : {0, 1}) {
      EXPECT_EQ(JoinElsewhere(OfGroup("a", rank), "finished"), training);
    }
  }
}

TEST_F(TrainingsTest, ARestartContinuesTheTrainingOfItsOwnLauncher) {
  EXPECT_EQ(JoinElsewhere(OfGroup("a 0", 0, false, "a")), 1);
  EXPECT_EQ(Join(OfGroup("b 0", 0, false, "b")).number, 2) << "which goes on";
  const Training again = Join(OfGroup("a 1", 0, true, "a"));
  EXPECT_EQ(again.number, 1);
  EXPECT_EQ(again.attempt, 2);
  EXPECT_EQ(Join(OfGroup("c 1", 0, true, "c")).number, 3) << "its first attempt never recorded";
}

TEST_F(TrainingsTest, ARestartOfALauncherWithoutANameContinuesWhatNoLongerLives) {
  EXPECT_EQ(Join(OfGroup("a", 0)).number, 1);
  EXPECT_EQ(JoinElsewhere(OfGroup("b", 0)), 2);
  EXPECT_EQ(Join(OfGroup("a", 1)).number, 1) << "the last to begin, and alive";
  EXPECT_EQ(Join(OfGroup("b again", 0, true)).number, 2);
}

TEST_F(TrainingsTest, ADeadAttemptOfTheSameAddressIsNotJoined) {
  EXPECT_EQ(JoinElsewhere(OfGroup("a", 0), "finished"), 1);
  EXPECT_EQ(JoinElsewhere(OfGroup("b", 0)), 2);
  TrainingProcess other = OfGroup("b", 1);
  other.world_size = 3;
  EXPECT_EQ(Join(other).attempt, 2) << "rank 0 of that start is dead";
}

TEST_F(TrainingsTest, ChildrenOfOneProcessAreTrainingsOfTheirOwnUnderItsCommand) {
  EXPECT_EQ(JoinElsewhere(ChildNamed("Process-1")), 1);
  EXPECT_EQ(JoinElsewhere(ChildNamed("Process-2")), 2) << "another child, though the first is dead";
  EXPECT_EQ(JoinElsewhere(ChildNamed("Process-1")), 1) << "as when the parent is started again";
}

TEST_F(TrainingsTest, TheSameCommandInAnotherFolderIsAnotherTraining) {
  EXPECT_EQ(JoinElsewhere({}, "failed"), 1);
  const std::string before = std::filesystem::current_path();
  std::filesystem::current_path(folder_.path());
  const Training other = Join();
  std::filesystem::current_path(before);
  EXPECT_EQ(other.number, 2);
  EXPECT_EQ(ReadRunInfo(other.run_dir)->cwd, std::filesystem::canonical(folder_.path()).string());
}

TEST_F(TrainingsTest, OneRankThatFailedFailsTheTraining) {
  for (const int32_t rank : {0, 1, 2}) {
    (void)JoinElsewhere(OfGroup("a", rank), rank == 1 ? "failed" : "finished");
  }
  EXPECT_EQ(ListTrainings(run_)->front().state, "failed");
  EXPECT_EQ(ListTrainings(run_)->front().exit_code, 3);
  EXPECT_FALSE(ListTrainings(run_)->front().living);
  EXPECT_FALSE(ListTrainings(run_)->front().over);
}

TEST_F(TrainingsTest, ATrainingIsOverOnceEveryRankHasFinished) {
  (void)JoinElsewhere(OfGroup("a", 0), "finished");
  EXPECT_EQ(ListTrainings(run_)->front().state, "finished");
  EXPECT_FALSE(ListTrainings(run_)->front().over) << "the other rank has not begun";
  (void)JoinElsewhere(OfGroup("a", 1), "finished");
  EXPECT_TRUE(ListTrainings(run_)->front().over);
}

TEST_F(TrainingsTest, AFolderOfThatNameIsLeftAlone) {
  ASSERT_TRUE(MakeDirectories(folder_.file("first-2")).ok());
  (void)Join();
  EXPECT_EQ(Join().run_dir, folder_.file("first-3"));
  EXPECT_EQ(ListDirectory(folder_.file("first-2"))->size(), 0U);
}

TEST_F(TrainingsTest, ManyProcessesAtOnceGetARunEach) {
  constexpr int kProcesses = 12;
  std::array<int, 2> hold{};
  std::array<int, 2> told{};
  ASSERT_EQ(pipe(hold.data()), 0);
  ASSERT_EQ(pipe(told.data()), 0);
  std::array<pid_t, kProcesses> children{};
  for (pid_t& child : children) {
    child = fork();
    if (child == 0) {
      close(hold[1]);
      const char joined = JoinTraining(run_, {}, SystemClock()).ok() ? 'y' : 'n';
      char end = 0;
      (void)!write(told[1], &joined, 1);
      (void)!read(hold[0], &end, 1);  // all of them live until the last has answered
      _exit(0);
    }
  }
  std::string answers(kProcesses, ' ');
  for (char& answer : answers) {
    ASSERT_EQ(read(told[0], &answer, 1), 1);
  }
  const std::vector<TrainingRecord> all = ListTrainings(run_).value();
  for (const int end : {hold[0], hold[1], told[0], told[1]}) {
    close(end);
  }
  for (const pid_t child : children) {
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
  }
  EXPECT_EQ(answers, std::string(kProcesses, 'y'));
  std::set<std::string> runs;
  for (const TrainingRecord& training : all) {
    runs.insert(training.run_dir);
    EXPECT_TRUE(training.living);
    EXPECT_TRUE(ReadRunInfo(training.run_dir).ok());
  }
  EXPECT_EQ(runs.size(), size_t{kProcesses});
}

TEST_F(TrainingsTest, AProcessThatHoldsTheFileForLongIsNotWaitedForForEver) {
  ASSERT_TRUE(WriteFileAtomically(TrainingsPath(run_), "").ok());
  const FileDescriptor file = OpenFile(TrainingsPath(run_), O_RDWR).value();
  ASSERT_EQ(flock(file.get(), LOCK_EX), 0);
  EXPECT_EQ(JoinTraining(run_, {}, SystemClock()).status().code(), StatusCode::kUnavailable);
}

TEST_F(TrainingsTest, ARunThatCannotBeMadeWholeLeavesNoFolder) {
  (void)Join();
  ASSERT_TRUE(RemoveFile(ConfigPath(run_)).ok());
  EXPECT_FALSE(JoinTraining(run_, {}, SystemClock()).ok());
  EXPECT_FALSE(PathExists(folder_.file("first-2")));
}

TEST_F(TrainingsTest, LinesThatSayNothingArePassedOverAndLeadNowhere) {
  const Training first = Join();
  const std::string good = Text();
  for (const char* bad :
       {"{}", "no json", "[1]", R"({"event":"began"})",
        R"({"event":"began","training":-1,"attempt":1,"run":"x"})",
        R"({"event":"began","training":2,"attempt":1,"run":"../../etc"})",
        R"({"event":"began","training":2,"attempt":1,"run":".."})",
        R"({"event":"began","training":2,"attempt":1,"run":7,"argv":{"a":1},"rank":"x"})",
        R"({"event":"ended","training":99,"attempt":1,"rank":0,"exit_code":0})"}) {
    ASSERT_TRUE(WriteFileAtomically(TrainingsPath(run_), good + bad + "\n").ok());
    const Result<std::vector<TrainingRecord>> all = ListTrainings(run_);
    ASSERT_TRUE(all.ok()) << bad;
    EXPECT_EQ(all->size(), 1U) << bad;
  }
  EXPECT_EQ(first.number, 1);
}

TEST_F(TrainingsTest, AFolderThatCannotBeWrittenIsAnError) {
  const Result<Training> joined = JoinTraining(folder_.file("nowhere"), {}, SystemClock());
  EXPECT_EQ(joined.status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace wheeltapper::format
