// The small text encodings of the sealed tables.
#include <charconv>
#include <cstdint>

#include <fmt/format.h>

#include "sealed_tables.h"

namespace wheeltapper::format {
namespace {

struct NamedNumber {
  std::string_view name;
  uint32_t number;
};

constexpr NamedNumber kReasons[] = {{"ring_full", 1}, {"disk_full", 2}, {"governor", 3},
                                    {"fuse", 4},      {"too_large", 5}, {"unsupported", 6},
                                    {"corruption", 7}};
constexpr NamedNumber kWhats[] = {{"raw_tensors", 1}, {"stats", 2}, {"whole_step", 3}};

// A number without a name (a later version's) is written as such: "12".
std::string NameOf(std::span<const NamedNumber> names, uint32_t number) {
  for (const NamedNumber& named : names) {
    if (named.number == number) {
      return std::string(named.name);
    }
  }
  return std::to_string(number);
}

uint32_t NumberOf(std::span<const NamedNumber> names, std::string_view name) {
  for (const NamedNumber& named : names) {
    if (named.name == name) {
      return named.number;
    }
  }
  uint32_t number = 0;
  std::from_chars(name.data(), name.data() + name.size(), number);
  return number;
}

}  // namespace

std::string GapReasonName(GapReason reason) {
  return NameOf(kReasons, static_cast<uint32_t>(reason));
}
GapReason GapReasonFromName(std::string_view name) {
  return static_cast<GapReason>(NumberOf(kReasons, name));
}
std::string GapWhatName(GapWhat what) { return NameOf(kWhats, static_cast<uint32_t>(what)); }
GapWhat GapWhatFromName(std::string_view name) {
  return static_cast<GapWhat>(NumberOf(kWhats, name));
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t extent : shape) {
    text += (text.empty() ? "" : "x") + std::to_string(extent);
  }
  return text;
}

std::vector<int64_t> ParseShape(std::string_view text) {
  std::vector<int64_t> shape;
  while (!text.empty()) {
    int64_t extent = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), extent);
    if (parsed.ec != std::errc()) {
      break;
    }
    shape.push_back(extent);
    text.remove_prefix(static_cast<size_t>(parsed.ptr - text.data()));
    if (!text.starts_with('x')) {
      break;
    }
    text.remove_prefix(1);
  }
  return shape;
}

std::string JoinCollections(const std::vector<std::string>& collections) {
  return fmt::format("{}", fmt::join(collections, ","));
}

std::vector<std::string> SplitCollections(std::string_view text) {
  std::vector<std::string> collections;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    collections.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return collections;
}

}  // namespace wheeltapper::format
