#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "wheeltapper/core/json.h"
#include "wheeltapper/format/safetensors.h"

#include "parquet/utf8.h"
#include "safetensors/header_checksum.h"
#include "safetensors/safetensors_format.h"

namespace wheeltapper::format {
namespace {

using safetensors::kMaxHeaderBytes;

constexpr uint64_t kReserveAlignment = 4096;
// The metadata and the braces.
constexpr uint64_t kReserveBase = 8192;
// An entry with eight dimensions and the pad in front of it, without its name; names may grow when
// JSON escapes them.
constexpr uint64_t kReservePerTensor = 320;
constexpr uint64_t kReservePerNameByte = 2;

// What the header says of one tensor; offsets are in the data section.
struct HeaderEntry {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

Status BadEntry(const SafetensorsEntry& entry, const char* why) {
  return InvalidArgumentError(std::string("building safetensors header: ") + why + ": \"" +
                              entry.name + "\"");
}

// safetensors knows C64 but not C128: such a tensor is F64 pairs, real and imaginary.
HeaderEntry ToHeader(const SafetensorsEntry& entry, uint64_t reserve) {
  HeaderEntry header{parquet::ReplaceInvalidUtf8(entry.name),
                     std::string(tensor::DTypeName(entry.dtype)), entry.shape,
                     entry.begin - reserve, entry.end - reserve};
  if (entry.dtype == tensor::DType::kC128) {
    header.dtype = tensor::DTypeName(tensor::DType::kF64);
    header.shape.push_back(2);
  }
  if (header.begin == header.end) {
    header.begin = header.end =
        0;  // an empty tensor may lie inside a gap; at the start it splits nothing
  }
  return header;
}

Status CheckEntry(const SafetensorsEntry& entry, uint64_t reserve, uint64_t file_bytes) {
  if (entry.name == safetensors::kMetadataKey || entry.name.starts_with(safetensors::kPadPrefix)) {
    return BadEntry(entry, "the name is reserved");
  }
  if (entry.begin < reserve || entry.end < entry.begin || entry.end > file_bytes) {
    return BadEntry(entry, "its bytes lie outside the data");
  }
  const auto nbytes = safetensors::TensorBytes(entry.dtype, entry.shape);
  if (!nbytes || *nbytes != entry.end - entry.begin) {
    return BadEntry(entry, "its shape and its byte range disagree");
  }
  return {};
}

// The entries in file order with pads between them.
Result<std::vector<HeaderEntry>> FillGaps(std::vector<HeaderEntry> entries, uint64_t data_bytes) {
  std::sort(entries.begin(), entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  std::vector<HeaderEntry> filled;
  uint64_t pads = 0;
  uint64_t at = 0;
  const auto pad_to = [&](uint64_t end) {
    if (end > at) {
      filled.push_back({std::string(safetensors::kPadPrefix) + std::to_string(pads++),
                        "U8",
                        {static_cast<int64_t>(end - at)},
                        at,
                        end});
    }
  };
  for (HeaderEntry& entry : entries) {
    if (entry.begin < at) {
      return InvalidArgumentError("building safetensors header: two tensors overlap: \"" +
                                  entry.name + "\"");
    }
    pad_to(entry.begin);
    at = entry.end;
    filled.push_back(std::move(entry));
  }
  pad_to(data_bytes);
  return filled;
}

void AppendQuoted(const std::string& text, std::string* out) {
  *out += JsonLine(nlohmann::json(text));
}

void AppendEntry(const HeaderEntry& entry, std::string* out) {
  AppendQuoted(entry.name, out);
  *out += ":{\"dtype\":\"" + entry.dtype + "\",\"shape\":[";
  for (size_t i = 0; i < entry.shape.size(); ++i) {
    *out += (i == 0 ? "" : ",") + std::to_string(entry.shape[i]);
  }
  *out +=
      "],\"data_offsets\":[" + std::to_string(entry.begin) + "," + std::to_string(entry.end) + "]}";
}

std::string ToJson(const std::vector<HeaderEntry>& entries,
                   const std::map<std::string, std::string>& metadata) {
  std::string json = "{";
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    bool first = true;
    for (const auto& [key, value] : metadata) {
      json += first ? "" : ",";
      first = false;
      AppendQuoted(parquet::ReplaceInvalidUtf8(key), &json);
      json += ":";
      AppendQuoted(parquet::ReplaceInvalidUtf8(value), &json);
    }
    json += entries.empty() ? "}" : "},";
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    json += i == 0 ? "" : ",";
    AppendEntry(entries[i], &json);
  }
  return json + "}";
}

}  // namespace

uint64_t SafetensorsHeaderReserve(uint64_t tensors, uint64_t name_bytes) {
  constexpr uint64_t kCap = AlignUp(kMaxHeaderBytes, kReserveAlignment) - kReserveAlignment;
  if (tensors > kCap / kReservePerTensor || name_bytes > kCap / kReservePerNameByte) {
    return kCap;
  }
  const uint64_t want =
      kReserveBase + tensors * kReservePerTensor + name_bytes * kReservePerNameByte;
  return std::min(kCap, AlignUp(want, kReserveAlignment));
}

Result<std::string> BuildSafetensorsHeader(const std::vector<SafetensorsEntry>& entries,
                                           const std::map<std::string, std::string>& metadata,
                                           uint64_t reserve, uint64_t file_bytes) {
  if (reserve < sizeof(uint64_t) || reserve % 8 != 0 || file_bytes < reserve ||
      file_bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return InvalidArgumentError("building safetensors header: reserve and file size do not fit");
  }
  std::vector<HeaderEntry> headers;
  headers.reserve(entries.size());
  std::set<std::string> names;
  for (const SafetensorsEntry& entry : entries) {
    WT_RETURN_IF_ERROR(CheckEntry(entry, reserve, file_bytes));
    headers.push_back(ToHeader(entry, reserve));
    if (!names.insert(headers.back().name).second) {
      return BadEntry(entry, "two tensors have one name");
    }
  }
  WT_ASSIGN_OR_RETURN(headers, FillGaps(std::move(headers), file_bytes - reserve));
  const std::string json = ToJson(headers, metadata);
  const uint64_t room = reserve - sizeof(uint64_t);
  if (json.size() > room || room > kMaxHeaderBytes) {
    return ResourceExhaustedError("building safetensors header: it takes " +
                                  std::to_string(json.size()) + " bytes and the reserve holds " +
                                  std::to_string(room));
  }
  std::string bytes(reinterpret_cast<const char*>(&room), sizeof(room));
  bytes += json;
  bytes.resize(reserve, ' ');
  safetensors::SealHeader(&bytes);
  return bytes;
}

}  // namespace wheeltapper::format
