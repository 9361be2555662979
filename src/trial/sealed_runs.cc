#include "sealed_runs.h"

#include <utility>

#include "wheeltapper/core/file.h"

namespace wheeltapper::trial {
namespace {

std::unique_ptr<SealedTable>* PartOf(SealedSet* set, const std::string& table) {
  if (table == "scalars") {
    return &set->scalars;
  }
  if (table == "stats") {
    return &set->stats;
  }
  if (table == "tensors") {
    return &set->tensors;
  }
  if (table == "steps") {
    return &set->steps;
  }
  if (table == "gaps") {
    return &set->gaps;
  }
  return table == "metas" ? &set->metas : nullptr;
}

bool HasNames(const std::string& table) {
  return table == "scalars" || table == "stats" || table == "tensors";
}

}  // namespace

Status SealedRuns::OpenTable(const format::SealedFile& file, SealedSet* set) {
  std::unique_ptr<SealedTable>* part = PartOf(set, file.table);
  if (part == nullptr) {
    return {};  // a table of a later version
  }
  Result<std::unique_ptr<SealedTable>> opened = SealedTable::Open(file.path, cache_);
  Status status = opened.status();
  if (status.ok() && HasNames(file.table)) {
    status = (*opened)->LoadNames(names_);
  }
  if (status.ok()) {
    *part = std::move(*opened);
  }
  return status;
}

void SealedRuns::NoteMissing(const format::SealedFile& steps, const format::ParquetFile& opened) {
  for (const format::SealedFile& file : format::ListMissing(run_dir_, steps, opened)) {
    damaged_.push_back(
        {.table = file.table, .file = RelativeTo(run_dir_, file.path), .what = "the file is gone"});
  }
}

Result<std::vector<SealedSet*>> SealedRuns::Refresh() {
  WT_ASSIGN_OR_RETURN(const std::vector<format::SealedFile> files, format::ListSealed(run_dir_));
  std::map<std::pair<Rank, uint64_t>, SealedSet*> added;
  for (const format::SealedFile& file : files) {
    const std::pair key(file.rank, file.first_seq);
    Sets& sets = ranks_[file.rank];
    if (!added.contains(key)) {
      if (sets.contains(file.first_seq)) {
        continue;
      }
      SealedSet& set = sets[file.first_seq];
      set.rank = file.rank;
      set.first_seq = file.first_seq;
      set.last_seq = file.last_seq;
      added[key] = &set;
    }
    const Status status = OpenTable(file, added[key]);
    if (file.table == "steps" && status.ok()) {
      NoteMissing(file, added[key]->steps->file());
    }
    if (format::IsDamage(status)) {
      damaged_.push_back(
          {.table = file.table, .file = RelativeTo(run_dir_, file.path), .what = status.message()});
    } else {
      WT_RETURN_IF_ERROR(status);
    }
  }
  std::vector<SealedSet*> out;
  out.reserve(added.size());
  for (const auto& [key, set] : added) {
    out.push_back(set);
  }
  return out;
}

bool SealedRuns::Holds(const format::StepBatch& batch) const {
  const auto rank = ranks_.find(batch.key.rank);
  if (rank == ranks_.end()) {
    return false;
  }
  auto set = rank->second.upper_bound(batch.last_seq);
  return set != rank->second.begin() && batch.last_seq <= (--set)->second.last_seq;
}

}  // namespace wheeltapper::trial
