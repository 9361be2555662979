#include "wheeltapper/format/run_directory.h"

#include <array>
#include <cerrno>
#include <cstddef>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_reader.h"
#include "wheeltapper/format/watcher_lock.h"

#include "run_names.h"
#include "support/scratch_folder.h"

namespace wheeltapper::format {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

RunInfo SomeRun() {
  RunInfo info;
  info.name = "swift-otter-12";
  info.run_id = 0xfedcba9876543210;
  info.started_wall_ns = 1'700'000'000'123'456'789;
  info.argv = {"python", "train.py", "--name=\"ü\n\""};
  info.cwd = "/home/a";
  info.host = "node-1";
  info.wheeltapper_version = "0.1.0";
  info.environment = {{"python", "3.11.2"}, {"cpu", "x"}};
  return info;
}

TEST(RunDirectoryTest, RunInfoSurvivesTheFile) {
  const ScratchFolder folder;
  const std::string run = folder.file("run");
  ASSERT_TRUE(CreateRunDirectory(run, SomeRun()).ok());
  const RunInfo read = ReadRunInfo(run).value();
  EXPECT_EQ(read.format_version, 1U);
  EXPECT_EQ(read.min_reader, 1U);
  EXPECT_EQ(read.name, SomeRun().name);
  EXPECT_EQ(read.run_id, SomeRun().run_id);
  EXPECT_EQ(read.started_wall_ns, SomeRun().started_wall_ns);
  EXPECT_EQ(read.argv, SomeRun().argv);
  EXPECT_EQ(read.environment, SomeRun().environment);
  EXPECT_TRUE(PathExists(run + "/journal"));
  EXPECT_TRUE(PathExists(run + "/stats"));
}

TEST(RunDirectoryTest, ASecondRunInTheSameFolderIsRefusedAndChangesNothing) {
  const ScratchFolder folder;
  ASSERT_TRUE(CreateRunDirectory(folder.path(), SomeRun()).ok());
  RunInfo other = SomeRun();
  other.name = "other";
  EXPECT_EQ(CreateRunDirectory(folder.path(), other).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(ReadRunInfo(folder.path())->name, "swift-otter-12");
  EXPECT_THAT(ListFolder(folder.path(), ".").value(),
              testing::Not(testing::Contains(HasSubstr("new"))));
}

TEST(RunDirectoryTest, ANewerRunSaysWhatToDo) {
  const ScratchFolder folder;
  RunInfo info = SomeRun();
  info.min_reader = 2;
  ASSERT_TRUE(CreateRunDirectory(folder.path(), info).ok());
  const Status status = ReadRunInfo(folder.path()).status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("update Wheeltapper"));
  EXPECT_THAT(status.message(), HasSubstr("format 2"));
}

TEST(RunDirectoryTest, ANewerWriterWithUnknownMembersIsRead) {
  const ScratchFolder folder;
  ASSERT_TRUE(CreateRunDirectory(folder.path(), SomeRun()).ok());
  std::string text = ReadWholeFile(RunInfoPath(folder.path()), 1 << 20).value();
  text.insert(text.find('{') + 1, "\"new_member\": [1, 2], ");
  ASSERT_TRUE(WriteFileAtomically(RunInfoPath(folder.path()), text).ok());
  EXPECT_EQ(ReadRunInfo(folder.path())->name, "swift-otter-12");
}

TEST(RunDirectoryTest, MissingAndDamagedRunFilesAreTold) {
  const ScratchFolder folder;
  EXPECT_EQ(ReadRunInfo(folder.path()).status().code(), StatusCode::kNotFound);
  for (const char* text : {"", "[]", "{", "{\"min_reader\": 1}", "{\"min_reader\": \"1\"}",
                           "{\"min_reader\": -1}", "{\"min_reader\": 18446744073709551615}"}) {
    ASSERT_TRUE(WriteFileAtomically(RunInfoPath(folder.path()), text).ok());
    EXPECT_EQ(ReadRunInfo(folder.path()).status().code(), StatusCode::kDataLoss) << text;
  }
}

TEST(RunDirectoryTest, TextThatIsNoUtf8IsReplacedNotRefused) {
  const ScratchFolder folder;
  RunInfo info = SomeRun();
  info.argv = {"\xff\xfe"};
  ASSERT_TRUE(CreateRunDirectory(folder.path(), info).ok());
  EXPECT_THAT(ReadRunInfo(folder.path())->argv, ElementsAre("\xEF\xBF\xBD\xEF\xBF\xBD"));
}

TEST(RunDirectoryTest, RankInfoSurvivesTheFileAndIsListed) {
  const ScratchFolder folder;
  RankInfo info;
  info.rank = Rank{11};
  info.world_size = 16;
  info.incarnation = 3;
  info.pid = 4711;
  info.device = "cuda:0";
  info.segment_path = "/dev/shm/x";
  info.wall_ns = 5;
  info.monotonic_ns = -6;
  ASSERT_TRUE(WriteRankInfo(folder.path(), info).ok());
  const RankInfo read = ReadRankInfo(folder.path(), Rank{11}).value();
  EXPECT_EQ(read.rank, Rank{11});
  EXPECT_EQ(read.world_size, 16);
  EXPECT_EQ(read.incarnation, 3U);
  EXPECT_EQ(read.device, "cuda:0");
  EXPECT_EQ(read.monotonic_ns, -6);
  EXPECT_THAT(ListRanks(folder.path()).value(), ElementsAre(Rank{11}));
  EXPECT_EQ(ReadRankInfo(folder.path(), Rank{0}).status().code(), StatusCode::kNotFound);
}

TEST(RunDirectoryTest, ARunIsOverWhenEndIsThere) {
  const ScratchFolder folder;
  EXPECT_EQ(ReadEnd(folder.path()).status().code(), StatusCode::kNotFound);
  EndInfo end;
  end.state = "stopped";
  end.exit_code = 143;
  end.reason = "stopped by rule exploding_tensor";
  ASSERT_TRUE(WriteEnd(folder.path(), end).ok());
  EXPECT_EQ(ReadEnd(folder.path())->state, "stopped");
  EXPECT_EQ(ReadEnd(folder.path())->exit_code, 143);
}

TEST(RunDirectoryTest, TextThatIsNoJsonIsFoundInEveryTextFile) {
  const ScratchFolder folder;
  ASSERT_TRUE(CreateRunDirectory(folder.path(), SomeRun()).ok());
  const auto problems = [&folder](const std::string& name, const std::string& text) {
    EXPECT_TRUE(WriteFileAtomically(folder.file(name), text).ok());
    std::vector<std::string> found;
    const FsckReport report = CheckRun(folder.path()).value();
    for (const FsckProblem& problem : report.problems) {
      found.push_back(problem.file + ": " + problem.what);
    }
    EXPECT_TRUE(RemoveFile(folder.file(name)).ok());
    return found;
  };
  for (const char* name : {"config.json", "rules.json"}) {
    EXPECT_THAT(problems(name, "{}\n"), ElementsAre());
    EXPECT_THAT(problems(name, ""), ElementsAre(std::string(name) + ": it is not JSON"));
    EXPECT_THAT(problems(name, "{"), ElementsAre(std::string(name) + ": it is not JSON"));
  }
  for (const char* name : {"findings.jsonl", "actions.jsonl"}) {
    EXPECT_THAT(problems(name, ""), ElementsAre());
    EXPECT_THAT(problems(name, "{}\n{}\n"), ElementsAre());
    EXPECT_THAT(problems(name, "{}\n{]\n{}\n"),
                ElementsAre(std::string(name) + ": line 2 is not JSON"));
    EXPECT_THAT(problems(name, "{}\n" + std::string(1000, '[') + "\n"),
                ElementsAre(std::string(name) + ": line 2 is not JSON"));
  }
}

TEST(RunDirectoryTest, ALastLineThatWasBeingWrittenIsNoDamage) {
  const ScratchFolder folder;
  ASSERT_TRUE(CreateRunDirectory(folder.path(), SomeRun()).ok());
  const auto problems = [&folder] { return CheckRun(folder.path())->problems; };
  for (const std::string& path : {FindingsPath(folder.path()), ActionsPath(folder.path())}) {
    ASSERT_TRUE(WriteFileAtomically(path, "{}\n{}").ok());
    EXPECT_TRUE(problems().empty()) << "a whole line";
    EXPECT_THAT(*CutTornLines(folder.path()), ElementsAre());
    EXPECT_EQ(*ReadWholeFile(path, 100), "{}\n{}");
    ASSERT_TRUE(WriteFileAtomically(path, "{}\n{\"rule\": \"dead").ok());
    ASSERT_EQ(problems().size(), 1U);
    EXPECT_EQ(problems()[0].what, "line 2 is cut short");
    EXPECT_FALSE(problems()[0].data_lost);
    {
      const auto watcher = WatcherLock::Take(folder.path());
      EXPECT_THAT(*CutTornLines(folder.path()), ElementsAre());
      EXPECT_EQ(problems().size(), 1U) << "it may be written now";
    }
    EXPECT_THAT(*CutTornLines(folder.path()), ElementsAre(BaseName(path)));
    EXPECT_TRUE(problems().empty());
    EXPECT_EQ(*ReadWholeFile(path, 100), "{}\n");
  }
}

constexpr int kSandboxRefused = 77;

// As on a file system that has no locks.
void ForbidFlock() {
  std::array<sock_filter, 4> code = {{
      {.code = BPF_LD | BPF_W | BPF_ABS, .jt = 0, .jf = 0, .k = offsetof(seccomp_data, nr)},
      {.code = BPF_JMP | BPF_JEQ | BPF_K, .jt = 0, .jf = 1, .k = SYS_flock},
      {.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = SECCOMP_RET_ERRNO | ENOLCK},
      {.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = SECCOMP_RET_ALLOW},
  }};
  sock_fprog program = {.len = code.size(), .filter = code.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0) {
    _exit(kSandboxRefused);
  }
}

TEST(RunDirectoryTest, ATornLineIsCutAlsoWhereTheFileSystemHasNoLocks) {
  const ScratchFolder folder;
  ASSERT_TRUE(CreateRunDirectory(folder.path(), SomeRun()).ok());
  ASSERT_TRUE(WatcherLock::Take(folder.path()).ok()) << "there is a file to ask";
  ASSERT_TRUE(WriteFileAtomically(FindingsPath(folder.path()), "{}\n{\"rule").ok());
  const pid_t child = fork();
  if (child == 0) {
    ForbidFlock();
    const bool theirs = IsWatched(folder.path()) && !IsSurelyWatched(folder.path());
    _exit(theirs && CutTornLines(folder.path())->size() == 1 ? 0 : 1);
  }
  int state = 0;
  waitpid(child, &state, 0);
  if (WIFEXITED(state) && WEXITSTATUS(state) == kSandboxRefused) {
    GTEST_SKIP() << "seccomp filters are refused here";
  }
  EXPECT_EQ(state, 0);
  EXPECT_EQ(*ReadWholeFile(FindingsPath(folder.path()), 100), "{}\n");
}

TEST(RunNamesTest, NamesAreTakenApartAsTheyWerePutTogether) {
  EXPECT_EQ(JournalPath("/r", Rank{7}, 123), "/r/journal/r00007-000123.wtj");
  EXPECT_EQ(ParseJournalName("r00007-000123.wtj")->file_number, 123U);
  EXPECT_EQ(SealedPath("/r", "stats", Rank{7}, 1, 420),
            "/r/stats/r00007-000000000001-000000000420.parquet");
  EXPECT_EQ(ParseSealedName("r00007-000000000001-000000000420.parquet")->last_seq, 420U);
  EXPECT_EQ(BlobPath("/r", Rank{7}, 31, false), "/r/blobs/r00007-b000031.safetensors");
  EXPECT_TRUE(ParseBlobName("r00007-b000031.open")->open);
  EXPECT_FALSE(ParseBlobName("r00007-000000000001-000000000420.safetensors"));
  for (const char* bad : {"", "r", "r1-2.wtj.tmp", "r-1-2.wtj", "r99999999999-1.wtj", "x1-2.wtj",
                          "r1-99999999999999999999999.wtj"}) {
    EXPECT_FALSE(ParseJournalName(bad)) << bad;
  }
}

}  // namespace
}  // namespace wheeltapper::format
