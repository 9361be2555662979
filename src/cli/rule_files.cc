#include "rule_files.h"

#include <algorithm>
#include <sstream>
#include <string>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/suggest.h"
#include "wheeltapper/rules/python_rules.h"

namespace wheeltapper::cli {
namespace {

constexpr uint64_t kMaxSourceBytes = 16 << 20;

bool IsOfName(char letter) {
  return letter == '_' || (letter >= '0' && letter <= '9') || (letter >= 'a' && letter <= 'z') ||
         (letter >= 'A' && letter <= 'Z') || static_cast<unsigned char>(letter) >= 0x80;
}

// The names after `class` at the beginning of lines, indented or not.
std::vector<std::string> ClassesIn(const std::string& source) {
  std::vector<std::string> names;
  std::istringstream lines(source);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string keyword;
    std::string rest;
    if (!(words >> keyword >> rest) || keyword != "class") {
      continue;
    }
    size_t length = 0;
    while (length < rest.size() && IsOfName(rest[length])) {
      ++length;
    }
    names.push_back(rest.substr(0, length));
  }
  return names;
}

}  // namespace

Status CheckRuleFile(const std::string& python_file) {
  if (python_file.empty()) {
    return {};
  }
  const auto& [path, class_name] = rules::SplitRuleFile(python_file);
  if (!PathExists(path)) {
    return NotFoundError("there is no file \"" + path + "\" for the rule \"" + python_file + "\"");
  }
  WT_ASSIGN_OR_RETURN(const std::string source, ReadWholeFile(path, kMaxSourceBytes));
  const std::vector<std::string> classes = ClassesIn(source);
  if (class_name.empty() ||
      std::find(classes.begin(), classes.end(), class_name) != classes.end()) {
    return {};
  }
  return NotFoundError("there is no class \"" + class_name + "\" in \"" + path + "\"" +
                       DidYouMean(class_name, classes));
}

}  // namespace wheeltapper::cli
