// Gaps that are known but not written yet, coalesced per reason and kind.
//
// The first gap of a kind is due at once; while the same keeps happening, a record is due after 2,
// 4, … 64 more steps, so that a run that degrades on each step is not made of gap records. A step
// that is captured whole closes the series.
#pragma once

#include <array>
#include <cstdint>

#include "wheeltapper/format/journal.h"

namespace wheeltapper::capture {

// Not thread-safe: belongs to the holder of the recorder's flag. Allocation-free.
class GapLedger {
 public:
  void Note(format::GapReason reason, format::GapWhat what, int64_t step, uint64_t tensors,
            uint64_t bytes) noexcept;
  // An armed step went through whole: what has not been written is due now.
  void CloseSeries() noexcept;
  // Everything is due now (the end of the session).
  void MakeAllDue() noexcept;

  [[nodiscard]] bool any_due() const noexcept { return due_ > 0; }
  // Steps (or single tensors) that had a gap, since the start.
  [[nodiscard]] int64_t total() const noexcept { return total_; }

  // Hands each due gap to `write(const GapPayload&) → bool` until it returns false (no room; what
  // is left stays due).
  template <typename Write>
  void WriteDue(Write&& write) noexcept {
    for (Slot& slot : slots_) {
      if (slot.due && slot.noted > 0) {
        if (!write(slot.gap)) {
          return;
        }
        MarkWritten(&slot);
      }
    }
  }

 private:
  struct Slot {
    format::GapPayload gap{};
    uint64_t noted = 0;   // since the last record
    uint64_t due_at = 1;  // records are due at this many
    bool due = false;
  };
  static constexpr size_t kReasons = 7;
  static constexpr size_t kWhats = 3;
  static constexpr uint64_t kLongestSeries = 64;

  void MarkDue(Slot* slot) noexcept;
  void MarkWritten(Slot* slot) noexcept;

  std::array<Slot, kReasons * kWhats> slots_{};
  int64_t due_ = 0;
  int64_t total_ = 0;
};

}  // namespace wheeltapper::capture
