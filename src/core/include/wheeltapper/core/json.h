// JSON text to values and back. The values are the library's: who builds or reads one includes
// <nlohmann/json.hpp> in its .cc. Its parser and its serializer are called in core alone, because
// they cost seconds in every file that calls them. Any thread may call any function.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace wheeltapper {

// Levels of arrays and objects; the deepest text of ours has 6.
inline constexpr int kMaxJsonDepth = 64;

// The value of `text`, or one that is_discarded(), and neither object nor array, when it is no JSON
// or is nested deeper than kMaxJsonDepth. Never throws but bad_alloc.
nlohmann::json ParseJson(std::string_view text);
// The same, with members in the order of the text.
nlohmann::ordered_json ParseOrderedJson(std::string_view text);

// Without a line break, and with two spaces a level; neither ends in a line break. Names come from
// models, and arguments are bytes: what is no UTF-8 becomes U+FFFD.
std::string JsonLine(const nlohmann::json& value);
std::string JsonLine(const nlohmann::ordered_json& value);
std::string JsonIndented(const nlohmann::json& value);
std::string JsonIndented(const nlohmann::ordered_json& value);

// A member of an object that others wrote: `missing` when there is none, when it is of another
// type, and when it does not fit.
std::string JsonText(const nlohmann::json& object, std::string_view key,
                     std::string_view missing = "");
int64_t JsonInteger(const nlohmann::json& object, std::string_view key, int64_t missing = 0);

}  // namespace wheeltapper
