// The parts of the sandbox that depend on the kernel's version, one by one.
#include "sandbox.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wheeltapper/rules/python_rules.h"

#include "sandbox_landlock.h"
#include "support/scratch_folder.h"

namespace wheeltapper::rules {
namespace {

constexpr int kBeforeTruncation = 2;  // Debian 12's kernel 6.1
constexpr int kFirstWithScopes = 6;   // 6.12

// What the program prints until it closes its output.
std::string OutputOf(const SandboxOptions& options) {
  const Result<SandboxedProcess> process = StartSandboxed(options);
  if (!process.ok()) {
    return process.status().ToString();
  }
  std::string output;
  std::array<char, 4096> buffer{};
  for (const FileDescriptor* from : {&process->from_child, &process->errors}) {
    ssize_t count = 1;
    while (count != 0) {
      pollfd wait = {.fd = from->get(), .events = POLLIN, .revents = 0};
      (void)poll(&wait, 1, -1);
      count = read(from->get(), buffer.data(), buffer.size());
      output.append(buffer.data(), count > 0 ? static_cast<size_t>(count) : 0);
    }
  }
  EXPECT_EQ(waitpid(process->pid, nullptr, 0), process->pid);
  return output;
}

class SandboxTest : public testing::Test {
 protected:
  void SetUp() override {
    if (DefaultPythonInterpreter().empty()) {
      GTEST_SKIP() << "no python3 here";
    }
    chmod(scratch_.path().c_str(), 0755);  // the sandbox may run as another user
    std::ofstream(scratch_.file("data")) << "hello";
    chmod(scratch_.file("data").c_str(), 0666);
    ASSERT_EQ(mkdir(private_dir_.c_str(), 0700), 0);
  }

  // Python that sets `answer`, run where Landlock is of that version; DATA and PRIVATE are paths.
  std::string Answer(const std::string& code, int landlock_abi) {
    SandboxOptions options;
    options.argv = {DefaultPythonInterpreter(), "-c",
                    "import ctypes, os\n"
                    "DATA, PRIVATE = os.environ['DATA'], os.environ['PRIVATE']\n"
                    "libc = ctypes.CDLL(None, use_errno=True)\n"
                    "def error_of(call, *args):\n"
                    "    try: call(*args)\n"
                    "    except OSError as error: return error.errno\n"
                    "    return 0\n"
                    "answer = ''\n" +
                        code + "\nprint(answer, end='')\n"};
    options.environment = {"DATA=" + scratch_.file("data"), "PRIVATE=" + private_dir_};
    options.private_dir = private_dir_;
    options.most_landlock_abi = landlock_abi;
    return OutputOf(options);
  }

  std::string Data() { return ReadWholeFile(scratch_.file("data"), 100).value_or("unreadable"); }

  ScratchFolder scratch_;
  const std::string private_dir_ = scratch_.file("private");
};

TEST_F(SandboxTest, AFileOpenedForReadingIsNotTruncatedWhateverTheKernel) {
  for (const int abi : {0, 1, kBeforeTruncation, KernelLandlockAbi()}) {
    const std::string answer = Answer(
        "answer = [error_of(os.open, DATA, mode | os.O_TRUNC) in (1, 13)\n"
        "          for mode in (os.O_RDONLY, 3)]",
        abi);
    EXPECT_EQ(answer, "[True, True]") << "Landlock ABI " << abi;
    EXPECT_EQ(Data(), "hello") << "Landlock ABI " << abi;
  }
}

TEST_F(SandboxTest, WhereLandlockDoesNotSeeTruncationTheNewerOpenIsUnknown) {
  const std::string call =
      "how = (ctypes.c_uint64 * 3)(os.O_RDONLY | os.O_TRUNC, 0, 0)\n"
      "libc.syscall(" +
      std::to_string(SYS_openat2) +
      ", ctypes.c_long(-100), DATA.encode(), how, ctypes.c_long(24))\n"
      "answer = ctypes.get_errno()";
  EXPECT_EQ(Answer(call, kBeforeTruncation), std::to_string(ENOSYS));
  EXPECT_EQ(Data(), "hello");
}

TEST_F(SandboxTest, ItsOwnFolderIsWrittenWithAnOldLandlockToo) {
  const std::string answer = Answer(
      "path = PRIVATE + '/x'\n"
      "open(path, 'w').write('long'); open(path, 'w').write('a'); "
      "open(path, 'w+b').write(b'ab')\n"
      "answer = open(path).read() + open(DATA).read() + "
      "str(error_of(open, DATA, 'w'))",
      kBeforeTruncation);
  EXPECT_EQ(answer, "abhello13");
}

TEST_F(SandboxTest, WithoutLandlockItSaysSo) {
  SandboxOptions options;
  options.argv = {DefaultPythonInterpreter(), "-c", "pass"};
  options.private_dir = private_dir_;
  options.most_landlock_abi = 0;
  const Result<SandboxedProcess> process = StartSandboxed(options);
  ASSERT_TRUE(process.ok()) << process.status().ToString();
  EXPECT_EQ(waitpid(process->pid, nullptr, 0), process->pid);
  EXPECT_THAT(process->note, testing::HasSubstr("this kernel has no Landlock"));
}

// Exit codes of a child that has nothing but the ruleset taken from it.
constexpr int kRefused = 0;
constexpr int kNotRefused = 1;
constexpr int kNoRuleset = 2;

int ExitOfConfined(const std::string& private_dir, int abi, bool (*attempt)()) {
  const pid_t pid = fork();
  if (pid == 0) {
    const FileDescriptor ruleset = MakeRuleset(private_dir, abi);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) {
      _exit(kNoRuleset);
    }
    _exit(attempt() ? kNotRefused : kRefused);
  }
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(SandboxTest, LandlockItselfRefusesSignalsWhereItCan) {
  if (KernelLandlockAbi() < kFirstWithScopes) {
    GTEST_SKIP() << "this kernel's Landlock has no scopes";
  }
  const auto signal_parent = [] { return kill(getppid(), 0) == 0 || errno != EPERM; };
  EXPECT_EQ(ExitOfConfined(private_dir_, KernelLandlockAbi(), signal_parent), kRefused);
  EXPECT_EQ(ExitOfConfined(private_dir_, kFirstWithScopes - 1, signal_parent), kNotRefused);
}

sockaddr_un AbstractAddress() {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string name = "wheeltapper-sandbox-test-" + std::to_string(getpid());
  name.copy(address.sun_path + 1, name.size());
  return address;
}

TEST_F(SandboxTest, LandlockItselfRefusesAbstractSocketsWhereItCan) {
  if (KernelLandlockAbi() < kFirstWithScopes) {
    GTEST_SKIP() << "this kernel's Landlock has no scopes";
  }
  static sockaddr_un address = AbstractAddress();
  const FileDescriptor server(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  const auto connect_to_it = [] {
    const FileDescriptor client(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  };
  EXPECT_EQ(ExitOfConfined(private_dir_, KernelLandlockAbi(), connect_to_it), kRefused);
  EXPECT_EQ(ExitOfConfined(private_dir_, kFirstWithScopes - 1, connect_to_it), kNotRefused);
}

}  // namespace
}  // namespace wheeltapper::rules
