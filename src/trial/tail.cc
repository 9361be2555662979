#include "tail.h"

#include <utility>

namespace wheeltapper::trial {
namespace {

template <typename Row>
void IndexRows(const format::StepBatch& batch, const std::vector<Row>& rows, Tail::Index* index) {
  for (size_t i = 0; i < rows.size(); ++i) {
    (*index)[rows[i].name].push_back({&batch, static_cast<uint32_t>(i)});
  }
}

}  // namespace

void Tail::Add(format::StepBatch batch) {
  RankTail& rank = ranks_[batch.key.rank];
  rank.batches.push_back(std::make_unique<format::StepBatch>(std::move(batch)));
  IndexBatch(*rank.batches.back(), &rank);
}

void Tail::DropIf(Rank rank, const std::function<bool(const format::StepBatch&)>& sealed) {
  const auto at = ranks_.find(rank);
  if (at == ranks_.end()) {
    return;
  }
  RankTail& tail = at->second;
  const size_t dropped =
      std::erase_if(tail.batches, [&sealed](const auto& batch) { return sealed(*batch); });
  if (dropped == 0) {
    return;
  }
  tail.scalars.clear();
  tail.stats.clear();
  tail.tensors.clear();
  for (const auto& batch : tail.batches) {
    IndexBatch(*batch, &tail);
  }
}

const std::vector<RowRef>& Tail::RowsOf(const Index& index, format::NameId name) {
  static const std::vector<RowRef> kNone;
  const auto at = index.find(name);
  return at == index.end() ? kNone : at->second;
}

void Tail::IndexBatch(const format::StepBatch& batch, RankTail* into) {
  IndexRows(batch, batch.scalars, &into->scalars);
  IndexRows(batch, batch.stats, &into->stats);
  IndexRows(batch, batch.tensors, &into->tensors);
}

}  // namespace wheeltapper::trial
