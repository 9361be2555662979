// Regular expressions for tensor names, in Perl syntax (PCRE2). Patterns come from configuration
// files and names from models, so a search is bounded: a pattern that backtracks without end
// returns an error instead of hanging the training job.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "wheeltapper/core/status.h"

namespace wheeltapper {

// A compiled pattern. Cheap to copy (shared, immutable); thread-safe.
class Regex {
 public:
  // InvalidArgument with the position and PCRE2's reason when `pattern` is not a regular
  // expression or is longer than 64 KiB.
  static Result<Regex> Compile(std::string_view pattern);

  // True when `pattern` matches anywhere in `text` (anchor with ^ and $ for more). Bytes, not
  // characters, so any name can be searched. ResourceExhausted when the search takes more than
  // kMatchLimit steps.
  [[nodiscard]] Result<bool> Search(std::string_view text) const;
  [[nodiscard]] const std::string& pattern() const { return pattern_; }

  // PCRE2's internal steps per search: a few milliseconds at most.
  static constexpr unsigned kMatchLimit = 100'000;

 private:
  struct Code;
  Regex(std::string pattern, std::shared_ptr<const Code> code);
  std::string pattern_;
  std::shared_ptr<const Code> code_;
};

// Several patterns as one question. Thread-safe.
class RegexSet {
 public:
  // The first pattern that does not compile is the error.
  static Result<RegexSet> Compile(const std::vector<std::string>& patterns);

  // True when any pattern matches; false for an empty set.
  [[nodiscard]] Result<bool> MatchesAny(std::string_view text) const;
  [[nodiscard]] bool empty() const { return patterns_.empty(); }

 private:
  std::vector<Regex> patterns_;
};

}  // namespace wheeltapper
