// "Did you mean …?" for mistyped keys, rules, verbs and tensor names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace wheeltapper {

// The candidate nearest to `name` (fewest insertions, deletions, replacements and swaps of
// neighbours, letter case ignored), or "" when none is near: at most a third of the letters, at
// least 1, may differ. The earlier of equally near candidates wins.
std::string ClosestName(std::string_view name, const std::vector<std::string>& candidates);

// "; did you mean \"x\"?" or "".
std::string DidYouMean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace wheeltapper
