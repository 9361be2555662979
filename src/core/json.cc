#include "wheeltapper/core/json.h"

#include <nlohmann/json.hpp>

namespace wheeltapper {
namespace {

template <typename Json>
Json Parse(std::string_view text) {
  bool too_deep = false;
  const auto guard = [&too_deep](int depth, typename Json::parse_event_t, const Json&) {
    too_deep = too_deep || depth >= kMaxJsonDepth;
    return !too_deep;
  };
  Json value = Json::parse(text, guard, /*allow_exceptions=*/false);
  return too_deep ? Json(Json::value_t::discarded) : value;
}

template <typename Json>
std::string Dump(const Json& value, int indent) {
  return value.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

constexpr int kOneLine = -1;

}  // namespace

nlohmann::json ParseJson(std::string_view text) { return Parse<nlohmann::json>(text); }
nlohmann::ordered_json ParseOrderedJson(std::string_view text) {
  return Parse<nlohmann::ordered_json>(text);
}

std::string JsonLine(const nlohmann::json& value) { return Dump(value, kOneLine); }
std::string JsonLine(const nlohmann::ordered_json& value) { return Dump(value, kOneLine); }
std::string JsonIndented(const nlohmann::json& value) { return Dump(value, 2); }
std::string JsonIndented(const nlohmann::ordered_json& value) { return Dump(value, 2); }

}  // namespace wheeltapper
