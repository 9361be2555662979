// The words of `--help`: what a verb does, how it ends, how it is used. Flags are told by
// arguments.cc, which has them.
#pragma once

#include <string>
#include <string_view>

namespace wheeltapper::cli {

// All texts but the summary are lines of at most 100 columns, each ended by a line break.
struct HelpPage {
  const char* verb;       // "" = the page of the program itself
  const char* summary;    // in the list of verbs; without a full stop
  const char* arguments;  // of the usage line, behind the flags: "-- COMMAND [ARGUMENTS]..."
  const char* details;
  const char* examples;
  const char* exit_codes;
};

// The page of a verb; of one that there is not the program's.
const HelpPage& HelpPageOf(std::string_view verb);

// Words of `text` in lines of at most `width` columns.
std::string Wrapped(std::string_view text, size_t width);

}  // namespace wheeltapper::cli
