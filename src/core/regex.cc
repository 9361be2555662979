#include "wheeltapper/core/regex.h"

#include <array>
#include <utility>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace wheeltapper {
namespace {

constexpr size_t kMaxPatternBytes = 64 * 1024;

std::string ReasonOf(int error_code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error_code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

}  // namespace

struct Regex::Code {
  explicit Code(pcre2_code* compiled) : code(compiled) {}
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(code); }
  pcre2_code* code;
};

Regex::Regex(std::string pattern, std::shared_ptr<const Code> code)
    : pattern_(std::move(pattern)), code_(std::move(code)) {}

Result<Regex> Regex::Compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return InvalidArgumentError("bad regular expression: longer than 65536 bytes");
  }
  int error_code = 0;
  PCRE2_SIZE error_offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_NEVER_BACKSLASH_C, &error_code, &error_offset, nullptr);
  if (code == nullptr) {
    return InvalidArgumentError("bad regular expression: " + ReasonOf(error_code) +
                                " at character " + std::to_string(error_offset + 1) + ": \"" +
                                std::string(pattern) + "\"");
  }
  return Regex(std::string(pattern), std::make_shared<const Code>(code));
}

Result<bool> Regex::Search(std::string_view text) const {
  const std::unique_ptr<pcre2_match_context, FreeMatchContext> context(
      pcre2_match_context_create(nullptr));
  const std::unique_ptr<pcre2_match_data, FreeMatchData> found(pcre2_match_data_create(1, nullptr));
  if (context == nullptr || found == nullptr) {
    return ResourceExhaustedError("searching with a regular expression: out of memory");
  }
  pcre2_set_match_limit(context.get(), kMatchLimit);
  pcre2_set_depth_limit(context.get(), kMatchLimit);
  const int outcome =
      pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                  /*startoffset=*/0, /*options=*/0, found.get(), context.get());
  if (outcome >= 0) {
    return true;
  }
  if (outcome == PCRE2_ERROR_NOMATCH) {
    return false;
  }
  return ResourceExhaustedError("searching with a regular expression: " + ReasonOf(outcome) +
                                ": \"" + pattern_ + "\"; simplify nested repetitions");
}

Result<RegexSet> RegexSet::Compile(const std::vector<std::string>& patterns) {
  RegexSet set;
  for (const std::string& pattern : patterns) {
    WT_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern));
    set.patterns_.push_back(std::move(regex));
  }
  return set;
}

Result<bool> RegexSet::MatchesAny(std::string_view text) const {
  for (const Regex& regex : patterns_) {
    WT_ASSIGN_OR_RETURN(const bool found, regex.Search(text));
    if (found) {
      return true;
    }
  }
  return false;
}

}  // namespace wheeltapper
