#include <charconv>
#include <cmath>
#include <utility>

#include "wheeltapper/core/regex.h"
#include "wheeltapper/core/suggest.h"

#include "config_layers.h"

namespace wheeltapper {
namespace {

std::vector<std::string> SplitOn(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return parts;
}

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::string NumberText(double number) {
  std::string text(32, '\0');
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), number);
  text.resize(error == std::errc() ? static_cast<size_t>(end - text.data()) : 0);
  return text;
}

template <typename T>
std::optional<T> ParseNumber(std::string_view text) {
  if (!text.empty() && text.front() == '+') {
    text.remove_prefix(1);
  }
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return number;
}

std::optional<double> ParsePercent(std::string_view text) {
  const bool percent = !text.empty() && text.back() == '%';
  const std::optional<double> number =
      ParseNumber<double>(Trimmed(percent ? text.substr(0, text.size() - 1) : text));
  return number && percent ? std::optional<double>(*number / 100) : number;
}

Status Expected(const ConfigKey& key, const ConfigValue& got) {
  return InvalidArgumentError("expected " + DescribeConfigType(key) + ", got " +
                              ConfigValueToml(got, nullptr));
}

Status CheckRange(const ConfigKey& key, double number, const ConfigValue& got) {
  if (std::isnan(number) || number < key.min || number > key.max) {
    return Expected(key, got);
  }
  return {};
}

Status CheckChoice(const ConfigKey& key, const std::string& text) {
  if (key.choices.empty()) {
    return {};
  }
  const std::vector<std::string> choices = SplitOn(key.choices, '|');
  for (const std::string& choice : choices) {
    if (choice == text) {
      return {};
    }
  }
  return InvalidArgumentError("expected " + DescribeConfigType(key) + ", got \"" + text + "\"" +
                              DidYouMean(text, choices));
}

Result<ConfigValue> CheckNumber(const ConfigKey& key, const ConfigValue& value) {
  if (const auto* whole = std::get_if<int64_t>(&value)) {
    WT_RETURN_IF_ERROR(CheckRange(key, static_cast<double>(*whole), value));
    return key.type == ConfigType::kInt ? value : ConfigValue(static_cast<double>(*whole));
  }
  const auto* number = std::get_if<double>(&value);
  if (number == nullptr || key.type == ConfigType::kInt) {
    return Expected(key, value);
  }
  WT_RETURN_IF_ERROR(CheckRange(key, *number, value));
  return value;
}

Result<ConfigValue> CheckPercent(const ConfigKey& key, const ConfigValue& value) {
  std::optional<double> fraction;
  if (const auto* text = std::get_if<std::string>(&value)) {
    fraction = ParsePercent(Trimmed(*text));
  } else if (const auto* number = std::get_if<double>(&value)) {
    fraction = *number;
  }
  // A whole number is refused: 1 could be 1 % or all of it.
  if (!fraction) {
    return Expected(key, value);
  }
  WT_RETURN_IF_ERROR(CheckRange(key, *fraction, value));
  return ConfigValue(*fraction);
}

Result<ConfigValue> CheckEvery(const ConfigKey& key, const ConfigValue& value) {
  if (const auto* text = std::get_if<std::string>(&value); text != nullptr && *text == "auto") {
    return ConfigValue(int64_t{0});
  }
  const auto* number = std::get_if<int64_t>(&value);
  if (number == nullptr) {
    return Expected(key, value);
  }
  WT_RETURN_IF_ERROR(CheckRange(key, static_cast<double>(*number), value));
  return value;
}

Result<ConfigValue> CheckInts(const ConfigKey& key, const ConfigValue& value) {
  std::vector<int64_t> numbers;
  if (const auto* list = std::get_if<std::vector<int64_t>>(&value)) {
    numbers = *list;
  } else if (const auto* texts = std::get_if<std::vector<std::string>>(&value);
             texts == nullptr || !texts->empty()) {
    return Expected(key, value);
  }
  for (const int64_t number : numbers) {
    WT_RETURN_IF_ERROR(CheckRange(key, static_cast<double>(number), value));
  }
  return ConfigValue(std::move(numbers));
}

Result<ConfigValue> CheckTexts(const ConfigKey& key, ConfigValue value) {
  if (auto* single = std::get_if<std::string>(&value)) {
    value = std::vector<std::string>{std::move(*single)};
  }
  const auto* texts = std::get_if<std::vector<std::string>>(&value);
  if (texts == nullptr) {
    return Expected(key, value);
  }
  for (const std::string& text : *texts) {
    WT_RETURN_IF_ERROR(CheckChoice(key, text));
    if (key.type == ConfigType::kRegexList) {
      if (Result<Regex> regex = Regex::Compile(text); !regex.ok()) {
        return regex.status();
      }
    }
  }
  return value;
}

// `text` as a TOML array, or nothing when it does not look like one. A character class such as
// "[a-z]+" is a pattern, not an array.
std::optional<Result<ConfigValue>> ParseArrayText(std::string_view text) {
  if (text.size() < 2 || text.front() != '[' || text.back() != ']') {
    return std::nullopt;
  }
  const std::string_view inner = Trimmed(text.substr(1, text.size() - 2));
  constexpr std::string_view kFirst = "\"'0123456789+-";
  if (!inner.empty() && kFirst.find(inner.front()) == std::string_view::npos) {
    return std::nullopt;
  }
  Result<std::vector<TomlSetting>> parsed = ParseTomlSettings("value = " + std::string(text), "");
  if (!parsed.ok() || parsed->size() != 1 || !parsed->front().problem.empty()) {
    return std::nullopt;
  }
  return parsed->front().value;
}

ConfigValue ScalarFromText(std::string_view text) {
  if (text == "true" || text == "false") {
    return text == "true";
  }
  if (const auto whole = ParseNumber<int64_t>(text)) {
    return *whole;
  }
  if (const auto number = ParseNumber<double>(text)) {
    return *number;
  }
  return std::string(text);
}

ConfigValue IntsFromText(std::string_view text) {
  std::vector<int64_t> numbers;
  for (const std::string& part : SplitOn(text, ',')) {
    const auto number = ParseNumber<int64_t>(Trimmed(part));
    if (!number) {
      return std::string(text);
    }
    numbers.push_back(*number);
  }
  return numbers;
}

ConfigValue TextsFromText(std::string_view text) {
  std::vector<std::string> parts;
  for (const std::string& part : SplitOn(text, ',')) {
    parts.emplace_back(Trimmed(part));
  }
  return parts;
}

ConfigValue ListFromText(const ConfigKey& key, std::string_view text) {
  if (std::optional<Result<ConfigValue>> array = ParseArrayText(text); array && array->ok()) {
    return **std::move(array);
  }
  switch (key.type) {
    case ConfigType::kIntList:
      return IntsFromText(text);
    case ConfigType::kTextList:
      return TextsFromText(text);
    case ConfigType::kRegexList:
      // One pattern: a comma belongs to the pattern.
      return text.empty() ? std::vector<std::string>{}
                          : std::vector<std::string>{std::string(text)};
    default:
      return ScalarFromText(text);
  }
}

std::string RangeText(const ConfigKey& key) {
  const bool percent = key.type == ConfigType::kPercent;
  const auto bound = [percent](double number) {
    return percent ? NumberText(number * 100) + "%" : NumberText(number);
  };
  if (std::isfinite(key.min) && std::isfinite(key.max)) {
    return " from " + bound(key.min) + " to " + bound(key.max);
  }
  if (std::isfinite(key.min)) {
    return ", at least " + bound(key.min);
  }
  return std::isfinite(key.max) ? ", at most " + bound(key.max) : "";
}

std::string Alternatives(const std::string& choices) {
  std::string text;
  for (const std::string& choice : SplitOn(choices, '|')) {
    text += (text.empty() ? "\"" : ", \"") + choice + "\"";
  }
  return text;
}

}  // namespace

std::string DescribeConfigType(const ConfigKey& key) {
  switch (key.type) {
    case ConfigType::kBool:
      return "true or false";
    case ConfigType::kInt:
      return "a whole number" + RangeText(key);
    case ConfigType::kFloat:
      return "a number" + RangeText(key);
    case ConfigType::kPercent:
      return "a percentage such as \"1%\"" + RangeText(key);
    case ConfigType::kEvery:
      return "\"auto\" or a whole number" + RangeText(key);
    case ConfigType::kText:
      return "a string";
    case ConfigType::kChoice:
      return "one of " + Alternatives(key.choices);
    case ConfigType::kIntList:
      return "a list of whole numbers" + RangeText(key);
    case ConfigType::kTextList:
      return key.choices.empty() ? "a list of strings" : "a list of " + Alternatives(key.choices);
    case ConfigType::kRegexList:
      return "a list of regular expressions";
    case ConfigType::kAny:
      return "a value";
  }
  return "a value";
}

Result<ConfigValue> CheckConfigValue(const ConfigKey& key, ConfigValue value) {
  switch (key.type) {
    case ConfigType::kBool:
      return std::holds_alternative<bool>(value) ? Result<ConfigValue>(std::move(value))
                                                 : Expected(key, value);
    case ConfigType::kInt:
    case ConfigType::kFloat:
      return CheckNumber(key, value);
    case ConfigType::kPercent:
      return CheckPercent(key, value);
    case ConfigType::kEvery:
      return CheckEvery(key, value);
    case ConfigType::kText:
    case ConfigType::kChoice:
      if (const auto* text = std::get_if<std::string>(&value)) {
        WT_RETURN_IF_ERROR(CheckChoice(key, *text));
        return value;
      }
      return Expected(key, value);
    case ConfigType::kIntList:
      return CheckInts(key, value);
    case ConfigType::kTextList:
    case ConfigType::kRegexList:
      return CheckTexts(key, std::move(value));
    case ConfigType::kAny:
      return value;
  }
  return value;
}

Result<ConfigValue> ParseConfigText(const ConfigKey& key, std::string_view text) {
  text = Trimmed(text);
  switch (key.type) {
    case ConfigType::kPercent:
    case ConfigType::kText:
    case ConfigType::kChoice:
      return CheckConfigValue(key, std::string(text));
    case ConfigType::kBool:
      if (text == "1" || text == "0") {
        return ConfigValue(text == "1");
      }
      return CheckConfigValue(key, ScalarFromText(text));
    case ConfigType::kInt:
    case ConfigType::kFloat:
    case ConfigType::kEvery:
      return CheckConfigValue(key, ScalarFromText(text));
    default:
      return CheckConfigValue(key, ListFromText(key, text));
  }
}

namespace {

std::string QuotedToml(const std::string& text) {
  std::string out = "\"";
  for (const char letter : text) {
    out += letter == '"' || letter == '\\' ? std::string{'\\', letter} : std::string{letter};
  }
  return out + "\"";
}

template <typename List, typename Each>
std::string ListToml(const List& list, const Each& each) {
  std::string out = "[";
  for (const auto& element : list) {
    out += (out.size() > 1 ? ", " : "") + each(element);
  }
  return out + "]";
}

}  // namespace

std::string ConfigValueToml(const ConfigValue& value, const ConfigKey* key) {
  const ConfigType type = key == nullptr ? ConfigType::kAny : key->type;
  if (const auto* boolean = std::get_if<bool>(&value)) {
    return *boolean ? "true" : "false";
  }
  if (const auto* whole = std::get_if<int64_t>(&value)) {
    const bool automatic = type == ConfigType::kEvery && *whole == 0;
    return automatic ? "\"auto\"" : std::to_string(*whole);
  }
  if (const auto* number = std::get_if<double>(&value)) {
    return type == ConfigType::kPercent ? "\"" + NumberText(*number * 100) + "%\""
                                        : NumberText(*number);
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    return QuotedToml(*text);
  }
  if (const auto* numbers = std::get_if<std::vector<int64_t>>(&value)) {
    return ListToml(*numbers, [](int64_t number) { return std::to_string(number); });
  }
  return ListToml(std::get<std::vector<std::string>>(value), QuotedToml);
}

std::string ConfigValueText(const ConfigValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    return *text;
  }
  if (const auto* texts = std::get_if<std::vector<std::string>>(&value)) {
    std::string joined;
    for (const std::string& text : *texts) {
      joined += (joined.empty() ? "" : ",") + text;
    }
    return joined;
  }
  const std::string toml = ConfigValueToml(value, nullptr);
  return toml.front() == '[' ? toml.substr(1, toml.size() - 2) : toml;
}

bool ConfigNameMatches(std::string_view row_name, std::string_view name) {
  const std::vector<std::string> pattern = SplitOn(row_name, '.');
  const std::vector<std::string> parts = SplitOn(name, '.');
  if (pattern.size() != parts.size()) {
    return false;
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].empty() || (pattern[i].front() != '<' && pattern[i] != parts[i])) {
      return false;
    }
  }
  return true;
}

}  // namespace wheeltapper
