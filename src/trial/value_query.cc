// One raw tensor: found in the tail or in the sealed index, handed out as a slice of its blob.
#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "wheeltapper/core/config.h"

#include "run_view.h"
#include "sealed_columns.h"
#include "sealed_row.h"

namespace wheeltapper::trial {
namespace {

std::string PlaceOf(const std::string& name, const format::StepKey& key) {
  return "\"" + name + "\" at step " + std::to_string(key.step.value) + " (" +
         std::string(ModeName(key.mode)) + "), rank " + std::to_string(key.rank.value);
}

// The latest row of the tail for this key; null when there is none.
const format::TensorRow* FindInTail(const RunView& view, format::NameId name,
                                    const format::StepKey& key) {
  const auto rank = view.tail.ranks().find(key.rank);
  if (rank == view.tail.ranks().end()) {
    return nullptr;
  }
  const std::vector<RowRef>& rows = Tail::RowsOf(rank->second.tensors, name);
  for (auto ref = rows.rbegin(); ref != rows.rend(); ++ref) {
    if (ref->batch->key.step == key.step && ref->batch->key.mode == key.mode) {
      return &ref->batch->tensors[ref->row];
    }
  }
  return nullptr;
}

// What a row of the tensors' index says, in the order in which kRowColumns names it.
enum RowColumn : size_t { kMode, kDType, kShape, kFile, kOffset, kNbytes, kCrc };
constexpr std::array kRowColumns = {kModeColumn,   kDTypeColumn,  kShapeColumn, kFileColumn,
                                    kOffsetColumn, kNbytesColumn, kCrcColumn};

Result<format::TensorRow> ReadRow(const SealedRow& row, format::NameId name) {
  WT_ASSIGN_OR_RETURN(const std::string dtype_name, row.Text(kDType));
  WT_ASSIGN_OR_RETURN(const std::string shape, row.Text(kShape));
  WT_ASSIGN_OR_RETURN(std::string file, row.Text(kFile));
  WT_ASSIGN_OR_RETURN(const int64_t offset, row.Int(kOffset));
  WT_ASSIGN_OR_RETURN(const int64_t nbytes, row.Int(kNbytes));
  WT_ASSIGN_OR_RETURN(const int64_t crc, row.Int(kCrc));
  WT_ASSIGN_OR_RETURN(const tensor::DType dtype, ParseDType(dtype_name));
  return format::TensorRow{name,
                           dtype,
                           ParseShape(shape),
                           std::move(file),
                           static_cast<uint64_t>(offset),
                           static_cast<uint64_t>(nbytes),
                           static_cast<uint32_t>(crc)};
}

// The last row of `range`, the rows of one step, whose mode is `mode`; none when there is none.
Result<std::optional<format::TensorRow>> FindMode(const SealedTable& table, format::NameId name,
                                                  RowRange range, Mode mode) {
  for (int64_t at = range.first + range.count; at-- > range.first;) {
    WT_ASSIGN_OR_RETURN(const SealedRow row, SealedRow::Open(table, kRowColumns, at));
    WT_ASSIGN_OR_RETURN(const std::string mode_name, row.Text(kMode));
    const std::optional<Mode> row_mode = ModeFromName(mode_name);
    if (!row_mode) {
      return DataLossError("reading \"" + table.path() + "\": unknown mode: \"" + mode_name + "\"");
    }
    if (*row_mode == mode) {
      WT_ASSIGN_OR_RETURN(format::TensorRow found, ReadRow(row, name));
      return std::optional(std::move(found));
    }
  }
  return std::optional<format::TensorRow>();
}

// The latest row of the sealed files for this key.
Result<format::TensorRow> FindSealed(RunView* view, format::NameId name,
                                     const format::StepKey& key) {
  const auto rank = view->sealed.ranks().find(key.rank);
  const auto none = NotFoundError("no such row");
  if (rank == view->sealed.ranks().end()) {
    return none;
  }
  for (auto set = rank->second.rbegin(); set != rank->second.rend(); ++set) {
    SealedTable* table = set->second.tensors.get();
    if (table == nullptr) {
      continue;
    }
    WT_ASSIGN_OR_RETURN(const auto ranges, table->RangesAtStep(name, key.step.value));
    for (auto range = ranges.rbegin(); range != ranges.rend(); ++range) {
      WT_ASSIGN_OR_RETURN(auto found, FindMode(*table, name, *range, key.mode));
      if (found) {
        return std::move(*found);
      }
    }
  }
  return none;
}

Result<TensorValue> ReadBytes(RunView* view, const format::TensorRow& row) {
  if (BlobStore::IsInBlob(row)) {
    return view->blobs.Read(row);
  }
  WT_RETURN_IF_ERROR(CheckRowSize(row));
  WT_ASSIGN_OR_RETURN(std::vector<uint8_t> bytes, view->tail_reader->ReadTensor(row));
  auto owner = std::make_shared<const std::vector<uint8_t>>(std::move(bytes));
  return TensorValue{row.dtype, row.shape, ByteSpan(*owner), owner};
}

// The flag with which a run keeps the raw values of a tensor: of a built-in collection that it is
// in, else of one of the user's own. What is in none was saved by the script.
std::string RawFlag(const std::vector<std::string>& collections) {
  for (const std::string& collection : collections) {
    const std::string key = "capture." + collection;
    const auto found = std::find_if(ConfigKeys().begin(), ConfigKeys().end(),
                                    [&key](const ConfigKey& each) { return each.name == key; });
    if (found != ConfigKeys().end() && found->choices.find("raw") != std::string::npos) {
      return "--set " + key + "=raw";
    }
  }
  return collections.empty() ? "--set capture.saved=raw"
                             : "--set capture.collections." + collections.front() + ".raw=true";
}

// NotFound that says which part is missing: the raw values as such, or this one.
Status WhyMissing(RunView* view, const std::string& name, format::NameId id,
                  const format::StepKey& key) {
  const format::NameInfo& info = view->names.info(id);
  if (info.kind == format::DescKind::kScalar) {
    return NotFoundError("reading " + PlaceOf(name, key) + ": a number, not a tensor");
  }
  bool any = false;
  for (const auto& [rank, tail] : view->tail.ranks()) {
    any = any || !Tail::RowsOf(tail.tensors, id).empty();
  }
  for (auto& [rank, sets] : view->sealed.ranks()) {
    for (auto& [seq, set] : sets) {
      if (!any && set.tensors != nullptr) {
        WT_ASSIGN_OR_RETURN(const auto ranges, set.tensors->RangesOf(id));
        any = !ranges.empty();
      }
    }
  }
  if (!any) {
    return NotFoundError("reading " + PlaceOf(name, key) +
                         ": no raw values of this tensor were saved, at no step: `wheeltapper "
                         "run " +
                         RawFlag(info.collections) + "` keeps them");
  }
  return NotFoundError("reading " + PlaceOf(name, key) +
                       ": no raw value was saved there, though it was at other steps or ranks");
}

}  // namespace

Result<TensorValue> ReadValue(RunView* view, const std::string& name, const format::StepKey& key) {
  WT_ASSIGN_OR_RETURN(const format::NameId id, view->IdOf(name));
  const format::TensorRow* live = FindInTail(*view, id, key);
  if (live != nullptr) {
    Result<TensorValue> value = ReadBytes(view, *live);
    if (value.ok() || value.status().code() != StatusCode::kNotFound) {
      return value;
    }
    // Its journal file has been sealed since the last Refresh: the row is in the sealed index now.
    WT_RETURN_IF_ERROR(view->AbsorbSealed());
  }
  Result<format::TensorRow> row = FindSealed(view, id, key);
  if (!row.ok() && row.status().code() == StatusCode::kNotFound) {
    return WhyMissing(view, name, id, key);
  }
  WT_RETURN_IF_ERROR(row.status());
  Result<TensorValue> value = ReadBytes(view, *row);
  if (!value.ok() && value.status().code() == StatusCode::kNotFound) {
    return NotFoundError("reading " + PlaceOf(name, key) +
                         ": its file was removed by retention: \"" + row->file + "\"");
  }
  return value;
}

}  // namespace wheeltapper::trial
