// The sealed files of a run: which there are, and which batches they hold.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/rows.h"
#include "wheeltapper/format/run_reader.h"
#include "wheeltapper/trial/trial.h"

#include "column_cache.h"
#include "sealed_table.h"

namespace wheeltapper::trial {

// The tables that one journal file became. A table without rows has no file and is null here.
struct SealedSet {
  Rank rank;
  uint64_t first_seq = 0;
  uint64_t last_seq = 0;
  std::unique_ptr<SealedTable> scalars;
  std::unique_ptr<SealedTable> stats;
  std::unique_ptr<SealedTable> tensors;
  std::unique_ptr<SealedTable> steps;
  std::unique_ptr<SealedTable> gaps;
  std::unique_ptr<SealedTable> metas;
};

// Not thread-safe.
class SealedRuns {
 public:
  // Sets of a rank by first sequence number.
  using Sets = std::map<uint64_t, SealedSet>;

  // `cache` and `names` outlive it; `names` takes up the names of new files.
  SealedRuns(std::string run_dir, ColumnCache* cache, format::NameTable* names)
      : run_dir_(std::move(run_dir)), cache_(cache), names_(names) {}

  // Lists again and opens the footers of what is new. Returns the new sets, older ones first per
  // rank; they stay where they are while this object lives. Damaged files are left out and
  // kept in damaged().
  Result<std::vector<SealedSet*>> Refresh();
  // True when a sealed set of the rank holds the batch.
  [[nodiscard]] bool Holds(const format::StepBatch& batch) const;

  [[nodiscard]] const std::vector<Damage>& damaged() const { return damaged_; }
  [[nodiscard]] const std::map<Rank, Sets>& ranks() const { return ranks_; }
  [[nodiscard]] std::map<Rank, Sets>& ranks() { return ranks_; }

 private:
  Status OpenTable(const format::SealedFile& file, SealedSet* set);
  // Tables that a set had when it was sealed, and whose files are gone, are damage.
  void NoteMissing(const format::SealedFile& steps, const format::ParquetFile& opened);

  std::string run_dir_;
  ColumnCache* cache_;
  format::NameTable* names_;
  std::vector<Damage> damaged_;
  std::map<Rank, Sets> ranks_;
};

}  // namespace wheeltapper::trial
