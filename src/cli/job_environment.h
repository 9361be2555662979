// The variables that make Python processes of the job attach by themselves.
#pragma once

#include <map>
#include <string>

#include "wheeltapper/core/status.h"

namespace wheeltapper::cli {

// The folder of the Python package `wheeltapper` that belongs to this program:
// WHEELTAPPER_PACKAGE_DIR, else beside the program's own installation. NotFound with the places
// looked at.
Result<std::string> FindPackageFolder();

// WHEELTAPPER_RUN_DIR, WHEELTAPPER_PACKAGE_DIR and a PYTHONPATH that begins with the shim.
std::map<std::string, std::string> JobEnvironment(const std::string& run_dir,
                                                  const std::string& package_folder);

}  // namespace wheeltapper::cli
