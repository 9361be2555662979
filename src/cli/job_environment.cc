#include "job_environment.h"

#include <array>
#include <climits>

#include <unistd.h>

#include "wheeltapper/core/env.h"
#include "wheeltapper/core/file.h"

namespace wheeltapper::cli {
namespace {

std::string ProgramFolder() {
  std::array<char, PATH_MAX> self{};
  const ssize_t length = readlink("/proc/self/exe", self.data(), self.size() - 1);
  const std::string path(self.data(), length > 0 ? static_cast<size_t>(length) : 0);
  return path.substr(0, path.find_last_of('/'));
}

bool IsPackage(const std::string& folder) { return PathExists(folder + "/_shim/sitecustomize.py"); }

}  // namespace

Result<std::string> FindPackageFolder() {
  if (const std::optional<std::string> given = GetEnv("WHEELTAPPER_PACKAGE_DIR");
      given && !given->empty()) {
    if (!IsPackage(*given)) {
      return NotFoundError("WHEELTAPPER_PACKAGE_DIR names no wheeltapper package: \"" + *given +
                           "\"");
    }
    return *given;
  }
  // The program lies in <package>/bin.
  const std::string program = ProgramFolder();
  const std::string package = program.substr(0, program.find_last_of('/'));
  if (!IsPackage(package)) {
    return NotFoundError("the Python package wheeltapper was not found around \"" + program +
                         "\"; install it with pip, or set WHEELTAPPER_PACKAGE_DIR to its folder");
  }
  return package;
}

std::map<std::string, std::string> JobEnvironment(const std::string& run_dir,
                                                  const std::string& package_folder) {
  std::string python_path = package_folder + "/_shim";
  if (const std::optional<std::string> before = GetEnv("PYTHONPATH"); before && !before->empty()) {
    python_path += ":" + *before;
  }
  return {{"WHEELTAPPER_RUN_DIR", run_dir},
          {"WHEELTAPPER_PACKAGE_DIR", package_folder},
          {"PYTHONPATH", python_path}};
}

}  // namespace wheeltapper::cli
