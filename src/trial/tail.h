// The batches that are in journals only, kept as rows until their journal file is sealed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "wheeltapper/format/rows.h"

namespace wheeltapper::trial {

// One row of a batch in the tail. Valid until the next DropIf.
struct RowRef {
  const format::StepBatch* batch;
  uint32_t row;
};

// Not thread-safe.
class Tail {
 public:
  using Index = std::unordered_map<format::NameId, std::vector<RowRef>>;
  struct RankTail {
    std::vector<std::unique_ptr<format::StepBatch>> batches;  // commit order
    Index scalars;
    Index stats;
    Index tensors;
  };

  // The batches of one rank arrive in commit order.
  void Add(format::StepBatch batch);
  // Forgets the batches of `rank` of which `sealed` says so.
  void DropIf(Rank rank, const std::function<bool(const format::StepBatch&)>& sealed);

  [[nodiscard]] const std::map<Rank, RankTail>& ranks() const { return ranks_; }
  // The rows of a name in commit order; empty when there are none.
  static const std::vector<RowRef>& RowsOf(const Index& index, format::NameId name);

 private:
  static void IndexBatch(const format::StepBatch& batch, RankTail* into);
  std::map<Rank, RankTail> ranks_;
};

}  // namespace wheeltapper::trial
