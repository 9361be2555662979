#include "wheeltapper/format/run_directory.h"

#include <cerrno>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/json.h"
#include "wheeltapper/format/journal.h"

#include "run_names.h"

namespace wheeltapper::format {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxJsonBytes = uint64_t{16} << 20;

std::string Dump(const Json& json) { return JsonIndented(json) + "\n"; }

// Reads members by name; the first one that is missing or of another type is remembered.
class ObjectReader {
 public:
  explicit ObjectReader(const Json& object) : object_(object) {}

  std::string Text(const char* key) {
    const Json* value = Find(key, &Json::is_string);
    return value == nullptr ? "" : value->get<std::string>();
  }
  int64_t Integer(const char* key) {
    const Json* value = Find(key, &Json::is_number_integer);
    if (value == nullptr) {
      return 0;
    }
    if (value->is_number_unsigned() &&
        value->get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()}) {
      Fail(key);
      return 0;
    }
    return value->get<int64_t>();
  }
  template <typename T>
  T Bounded(const char* key) {
    const int64_t value = Integer(key);
    if (!std::in_range<T>(value)) {
      Fail(key);
      return T{};
    }
    return static_cast<T>(value);
  }
  uint64_t Hex(const char* key) {
    const std::string text = Text(key);
    uint64_t value = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) {
      Fail(key);
    }
    return value;
  }
  std::vector<std::string> Texts(const char* key) {
    std::vector<std::string> texts;
    const Json* value = Find(key, &Json::is_array);
    for (const Json& item : value == nullptr ? Json::array() : *value) {
      if (!item.is_string()) {
        Fail(key);
        break;
      }
      texts.push_back(item.get<std::string>());
    }
    return texts;
  }
  std::map<std::string, std::string> TextMap(const char* key) {
    std::map<std::string, std::string> texts;
    const Json* value = Find(key, &Json::is_object);
    if (value == nullptr) {
      return texts;
    }
    for (const auto& [name, item] : value->items()) {
      if (!item.is_string()) {
        Fail(key);
        break;
      }
      texts[name] = item.get<std::string>();
    }
    return texts;
  }
  // DataLoss naming the first member that was wrong.
  [[nodiscard]] Status Check(const std::string& path) const {
    if (!wrong_.empty()) {
      return DataLossError("reading \"" + path + "\": member missing or of a wrong type: \"" +
                           wrong_ + "\"");
    }
    return {};
  }

 private:
  const Json* Find(const char* key, bool (Json::*is_type)() const noexcept) {
    const auto found = object_.find(key);
    if (found == object_.end() || !((*found).*is_type)()) {
      Fail(key);
      return nullptr;
    }
    return &*found;
  }
  void Fail(const char* key) {
    if (wrong_.empty()) {
      wrong_ = key;
    }
  }
  const Json& object_;
  std::string wrong_;
};

Result<Json> ReadObject(const std::string& path) {
  Result<std::string> text = ReadWholeFile(path, kMaxJsonBytes);
  if (!text.ok()) {
    return text.status().code() == StatusCode::kResourceExhausted
               ? DataLossError("reading \"" + path + "\": larger than any file of its kind")
               : text.status();
  }
  Json json = ParseOrderedJson(*text);
  if (!json.is_object()) {
    return DataLossError("reading \"" + path + "\": not a JSON object");
  }
  return json;
}

Status CheckVersion(const Json& json, const std::string& path) {
  ObjectReader object(json);
  const auto min_reader = object.Bounded<uint32_t>("min_reader");
  WT_RETURN_IF_ERROR(object.Check(path));
  if (min_reader > kFormatVersion) {
    return FailedPreconditionError(fmt::format(
        "opening run: it needs a reader of format {} or newer, this build reads up to {}: update "
        "Wheeltapper (pip install --upgrade wheeltapper): \"{}\"",
        min_reader, kFormatVersion, path));
  }
  return {};
}

// Creates `path` with `content`, never replacing a file: AlreadyExists when there is one.
Status CreateExclusively(const std::string& path, std::string_view content) {
  const std::string temporary = path + ".new." + std::to_string(getpid());
  WT_RETURN_IF_ERROR(WriteFileAtomically(temporary, content));
  Status created;
  if (link(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    const bool no_links = error == EPERM || error == EOPNOTSUPP || error == ENOSYS;
    if (no_links && !PathExists(path)) {
      return RenameFile(temporary, path);
    }
    created = ErrnoError(no_links ? EEXIST : error, "creating \"" + path + "\"");
  }
  RemoveFile(temporary).IgnoreError("a leftover run.json.new.* is harmless");
  return created;
}

}  // namespace

Status CreateRunDirectory(const std::string& run_dir, const RunInfo& info) {
  for (const std::string_view folder : {std::string_view("ranks"), kJournalFolder, kBlobFolder}) {
    WT_RETURN_IF_ERROR(MakeDirectories(JoinPath(run_dir, folder)));
  }
  for (const std::string_view table : kTables) {
    WT_RETURN_IF_ERROR(MakeDirectories(JoinPath(run_dir, table)));
  }
  Json json;
  json["format"] = "wheeltapper-run";
  json["format_version"] = info.format_version == 0 ? kFormatVersion : info.format_version;
  json["min_reader"] = info.min_reader == 0 ? kMinReaderVersion : info.min_reader;
  json["name"] = info.name;
  json["run_id"] = fmt::format("{:016x}", info.run_id);
  json["started_wall_ns"] = info.started_wall_ns;
  json["argv"] = info.argv;
  json["cwd"] = info.cwd;
  json["host"] = info.host;
  json["wheeltapper_version"] = info.wheeltapper_version;
  json["environment"] = info.environment;
  if (!info.first_run.empty()) {
    json["first_run"] = info.first_run;
  }
  return CreateExclusively(RunInfoPath(run_dir), Dump(json));
}

Result<RunInfo> ReadRunInfo(const std::string& run_dir) {
  const std::string path = RunInfoPath(run_dir);
  Result<Json> json = ReadObject(path);
  if (!json.ok()) {
    if (json.status().code() == StatusCode::kNotFound) {
      return NotFoundError("opening run: no run.json there: \"" + run_dir + "\"");
    }
    return json.status();
  }
  WT_RETURN_IF_ERROR(CheckVersion(*json, path));
  ObjectReader object(*json);
  RunInfo info;
  info.format_version = object.Bounded<uint32_t>("format_version");
  info.min_reader = object.Bounded<uint32_t>("min_reader");
  info.name = object.Text("name");
  info.run_id = object.Hex("run_id");
  info.started_wall_ns = object.Integer("started_wall_ns");
  info.argv = object.Texts("argv");
  info.cwd = object.Text("cwd");
  info.host = object.Text("host");
  info.wheeltapper_version = object.Text("wheeltapper_version");
  info.environment = object.TextMap("environment");
  info.first_run = json->contains("first_run") ? object.Text("first_run") : "";
  WT_RETURN_IF_ERROR(object.Check(path));
  return info;
}

Status WriteRankInfo(const std::string& run_dir, const RankInfo& info) {
  Json json;
  json["rank"] = info.rank.value;
  json["world_size"] = info.world_size;
  json["incarnation"] = info.incarnation;
  json["host"] = info.host;
  json["pid"] = info.pid;
  json["device"] = info.device;
  json["framework"] = info.framework;
  json["segment_path"] = info.segment_path;
  json["boot_id"] = info.boot_id;
  json["wall_ns"] = info.wall_ns;
  json["monotonic_ns"] = info.monotonic_ns;
  json["model_summary"] = info.model_summary;
  WT_RETURN_IF_ERROR(MakeDirectories(JoinPath(run_dir, "ranks")));
  return WriteFileAtomically(RankInfoPath(run_dir, info.rank), Dump(json));
}

Result<RankInfo> ReadRankInfo(const std::string& run_dir, Rank rank) {
  const std::string path = RankInfoPath(run_dir, rank);
  WT_ASSIGN_OR_RETURN(const Json json, ReadObject(path));
  ObjectReader object(json);
  RankInfo info;
  info.rank = Rank{object.Bounded<int32_t>("rank")};
  info.world_size = object.Bounded<int32_t>("world_size");
  info.incarnation = object.Bounded<uint64_t>("incarnation");
  info.host = object.Text("host");
  info.pid = object.Integer("pid");
  info.device = object.Text("device");
  info.framework = object.Text("framework");
  info.segment_path = object.Text("segment_path");
  info.boot_id = object.Text("boot_id");
  info.wall_ns = object.Integer("wall_ns");
  info.monotonic_ns = object.Integer("monotonic_ns");
  info.model_summary = object.Text("model_summary");
  WT_RETURN_IF_ERROR(object.Check(path));
  return info;
}

Status WriteEnd(const std::string& run_dir, const EndInfo& info) {
  Json json;
  json["state"] = info.state;
  json["exit_code"] = info.exit_code;
  json["reason"] = info.reason;
  json["ended_wall_ns"] = info.ended_wall_ns;
  return WriteFileAtomically(EndPath(run_dir), Dump(json));
}

Result<EndInfo> ReadEnd(const std::string& run_dir) {
  const std::string path = EndPath(run_dir);
  WT_ASSIGN_OR_RETURN(const Json json, ReadObject(path));
  ObjectReader object(json);
  EndInfo info;
  info.state = object.Text("state");
  info.exit_code = object.Bounded<int>("exit_code");
  info.reason = object.Text("reason");
  info.ended_wall_ns = object.Integer("ended_wall_ns");
  WT_RETURN_IF_ERROR(object.Check(path));
  return info;
}

Result<std::vector<Rank>> ListRanks(const std::string& run_dir) {
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(run_dir, "ranks"));
  std::vector<Rank> ranks;
  for (const std::string& name : names) {
    // "r00007.json"
    constexpr std::string_view kSuffix = ".json";
    int32_t value = 0;
    if (!name.starts_with('r') || !name.ends_with(kSuffix)) {
      continue;
    }
    const char* end = name.data() + name.size() - kSuffix.size();
    const auto parsed = std::from_chars(name.data() + 1, end, value);
    if (parsed.ec == std::errc() && parsed.ptr == end && value >= 0) {
      ranks.push_back(Rank{value});
    }
  }
  return ranks;
}

}  // namespace wheeltapper::format
