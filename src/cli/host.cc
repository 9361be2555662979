#include "host.h"

#include <array>
#include <climits>
#include <sstream>

#include <sys/utsname.h>
#include <unistd.h>

#include "wheeltapper/core/env.h"
#include "wheeltapper/core/file.h"

namespace wheeltapper::cli {
namespace {

constexpr uint64_t kMaxTextBytes = 1 << 20;

// The value behind "key : value" or "key: value" in a /proc file.
std::string FieldOf(const std::string& path, const std::string& key) {
  const Result<std::string> text = ReadWholeFile(path, kMaxTextBytes);
  if (!text.ok()) {
    return "";
  }
  std::istringstream lines(*text);
  std::string line;
  while (std::getline(lines, line)) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos && line.compare(0, key.size(), key) == 0) {
      const size_t begin = line.find_first_not_of(" \t", colon + 1);
      return begin == std::string::npos ? "" : line.substr(begin);
    }
  }
  return "";
}

std::string FirstLine(const std::string& path) {
  const Result<std::string> text = ReadWholeFile(path, kMaxTextBytes);
  return text.ok() ? text->substr(0, text->find('\n')) : "";
}

// The commit a folder is at, read from .git without starting git. "" outside a repository.
std::string GitCommit(std::string folder) {
  while (!folder.empty() && !PathExists(folder + "/.git/HEAD")) {
    folder = folder.substr(0, folder.find_last_of('/'));
  }
  if (folder.empty()) {
    return "";
  }
  std::string head = FirstLine(folder + "/.git/HEAD");
  constexpr std::string_view kReference = "ref: ";
  if (head.rfind(kReference, 0) != 0) {
    return head;
  }
  return FirstLine(folder + "/.git/" + head.substr(kReference.size()));
}

}  // namespace

std::string CurrentFolder() {
  std::array<char, PATH_MAX> path{};
  return getcwd(path.data(), path.size()) == nullptr ? "" : path.data();
}

std::map<std::string, std::string> DescribeHost(const std::string& folder) {
  std::map<std::string, std::string> found;
  const auto add = [&found](const char* key, std::string value) {
    if (!value.empty()) {
      found[key] = std::move(value);
    }
  };
  add("cpu", FieldOf("/proc/cpuinfo", "model name"));
  add("cores", std::to_string(sysconf(_SC_NPROCESSORS_ONLN)));
  const int64_t pages = sysconf(_SC_PHYS_PAGES);
  add("memory_gib", std::to_string(pages * sysconf(_SC_PAGESIZE) >> 30));
  utsname system{};
  if (uname(&system) == 0) {
    add("kernel", std::string(system.sysname) + " " + system.release + " " + system.machine);
  }
  add("git_commit", GitCommit(folder));
  add("virtual_env", GetEnv("VIRTUAL_ENV").value_or(""));
  return found;
}

}  // namespace wheeltapper::cli
