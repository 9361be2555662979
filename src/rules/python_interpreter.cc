// Which Python runs the rules of users.
#include <array>
#include <filesystem>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include "wheeltapper/core/env.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/rules/python_rules.h"

namespace wheeltapper::rules {
namespace {

// A program, not a script: wrappers such as pyenv's start further processes, which the sandbox does
// not let them.
bool IsProgram(const std::string& path) {
  constexpr std::string_view kElf =
      "\x7f"
      "ELF";
  std::array<char, kElf.size()> magic{};
  const Result<FileDescriptor> file = OpenFile(path, O_RDONLY);
  return access(path.c_str(), X_OK) == 0 && file.ok() &&
         ReadExactly(*file, 0, magic.data(), magic.size()).ok() &&
         std::string_view(magic.data(), magic.size()) == kElf;
}

}  // namespace

std::string DefaultPythonInterpreter() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  std::vector<std::string> folders;
  // Beside the program, or in the bin/ of the prefix that the package is installed under:
  // PREFIX/lib/python3.N/site-packages/wheeltapper/bin/wheeltapper → PREFIX/bin.
  for (std::filesystem::path at = self; !error && at.has_relative_path();) {
    at = at.parent_path();
    folders.push_back(folders.empty() ? at.string() : (at / "bin").string());
  }
  const std::string path = GetEnv("PATH").value_or("/usr/local/bin:/usr/bin:/bin");
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find(':', begin), path.size());
    folders.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  for (const std::string& folder : folders) {
    const std::string candidate = JoinPath(folder, "python3");
    if (!folder.empty() && IsProgram(candidate)) {
      return candidate;
    }
  }
  return "";
}

}  // namespace wheeltapper::rules
