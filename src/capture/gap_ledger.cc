#include "gap_ledger.h"

#include <algorithm>

namespace wheeltapper::capture {

void GapLedger::Note(format::GapReason reason, format::GapWhat what, int64_t step, uint64_t tensors,
                     uint64_t bytes) noexcept {
  const size_t index = (static_cast<size_t>(reason) - 1) * kWhats + static_cast<size_t>(what) - 1;
  Slot& slot = slots_[index];
  if (slot.noted == 0) {
    slot.gap = {step, step, reason, what, 0, 0};
  }
  slot.gap.first_step = std::min(slot.gap.first_step, step);
  slot.gap.last_step = std::max(slot.gap.last_step, step);
  slot.gap.tensors_dropped += tensors;
  slot.gap.bytes_dropped += bytes;
  ++slot.noted;
  ++total_;
  if (slot.noted >= slot.due_at) {
    MarkDue(&slot);
  }
}

void GapLedger::MarkDue(Slot* slot) noexcept {
  if (!slot->due) {
    slot->due = true;
    ++due_;
  }
}

void GapLedger::MarkWritten(Slot* slot) noexcept {
  slot->due = false;
  slot->noted = 0;
  slot->due_at = std::min(slot->due_at * 2, kLongestSeries);
  --due_;
}

void GapLedger::CloseSeries() noexcept {
  for (Slot& slot : slots_) {
    slot.due_at = 1;
  }
  MakeAllDue();
}

void GapLedger::MakeAllDue() noexcept {
  for (Slot& slot : slots_) {
    if (slot.noted > 0) {
      MarkDue(&slot);
    }
  }
}

}  // namespace wheeltapper::capture
