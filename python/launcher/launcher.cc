// Starts <package>/bin/wheeltapper, found from where this program itself lies. No allocation and no
// library but libc, so that it adds half a millisecond and not the start-up of Python.
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <unistd.h>

namespace {

// From the folder of scripts to the folder of packages, in the order tried: virtual environments
// and
// --user, distributions with lib64, Debian's dist-packages, `pip install --target`.
constexpr std::array<const char*, 5> kPackages = {
    "/../lib/" WT_PYTHON_FOLDER "/site-packages",
    "/../lib64/" WT_PYTHON_FOLDER "/site-packages",
    "/../lib/" WT_PYTHON_FOLDER "/dist-packages",
    "/../local/lib/" WT_PYTHON_FOLDER "/dist-packages",
    "/..",
};
constexpr size_t kMaxPath = 4096;

}  // namespace

int main(int /*argc*/, char** argv) {
  std::array<char, kMaxPath> self{};
  const ssize_t length = readlink("/proc/self/exe", self.data(), self.size() - 1);
  char* const slash = length > 0 ? std::strrchr(self.data(), '/') : nullptr;
  if (slash == nullptr) {
    std::fputs("wheeltapper: cannot find its own place: /proc is not mounted\n", stderr);
    return 6;
  }
  *slash = '\0';
  std::array<char, 2 * kMaxPath> program{};
  for (const char* packages : kPackages) {
    std::snprintf(program.data(), program.size(), "%s%s/wheeltapper/bin/wheeltapper", self.data(),
                  packages);
    execv(program.data(), argv);
    if (errno != ENOENT && errno != ENOTDIR) {
      break;
    }
  }
  std::fprintf(stderr,
               "wheeltapper: cannot start its program: %s: \"%s\"; reinstall the package "
               "(pip install --force-reinstall wheeltapper)\n",
               std::strerror(errno),  // NOLINT(concurrency-mt-unsafe): the only thread
               program.data());
  return 6;
}
