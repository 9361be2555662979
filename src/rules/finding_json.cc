// Findings as JSON, one object per line. JSON has no NaN or infinity: those values are written as
// the strings "NaN", "Infinity" and "-Infinity", so any parser reads the file and nothing is lost.
#include <cmath>
#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

#include "wheeltapper/core/json.h"
#include "wheeltapper/rules/finding.h"

namespace wheeltapper::rules {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kNsPerSecond = 1e9;
constexpr TimeNs kNsPerSecondInt = 1'000'000'000;

Json NumberToJson(double value) {
  if (std::isnan(value)) {
    return "NaN";
  }
  if (std::isinf(value)) {
    return value > 0 ? "Infinity" : "-Infinity";
  }
  return value;
}

std::optional<double> NumberFromJson(const Json& json) {
  if (json.is_number()) {
    return json.get<double>();
  }
  if (!json.is_string()) {
    return std::nullopt;
  }
  const auto& text = json.get_ref<const std::string&>();
  if (text == "NaN") {
    return std::numeric_limits<double>::quiet_NaN();
  }
  if (text == "Infinity") {
    return std::numeric_limits<double>::infinity();
  }
  if (text == "-Infinity") {
    return -std::numeric_limits<double>::infinity();
  }
  return std::nullopt;
}

template <typename T>
Json OptionalToJson(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

// Seconds since 1970 with the precision of a double (better than a microsecond).
Json WallTimeToJson(TimeNs wall_ns) {
  const TimeNs seconds = wall_ns / kNsPerSecondInt;
  return static_cast<double>(seconds) +
         static_cast<double>(wall_ns - seconds * kNsPerSecondInt) / kNsPerSecond;
}

Json EvidenceToJson(const Evidence& evidence) {
  Json points = Json::array();
  for (const EvidencePoint& point : evidence.points) {
    points.push_back(Json::array({Json(point.step), NumberToJson(point.value)}));
  }
  return Json{{"label", evidence.label},
              {"points", std::move(points)},
              {"threshold", evidence.threshold ? NumberToJson(*evidence.threshold) : Json()}};
}

// Reads typed members of one object; the first mistake is kept and everything after it is skipped.
class ObjectReader {
 public:
  explicit ObjectReader(const Json& object) : object_(object) {}

  [[nodiscard]] const std::string& problem() const { return problem_; }
  void Fail(const std::string& what) {
    if (problem_.empty()) {
      problem_ = what;
    }
  }

  // nullptr when the member is missing or null; a mistake when it must be there.
  const Json* Member(const char* key, bool required) {
    const auto found = object_.find(key);
    if (found == object_.end() || found->is_null()) {
      if (required) {
        Fail(std::string("no \"") + key + "\"");
      }
      return nullptr;
    }
    return &*found;
  }
  std::optional<std::string> Text(const char* key, bool required) {
    const Json* json = Member(key, required);
    if (json == nullptr) {
      return std::nullopt;
    }
    if (!json->is_string()) {
      Fail(std::string("\"") + key + "\" is no text");
      return std::nullopt;
    }
    return json->get<std::string>();
  }
  std::optional<int64_t> Integer(const char* key, bool required) {
    const Json* json = Member(key, required);
    if (json == nullptr) {
      return std::nullopt;
    }
    if (!json->is_number_integer()) {
      Fail(std::string("\"") + key + "\" is no whole number");
      return std::nullopt;
    }
    return json->get<int64_t>();
  }
  const Json* Array(const char* key) {
    const Json* json = Member(key, false);
    if (json != nullptr && !json->is_array()) {
      Fail(std::string("\"") + key + "\" is no array");
      return nullptr;
    }
    return json;
  }

 private:
  const Json& object_;
  std::string problem_;
};

TimeNs WallTimeFromJson(const Json& json, ObjectReader& reader) {
  constexpr double kLargest = 9.2e9;  // seconds whose nanoseconds fit into 64 bits
  if (!json.is_number() || !(std::abs(json.get<double>()) < kLargest)) {
    reader.Fail("\"wall_time\" is no time in seconds");
    return 0;
  }
  const auto seconds = json.get<double>();
  const double whole = std::floor(seconds);
  return static_cast<TimeNs>(whole) * kNsPerSecondInt +
         static_cast<TimeNs>(std::llround((seconds - whole) * kNsPerSecond));
}

std::optional<EvidencePoint> PointFromJson(const Json& json) {
  if (!json.is_array() || json.size() != 2 || !json[0].is_number_integer()) {
    return std::nullopt;
  }
  const std::optional<double> value = NumberFromJson(json[1]);
  if (!value) {
    return std::nullopt;
  }
  return EvidencePoint{.step = json[0].get<int64_t>(), .value = *value};
}

Evidence EvidenceFromJson(const Json& json, ObjectReader& outer) {
  Evidence evidence;
  if (!json.is_object()) {
    outer.Fail("\"evidence\" holds something else than objects");
    return evidence;
  }
  ObjectReader reader(json);
  evidence.label = reader.Text("label", true).value_or("");
  if (const Json* points = reader.Array("points")) {
    for (const Json& point : *points) {
      const std::optional<EvidencePoint> parsed = PointFromJson(point);
      if (!parsed) {
        reader.Fail("a point of the evidence is not [step, value]");
        break;
      }
      evidence.points.push_back(*parsed);
    }
  }
  if (const Json* threshold = reader.Member("threshold", false)) {
    evidence.threshold = NumberFromJson(*threshold);
    if (!evidence.threshold) {
      reader.Fail("\"threshold\" is no number");
    }
  }
  if (!reader.problem().empty()) {
    outer.Fail(reader.problem());
  }
  return evidence;
}

void ReadSeverity(ObjectReader& reader, const std::string& name, Severity* severity) {
  if (const auto parsed = SeverityFromName(name)) {
    *severity = *parsed;
  } else {
    reader.Fail("unknown severity \"" + name + "\"");
  }
}

void ReadNamed(ObjectReader& reader, Finding* finding) {
  ReadSeverity(reader, reader.Text("severity", true).value_or(""), &finding->severity);
  const std::string state = reader.Text("state", true).value_or("");
  if (state != "open" && state != "resolved") {
    reader.Fail("unknown state \"" + state + "\"");
  }
  finding->state = state == "resolved" ? FindingState::kResolved : FindingState::kOpen;
  if (const auto mode = reader.Text("mode", false)) {
    finding->mode = ModeFromName(*mode);
    if (!finding->mode) {
      reader.Fail("unknown mode \"" + *mode + "\"");
    }
  }
  if (const auto rank = reader.Integer("rank", false)) {
    if (*rank < 0 || *rank > std::numeric_limits<int32_t>::max()) {
      reader.Fail("\"rank\" is out of range");
    } else {
      finding->rank = Rank{static_cast<int32_t>(*rank)};
    }
  }
}

void ReadTexts(ObjectReader& reader, const char* key, std::vector<std::string>* texts) {
  const Json* list = reader.Array(key);
  if (list == nullptr) {
    return;
  }
  for (const Json& text : *list) {
    if (!text.is_string()) {
      reader.Fail("\"" + std::string(key) + "\" holds something else than texts");
      return;
    }
    texts->push_back(text.get<std::string>());
  }
}

AlsoSeen AlsoSeenFromJson(const Json& json, ObjectReader& outer) {
  AlsoSeen also;
  if (!json.is_object()) {
    outer.Fail("\"also_seen\" holds something else than objects");
    return also;
  }
  ObjectReader reader(json);
  also.rule = reader.Text("rule", true).value_or("");
  also.message = reader.Text("message", true).value_or("");
  ReadSeverity(reader, reader.Text("severity", true).value_or(""), &also.severity);
  if (!reader.problem().empty()) {
    outer.Fail(reader.problem());
  }
  return also;
}

// Of a line without `also_seen`: "RULE: message" each, and the severities beside them, which still
// older lines do not have.
void ReadAlsoTexts(ObjectReader& reader, Finding* finding) {
  std::vector<std::string> texts;
  std::vector<std::string> severities;
  ReadTexts(reader, "also", &texts);
  ReadTexts(reader, "also_severity", &severities);
  if (!severities.empty() && severities.size() != texts.size()) {
    reader.Fail("\"also_severity\" is not as long as \"also\"");
    return;
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    const size_t colon = texts[i].find(": ");
    if (colon == std::string::npos) {
      reader.Fail("\"also\" holds a text without a rule");
      return;
    }
    AlsoSeen also{.rule = texts[i].substr(0, colon), .message = texts[i].substr(colon + 2)};
    if (!severities.empty()) {
      ReadSeverity(reader, severities[i], &also.severity);
    }
    finding->also.push_back(std::move(also));
  }
}

void ReadAlso(ObjectReader& reader, Finding* finding) {
  const Json* list = reader.Array("also_seen");
  if (list == nullptr) {
    ReadAlsoTexts(reader, finding);
    return;
  }
  for (const Json& item : *list) {
    finding->also.push_back(AlsoSeenFromJson(item, reader));
  }
}

void ReadLists(ObjectReader& reader, Finding* finding) {
  ReadTexts(reader, "tensors", &finding->tensors);
  ReadAlso(reader, finding);
  if (const Json* evidence = reader.Array("evidence")) {
    for (const Json& item : *evidence) {
      finding->evidence.push_back(EvidenceFromJson(item, reader));
    }
  }
  const Json* parameters = reader.Member("parameters", false);
  if (parameters == nullptr) {
    return;
  }
  if (!parameters->is_object()) {
    reader.Fail("\"parameters\" is no object");
    return;
  }
  for (const auto& [name, value] : parameters->items()) {
    if (!value.is_string()) {
      reader.Fail("a parameter's value is no text");
      break;
    }
    finding->parameters[name] = value.get<std::string>();
  }
}

// `also` and `also_severity` are for those who read them before there was `also_seen`.
void WriteAlso(const std::vector<AlsoSeen>& also, Json* json) {
  for (const char* key : {"also", "also_severity", "also_seen"}) {
    (*json)[key] = Json::array();
  }
  for (const AlsoSeen& other : also) {
    (*json)["also"].push_back(other.text());
    (*json)["also_severity"].push_back(SeverityName(other.severity));
    (*json)["also_seen"].push_back({{"rule", other.rule},
                                    {"severity", SeverityName(other.severity)},
                                    {"message", other.message}});
  }
}

}  // namespace

std::string FindingToJson(const Finding& finding) {
  Json json;
  json["id"] = finding.id;
  json["rule"] = finding.rule;
  json["severity"] = SeverityName(finding.severity);
  json["state"] = finding.state == FindingState::kOpen ? "open" : "resolved";
  json["tensor"] = OptionalToJson(finding.tensor);
  json["module"] = OptionalToJson(finding.module);
  json["step"] = finding.step;
  json["last_step"] = finding.last_step;
  json["mode"] = finding.mode ? Json(ModeName(*finding.mode)) : Json(nullptr);
  json["rank"] = finding.rank ? Json(finding.rank->value) : Json(nullptr);
  json["count"] = finding.count;
  json["tensors"] = finding.tensors;
  json["tensors_total"] = finding.tensors_total;
  WriteAlso(finding.also, &json);
  json["part_of"] = OptionalToJson(finding.part_of);
  json["message"] = finding.message;
  json["cause"] = OptionalToJson(finding.cause);
  json["try"] = OptionalToJson(finding.try_);
  json["wall_time"] = WallTimeToJson(finding.wall_ns);
  json["evidence"] = Json::array();
  for (const Evidence& evidence : finding.evidence) {
    json["evidence"].push_back(EvidenceToJson(evidence));
  }
  json["parameters"] = Json::object();
  for (const auto& [name, value] : finding.parameters) {
    json["parameters"][name] = value;
  }
  return JsonLine(json);
}

Result<Finding> FindingFromJson(std::string_view line) {
  const Json json = ParseOrderedJson(line);
  if (!json.is_object()) {
    return DataLossError("reading a finding: no JSON object");
  }
  Finding finding;
  ObjectReader reader(json);
  finding.id = reader.Text("id", true).value_or("");
  finding.rule = reader.Text("rule", true).value_or("");
  finding.tensor = reader.Text("tensor", false);
  finding.module = reader.Text("module", false);
  finding.message = reader.Text("message", true).value_or("");
  finding.cause = reader.Text("cause", false);
  finding.try_ = reader.Text("try", false);
  finding.part_of = reader.Text("part_of", false);
  finding.step = reader.Integer("step", true).value_or(0);
  finding.last_step = reader.Integer("last_step", true).value_or(0);
  finding.count = reader.Integer("count", true).value_or(0);
  if (const Json* wall_time = reader.Member("wall_time", false)) {
    finding.wall_ns = WallTimeFromJson(*wall_time, reader);
  }
  ReadNamed(reader, &finding);
  ReadLists(reader, &finding);
  // Findings of earlier versions have no count: what they list is what is known.
  finding.tensors_total =
      reader.Integer("tensors_total", false).value_or(static_cast<int64_t>(finding.tensors.size()));
  if (!reader.problem().empty()) {
    return DataLossError("reading a finding: " + reader.problem());
  }
  return finding;
}

}  // namespace wheeltapper::rules
