#include "wheeltapper/core/json.h"

#include <limits>

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

std::string JsonText(const nlohmann::json& object, std::string_view key, std::string_view missing) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>()
                                                     : std::string(missing);
}

int64_t JsonInteger(const nlohmann::json& object, std::string_view key, int64_t missing) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) {
    return missing;
  }
  const bool fits = !found->is_number_unsigned() ||
                    found->get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()};
  return fits ? found->get<int64_t>() : missing;
}

}  // namespace wheeltapper
