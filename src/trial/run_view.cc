#include "run_view.h"

#include <utility>

namespace wheeltapper::trial {
namespace {

// Gives rows of a reader this trial's ids. What the reader knows about a name is the latest.
template <typename Row>
void TakeOverNames(std::vector<Row>* rows, const format::NameTable& from, format::NameTable* to) {
  for (Row& row : *rows) {
    const format::NameInfo& theirs = from.info(row.name);
    row.name = to->Intern(theirs.name);
    format::NameInfo& ours = to->info(row.name);
    if (ours.kind != theirs.kind || ours.dtype != theirs.dtype || ours.shape != theirs.shape ||
        ours.collections != theirs.collections) {
      ours = theirs;
    }
  }
}

}  // namespace

Status PassOver(const SealedTable& table, const Status& read, const DamageSink& on_damage) {
  if (read.ok() || !on_damage || !format::IsDamage(read)) {
    return read;
  }
  on_damage(table, read);
  return {};
}

void RunView::AddToTail(format::StepBatch batch) {
  if (sealed.Holds(batch)) {
    return;  // delivered late: its journal file had been sealed in the meantime
  }
  const format::NameTable& theirs = tail_reader->names();
  TakeOverNames(&batch.scalars, theirs, &names);
  TakeOverNames(&batch.stats, theirs, &names);
  TakeOverNames(&batch.tensors, theirs, &names);
  tail.Add(std::move(batch));
}

Status RunView::AbsorbSealed() {
  WT_ASSIGN_OR_RETURN(const std::vector<SealedSet*> added, sealed.Refresh());
  for (const SealedSet* set : added) {
    tail.DropIf(set->rank, [this](const format::StepBatch& batch) { return sealed.Holds(batch); });
  }
  return {};
}

}  // namespace wheeltapper::trial
