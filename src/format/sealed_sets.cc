#include "sealed_sets.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/parquet.h"

#include "run_names.h"

namespace wheeltapper::format {
namespace {

std::string PathOf(const std::string& run_dir, std::string_view table, Rank rank,
                   const SealedSetName& set) {
  return SealedPath(run_dir, std::string(table), rank, set.first_seq, set.last_seq);
}

std::string MetadataOf(const ParquetFile& file, const char* key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? "" : found->second;
}

}  // namespace

bool IsDamage(const Status& status) {
  return status.code() == StatusCode::kDataLoss || status.code() == StatusCode::kUnimplemented;
}

Result<SealedSets> ListSealedSets(const std::string& run_dir) {
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(run_dir, kStepsTable));
  SealedSets sets;
  for (const std::string& name : names) {
    if (const auto parsed = ParseSealedName(name)) {
      sets[parsed->rank].push_back({parsed->first_seq, parsed->last_seq});
    }
  }
  for (auto& [rank, list] : sets) {
    std::sort(list.begin(), list.end());
  }
  return sets;
}

namespace {

// Whether the file's set is complete.
bool Contains(const SealedSets& sets, const SealedName& name) {
  const auto rank = sets.find(name.rank);
  return rank != sets.end() && std::binary_search(rank->second.begin(), rank->second.end(),
                                                  SealedSetName{name.first_seq, name.last_seq});
}

// -1 when the file cannot be read.
int64_t RowsOf(const std::string& path) {
  const auto file = ParquetFile::Open(path);
  return file.ok() ? (*file)->rows() : -1;
}

}  // namespace

Result<std::vector<SealedFile>> ListSealed(const std::string& run_dir, bool with_rows) {
  // The other tables of a set are renamed before "steps", so they are listed after it.
  WT_ASSIGN_OR_RETURN(const SealedSets sets, ListSealedSets(run_dir));
  std::vector<SealedFile> files;
  for (const std::string_view table : kTables) {
    WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(run_dir, table));
    for (const std::string& name : names) {
      const auto parsed = ParseSealedName(name);
      if (!parsed || !Contains(sets, *parsed)) {
        continue;
      }
      const std::string path = JoinPath(JoinPath(run_dir, table), name);
      files.push_back({std::string(table), path, parsed->rank, parsed->first_seq, parsed->last_seq,
                       with_rows ? RowsOf(path) : -1});
    }
  }
  std::stable_sort(files.begin(), files.end(), [](const SealedFile& a, const SealedFile& b) {
    return std::tie(a.rank, a.first_seq, a.last_seq) < std::tie(b.rank, b.first_seq, b.last_seq);
  });
  return files;
}

std::string JoinTables(const std::vector<std::string>& tables) {
  std::string joined;
  for (const std::string& table : tables) {
    joined += (joined.empty() ? "" : ",") + table;
  }
  return joined;
}

std::vector<DamagedTable> FindMissingTables(const std::string& run_dir, Rank rank,
                                            const SealedSetName& set, const ParquetFile& steps) {
  std::vector<DamagedTable> missing;
  std::istringstream tables(MetadataOf(steps, kTablesKey));
  for (std::string table; std::getline(tables, table, ',');) {
    const bool known =
        std::find(std::begin(kTables), std::end(kTables), table) != std::end(kTables);
    if (!known) {
      continue;  // of a later version
    }
    if (std::string path = PathOf(run_dir, table, rank, set); !PathExists(path)) {
      missing.push_back({table, std::move(path), "the file is gone"});
    }
  }
  return missing;
}

std::vector<SealedFile> ListMissing(const std::string& run_dir, const SealedFile& steps,
                                    const ParquetFile& opened) {
  std::vector<SealedFile> files;
  for (DamagedTable& table :
       FindMissingTables(run_dir, steps.rank, {steps.first_seq, steps.last_seq}, opened)) {
    files.push_back({std::move(table.table), std::move(table.path), steps.rank, steps.first_seq,
                     steps.last_seq, -1});
  }
  return files;
}

Result<BatchMap> ReadSealedSet(const std::string& run_dir, Rank rank, const SealedSetName& set,
                               NameTable* names, std::vector<DamagedTable>* damaged) {
  BatchMap batches;
  for (const std::string_view table : kTables) {
    const std::string path = PathOf(run_dir, table, rank, set);
    Result<std::unique_ptr<ParquetFile>> file = ParquetFile::Open(path);
    if (!file.ok() && file.status().code() == StatusCode::kNotFound && table != kStepsTable) {
      continue;  // no rows of this kind, or its file is gone, as "steps" will tell
    }
    Status read = file.status();
    if (read.ok()) {
      read = AddSealedRows(**file, table, rank, names, &batches);
    }
    if (IsDamage(read) && table != kStepsTable) {
      damaged->push_back({std::string(table), path, read.message()});
      continue;
    }
    WT_RETURN_IF_ERROR(read.WithContext("\"" + path + "\""));
    if (table == kStepsTable) {
      const std::vector<DamagedTable> missing = FindMissingTables(run_dir, rank, set, **file);
      damaged->insert(damaged->end(), missing.begin(), missing.end());
    }
  }
  return batches;
}

Result<SealedLocation> LocateSealedTensor(const std::string& run_dir, Rank rank,
                                          uint64_t journal_file, uint64_t offset) {
  WT_ASSIGN_OR_RETURN(const SealedSets sets, ListSealedSets(run_dir));
  const auto found = sets.find(rank);
  for (const SealedSetName& set :
       found == sets.end() ? std::vector<SealedSetName>{} : found->second) {
    const auto file = ParquetFile::Open(PathOf(run_dir, "tensors", rank, set));
    if (!file.ok() || MetadataOf(**file, "journal_file") != std::to_string(journal_file)) {
      continue;
    }
    WT_ASSIGN_OR_RETURN(const ColumnData was, (*file)->ReadColumn("journal_offset"));
    WT_ASSIGN_OR_RETURN(const ColumnData files, (*file)->ReadColumn("file"));
    WT_ASSIGN_OR_RETURN(const ColumnData offsets, (*file)->ReadColumn("offset"));
    const auto* was_at = std::get_if<Int64Column>(&was);
    const auto* name = std::get_if<StringColumn>(&files);
    const auto* now_at = std::get_if<Int64Column>(&offsets);
    if (was_at == nullptr || name == nullptr || now_at == nullptr) {
      return DataLossError("reading the index of raw tensors: columns of a wrong type");
    }
    const auto row =
        std::find(was_at->values.begin(), was_at->values.end(), static_cast<int64_t>(offset));
    if (row == was_at->values.end()) {
      break;
    }
    const auto at = static_cast<size_t>(row - was_at->values.begin());
    if (at >= name->codes.size() || name->codes[at] >= name->dictionary.size() ||
        at >= now_at->values.size()) {
      return DataLossError("reading the index of raw tensors: columns of different lengths");
    }
    return SealedLocation{name->dictionary[name->codes[at]],
                          static_cast<uint64_t>(now_at->values[at])};
  }
  return NotFoundError("reading raw tensor: its journal file is gone and no sealed table names it");
}

}  // namespace wheeltapper::format
