// `wt`: starts the `wheeltapper` that lies beside it, with the same arguments.
#include <array>
#include <climits>
#include <string>

#include <unistd.h>

int main(int /*argc*/, char** argv) {
  std::array<char, PATH_MAX> self{};
  const ssize_t length = readlink("/proc/self/exe", self.data(), self.size() - 1);
  const std::string path(self.data(), length > 0 ? static_cast<size_t>(length) : 0);
  const std::string target = path.substr(0, path.find_last_of('/') + 1) + "wheeltapper";
  argv[0] = const_cast<char*>(
      target.c_str());  // NOLINT(cppcoreguidelines-pro-type-const-cast): execv takes char*
  execv(target.c_str(), argv);
  const std::string message = "wt: cannot start " + target + "; reinstall wheeltapper\n";
  (void)!write(STDERR_FILENO, message.data(), message.size());
  return 6;
}
