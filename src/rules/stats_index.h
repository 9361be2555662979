// The statistics of one batch by name.
#pragma once

#include <string>
#include <vector>

#include "wheeltapper/format/rows.h"

namespace wheeltapper::rules {

// Valid as long as the batch. Reuse one object to keep its memory.
class StatsIndex {
 public:
  void Fill(const format::StepBatch& batch) {
    for (const format::NameId id : filled_) {
      rows_[id] = nullptr;
    }
    filled_.clear();
    for (const format::StatsRow& row : batch.stats) {
      if (row.name >= rows_.size()) {
        rows_.resize(row.name + size_t{1}, nullptr);
      }
      rows_[row.name] = &row;
      filled_.push_back(row.name);
    }
  }
  // nullptr when the batch has no statistics of that name.
  [[nodiscard]] const format::StatsRow* Find(const format::NameTable& names,
                                             const std::string& name) const {
    const format::NameId* id = names.Find(name);
    return id == nullptr || *id >= rows_.size() ? nullptr : rows_[*id];
  }

 private:
  std::vector<const format::StatsRow*> rows_;
  std::vector<format::NameId> filled_;
};

// True when every statistic is the same number, bit for bit up to the sign of zero: two tensors of
// which an element differs practically never agree in all of them.
inline bool SameStats(const tensor::TensorStats& a, const tensor::TensorStats& b) {
  return a.numel == b.numel && a.nan_count == b.nan_count && a.posinf_count == b.posinf_count &&
         a.neginf_count == b.neginf_count && a.zero_count == b.zero_count &&
         a.negative_count == b.negative_count && a.min == b.min && a.max == b.max &&
         a.mean == b.mean && a.m2 == b.m2 && a.abs_min == b.abs_min && a.abs_max == b.abs_max &&
         a.l1 == b.l1 && a.abs_m2 == b.abs_m2;
}

}  // namespace wheeltapper::rules
