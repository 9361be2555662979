// What run.json says about the machine and the code.
#pragma once

#include <map>
#include <string>

namespace wheeltapper::cli {

std::string CurrentFolder();
// "cpu" → "AMD EPYC …", "cores", "memory_gib", "kernel", "git_commit" (of the working folder),
// "virtual_env": what could be found. Never secrets, never the whole environment.
std::map<std::string, std::string> DescribeHost(const std::string& folder);

}  // namespace wheeltapper::cli
