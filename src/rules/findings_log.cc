// findings.jsonl: one JSON line per change of a finding, appended and flushed to disk. The latest
// line of an id is the finding. A line counts once its newline is there, or once it parses: what a
// crash left half-written at the end is dropped, anything else that does not parse is DataLoss.
#include <map>
#include <unordered_map>
#include <utility>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/json_lines.h"
#include "wheeltapper/core/log.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/rules/engine.h"
#include "wheeltapper/rules/finding.h"

namespace wheeltapper::rules {
namespace {

constexpr uint64_t kMaxLogBytes = uint64_t{256} << 20;

// A line that cannot be written (disk full) stays pending, newest version per finding, and is tried
// again with the next change.
class FindingsLog final : public FindingSink {
 public:
  explicit FindingsLog(const std::string& run_dir) : path_(format::FindingsPath(run_dir)) {}

  void Opened(const Finding& finding) override { Write(finding); }
  void Updated(const Finding& finding) override { Write(finding); }
  void Resolved(const Finding& finding) override { Write(finding); }

 private:
  void Write(const Finding& finding) {
    pending_[finding.id] = FindingToJson(finding);
    while (!pending_.empty()) {
      const Status status = AppendJsonLine(path_, pending_.begin()->second);
      if (!status.ok()) {
        Log(LogLevel::kError, "writing a finding: " + status.message());
        return;
      }
      pending_.erase(pending_.begin());
    }
  }

  const std::string path_;
  std::map<std::string, std::string> pending_;
};

}  // namespace

std::unique_ptr<FindingSink> MakeFindingsLog(const std::string& run_dir) {
  return std::make_unique<FindingsLog>(run_dir);
}

Result<std::vector<Finding>> ReadFindings(const std::string& run_dir,
                                          std::vector<std::string>* damaged) {
  const std::string path = format::FindingsPath(run_dir);
  std::vector<Finding> findings;
  if (!PathExists(path)) {
    return findings;
  }
  WT_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxLogBytes));
  std::unordered_map<std::string, size_t> position;
  size_t begin = 0;
  for (size_t number = 1; begin < text.size(); ++number) {
    const size_t newline = text.find('\n', begin);
    const bool terminated = newline != std::string::npos;
    const size_t end = terminated ? newline : text.size();
    Result<Finding> finding = FindingFromJson(std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
    if (!finding.ok()) {
      if (terminated) {  // else its writer was killed, or is writing now
        damaged->push_back("line " + std::to_string(number) +
                           " is no finding: " + finding.status().message());
      }
      continue;
    }
    const auto [slot, is_new] = position.try_emplace(finding->id, findings.size());
    if (is_new) {
      findings.push_back(std::move(*finding));
    } else {
      findings[slot->second] = std::move(*finding);
    }
  }
  return findings;
}

}  // namespace wheeltapper::rules
