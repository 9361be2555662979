// The list of names in the footer of a sealed table.
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "wheeltapper/core/json.h"

#include "sealed_table.h"

namespace wheeltapper::trial {
namespace {

using Json = nlohmann::json;

bool ReadDType(const Json& dtype, format::NameInfo* info) {
  if (!dtype.is_string() || dtype.get_ref<const std::string&>().empty()) {
    return true;  // scalars have none
  }
  const Result<tensor::DType> parsed = ParseDType(dtype.get<std::string>());
  if (parsed.ok()) {
    info->dtype = *parsed;
  }
  return parsed.ok();
}

// As a text, "8x3x3", or as an array.
bool ReadShape(const Json& shape, format::NameInfo* info) {
  if (shape.is_string()) {
    info->shape = ParseShape(shape.get<std::string>());
    return true;
  }
  for (const Json& extent : shape.is_array() ? shape : Json::array()) {
    if (!extent.is_number_integer()) {
      return false;
    }
    info->shape.push_back(extent.get<int64_t>());
  }
  return true;
}

bool ReadCollections(const Json& collections, format::NameInfo* info) {
  for (const Json& collection : collections.is_array() ? collections : Json::array()) {
    if (!collection.is_string()) {
      return false;
    }
    info->collections.push_back(collection.get<std::string>());
  }
  return true;
}

bool ReadEntry(const Json& entry, format::NameInfo* info) {
  if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string()) {
    return false;
  }
  info->name = entry["name"].get<std::string>();
  info->kind = entry.value("kind", Json()) == "scalar" ? format::DescKind::kScalar
                                                       : format::DescKind::kTensor;
  return ReadDType(entry.value("dtype", Json()), info) &&
         ReadShape(entry.value("shape", Json()), info) &&
         ReadCollections(entry.value("collections", Json()), info);
}

}  // namespace

bool AddListedNames(const std::string& json, format::NameTable* names) {
  const Json list = ParseJson(json);
  if (!list.is_array()) {
    return false;
  }
  std::vector<format::NameInfo> infos(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    if (!ReadEntry(list[i], &infos[i])) {
      return false;
    }
  }
  for (format::NameInfo& info : infos) {
    if (names->Find(info.name) == nullptr) {
      names->info(names->Intern(info.name)) = std::move(info);
    }
  }
  return true;
}

}  // namespace wheeltapper::trial
