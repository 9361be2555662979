#pragma once

#include <string>
#include <string_view>

namespace wheeltapper::format::parquet {

// `text` with every ill-formed sequence replaced by U+FFFD: readers refuse a file whose STRING
// column is not UTF-8, and names come from the user's job.
std::string ReplaceInvalidUtf8(std::string_view text);

}  // namespace wheeltapper::format::parquet
